r"""Mutants of the library, each run against the tests of its own file: python tests/mutants.py nnmath/equations.

A mutant has one operator, comparison, constant or statement changed. It is killed if a test in the mirrored file (or in
the folder, where there is none) or an example in the docstrings fails. Limits and tolerances, the constants of a
module, are left alone. Run this in a clean clone: files are changed.
"""

import argparse
import ast
import importlib
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Add,
    ast.Pow: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or,
    ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
}  # fmt: skip
TIMEOUT_SECONDS = 900


class Mutant(NamedTuple):
    path: Path
    line: int
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before} -> {self.after}"


def changed(node: ast.AST) -> Iterator[ast.AST]:
    r"""The node with one change, for each kind that fits."""
    kind = type(node)
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OPERATORS:
        yield kind(**{**vars(node), "op": OPERATORS[type(node.op)]()})
    elif isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        yield ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        yield ast.Compare(node.left, [OPERATORS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1 if isinstance(node.value, int) else node.value * 2 or 1.0)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    elif isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield ast.Pass()


def is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        return all(name.isupper() for target in node.targets for name in ast.unparse(target).strip("()").split(", "))
    if isinstance(node, ast.If):
        return "__name__" in ast.unparse(node.test)
    return isinstance(node, ast.JoinedStr | ast.Assert) or (isinstance(node, ast.keyword) and node.arg == "strict")


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    r"""The nodes of the code: no annotations, decorators, messages, limits, and nothing that runs as a script alone."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "type_params", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not is_left_alone(child):
                yield child
                if not isinstance(child, ast.Raise):
                    yield from nodes(child)


def mutants(path: Path) -> Iterator[Mutant]:
    text = path.read_text(encoding="utf-8")
    data = text.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in nodes(ast.parse(text)):
        for after in changed(node):
            begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
            code = ast.unparse(ast.fix_missing_locations(after))
            code = code if isinstance(node, ast.stmt) else f"({code})"
            source = (data[:begin] + code.encode() + data[end:]).decode()
            yield Mutant(path, node.lineno, " ".join(data[begin:end].decode().split()), code, source)


def tests_of(path: Path) -> list[str]:
    r"""The file itself, for its doctests, and its mirror in tests."""
    mirror = Path("tests", *path.parts[1:-1])
    own = mirror / f"test_{path.name}"
    while not own.exists() and not mirror.is_dir():
        mirror = mirror.parent
    return [str(path), str(own if own.exists() else mirror)]


def run(path: Path) -> bool:
    r"""Whether the tests of a file pass, in a child process that has torch already."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        import pytest

        os._exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests_of(path)])))
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--sample", type=int, help="how many, at random")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # a mutant of the same size and second would not be compiled again
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.getcwd())  # these files, wherever nnmath is installed
    os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    for name in ("lightning", "sklearn"):  # once, before the forks
        importlib.import_module(name)

    files = sorted(file for path in options.paths for file in (path.rglob("*.py") if path.is_dir() else [path]))
    drawn = [mutant for file in files for mutant in mutants(file)]
    random.Random(options.seed).shuffle(drawn)
    drawn = sorted(drawn[: options.sample], key=lambda mutant: (mutant.path, mutant.line))
    for file in sorted({mutant.path for mutant in drawn}):
        if not run(file):
            sys.exit(f"mutants.py: the tests of {file} fail without a mutant: {' '.join(tests_of(file))}")
    survivors = 0
    for mutant in drawn:
        original = mutant.path.read_text(encoding="utf-8")
        mutant.path.write_text(mutant.source, encoding="utf-8")
        try:
            if run(mutant.path):
                survivors += 1
                print(mutant, flush=True)
        finally:
            mutant.path.write_text(original, encoding="utf-8")
    print(f"{len(drawn) - survivors} of {len(drawn)} mutants killed, {survivors} survived", flush=True)


if __name__ == "__main__":
    main()
