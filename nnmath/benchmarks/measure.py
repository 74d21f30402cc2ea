r"""Times competitors in turn, and prints their medians."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Run(NamedTuple):
    r"""What is measured: a call, and how many updates of a network, or epochs, it makes."""

    call: Callable[[], object]
    updates: int


class Times(NamedTuple):
    r"""Seconds of the first call, which compiles, and of an update in each of the others."""

    first: float
    updates: list[float]


def measure(runs: Mapping[str, Run], rounds: int) -> dict[str, Times]:
    r"""The times of each competitor, measured in turn after one call of each."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run.call()
            seconds[name].append(time.perf_counter() - start)
    return {name: Times(all_[0], [s / runs[name].updates for s in all_[1:]]) for name, all_ in seconds.items()}


def print_table(title: str, times: Mapping[str, Times], scale: float) -> dict[str, Any]:
    r"""Print the medians, their spread and their ratios to the first; return them."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title, "median", "from", "to", "ratio", "first call, s")
    rows, reference = [], statistics.median(next(iter(times.values())).updates)
    for name, (first, updates) in times.items():
        median = statistics.median(updates)
        numbers = [*(scale * value for value in (median, min(updates), max(updates))), median / reference, first]
        table.add_row(name, *(f"{number:#.3g}".rstrip(".") for number in numbers))
        columns = ("median", "from", "to", "ratio", "first_call_seconds")
        rows.append({"name": name, **dict(zip(columns, numbers, strict=True))})
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    return {"title": title, "rows": rows}
