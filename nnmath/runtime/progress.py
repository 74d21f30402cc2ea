r"""A bar over the epochs of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TimeRemainingColumn


def epochs_progress() -> Progress:
    r"""The bar's look: how many epochs of how many, the time that is left, and what is known so far."""
    columns = (
        "epoch {task.completed:.0f}/{task.total:.0f}",
        BarColumn(),
        TimeRemainingColumn(),
        "{task.description}",
    )
    return Progress(*columns, transient=True, console=Console(stderr=True))


@contextmanager
def epochs_bar(epochs: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    r"""A bar over so many epochs, where it is to be shown and stderr is a terminal.

    Yields:
        The function to call with the number of epochs done.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda done: None
        return
    with epochs_progress() as bar:
        task = bar.add_task("", total=epochs)
        yield lambda done: bar.update(task, completed=done)
