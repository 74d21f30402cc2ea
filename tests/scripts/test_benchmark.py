import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


def test_prints_a_ratio_for_every_competitor(tmp_path):
    command = [sys.executable, SCRIPT, "--rounds", "1", "--steps", "3", "--epochs", "3"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert process.returncode == 0, process.stderr
    ratios = re.findall(r"│ ([^│]+?) +│ +([\d.e+]+) +│ +([\d.]+) +│", process.stdout)
    names = [name for name, _, _ in ratios]
    assert names[0].startswith("autograd")
    assert names[-1].startswith("train.py's")
    assert len(names) in (5, 6)  # one fewer where there is no compiler
    assert all(float(time) > 0 and float(ratio) > 0 for _, time, ratio in ratios)
    assert not any(tmp_path.iterdir())
