"""Imports between the wings run one way, and no module imports itself through others, not even for types."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "nnmath").rglob("*.py")
}
ALLOWED = {  # what the modules of each wing may import from other wings
    "nnmath.equations": set(),
    "nnmath.gradcheck": set(),
    "nnmath.runtime": set(),
    "nnmath.__main__": {"nnmath.runtime"},
    "nnmath.network": {"nnmath.equations"},
    "nnmath.data": {"nnmath.equations.validate"},
    "nnmath.verification": {"nnmath.gradcheck", "nnmath.equations"},
    "nnmath.ensemble": {"nnmath.network", "nnmath.data", "nnmath.equations", "nnmath.runtime"},
    "nnmath.figures": {"nnmath.ensemble.loss_surface", "nnmath.equations"},
    "nnmath.experiments": {
        *("nnmath.ensemble", "nnmath.verification.exact_arithmetic", "nnmath.figures.style", "nnmath.equations"),
    },
    "nnmath.benchmarks": {
        *(
            "nnmath.network",
            "nnmath.data",
            "nnmath.gradcheck",
            "nnmath.training",
            "nnmath.ensemble",
            "nnmath.equations",
        ),
    },
    "nnmath.training": {
        *("nnmath.network", "nnmath.data", "nnmath.verification", "nnmath.gradcheck", "nnmath.figures"),
        *("nnmath.ensemble.loss_surface", "nnmath.equations", "nnmath.runtime"),
    },
}


def imported(module):
    """The project's modules that a module imports anywhere: at the top, in functions, under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                if submodule in MODULES or node.module in MODULES:
                    yield submodule if submodule in MODULES else node.module


def within(module, wing):
    return module == wing or module.startswith(f"{wing}.")


def test_every_module_belongs_to_a_wing():
    assert [m for m in MODULES if m != "nnmath" and not any(within(m, wing) for wing in ALLOWED)] == []


def test_wings_import_only_the_wings_below_them():
    wrong = [
        f"{module} imports {other}"
        for wing, allowed in ALLOWED.items()
        for module in MODULES
        if within(module, wing)
        for other in imported(module)
        if not any(within(other, target) for target in (wing, *allowed))
    ]
    assert wrong == []


def test_no_import_cycles():
    """A module depends on what it imports; a package's face may import its modules, which must not import it."""
    list(TopologicalSorter({module: set(imported(module)) - {module} for module in MODULES}).static_order())
