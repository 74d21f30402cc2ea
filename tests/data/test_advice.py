"""Where a message says what to do, doing it works: the file as it was, what it is told, the file after that."""

import pytest

from nnmath.data.datamodule import DataModule
from nnmath.data.tables import read_csv

ROWS = "".join(f"{i},{i % 4},{i % 2}\n" for i in range(30))
TABLE = "a,b,y\n" + ROWS
WIDE = "a,b,y,c\n" + ROWS.replace("\n", ",0\n")
WORDS = TABLE.replace(",1\n", ",yes\n").replace(",0\n", ",no\n")
OPTIONS = {"features": ["a", "b"], "target": "y"}


def edited(old, new, count=1):
    assert old in TABLE
    return TABLE.replace(old, new, count)


ADVICE = [  # the file, what the message says, and the file and the options that follow it
    (edited("a,b,y", "A,b,y"), "did you mean 'A'", None, {"features": ["A", "b"]}),
    (edited("a,b,y", "site\na,b,y"), "it seems to be line 2: delete those above it", TABLE, {}),
    (ROWS, "the first line seems to be no header: add one", TABLE, {}),
    (WIDE.replace("c", "b"), "has 2 columns named 'b': rename all but one", WIDE, {}),
    (edited("5,1,1", "5,,1"), "--missing drop leaves such rows out", None, {"missing": "drop"}),
    (edited("5,1,1", "5,?,1"), "--missing mean fills features", None, {"missing": "mean"}),
    (edited("5,1,1", "5,1,NA"), "--missing drop leaves such rows out", None, {"missing": "drop"}),
    (TABLE, "--task classes if they name classes", None, {"target": "b", "features": ["a"], "task": "classes"}),
    (TABLE, "--task regression if they are a quantity", None, {"target": "b", "features": ["a"], "task": "regression"}),
    (edited("5,1,1", '"5,000",1,1'), "leave thousands separators out: write 5000", edited("5,1,1", "5000,1,1"), {}),
    (edited("5,1,1", '"5,5",1,1'), "write decimals with a point: 5.5", edited("5,1,1", "5.5,1,1"), {}),
    (edited("5,1,1", "5 %,1,1"), "write the number without its unit: 5", TABLE, {}),
    (edited("5,1,1", "5,5,1,1"), "and decimals with a point", None, {"fixed": edited("5,1,1", "5.5,1,1")}),
    (edited("5,1,1", '"5,1,1'), "a quote is opened and not closed: delete or close it", TABLE, {}),
    (edited("5,1,1", '5,"1" mm,1'), "within a cell: delete it", TABLE, {}),
    (TABLE + "x,1,1\n" + ROWS, "holds 'x', expected a finite number", TABLE, {}),
    (WORDS.replace("1,1,yes", "1,1,Yes"), "differ in case alone: write each in one way", WORDS, {}),
    (
        "a,b,y\n" + "".join(f"{i},3.5,{i % 2}\n" for i in range(30)),
        "constant over the training rows",
        None,
        {"features": ["a"]},
    ),
    (TABLE.replace(",1\n", ",0\n") + "7,7,1\n", "class '1' has 1 row: training, validation and test", TABLE, {}),
    (
        "a,b,y\n" + "".join(f"{i},name {i},{i % 2}\n" for i in range(40)),
        "leave it out of the features",
        None,
        {"features": ["a"]},
    ),
    (
        "a,b,y\n" + "".join(f"{i},2024-01-0{i % 9 + 1},{i % 2}\n" for i in range(40)),
        "leave the column out",
        None,
        {"features": ["a"]},
    ),
    ("a;b;y\n" + "".join(f"{i},5;1.{i};{i % 2}\n" for i in range(30)), "write all decimals with a point", TABLE, {}),
]


@pytest.mark.parametrize(("broken", "advice", "fixed", "changes"), ADVICE, ids=[advice for _, advice, _, _ in ADVICE])
def test_following_the_advice_works(tmp_path, broken, advice, fixed, changes):
    path = tmp_path / "table.csv"
    path.write_text(broken)
    options = {name: value for name, value in changes.items() if name in ("target", "features") and "task" in changes}
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        DataModule(read_csv(path, **{**OPTIONS, **options}))
    assert advice in str(error.value)
    path.write_text(changes.pop("fixed", None) or fixed or broken)
    data = DataModule(read_csv(path, **{**OPTIONS, **changes}))
    assert data.train.tensors[0].isfinite().all()
