import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


@pytest.mark.parametrize("compiler", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_prints_a_ratio_for_each_competitor(tmp_path, compiler):
    sizes = ["--rounds", "1", "--steps", "3", "--epochs", "3", "--networks", "20", "--max_networks", "100"]
    environment = os.environ if compiler else os.environ | {"PATH": ""}
    process = subprocess.run(
        [sys.executable, SCRIPT, *sizes], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert process.returncode == 0, process.stderr
    ratios = re.findall(r"│ ([^│]+?) +│ +([\d.e+]+) +│ +([\d.e+]+) +│", process.stdout)
    names = [name for name, _, _ in ratios]
    compiled = sum("torch.compile" in name for name in names)
    assert compiled == (2 if compiler and shutil.which("g++") else 0)
    assert names[:3] == [
        "the notebook's procedure in NumPy, a network at a time",
        "autograd and torch's SGD, a network at a time",
        "the stack",
    ]
    assert "100" in names
    assert names[-1].startswith("train.py's")
    assert len([name for name in names if "jax" not in name]) == 9 + compiled
    assert all(float(time) > 0 and float(ratio) > 0 for _, time, ratio in ratios)
    assert re.search(r"peak memory of the process so far, torch included: \d+ MiB", process.stdout)
    assert not any(tmp_path.iterdir())
