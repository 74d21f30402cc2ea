"""What an import costs, in a fresh process."""

import json
import subprocess
import sys

import pytest


def loaded(statement):
    """The top-level modules that a fresh process holds after the statement."""
    program = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


HEAVY = {"lightning", "pytorch_lightning", "torchmetrics", "matplotlib", "sklearn", "sympy", "pandas", "tensorboard"}


def test_import_nnmath_loads_nothing_heavy():
    assert not loaded("import nnmath") & HEAVY


FIRST = """
import importlib, json, sys
import torch

before, found = set(sys.modules), {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    found[name] = sorted(sys.modules)
    for more in set(sys.modules) - before:
        del sys.modules[more]
print(json.dumps(found))
"""
MATHEMATICS = [
    "equations",
    "network",
    "verification.catalogue",
    "gradcheck",
    "ensemble.stack",
    "ensemble.loss_surface",
    "experiments.notebook",
]


@pytest.fixture(scope="module")
def held():
    """What a process holds after each module, as the first of the project's; torch, which takes seconds, is there."""
    names = [f"nnmath.{name}" for name in ("equations.cost", *MATHEMATICS)]
    command = [sys.executable, "-c", FIRST, *names]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("module", MATHEMATICS)
def test_the_mathematics_needs_torch_alone(held, module):
    modules = held[f"nnmath.{module}"]
    assert f"nnmath.{module}" in modules
    assert not {name.split(".")[0] for name in modules} & HEAVY


def test_the_check_knows_nothing_of_the_article(held):
    modules = [name for name in held["nnmath.gradcheck"] if name.startswith("nnmath")]
    assert "nnmath.gradcheck.diagnosis.rules.paths" in modules
    assert all(name == "nnmath" or name.startswith("nnmath.gradcheck") for name in modules)


def test_the_data_sets_need_no_torch():
    assert not loaded("import nnmath.data.datasets, nnmath.runtime.cli") & (HEAVY | {"torch"})


def test_each_module_can_be_imported_first(held):
    first = held["nnmath.equations.cost"]
    assert "nnmath.equations" in first
    assert "nnmath.network" not in first
    assert "nnmath.verification.catalogue" not in held["nnmath.network"]
