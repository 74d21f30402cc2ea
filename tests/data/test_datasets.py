import os

import numpy as np
import pytest
from helpers.errors import assert_one_line_about
from helpers.memory import memory
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer

from nnmath.data import csv_files
from nnmath.data.csv_files import read_csv
from nnmath.data.datasets import NAMES, SYNTHETIC, breast_cancer, load, spirals, xor


def write(folder, text, name="table.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_breast_cancer_matches_scikit_learn():
    bunch = load_breast_cancer()
    data = breast_cancer(["mean radius", "worst area"])
    assert data.features == ("mean radius", "worst area")
    np.testing.assert_array_equal(data.x, bunch.data[:, [0, 23]])
    np.testing.assert_array_equal(data.y, bunch.target)
    assert data.classes == ("malignant", "benign")


@pytest.mark.parametrize("name", SYNTHETIC)
def test_synthetic_data_are_balanced_and_reproducible(name):
    data = load(name, samples=101, seed=5)
    assert data.x.shape == (101, 2)
    assert set(data.y) == {0, 1}
    assert abs(data.y.mean() - 0.5) < 0.01
    np.testing.assert_array_equal(data.x, load(name, samples=101, seed=5).x)
    assert not np.array_equal(data.x, load(name, samples=101, seed=6).x)


def test_xor_without_noise_is_the_truth_table():
    data = xor(samples=4, noise=0)
    assert np.column_stack([data.x, data.y]).tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize("samples", [200, 201])
def test_spirals_are_point_symmetric(samples):
    data = spirals(samples, noise=0)
    class_1, class_0 = data.x[data.y == 1], data.x[data.y == 0]
    np.testing.assert_allclose(class_0[: len(class_1)], -class_1)
    r = np.hypot(*class_1.T)
    phi = 3 * np.pi * r
    np.testing.assert_allclose(class_1, r[:, None] * np.stack([np.cos(phi), np.sin(phi)], 1), atol=1e-12)
    assert (np.diff(phi) > 0).all()
    assert 0.99 < np.hypot(*class_0.T).max() < 1


def test_gaussians_lie_around_their_centres():
    data = load("gaussians", samples=20_000, noise=0.04, seed=3)
    for label, centre in ((0, -0.5), (1, 0.5)):
        np.testing.assert_allclose(data.x[data.y == label].mean(0), [centre, centre], atol=0.01)
        np.testing.assert_allclose(data.x[data.y == label].std(0), 5 * 0.04, rtol=0.03)


def test_inner_circle_has_half_the_radius():
    data = load("circles", samples=100, noise=0)
    np.testing.assert_allclose(np.hypot(*data.x.T), np.where(data.y == 1, 0.5, 1))


def test_standard_deviation_of_the_noise():
    samples = 20_000
    np.testing.assert_allclose((xor(samples, 0.2).x - xor(samples, 0).x).std(0), 0.2, rtol=0.03)
    np.testing.assert_allclose((spirals(samples, 0.2).x - spirals(samples, 0).x).std(0), 0.02, rtol=0.03)


class TestCsv:
    @pytest.mark.parametrize(
        ("target", "y", "classes"),
        [
            (["2", "1", "2"], [1, 0, 1], ("1", "2")),
            (["yes", "no", "no"], [1, 0, 0], ("no", "yes")),
            (["None", "Some", "None"], [0, 1, 0], ("None", "Some")),
            (["1234567", "1234568", "1234567"], [0, 1, 0], ("1234567", "1234568")),
            (["10", "11.5", "-1e3"], [10, 11.5, -1000], None),
        ],
    )
    def test_two_values_make_two_classes_and_more_numbers_a_regression(self, tmp_path, target, y, classes):
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
        ],
        ids=[
            *("byte order mark", "CRLF", "quotes", "blanks", "other order"),
            *("line break in quotes", "semicolons", "tabs", "CR", "commas between semicolons", "empty column and rows"),
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
            ("a,y\n1,0\n2,1\n", r"has no columns named 'b'; its header is \['a', 'y'\]"),
            ("a|b|y\n1|2|0\n", r"has no columns named 'a'; its header is \['a\|b\|y'\]"),
            ("A;B;y\n1;2;0\n", r"has no columns named 'a'; its header is \['A', 'B', 'y'\]"),
            (",".join(map(str, range(99))), r"has no columns named 'a'; its header is \['0', .*, '19', \.\.\.\]$"),
            ("a,b,y\n1,2,0\n1,oops,1\n", "line 3: column 'b' holds 'oops', expected a finite number"),
            ("a,b,y\n1,2,0\n1,,1\n", "line 3: column 'b' is empty, expected a finite number"),
            ("a,b,y\nnan,2,0\n1,2,1\n", "line 2: column 'a' holds 'nan'"),
            ("a,b,y\n0,1,2,0\n1,3,4,1\n", "is not a CSV file: Expected 3 .* line 2, saw 4; check the separators and"),
            ("a,a,b,y\n0,1,2,0\n1,3,4,1\n", r"has 2 columns named 'a'; its header is \['a', 'a', 'b', 'y'\]"),
            ("a,b,y\n1,2,0\n\n1,2,1\n", "line 3: column 'a' is empty"),
            ("a,b,y\n1,inf,0\n1,2,1\n", "line 2: column 'b' holds 'inf'"),
            ("a,b,y\n1,1e309,0\n1,2,1\n", "line 2: column 'b' holds '1e309'"),
            ("a,b,y\n1,2,0\n1,2,\n", "line 3: column 'y' is empty, expected a value"),
            ("a,b,y\n1,2,red\n1,2,blue\n3,4,5\n", "line 2: column 'y' holds 'red', expected a finite number"),
            ("a,b,y\n1,2,1\n3,4,1\n", "column 'y' holds only '1', so there is nothing to learn"),
            ("a,b,y\n1,2,yes\n", "column 'y' holds only 'yes', so there is nothing to learn"),
            ("a,b,y\n1,2,nan\n1,2,1\n", "line 2: column 'y' holds 'nan', expected a finite number"),
            ("a;b;y\n1,5;2;0\n", "line 2: column 'a' holds '1,5', expected .*; write decimals with a point"),
            ('a,b,y\n"1\n",2,0\n"3\n4",2,0\n', r"row 2 below the header: column 'a' holds '3\\n4', expected"),
            ('a,b,y\n1,2,0\n"3,4,1\n5,6,0\n', "is not a CSV file: a quote is opened 2 rows below the header"),
            ('"a,b,y\n1,2,0\n', r"has no columns named 'a'; its header is \['a,b,y\\n1,2,0'\]"),
            ("a,b,y\n1,2,0\n3,\0,1\n", "line 3: the byte 0x00 is not UTF-8 text: save the file as UTF-8"),
            ("a,b,y\n1,2,0\n3,4,1,7\n", "Expected 3 fields in line 3, saw 4"),
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
            ("a,b,y\n" + "x" * 300_000 + ",2,0\n", f"line 2: column 'a' holds '{'x' * 22}...{'x' * 23}', expected"),
            ("x" * 300_000 + "\na,b,y\n", "has a header of more than 10000 columns or 128 KiB: is it a CSV file"),
            ("a,b,y," + f"{'x' * 40}," * 9_000 + "\n1,2,3", "has a header of more than 10000 columns or 128 KiB"),
            ("a,b,y," + "x," * 10_000 + "\n1,2,3", "has a header of more than 10000 columns or 128 KiB"),
            ("a,b,y," + "x," * 200_000 + "\n1,2,3", "has a header of more than 10000 columns or 128 KiB"),
            ("a,b,y\n" + "1,2,3\n" * 10_000 + "1,x,3\n", "line 10002: column 'b' holds 'x', expected"),
        ],
        ids=["long cell", "long header", "long names", "many columns", "long header of columns", "many rows"],
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
        assert animals.x[:, 0].tolist() == read_csv(path, ["price"], "a").y.tolist() == list(range(20))

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
            assert len(set(data.y)) == 2 if data.classes else len(set(data.y)) > 2
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


class TestLoad:
    def test_by_name_and_by_file(self, tmp_path):
        assert [load(name).x.shape[1] for name in NAMES] == [2] * 6
        assert load("xor", samples=10, noise=0).x.shape == (10, 2)
        assert load("breast_cancer", features=["mean radius"]).x.shape == (569, 1)
        path = write(tmp_path, "a,y\n1,0\n2,1\n")
        assert load(str(path), features=["a"], target="y").x.shape == (2, 1)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"name": "mnist"}, "dataset must be one of breast_cancer, .* or the path of a .csv file, got 'mnist'"),
            ({"name": "a.csv"}, "a CSV file needs features and target"),
            ({"name": "a.csv", "features": ["a"]}, "a CSV file needs features and target"),
            ({"name": "xor", "features": ["a"]}, "features and target are for CSV files or breast_cancer, not for xor"),
            ({"name": "xor", "samples": 3}, "samples must be at least 10 .*, got samples=3"),
            ({"name": "xor", "noise": -1}, "noise finite and not negative, got .*noise=-1"),
            ({"name": "xor", "noise": float("nan")}, "noise=nan"),
            ({"name": "xor", "noise": float("inf")}, "noise=inf"),
            ({"name": "breast_cancer", "features": ["size"]}, r"features of breast_cancer must be among .*\['size'\]"),
            ({"name": "breast_cancer", "features": []}, r"features of breast_cancer must be among .*\[\]"),
            ({"name": "breast_cancer", "target": "y"}, "target is for CSV files, not for breast_cancer"),
        ],
    )
    def test_refuses(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            load(**arguments)
