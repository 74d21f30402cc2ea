r"""Speed of the hand-written gradients beside torch's, NumPy's and JAX's: python scripts/benchmark.py."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse.typing import PositiveInt

from nnmath.runtime.cli import Parser, announce_loading, exit_on_error
from nnmath.runtime.errors import UsageError

TABLES = ("network", "stack", "sizes", "gradients", "lightning", "run")


def benchmark(
    rounds: PositiveInt = 15,
    steps: PositiveInt = 200,
    epochs: PositiveInt = 200,
    networks: PositiveInt = 1000,
    max_networks: PositiveInt = 100_000,
    threads: PositiveInt = 1,
    tables: Sequence[str] = TABLES,
    json: str = "",
) -> None:
    r"""Measure the competitors in turn on the CPU, each on the same cores.

    Args:
        rounds: measurements of each competitor; of the slow ones a third
        steps: training steps per measurement of one network, and of a stack
        epochs: epochs per measurement of the Lightning runs
        networks: networks in the stack that is compared
        max_networks: networks in the largest stack that is measured
        threads: cores for each competitor
        tables: which of TABLES to measure
        json: a file for the tables
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if threads > len(cores):
            raise UsageError(f"threads must be at most {len(cores)}, the number of cores, got {threads}")
        os.sched_setaffinity(0, cores[:threads])  # NumPy's, torch's and JAX's threads alike
    if json:
        write_json(Path(json), [])  # an error now, not after all measurements
    announce_loading("PyTorch", f"measuring: {', '.join(tables)}")
    import torch

    from nnmath.benchmarks import gradients
    from nnmath.benchmarks import networks as competitors
    from nnmath.benchmarks.measure import measure, print_table

    torch.set_num_threads(threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # Lightning's advice on data loaders, and its deprecations
    where, few = f"2-4-1 on 266 rows, float32, cores: {threads}", max(1, rounds // 3)
    results: list[dict[str, Any]] = []

    def add(title: str, runs: Any, rounds: int, scale: float) -> None:
        results.append(print_table(title, measure(runs, rounds), scale))

    if "network" in tables:
        add(f"an update of one network, µs ({where})", competitors.network_runs(steps), rounds, 1e6)
    if "stack" in tables:
        runs = competitors.stack_runs(networks, steps)
        add(f"an update of a network of {networks:,}, µs ({where})", runs, few, 1e6)
    if "sizes" in tables:
        runs = competitors.size_runs(max_networks, steps)
        add(f"the same for stacks of other sizes, µs ({where})", runs, few, 1e6)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
        print(f"peak memory of the process so far, torch included: {peak:.0f} MiB")
    if "gradients" in tables:
        add(f"the check of a gradient, ms ({where})", gradients.small_runs(), rounds, 1e3)
        add("the check of the gradients of 6 million parameters, ms", gradients.large_runs(), few, 1e3)
    if "lightning" in tables or "run" in tables:
        from nnmath.benchmarks import training

        if "lightning" in tables:
            add("an epoch of Lightning that logs the same curves, ms", training.lightning_runs(epochs), few, 1e3)
        if "run" in tables:
            runs = training.picture_runs(str(TRAIN), 5 * epochs)
            add(f"a run of {5 * epochs:,} epochs, from the command to its end, s", runs, few, 1)
    if json:
        write_json(Path(json), results)


TRAIN = Path(__file__).with_name("train.py")


def write_json(path: Path, tables: list[dict[str, Any]]) -> None:
    try:
        path.write_text(json.dumps(tables, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"json: {path} cannot be written: {error.strerror}") from error


def main() -> None:
    parser = Parser("Compare the speed of the hand-written gradients with torch's, NumPy's and JAX's.")
    parser.add_function_arguments(benchmark, as_group=False, skip={"tables"})
    parser.add_argument(
        "--tables",
        nargs="+",
        choices=TABLES,
        default=list(TABLES),
        metavar="...",
        help=f"which tables to measure: {', '.join(TABLES)}",
    )
    with exit_on_error():
        benchmark(**parser.parse_args())


if __name__ == "__main__":
    main()
