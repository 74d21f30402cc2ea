r"""Tests the article's other claims, and its errata, by experiments: python scripts/experiments.py --help."""

from __future__ import annotations

import shlex
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from nnmath.experiments import EXPERIMENTS, WITH_DATA
from nnmath.runtime.cli import Parser, announce_loading, exit_on_error, one_line, usage_errors
from nnmath.runtime.errors import UsageError
from nnmath.runtime.files import log_errors, run_folder

if TYPE_CHECKING:
    from nnmath.experiments.haberman import Data


def main() -> None:
    parser = Parser("Tests the article's other claims, and its errata, by experiments.")
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--csv", type=str, help="a copy of haberman.csv; by default it is downloaded")
    parser.add_argument("--log_dir", type=str, default="lightning_logs", help="folder for the run")
    options = parser.parse_args()
    names = [name for name in EXPERIMENTS if name in (options.only or EXPERIMENTS)]
    data = load(options.csv, required=bool(options.only)) if {*names} & {*WITH_DATA} else None

    announce_loading("PyTorch", f"experiments: {', '.join(names)}")
    import torch
    from rich.console import Console
    from torch.utils.tensorboard import SummaryWriter

    torch.set_num_threads(1)  # the experiments are small: a second thread costs more than it gains
    run = run_folder(options.log_dir, "experiments")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    with log_errors(run), SummaryWriter(str(run)) as writer:
        for name in names:
            console.rule(name, align="left")
            report = import_module(f"nnmath.experiments.{name}").report
            output = report(data) if name in WITH_DATA else report()
            console.print(*output.lines, sep="\n")
            output.log(writer)
    print(f"view with: tensorboard --logdir {shlex.quote(options.log_dir)}")


def load(csv: str | None, required: bool) -> Data | None:
    r"""Loads the notebook's data; if the download fails and they are not required, prints a line and returns None."""
    from nnmath.experiments import haberman

    try:
        with usage_errors():
            return haberman.load(csv)
    except OSError as error:
        remedy = "pass a copy with --csv"
        if required:
            raise UsageError(f"{error}; {remedy}") from error
        print(f"{one_line(error)}; what {' and '.join(WITH_DATA)} need it for is skipped; {remedy}", file=sys.stderr)
        return None


if __name__ == "__main__":
    with exit_on_error():
        main()
