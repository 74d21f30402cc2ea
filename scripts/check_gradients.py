r"""Check every equation of the article, or the backward in a file: python scripts/check_gradients.py --help."""

import contextlib
import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

from rich.console import Console

from nnmath.runtime.cli import Parser, announce_loading, exit_on_error, usage_errors
from nnmath.runtime.errors import UsageError
from nnmath.runtime.files import log_errors

TEMPLATE = '''\
"""A hand-written backward to check: python scripts/check_gradients.py --file my_backward.py."""

import numpy as np
import torch

rng = np.random.default_rng(0)
inputs = {  # everything the loss depends on; float64 reveals more than float32
    "x": rng.normal(size=(8, 2)),
    "y": rng.uniform(size=(8, 1)),
    "weight_i": rng.normal(size=(4, 2)),
    "bias_i": rng.normal(size=4),
    "weight_o": rng.normal(size=(1, 4)),
    "bias_o": rng.normal(size=1),
}


def forward(x, y, weight_i, bias_i, weight_o, bias_o):
    """The loss in plain torch, or in NumPy. The gradients are compared with its autograd gradients."""
    h = torch.sigmoid(x @ weight_i.T + bias_i)
    output = torch.sigmoid(h @ weight_o.T + bias_o)
    return ((output - y) ** 2).mean() / 2


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def backward(x, y, weight_i, bias_i, weight_o, bias_o):
    """The hand-written gradients, in NumPy or in torch."""
    h = sigmoid(x @ weight_i.T + bias_i)
    output = sigmoid(h @ weight_o.T + bias_o)
    delta_o = (output - y) / len(x) * output * (1 - output)
    delta_i = delta_o @ weight_o * h * (1 - h)
    return {
        "weight_i": delta_i.T @ x,
        "bias_i": delta_i.sum(0),
        "weight_o": delta_o.T @ h,
        "bias_o": delta_o.sum(0),
    }


n = 8  # batch size, optional; so is time_limit in seconds
# Instead of backward: gradients = {"weight_i": ..., ...}, with n, learning_rate and rebuild as options.
'''


def main() -> None:
    parser = Parser("Checks every equation of the article or, with --file, the backward or the gradients in a file.")
    parser.add_argument(
        "--file", type=str, help="a Python file that defines forward, inputs, and backward or gradients"
    )
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
    announce_loading("PyTorch", "checking each equation of the article")
    import torch

    from nnmath.verification.catalogue import CATALOGUE
    from nnmath.verification.evidence import Evidence
    from nnmath.verification.report import to_dict, to_markdown, to_table

    torch.set_num_threads(1)
    rows = [Evidence(equation) for equation in CATALOGUE]
    return all(row.passed for row in rows), [to_dict(row) for row in rows], to_table(rows), to_markdown(rows)


def check_file(name: str) -> tuple[bool, Any, Any, str]:
    r"""Check the backward, or the gradients, that a file defines; return the same as :func:`check_equations`."""
    announce_loading("PyTorch", f"checking {name}")
    values = run_file(name)
    subject = "backward" if "gradients" not in values else "gradients"
    missing = [item for item in ("forward", "inputs", subject) if item not in values]
    if missing:
        raise UsageError(f"{name} must define {', '.join(missing)}; --template prints a file to start from")
    from nnmath.gradcheck import check_backward, check_gradients

    order = ("forward", "backward", "inputs") if subject == "backward" else ("forward", "inputs", "gradients")
    arguments = [values[item] for item in order]
    with usage_errors(TypeError, ValueError):
        if subject == "backward":
            report = check_backward(*arguments, **given(values, "names", "n", "time_limit"))
        else:
            report = check_gradients(*arguments, **given(values, "n", "learning_rate", "rebuild"))
    return report.passed, report.to_dict(), report, f"```text\n{report}\n```"


def given(values: dict[str, Any], *names: str) -> dict[str, Any]:
    r"""The options among a file's variables."""
    return {name: values[name] for name in names if name in values}


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
