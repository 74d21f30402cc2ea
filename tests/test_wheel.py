"""The wheel: the package, whole and alone, and of use where the repository is not."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # the first releases of Python 3.11 lack it
USE = """
import sys
sys.path.insert(0, sys.argv[1])

import torch
from nnmath.gradcheck import check_gradients
from nnmath.equations import SIGMOID, Layer, backward, forward

x, y, w, b = (torch.randn(*shape).double() for shape in ((2, 9), (1, 9), (1, 2), (1,)))
(gradient,) = backward(forward(x, [Layer(w, b)], [SIGMOID]), [Layer(w, b)], [SIGMOID], y)
inputs, gradients = {"w": w, "b": b}, {"w": gradient.weight + gradient.weight[0, 0] / 9, "b": gradient.bias}
print(check_gradients(lambda w, b: ((SIGMOID.function(w @ x + b[:, None]) - y) ** 2).mean() / 2, inputs, gradients))
print(*(module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "nnmath"), sep="\\n")
"""


def built(kind, source, folder):
    """What the build backend makes of a folder, as pip calls it: an ``sdist`` or a ``wheel``."""
    command = [sys.executable, "-c", BUILD, f"build_{kind}", folder]
    process = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return folder / process.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Made of the sdist, which is made of a copy: a build leaves files behind, and the next one packs them."""
    folder = tmp_path_factory.mktemp("wheel")
    leave_out = shutil.ignore_patterns("__pycache__", ".*", "build", "*.egg-info", "lightning_logs")
    shutil.copytree(ROOT, folder / "copy", ignore=leave_out)
    with tarfile.open(built("sdist", folder / "copy", folder)) as archive:
        archive.extractall(folder / "unpacked", **SAFELY)
    (source,) = (folder / "unpacked").iterdir()
    return built("wheel", source, folder)


def test_has_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {path for path in (ROOT / "nnmath").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert names == {path.relative_to(ROOT).as_posix() for path in files}
    assert "nnmath/py.typed" in names
    assert "nnmath/gradcheck/diagnosis/rules/__init__.py" in names


def test_can_be_used_without_the_repository(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    command = [sys.executable, "-I", "-c", USE, tmp_path / "site"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("gradients: 1 of 2 wrong\n")
    files = [line for line in process.stdout.splitlines() if line.endswith(".py")]
    assert len(files) > 20
    assert all(Path(file).is_relative_to(tmp_path / "site") for file in files)
