"""Random mutants of the library are killed by the tests of their own file: some hours for all, minutes for a sample."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("paths", "sample", "rate"),
    [
        (["nnmath/equations", "nnmath/network.py"], 100, 0.98),
        (["nnmath/ensemble"], 40, 0.85),
        (["nnmath/training/metrics.py", "nnmath/training/module.py"], 40, 0.9),
        (["nnmath/data", "nnmath/verification"], 60, 0.85),
    ],
)
def test_mutants_are_killed(tmp_path, paths, sample, rate):
    """Some of those that survive are equivalent: a cache of another size, one more row in a message."""
    for name in ("nnmath", "scripts", "tests", "pyproject.toml", "README.md"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    command = [sys.executable, "tests/mutants.py", *paths, "--sample", str(sample)]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    killed, drawn = map(int, re.search(r"(\d+) of (\d+) mutants killed", process.stdout).groups())
    assert drawn == sample
    assert killed / drawn >= rate, process.stdout


def test_mutants_of_a_small_file(tmp_path):
    file = tmp_path / "file.py"
    file.write_text(
        "LIMIT = 3\n\n\ndef f(x: int = 1) -> int:\n    if not x and x < 2:\n        raise ValueError(f'{x + 1}')\n"
        "    return -x + 0.5\n\n\nif __name__ == '__main__':\n    print(f(2))\n"
    )
    drawn = {f"{mutant.line}: {mutant.before} -> {mutant.after}" for mutant in mutants.mutants(file)}
    assert drawn == {
        "4: 1 -> (2)",
        "5: not x and x < 2 -> (not x or x < 2)",
        "5: not x -> (x)",
        "5: x < 2 -> (x <= 2)",
        "5: 2 -> (3)",
        "6: raise ValueError(f'{x + 1}') -> pass",
        "7: -x + 0.5 -> (-x - 0.5)",
        "7: -x -> (x)",
        "7: 0.5 -> (1.0)",
    }
    for mutant in mutants.mutants(file):
        compile(mutant.source, "file.py", "exec")
