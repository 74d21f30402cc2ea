r"""A progress bar over epochs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TimeRemainingColumn


@contextmanager
def epochs_bar(epochs: int, shown: bool = True) -> Iterator[Callable[..., None]]:
    r"""Show a bar if ``shown`` and if stderr is a terminal: epochs done and in all, the time left, a description.

    Yields:
        A function to call with the number of epochs done, and with a description if there is one.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda done, description="": None
        return
    columns = "epoch {task.completed:.0f}/{task.total:.0f}", BarColumn(), TimeRemainingColumn(), "{task.description}"
    with Progress(*columns, transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=epochs)
        yield lambda done, description="": bar.update(task, completed=done, description=description)
