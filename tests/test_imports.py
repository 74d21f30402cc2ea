"""What an import loads, in a fresh process."""

import json
import subprocess
import sys

import pytest

HEAVY = {"lightning", "pytorch_lightning", "torchmetrics", "matplotlib", "sklearn", "sympy", "pandas", "tensorboard"}
MATHEMATICS = [
    *("equations", "network", "verification.catalogue", "gradcheck"),
    *("ensemble.stack", "ensemble.loss_surface", "experiments.notebook"),
]
IMPORT_EACH = """
import importlib, json, sys
import torch

before, loaded = set(sys.modules), {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    loaded[name] = sorted(sys.modules)
    for module in set(sys.modules) - before:
        del sys.modules[module]
print(json.dumps(loaded))
"""


def run_python(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    ).stdout


def packages(modules):
    return {module.split(".")[0] for module in modules}


@pytest.fixture(scope="module")
def loaded():
    """The modules loaded after importing each module first. Torch is imported before, because it takes seconds."""
    return json.loads(run_python(IMPORT_EACH, *(f"nnmath.{name}" for name in ("equations.cost", *MATHEMATICS))))


@pytest.mark.parametrize(
    ("modules", "excluded"),
    [("nnmath", HEAVY), ("nnmath.data.datasets, nnmath.runtime.cli", HEAVY | {"torch"})],
    ids=["nnmath", "data sets"],
)
def test_import_loads_nothing_heavy(modules, excluded):
    assert not packages(run_python(f"import {modules}, sys; print(*sys.modules)").split()) & excluded


@pytest.mark.parametrize("module", MATHEMATICS)
def test_the_mathematics_needs_only_torch(loaded, module):
    modules = loaded[f"nnmath.{module}"]
    assert f"nnmath.{module}" in modules
    assert not packages(modules) & HEAVY


def test_gradcheck_does_not_import_the_article(loaded):
    modules = [name for name in loaded["nnmath.gradcheck"] if name.startswith("nnmath")]
    assert "nnmath.gradcheck.diagnosis.rules.paths" in modules
    assert all(name == "nnmath" or name.startswith("nnmath.gradcheck") for name in modules)


def test_each_module_can_be_imported_first(loaded):
    assert "nnmath.equations" in loaded["nnmath.equations.cost"]
    assert "nnmath.network" not in loaded["nnmath.equations.cost"]
    assert "nnmath.verification.catalogue" not in loaded["nnmath.network"]
