import os
import re

import numpy as np
import pytest
from helpers.errors import assert_one_line_about
from helpers.memory import memory
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmath.data import columns, csv_files
from nnmath.data.columns import as_known_feature, read_columns
from nnmath.data.csv_files import read_rows
from nnmath.data.tables import read_csv


def write(folder, text, name="table.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def read(folder, text, features=("a", "b"), target="y", **options):
    return read_csv(write(folder, text), features, target, **options)


class TestCsv:
    @pytest.mark.parametrize(
        ("target", "y", "classes"),
        [
            (["2", "1", "2"], [1, 0, 1], ("1", "2")),
            (["yes", "no", "no"], [1, 0, 0], ("no", "yes")),
            (["Nothing", "Some", "Nothing"], [0, 1, 0], ("Nothing", "Some")),
            (["c", "b", "a"], [2, 1, 0], ("a", "b", "c")),
            (["True", "False", "True"], [1, 0, 1], ("False", "True")),
            (["2", "2.0", "3"], [0, 0, 1], ("2", "3")),
            (["1234567", "1234568", "1234567"], [0, 1, 0], ("1234567", "1234568")),
            (["10", "11.5", "-1e3"], [10, 11.5, -1000], None),
        ],
    )
    def test_texts_and_two_values_make_classes_and_more_numbers_a_regression(self, tmp_path, target, y, classes):
        lines = ["a,b,y", *(f"{i},{i + 1},{value}" for i, value in enumerate(target)), "", ""]
        data = read_csv(write(tmp_path, "\n".join(lines)), ["a", "b"], "y")
        assert data.x.tolist() == [[0, 1], [1, 2], [2, 3]]
        assert data.y.tolist() == y
        assert data.classes == classes

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("a,b,y\n1,2,0\n3,4,1\n", "utf-8-sig"),
            ("a,b,y\r\n1,2,0\r\n3,4,1\r\n", "utf-8"),
            ('"a","b","y"\n"1","2","0"\n"3","4","1"\n', "utf-8"),
            ("a, b, y\n1, 2, 0\n3, 4, 1\n", "utf-8"),
            ("y,unused,b,a\n0,text,2,1\n1,,4,3", "utf-8"),
            ('a,b,y,"a note"\n1,2,0,"one,\ntwo ""quoted"""\n3,4,1,\n', "utf-8"),
            ("a;b;y\r\n1;2;0\r\n3;4;1\r\n", "utf-8-sig"),
            ("a\tb\ty\n1\t2\t0\n3\t4\t1\n", "utf-8"),
            ("a,b,y\r1,2,0\r3,4,1\r", "utf-8"),
            ('a;b;y;"x,z"\n1;2;0;\n3;4;1;1,5\n', "utf-8"),
            ("a,b,y,\n1,2,0,\n3,4,1,\n,,,\n\n", "utf-8"),
            ("sep=;\r\na;b;y\r\n1;2;0\r\n3;4;1\r\n", "utf-8-sig"),
            ("# site B, logger\n#\n\na,b,y\n1,2,0\n3,4,1\n", "utf-8"),
            ("a,b,y\n1,2,0,\n3,4,1,,\n", "utf-8"),
            ('"a","b","y"\n"first",1,2,0\n"second",3,4,1\n', "utf-8"),
            ("a b y\n1 1 2 0\n2 3 4 1\n".replace(" ", "\t"), "utf-8"),
            ("a,b,y\n1,2,0\n\n , ,\n3,4,1\n", "utf-8"),
            ("a|b|y\n1|2|0\n3|4|1\n", "utf-8"),
            ("a ,b\u00a0, y\n1 , 2,0\n3,4 ,1\n", "utf-8"),
            ("a;b;y;c\n1,0;2;0;1,5\n3;4;1;x\n", "utf-8"),
        ],
        ids=[
            *("byte order mark", "CRLF", "quotes", "blanks", "other order"),
            *("line break in quotes", "semicolons", "tabs", "CR", "commas between semicolons", "empty column and rows"),
            *("Excel's first line", "comments", "separators at the end", "R's row names", "R's numbers of rows"),
            *("blank lines", "bars", "blanks around names and cells", "decimal commas"),
        ],
    )
    def test_formats_of_the_same_table(self, tmp_path, text, encoding):
        data = read_csv(write(tmp_path, text, encoding=encoding), ["a", "b"], "y")
        np.testing.assert_array_equal(data.x, [[1, 2], [3, 4]])
        assert data.y.tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "table.csv is empty: it needs a header line, then one line per sample"),
            ("\ufeff\r\n\r\n", "table.csv is empty"),
            (",,\n,,\n", "table.csv is empty"),
            ("a,b,y\n", "has a header but no rows"),
            ("a,y\n1,0\n2,1\n", r"has no column 'b'; its columns are \['a', 'y'\]"),
            ("A;B;y\n1;2;0\n", "has no column 'a'; did you mean 'A'"),
            ("temp;b;y\n1;2;0\n", "has no column 'a'"),
            ("a b y\n1 2 0\n", "separate columns by commas, semicolons, tabs or bars"),
            ("a\u200b;b;y\n1;2;0\n", r"did you mean 'a\\u200b'. The two differ by invisible characters: "),
            (
                ",".join(map(str, range(99))) + "\n1,2,3",
                r"no column 'a'; .* the first line seems to be no header: add one",
            ),
            (
                "logger\n2024\na,b,y\n1,2,0\n",
                "the header must be the first line; it seems to be line 3: delete those above",
            ),
            ("a,b,y\n1,2,0\n1,oops,1\n", "line 3: column 'b' holds 'oops', expected a finite number"),
            ("a,b,y\n1,2,0\n1,,1\n", "line 3: column 'b' is empty, a missing value, as in 1 of 2 rows; --missing drop"),
            ("a,b,y\nnan,2,0\n1,2,1\n", "line 2: column 'a' holds 'nan', a missing value"),
            ("a,b,y\n1,2,0\n1,2,?\n3,4,1\n", "line 3: column 'y' holds '\\?', a missing value"),
            ("a,b,y\n0,1,2,0\n1,3,4,1\n0,1,2,0\n", "line 2: 4 cells, but the header has 3 columns; write a cell that"),
            ("a,a,b,y\n0,1,2,0\n1,3,4,1\n", "has 2 columns named 'a': rename all but one"),
            ("a,b,y\n1,2,0\n1,2\n", "line 3: 2 cells, but the header has 3 columns$"),
            ("a,b,y\n1,inf,0\n1,2,1\n", "line 2: column 'b' holds 'inf'"),
            ("a,b,y\n1,1e309,0\n1,2,1\n", "line 2: column 'b' holds '1e309'"),
            ("a,b,y\n1,2,red\n1,2,4\n3,4,5\n", "line 2: column 'y' holds 'red', expected a finite number"),
            ("a,b,y\n1,2,1\n3,4,1\n", "target 'y' holds only '1', so there is nothing to learn"),
            ("a,b,y\n1,2,yes\n", "target 'y' holds only 'yes', so there is nothing to learn"),
            ("a,b,y\n1,2,ok\n1,2,ok \n", "target 'y' holds only 'ok'"),
            (
                "a,b,y\n1,2,0\n1,2,1\n1,2,2\n",
                "whole numbers 0, 1, 2: --task classes .*, --task regression if they are a",
            ),
            ("a,b,y\n1,2,Yes\n1,2,yes\n1,2,no\n", r"in column 'y' some of \['Yes', 'no', 'yes'\] differ in case alone"),
            (
                'a,b,y\n"3,612",2,0\n"1,234",3,1\n',
                "holds '3,612', expected .*; leave thousands separators out: write 3612$",
            ),
            ("a;b;y\n3,612;2;0\n", "leave thousands separators out: write 3612, or with a decimal point, 3.612"),
            ("a;b;y\n1.299,99;2;0\n12,5;2;1\n", "leave thousands separators out: write 1299.99"),
            ("a,b,y\n1.234.567,2,0\n1,3,1\n", "leave thousands separators out: write 1234567$"),
            ("a,b,y\n1'234.5,2,0\n1,3,1\n", "leave thousands separators out: write 1234.5$"),
            ("a;b;y\n1,234.5;2;0\n1;3;1\n", "leave thousands separators out: write 1234.5$"),
            ("a,b,y\n1 234,2,0\n1,3,1\n", "leave thousands separators out: write 1234$"),
            ("a;b;y\n1.234;2;0\n2;3,5;1\n", r"'1.234', but elsewhere the file has decimal commas \('3,5'\): write all"),
            ('a,b,y\n"1,5",2,0\n2,3,1\n', "holds '1,5', expected .*; write decimals with a point: 1.5"),
            ("a,b,y\n1,5%,0\n2,3%,1\n", "holds '5%', expected .*; write the number without its unit: 5"),
            ("a,b,y\n1,5 €,0\n2,3 €,1\n", "write the number without its unit: 5"),
            ("a,b,y\n1,$5,0\n2,$3,1\n", "write the number without its unit: 5"),
            ("a,b,y\n1,0x10,0\n2,3,1\n", "holds '0x10', expected a finite number$"),
            ("a,b,y\n1,5 kg,0\n2,3 kg,1\n", "write the number without its unit: 5"),
            (
                "a,b,y\n1,2024-03-01,0\n2,2024-03-02,1\n",
                "give dates and times as numbers, such as days since the first",
            ),
            ('a,b,y\n1,2,0\n"3,4,1\n5,6,0\n', "line 3: a quote is opened and not closed: delete or close it"),
            ('a,b,y\n1,2,0\n"3,4,1\n5,6,0\n7",8,1\n', "line 3: a quote is closed only in line 5: delete or close it"),
            ('a,b,y\n1,2,0\n"3" x,4,1\n', "line 3: a quote is opened within a cell: delete it, or write it twice"),
            ("a,b,y\n1,2,0\n3,\0,1\n", "line 3: the byte 0x00 is not UTF-8 text: save the file as UTF-8"),
            (
                "a,b,y\n" + "".join(f"1,text{i},{i % 2}\n" for i in range(33)),
                "33 different texts, more than 32: leave it",
            ),
            (
                "a,b,y\n" + "".join(f"1,2,text{i}\n" for i in range(101)),
                "more than 100 different values, too many for classes",
            ),
        ],
    )
    def test_refuses_invalid_content(self, tmp_path, text, message):
        with pytest.raises(ValueError, match=message) as error:
            read_csv(write(tmp_path, text), ["a", "b"], "y")
        assert "table.csv" in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "a,b,y\n1,2,0\n" + "x" * 300_000 + ",2,1\n",
                f"line 3: column 'a' holds '{'x' * 22}...{'x' * 23}', expected",
            ),
            (
                "x" * 300_000 + "\na,b,y\n1,2,3\n",
                "the header must be the first line; it seems to be line 2",
            ),
            (
                "x" * 300_000 + "\na,b,z\n1,2,3\n",
                "has a header of more than 10000 columns or 128 KiB: is it a CSV file",
            ),
            ("a,b,y," + f"{'x' * 40}," * 9_000 + "\n1,2,3", "has a header of more than 10000 columns or 128 KiB"),
            ("a,b,y," + "x," * 10_000 + "\n1,2,3", "has a header of more than 10000 columns or 128 KiB"),
            ("a,b,y," + "x," * 200_000 + "\n1,2,3", "has a header of more than 10000 columns or 128 KiB"),
            ("a,b,y\n" + "1,2,3\n" * 10_000 + "1,x,3\n", "line 10002: column 'b' holds 'x', expected"),
        ],
        ids=[
            "long cell",
            "long line above",
            "long header",
            "long names",
            "many columns",
            "long header of columns",
            "many rows",
        ],
    )
    def test_refuses_long_content_in_a_short_message(self, tmp_path, monkeypatch, text, message):
        monkeypatch.setattr(csv_files, "MAX_TEXT_CELLS", 300)  # so that there are several chunks
        with pytest.raises(ValueError, match=message) as error:
            read_csv(write(tmp_path, text), ["a", "b"], "y")
        assert len(str(error.value)) < 300

    @pytest.mark.parametrize("cells", [3, 7, 10**6])
    def test_reading_in_chunks_changes_nothing(self, tmp_path, monkeypatch, cells):
        monkeypatch.setattr(csv_files, "MAX_TEXT_CELLS", cells)
        path = write(tmp_path, "a,kind,price\n" + "".join(f"{i},{['dog', 'cat'][i % 2]},{i / 2}\n" for i in range(20)))
        animals = read_csv(path, ["a"], "kind")
        assert animals.classes == ("cat", "dog")
        assert animals.y.tolist() == [1, 0] * 10
        mixed = read_csv(write(tmp_path, "a,kind\n1,x\n2,1\n", "mixed.csv"), ["a"], "kind")
        assert (mixed.classes, mixed.y.tolist()) == (("1", "x"), [1, 0])
        assert animals.x[:, 0].tolist() == read_csv(path, ["price"], "a", "regression").y.tolist() == list(range(20))

    def test_a_column_of_more_texts_than_are_kept(self, tmp_path, monkeypatch):
        monkeypatch.setattr(csv_files, "MAX_TEXT_CELLS", 30)
        monkeypatch.setattr(columns, "MAX_DISTINCT", 10)
        data = read(tmp_path, "a,b,y\n" + "".join(f"{i},{i / 3},{i % 2}\n" for i in range(100)))
        assert data.x[:, 0].tolist() == list(range(100))

    def test_names_and_labels_are_compared_in_one_normal_form(self, tmp_path):
        composed, decomposed = "gr\u00f6\u00dfe", "gro\u0308\u00dfe"
        data = read(tmp_path, f"{decomposed},b,y\n1,2,{composed}\n3,4,{decomposed}\n5,6,x\n", [composed, "b"])
        assert (data.features, data.classes) == ((composed, "b"), (composed, "x"))

    def test_a_typographers_minus(self, tmp_path):
        assert read(tmp_path, "a,b,y\n−1,−2.5,0\n3,4,1\n").x.tolist() == [[-1, -2.5], [3, 4]]

    def test_categories_truth_and_default_features(self, tmp_path):
        """Every column but the target; left out are dates, constants, many texts and columns without a name."""
        rows = "".join(
            f"{i},{['red', 'blue'][i % 2]},{['Yes', 'No'][i % 2]},2024-01-0{i},k,text {i},{i % 2}\n"
            for i in range(1, 9)
        )
        rows += "".join(f"{i},red,No,2024-01-01,k,text {i},{i % 2}\n" for i in range(9, 50))
        data = read_csv(write(tmp_path, ",colour,ok,day,constant,id,y\n" + rows), None, "y")
        assert (data.features, data.levels) == (("colour", "ok"), (("blue", "red"), None))
        assert data.x[:3].tolist() == [[0, 0], [1, 1], [0, 0]]
        assert data.by_default
        assert not read_csv(tmp_path / "table.csv", ["colour"], "y").by_default
        assert data.note == "not used: 'day' (dates), 'constant' (constant), 'id' (many different texts)"

    @pytest.mark.parametrize(
        ("missing", "rows", "note"),
        [
            ("drop", [0, 3], "left out: 2 of 4 rows, with missing values"),
            ("mean", [0, 1, 3], "left out: 1 of 4 rows, without a target"),
        ],
    )
    def test_missing_values(self, tmp_path, missing, rows, note):
        text = "a,b,y\n1,x,0\nNA,x,1\n3,y,?\n4,y,1\n"
        data = read(tmp_path, text, missing=missing)
        expected = np.array([[1, 0], [np.nan, 0], [3, 1], [4, 1]])[rows]
        np.testing.assert_array_equal(data.x, expected)
        assert data.y.tolist() == [0, 1, np.nan, 1][:1] + [1] * (len(rows) - 1)
        assert (data.note, data.fill_missing) == (note, missing == "mean")

    @pytest.mark.parametrize(
        ("task", "y", "classes"), [("classes", [0, 1, 2, 1], ("1", "2", "5")), ("regression", [1, 2, 5, 2], None)]
    )
    def test_task_of_whole_numbers(self, tmp_path, task, y, classes):
        data = read(tmp_path, "a,b,y\n1,2,1\n3,4,2\n5,6,5\n7,8,2\n", task=task)
        assert (data.y.tolist(), data.classes) == (y, classes)

    def test_21_whole_numbers_are_a_quantity_and_20_may_be_classes(self, tmp_path):
        rows = ["1,2,21", *(f"{i},1,{i}" for i in range(1, 21))]
        assert read(tmp_path, "\n".join(["a,b,y", *rows])).classes is None
        with pytest.raises(ValueError, match="target 'y' has the 20 whole numbers"):
            read(tmp_path, "\n".join(["a,b,y", *rows[1:]]))

    def test_at_most_100_classes(self, tmp_path):
        text = "a,b,y\n" + "".join(f"{i},1,c{i:03}\n" for i in range(100))
        assert len(read(tmp_path, text).classes) == 100
        with pytest.raises(ValueError, match="target 'y' has more than 100 different values"):
            read(tmp_path, text + "1,1,c100\n")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a,b,y\n1,red,0\n2,Red,1\n", "in column 'b' some of .* differ in case alone"),
            ("a,b,y\nx,1,2,0\nx,3,4,1\n", "line 2: 4 cells, but the header has 3 columns"),
            ("a,b,y\n3,1,2,0\n2,3,4,1\n", "line 2: 4 cells, but the header has 3 columns"),
        ],
        ids=["levels differ in case", "equal names of rows", "numbers of rows from 3"],
    )
    def test_refuses_ambiguous_content(self, tmp_path, text, message):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, text, missing="mean")

    def test_at_most_100_numbers_as_classes(self, tmp_path):
        text = "a,b,y\n" + "".join(f"{i},1,{i}\n" for i in range(100))
        assert len(read(tmp_path, text, task="classes").classes) == 100
        with pytest.raises(ValueError, match="target 'y' has more than 100 different values"):
            read(tmp_path, text + "1,1,100\n", task="classes")

    @pytest.mark.parametrize(("task", "message"), [("classes", "target 'y' has no values"), (None, "each row has a")])
    def test_refuses_a_target_without_values(self, tmp_path, task, message):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, "a,b,y\n1,2,\n2,3,NA\n", missing="mean", task=task)

    def test_a_feature_of_numbers_in_a_table_without_a_target(self, tmp_path):
        (column,) = read_columns(read_rows(write(tmp_path, "a\n1\n2\n"), ["a"]), ["a"])
        assert as_known_feature(column, None).tolist() == [1, 2]
        (column,) = read_columns(read_rows(write(tmp_path, "a\nred\nblue\n"), ["a"]), ["a"])
        with pytest.raises(ValueError, match="column 'a' holds 'red', expected a finite number"):
            as_known_feature(column, None)

    def test_refuses_unreadable_files(self, tmp_path):
        with pytest.raises(ValueError, match=r"missing\.csv cannot be read: No such file or directory"):
            read_csv(tmp_path / "missing.csv", ["a"], "y")
        with pytest.raises(ValueError, match="cannot be read: Is a directory"):
            read_csv(tmp_path, ["a"], "y")
        for encoding, line in (("latin-1", 2), ("utf-16", 1)):
            with pytest.raises(ValueError, match=f"table.csv, line {line}: the byte 0xff is not UTF-8 text: save the"):
                read_csv(write(tmp_path, "a,y\n\xff,1\n", encoding=encoding), ["a"], "y")
        with pytest.raises(ValueError, match="/dev/zero is a device or a pipe: copy its content to a file first"):
            read_csv("/dev/zero", ["a"], "y")
        os.mkfifo(tmp_path / "pipe.csv")
        with pytest.raises(ValueError, match="pipe.csv is a device or a pipe"):
            read_csv(tmp_path / "pipe.csv", ["a"], "y")
        with open(tmp_path / "large.csv", "wb") as file:
            file.truncate(257 << 20)  # a sparse file
        with pytest.raises(ValueError, match="large.csv has 257 MiB, more than the maximum of 256: drop rows"):
            read_csv(tmp_path / "large.csv", ["a"], "y")

    def test_refuses_files_without_permission(self, tmp_path):
        path = write(tmp_path, "a,y\n1,0\n2,1\n")
        path.chmod(0)
        user = os.geteuid()
        if user == 0:  # root can read every file
            os.seteuid(65534)
        try:
            with pytest.raises(ValueError, match="table.csv cannot be read: Permission denied"):
                read_csv(path, ["a"], "y")
        finally:
            os.seteuid(user)

    @pytest.mark.parametrize("columns", [([], "y"), (["a", "a"], "y"), (["a", "y"], "y")])
    def test_refuses_duplicate_or_missing_column_names(self, tmp_path, columns):
        with pytest.raises(ValueError, match="features and target must name different columns"):
            read_csv(write(tmp_path, "a,y\n1,0\n"), *columns)


CELLS = b'1|-2.5|3e2|0|yes|no|| 7 |"8"|"x,y"|"x\ny"|nan|-inf|1e308|1e400|4,5|1_0|0x1f|True|\xc3\xbc'.split(b"|")
CELLS += ["١".encode(), b"9" * 400]
PIECES = [*CELLS, *(bytes([byte]) for byte in b",;\t|\n\r\"'\\# ay\0\xff"), b"\r\n", b'""', b"a,b,y\n"]
PIECES += [b"\xfe\xff", b"\xef\xbb\xbf", "\u2028\x85\x1b".encode(), b",,,\n", b"x" * 50]


@st.composite
def tables(draw):
    """The bytes of a small table, some with edits that a person, a program or a broken disk could have made."""
    cell, kind = (st.sampled_from(CELLS[: draw(st.sampled_from([4, 4, len(CELLS)]))]) for _ in range(2))
    rows = draw(st.lists(st.tuples(cell, cell, kind), min_size=draw(st.sampled_from([0, 3])), max_size=8))
    header = [b"a", b"b", b"y"]
    separator, end = (draw(st.sampled_from(kinds)) for kinds in ([b",", b";", b"\t"], [b"\n", b"\r\n", b"\r"]))
    content = b"".join(separator.join(row) + end for row in [header, *rows])
    if draw(st.booleans()):
        variants = [b"\xef\xbb\xbf" + content, content.decode().encode("utf-16"), content.rstrip()]
        content = draw(st.sampled_from(variants))
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 0, 1, 5, len(content)]))
        content = content[:start] + draw(st.sampled_from([b"", *PIECES])) + content[start + length :]
    return content


def count_rows(content):
    """The rows that a person would count: lines with anything but separators, where a quoted cell is part of a line."""
    quoted = rb'(?:^|(?<=[,;\t|\r\n]))[ ]*"(?:[^"]|"")*"'  # a quote within a cell is a character like any other
    content = content.removeprefix(b"\xef\xbb\xbf")
    lines = re.sub(quoted, lambda cell: re.sub(rb"[\r\n]", b" ", cell[0]), content)
    rows = [line for line in re.split(rb"\r\n|\n|\r", lines) if line.decode().strip(',;\t|" \x1b\x85\u2028')]
    place = next(i for i, line in enumerate(rows) if b"y" in line and b"a" in line)
    return len(rows) - place - 1


@pytest.mark.parametrize("examples", [300, pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_any_file_is_read_or_refused_in_one_line(tmp_path, monkeypatch, examples):
    path, outcomes = tmp_path / "table.csv", {"read": 0, "refused": 0}

    @settings(max_examples=examples)
    @given(
        tables() | st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join) | st.binary(max_size=60),
        st.sampled_from([50, 10**6]),
    )
    def check(content, cells):
        monkeypatch.setattr(csv_files, "MAX_TEXT_CELLS", cells)
        path.write_bytes(content)
        try:
            data = read_csv(path, ["a", "b"], "y")
        except ValueError as error:
            assert_one_line_about(path, error)
            outcomes["refused"] += 1
        else:
            assert data.x.shape == (len(data.y), 2)
            assert np.isfinite(data.x).all()
            assert np.isfinite(data.y).all()
            assert len(set(data.y)) == len(data.classes) if data.classes else len(set(data.y)) > 2
            assert len(data.y) == count_rows(content)
            outcomes["read"] += 1

    with memory(512 << 20):
        check()
    assert min(outcomes.values()) > examples / 20
    print(outcomes)


@pytest.mark.skipif("HABERMAN_CSV" not in os.environ, reason="HABERMAN_CSV does not name Haberman's survival data")
def test_reads_habermans_survival_data(tmp_path):
    with open(os.environ["HABERMAN_CSV"]) as rows:
        path = write(tmp_path, "age,year,nodes,status\n" + rows.read())
    data = read_csv(path, ["age", "nodes"], "status")
    assert data.x.shape == (306, 2)
    assert data.y.sum() == 81  # 1 if the patient died within 5 years
    assert data.classes == ("1", "2")
