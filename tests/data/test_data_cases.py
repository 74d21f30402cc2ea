"""Files as people have them, in the folder that DATA_CASES names: each is read or refused as its table says."""

import os
from pathlib import Path

import pytest

from nnmath.data.datamodule import DataModule
from nnmath.data.tables import read_csv

FOLDER = Path(os.environ.get("DATA_CASES", ""))
COLUMNS = {
    "20": (["2019", "2020"], "2021"),
    "22": (["ph: raw", "# of pumps"], "state"),
    "26": (["temp", "when"], "state"),
}
COLUMNS |= {"33": (["a", "b"], "y"), "36": (["a", "b"], "c"), "40": (["a", "b"], "c")}
RIGHT = {  # the number of rows, or what the message says
    "01": 24, "02": "holds only 'ok'", "04": 24, "05": "has the 3 whole numbers 0, 1, 2: --task classes",
    "06": "holds '?', a missing value", "08": "line 9: column 'temp' holds 'NA', a missing value", "09": 24,
    "10": "leave thousands separators out: write 3612", "12": "write 1299.99", "13": "decimal commas",
    "14": "without its unit", "15": 24, "16": 24, "17": 24, "19": "line 5: a quote is closed only in line 14",
    "20": 24, "22": 24, "23": 24, "25": "no column 'temp'; did you mean 'Temp'", "26": "dates and times as numbers",
    "27": "class '1' has 1 row", "28": 24, "29": 24, "30": 24, "31": 30, "32": "'Yes', 'no', 'yes'] differ in case",
    "33": 200, "36": 101, "40": "'b' is constant over the training rows but for rounding",
}  # fmt: skip


@pytest.mark.skipif("DATA_CASES" not in os.environ, reason="DATA_CASES does not name a folder of files")
@pytest.mark.parametrize("case", RIGHT)
def test_case(case):
    (path,) = FOLDER.glob(f"{case}-*.csv")
    features, target = COLUMNS.get(case, (["temp", "flow"], "state"))
    if isinstance(RIGHT[case], int):
        data = DataModule(read_csv(path, features, target))
        assert sum(len(part) for part in (data.train, data.val, data.test)) == RIGHT[case]
    else:
        with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
            DataModule(read_csv(path, features, target))
        assert RIGHT[case] in str(error.value)
