r"""A progress bar over epochs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TimeRemainingColumn


def epochs_progress() -> Progress:
    r"""The columns of the bar: epochs done and in all, the time left, and a description."""
    columns = (
        "epoch {task.completed:.0f}/{task.total:.0f}",
        BarColumn(),
        TimeRemainingColumn(),
        "{task.description}",
    )
    return Progress(*columns, transient=True, console=Console(stderr=True))


@contextmanager
def epochs_bar(epochs: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    r"""Show a bar if ``shown`` and if stderr is a terminal.

    Yields:
        A function to call with the number of epochs done.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda done: None
        return
    with epochs_progress() as bar:
        task = bar.add_task("", total=epochs)
        yield lambda done: bar.update(task, completed=done)
