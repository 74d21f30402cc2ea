r"""Checks every equation of the article, or gradients of yours: python scripts/check_gradients.py --help."""

from __future__ import annotations

import contextlib
import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nnmath.runtime.cli import Parser, exit_on_error, usage_errors
from nnmath.runtime.errors import UsageError
from nnmath.runtime.files import log_errors

if TYPE_CHECKING:
    from rich.table import Table

    from nnmath.verification.evidence import Evidence

TEMPLATE = '''\
"""Gradients of mine, to be checked: python scripts/check_gradients.py --file my_gradients.py."""

import torch

torch.manual_seed(0)
inputs = {  # everything the loss depends on; float64 sees more than float32
    "x": torch.randn(8, 2, dtype=torch.float64),
    "y": torch.rand(8, 1, dtype=torch.float64),
    "weight_i": torch.randn(4, 2, dtype=torch.float64),
    "bias_i": torch.randn(4, dtype=torch.float64),
    "weight_o": torch.randn(1, 4, dtype=torch.float64),
    "bias_o": torch.randn(1, dtype=torch.float64),
}


def forward(x, y, weight_i, bias_i, weight_o, bias_o):
    """The loss in plain torch: autograd of this is what the gradients are compared with."""
    h = torch.sigmoid(x @ weight_i.T + bias_i)
    output = torch.sigmoid(h @ weight_o.T + bias_o)
    return ((output - y) ** 2).mean() / 2


def backward(x, y, weight_i, bias_i, weight_o, bias_o):
    """The gradients by hand."""
    h = torch.sigmoid(x @ weight_i.T + bias_i)
    output = torch.sigmoid(h @ weight_o.T + bias_o)
    delta_o = (output - y) / len(x) * output * (1 - output)
    delta_i = delta_o @ weight_o * h * (1 - h)
    return {
        "weight_i": delta_i.T @ x,
        "bias_i": delta_i.sum(0),
        "weight_o": delta_o.T @ h,
        "bias_o": delta_o.sum(0),
    }


gradients = backward(**inputs)
n = 8  # the batch size; learning_rate and rebuild may be given as well
'''


class Result(NamedTuple):
    r"""A check's outcome, in each of the forms in which it is wanted."""

    passed: bool
    for_json: Any
    for_rich: Any
    for_text: str


def main() -> None:
    parser = Parser("Checks every equation of the article, or with --file gradients of yours.")
    parser.add_argument("--file", type=str, help="a Python file that defines forward, inputs and gradients")
    parser.add_argument("--template", action="store_true", help="print such a file to start from, and exit")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--log", action="store_true", help="write the table to TensorBoard's text tab too")
    parser.add_argument("--log_dir", type=str, default="lightning_logs", help="folder for that")
    options = parser.parse_args()
    if options.template:
        print(TEMPLATE, end="")
        return
    result = of_file(options.file) if options.file else of_catalogue()
    if options.json:
        print(json.dumps(result.for_json, indent=2, ensure_ascii=False))
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 140).print(result.for_rich)
    if options.log:
        log(result.for_text, options.log_dir)
    sys.exit(0 if result.passed else 1)


def of_file(name: str) -> Result:
    r"""Checks the gradients that a file defines."""
    found = executed(name)
    lacking = [item for item in ("forward", "inputs", "gradients") if item not in found]
    if lacking:
        raise UsageError(f"{name} must define {', '.join(lacking)}; --template prints a file to start from")
    from nnmath.gradcheck import check_gradients

    options = {item: found[item] for item in ("n", "learning_rate", "rebuild") if item in found}
    with usage_errors(TypeError), usage_errors():
        report = check_gradients(found["forward"], found["inputs"], found["gradients"], **options)
    return Result(report.passed, report.to_dict(), report, f"```text\n{report}\n```")


def executed(name: str) -> dict[str, Any]:
    r"""What a file defines; an error in it is one line, which names the file's line."""
    if not Path(name).is_file():
        raise UsageError(f"--file: there is no file {name}; --template prints one to start from")
    sys.path.insert(0, str(Path(name).parent))  # as Python does
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return runpy.run_path(name)
    except (Exception, SystemExit) as error:  # whatever a file of the user's raises
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
        line = getattr(error, "lineno", None) or (lines or [None])[-1]
        raise UsageError(f"{name}{f':{line}' if line else ''}: {type(error).__name__}: {error}") from error


def of_catalogue() -> Result:
    r"""Checks every row of the catalogue."""
    import torch

    from nnmath.verification.catalogue import CATALOGUE
    from nnmath.verification.evidence import Evidence

    torch.set_num_threads(1)
    rows = [Evidence(equation) for equation in CATALOGUE]
    cells = [[row.equation.id, row.equation.formula, *figures(row), verdict(row.passed)] for row in rows]
    lines = [HEADINGS, ["---"] * len(HEADINGS), *cells]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return Result(all(row.passed for row in rows), [as_dict(row) for row in rows], table(cells), text)


HEADINGS = ["", "equation", "value", "gradient", "quotients", "symbols", "50 digits", ""]


def figures(row: Evidence) -> list[str]:
    r"""The evidence for a row, a cell each: a relative difference, "exact" for equal bits, empty where none applies."""
    gradient = "" if row.autograd is None else difference(max(e.relative for e in row.autograd.entries.values()))
    return [
        difference(row.value),
        gradient,
        "" if row.finite_differences is None else difference(row.finite_differences),
        "" if row.proof is None else "proved" if row.proof else "DISPROVED",
        "" if row.ulps is None else f"{row.ulps[0]:.1f} ulp",
    ]


def difference(relative: float) -> str:
    r"""A relative difference for a person."""
    return f"{relative:.1e}" if relative else "exact"


def verdict(passed: bool) -> str:
    r"""A row's outcome in a word."""
    return "right" if passed else "WRONG"


def as_dict(row: Evidence) -> dict[str, Any]:
    r"""A row for JSON."""
    return {
        "id": row.equation.id,
        "formula": row.equation.formula,
        "passed": row.passed,
        "value": row.value,
        "gradients": None if row.autograd is None else row.autograd.to_dict(),
        "quotients": row.finite_differences,
        "proved": row.proof,
        "ulps": None if row.ulps is None else {"by_hand": row.ulps[0], "by_torch": row.ulps[1]},
    }


def table(cells: list[list[str]]) -> Table:
    r"""The rows for a person."""
    from rich.table import Table
    from rich.text import Text

    result = Table(
        *HEADINGS,
        caption="relative differences: the value from torch's, the gradient from autograd's and from difference "
        "quotients; symbols: SymPy's derivative minus the gradient is 0; 50 digits: the error of float64",
    )
    for *row, outcome in cells:
        result.add_row(*map(Text, row), Text(outcome, style="green" if outcome == verdict(True) else "bold red"))
    return result


def log(text: str, log_dir: str) -> None:
    r"""Writes a table to TensorBoard's text tab, into a run of its own."""
    from lightning.pytorch.loggers import TensorBoardLogger

    logger = TensorBoardLogger(log_dir, name="check_gradients", default_hp_metric=False)
    with log_errors(Path(log_dir)):
        logger.experiment.add_text("check_gradients", text)
        logger.experiment.close()
    print(f"logged to {logger.log_dir}", file=sys.stderr)


if __name__ == "__main__":
    with exit_on_error():
        main()
