r"""Check every equation of the article, or the gradients in a file: python scripts/check_gradients.py --help."""

import contextlib
import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

from rich.console import Console

from nnmath.runtime.cli import Parser, exit_on_error, usage_errors
from nnmath.runtime.errors import UsageError
from nnmath.runtime.files import log_errors

TEMPLATE = '''\
"""Hand-written gradients to check: python scripts/check_gradients.py --file my_gradients.py."""

import torch

torch.manual_seed(0)
inputs = {  # everything the loss depends on; float64 reveals more than float32
    "x": torch.randn(8, 2, dtype=torch.float64),
    "y": torch.rand(8, 1, dtype=torch.float64),
    "weight_i": torch.randn(4, 2, dtype=torch.float64),
    "bias_i": torch.randn(4, dtype=torch.float64),
    "weight_o": torch.randn(1, 4, dtype=torch.float64),
    "bias_o": torch.randn(1, dtype=torch.float64),
}


def forward(x, y, weight_i, bias_i, weight_o, bias_o):
    """The loss in plain torch. The gradients are compared with its autograd gradients."""
    h = torch.sigmoid(x @ weight_i.T + bias_i)
    output = torch.sigmoid(h @ weight_o.T + bias_o)
    return ((output - y) ** 2).mean() / 2


def backward(x, y, weight_i, bias_i, weight_o, bias_o):
    """The hand-written gradients."""
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
n = 8  # batch size, optional; so are learning_rate and rebuild
'''


def main() -> None:
    parser = Parser("Checks every equation of the article or, with --file, the gradients in a file.")
    parser.add_argument("--file", type=str, help="a Python file that defines forward, inputs and gradients")
    parser.add_argument("--template", action="store_true", help="print such a file to start from, and exit")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--log", action="store_true", help="write the table to TensorBoard's text tab too")
    parser.add_argument("--log_dir", type=str, default="lightning_logs", help="folder for that")
    options = parser.parse_args()
    if options.template:
        print(TEMPLATE, end="")
        return
    passed, as_json, as_table, as_markdown = check_file(options.file) if options.file else check_equations()
    if options.json:
        print(json.dumps(as_json, indent=2, ensure_ascii=False))
    else:
        Console(width=None if sys.stdout.isatty() else 140).print(as_table)
    if options.log:
        log(as_markdown, options.log_dir)
    sys.exit(0 if passed else 1)


def check_equations() -> tuple[bool, Any, Any, str]:
    r"""Check every equation; return whether all passed, and the result as JSON, for rich and in Markdown."""
    import torch

    from nnmath.verification.catalogue import CATALOGUE
    from nnmath.verification.evidence import Evidence
    from nnmath.verification.report import to_dict, to_markdown, to_table

    torch.set_num_threads(1)
    rows = [Evidence(equation) for equation in CATALOGUE]
    return all(row.passed for row in rows), [to_dict(row) for row in rows], to_table(rows), to_markdown(rows)


def check_file(name: str) -> tuple[bool, Any, Any, str]:
    r"""Check the gradients that a file defines; return the same as :func:`check_equations`."""
    values = run_file(name)
    missing = [item for item in ("forward", "inputs", "gradients") if item not in values]
    if missing:
        raise UsageError(f"{name} must define {', '.join(missing)}; --template prints a file to start from")
    from nnmath.gradcheck import check_gradients

    options = {item: values[item] for item in ("n", "learning_rate", "rebuild") if item in values}
    with usage_errors(TypeError, ValueError):
        report = check_gradients(values["forward"], values["inputs"], values["gradients"], **options)
    return report.passed, report.to_dict(), report, f"```text\n{report}\n```"


def run_file(name: str) -> dict[str, Any]:
    r"""Run a Python file and return its variables; an exception in it becomes a UsageError with file and line."""
    if not Path(name).is_file():
        raise UsageError(f"--file: there is no file {name}; --template prints one to start from")
    sys.path.insert(0, str(Path(name).parent))  # as Python does
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return runpy.run_path(name)
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
        line = getattr(error, "lineno", None) or (lines or [None])[-1]
        raise UsageError(f"{name}{f':{line}' if line else ''}: {type(error).__name__}: {error}") from error


def log(text: str, log_dir: str) -> None:
    r"""Write a table to TensorBoard's text tab, as a run of its own."""
    from lightning.pytorch.loggers import TensorBoardLogger

    logger = TensorBoardLogger(log_dir, name="check_gradients", default_hp_metric=False)
    with log_errors(Path(log_dir)):
        logger.experiment.add_text("check_gradients", text)
        logger.experiment.close()
    print(f"logged to {logger.log_dir}", file=sys.stderr)


if __name__ == "__main__":
    with exit_on_error():
        main()
