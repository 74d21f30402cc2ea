"""What an import costs: each in a process of its own."""

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


@pytest.mark.parametrize("module", ["equations", "network", "catalogue", "check", "ensemble", "landscape", "notebook"])
def test_the_mathematics_needs_torch_alone(module):
    modules = loaded(f"import nnmath.{module}")
    assert "torch" in modules
    assert not modules & HEAVY


def test_the_check_knows_nothing_of_the_article():
    program = "import nnmath.check, sys; print(*sorted(name for name in sys.modules if name.startswith('nnmath')))"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "nnmath.check.rules.paths" in modules
    assert all(name == "nnmath" or name.startswith("nnmath.check") for name in modules)


def test_the_data_sets_need_no_torch():
    assert not loaded("import nnmath.datasets, nnmath.command_line") & (HEAVY | {"torch"})


@pytest.mark.parametrize("module", ["nnmath.equations.cost", "nnmath.network"])
def test_each_module_can_be_imported_first(module):
    assert "torch" in loaded(f"import {module}")
