r"""Train a grid of learning rates, momenta, seeds and numbers of epochs: python scripts/sweep.py --help."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import yaml
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt

from nnmath.data.options import DataOptions, Momentum, NetworkOptions, Seed
from nnmath.runtime.cli import Parser, announce_loading, echo, exit_on_error, usage_errors
from nnmath.runtime.distributed import init_distributed, is_rank_zero, rank
from nnmath.runtime.errors import RunError
from nnmath.runtime.files import data_name, log_errors, run_folder

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from nnmath.data.dataset import Dataset

SHOWN = 5  # configurations in the printed table


@dataclass(frozen=True)
class SweepOptions(NetworkOptions, DataOptions):
    r"""The options of the command.

    Args:
        learning_rate: learning rates η, as 0.1 or '[0.1, 0.3]'
        momentum: momenta m, as 0.9 or '[0, 0.9]'
        seeds: how many seeds; each sets the weights, the split, the batches and the noise, as in train.py
        seed: the first of them
        epochs: numbers of epochs, as 100 or '[100, 1000]'
        schedule: constant, or cosine as in train.py
        eta_min: η at the end of the cosine
        precision: of the arithmetic: 32-true or 64-true
        compile: use torch.compile, which takes some seconds first
        log_dir: folder for the runs
    """

    learning_rate: PositiveFloat | tuple[PositiveFloat, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    momentum: Momentum | tuple[Momentum, ...] = (0.0, 0.9)
    seeds: PositiveInt = 10
    seed: Seed = 0
    epochs: PositiveInt | tuple[PositiveInt, ...] = (10, 30, 100, 300, 1000)
    schedule: Literal["constant", "cosine"] = "constant"
    eta_min: NonNegativeFloat = 0.0
    precision: Literal["32-true", "64-true"] = "32-true"
    compile: bool = False
    log_dir: str = "lightning_logs"

    @property
    def lists(self) -> dict[str, list[Any]]:
        r"""The options that take one or several values, as lists."""
        values = {"learning_rate": self.learning_rate, "momentum": self.momentum, "epochs": self.epochs}
        return {k: list(value) if isinstance(value, (list, tuple)) else [value] for k, value in values.items()}

    def check(self) -> None:
        r"""Check what needs more than one value.

        Raises:
            ValueError: options are out of range or contradict each other.
        """
        for name, values in self.lists.items():
            if not values or len({f"{value:g}" for value in values}) < len(values):
                raise ValueError(f"{name} must be a list of different values, at least one, got {values}")
        rate, momentum = max(self.lists["learning_rate"]), max(self.lists["momentum"])
        if rate > 1e30 or momentum > 1 - 1e-6:
            raise ValueError(f"learning_rate must stay below 1e30, momentum below 0.999999, got {rate}, {momentum}")
        rate = min(self.lists["learning_rate"])
        if self.schedule == "cosine" and self.eta_min > rate:
            raise ValueError(f"eta_min must not exceed a learning rate, got {self.eta_min} and {rate}")
        if self.seed + self.seeds > 2**32:
            raise ValueError(f"seed + seeds must be at most 2³², got {self.seed} and {self.seeds}")

    def summary(self, dataset: Dataset) -> str:
        r"""What is about to be trained; with the cosine, each number of epochs is a training of its own."""
        rates, momenta, epochs = map(len, self.lists.values())
        networks = rates * momenta * self.seeds * (epochs if self.schedule == "cosine" else 1)
        sizes = "-".join(map(str, self.sizes(dataset)))
        return f"{sizes} on {data_name(self.dataset)}: {networks} networks, up to {max(self.lists['epochs'])} epochs"


def run(options: SweepOptions) -> None:
    r"""Train every combination, log the results and print the best."""
    import torch

    from nnmath.data.datamodule import DataModule
    from nnmath.ensemble import sweep
    from nnmath.ensemble.sweep_log import log_sweep, write_results

    dtype = torch.float64 if options.precision == "64-true" else torch.float32

    def data(seed: int) -> DataModule:
        return DataModule(options.load(seed), options.batch_size, options.split, seed, dtype)

    rates, momenta, epochs = options.lists.values()
    seeds = range(options.seed, options.seed + options.seeds)
    grid = sweep.Grid(rates, momenta, seeds, epochs, options.schedule, options.eta_min)
    with usage_errors(ValueError, RuntimeError):
        first, *_ = map(data, seeds)  # on every rank, so that all ranks report the same error
    if rank() == 0:
        folder = run_folder(options.log_dir, f"sweep_{data_name(options.dataset)}")
    with usage_errors(ValueError, RuntimeError):
        rows, interrupted = sweep.sweep(grid, data, options, options.compile, progress=rank() == 0)
    if rank() > 0:
        return
    best = sweep.summary(rows)
    print_table(best)
    with log_errors(folder):
        write_results(folder, asdict(options), rows)
        log_sweep(folder, best, options.hyperparameters(), figures(best))
    if best.val_loss.isna().all():
        echo("every configuration diverged: try smaller learning rates")
    elif not interrupted:
        eta, momentum, t = best.loc[0, sweep.CONFIG_COLUMNS]
        one = replace(grid, learning_rates=[eta], momenta=[momentum], epochs=[int(t)])
        losses, accuracies = sweep.evaluate(one, data, options)
        text = f"best: η = {eta:g}, momentum {momentum:g}, {t:.0f} epochs; on the test rows: loss {spread(losses)}"
        echo(text if first.classes is None else f"{text}, accuracy {spread(accuracies)}")
    echo(f"results: {folder / 'results.csv'}", f"view with: tensorboard --logdir {shlex.quote(options.log_dir)}")
    if interrupted:
        runs = rows.groupby(["learning_rate", "momentum", "seed"]).ngroups
        raise RunError(f"interrupted: the results cover {runs} networks, up to epoch {rows.epochs.max()}")


def spread(values: Any) -> str:
    r"""Format the mean of a tensor and, if there are several values, their standard deviation."""
    return f"{values.mean():.4f}" + (f" ± {values.std():.4f}" if len(values) > 1 else "")


def print_table(best: pd.DataFrame) -> None:
    r"""Print the best configurations, and how many diverged."""
    from rich.console import Console
    from rich.table import Table

    table = Table("η", "momentum", "epochs", "validation loss", "± over seeds", "diverged")
    for row in best.head(SHOWN).itertuples():
        numbers = f"{row.learning_rate:g}", f"{row.momentum:g}", f"{row.epochs}", f"{row.val_loss:.4f}"
        deviation = "" if row.spread != row.spread else f"{row.spread:.4f}"
        table.add_row(*numbers, deviation, f"{row.diverged} of {row.seeds}" if row.diverged else "")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    worst = best[best.diverged > 0]
    if len(worst):
        print(f"{len(worst)} of {len(best)} configurations diverged, the smallest η at {worst.learning_rate.min():g}")


def figures(best: pd.DataFrame) -> dict[str, Figure]:
    r"""The mean validation loss over learning rate and epochs, tag ↦ figure."""
    from nnmath.figures.sweep import curve_over_rates, heat_map

    label, result = "validation loss, mean over seeds", {}
    for momentum, part in best.groupby("momentum"):
        grid = part.pivot(index="epochs", columns="learning_rate", values="val_loss")
        rates, epochs, costs = grid.columns.to_numpy(), grid.index.to_numpy(), grid.to_numpy()
        curves = {f"{t} epochs": cost for t, cost in zip(epochs, costs, strict=True)}
        result[f"validation_loss/momentum_{momentum:g}"] = heat_map(rates, epochs, costs, label)
        result[f"validation_loss_over_learning_rate/momentum_{momentum:g}"] = curve_over_rates(rates, curves, label)
    return result


def main() -> None:
    with exit_on_error():
        parser = Parser("Train a grid of learning rates, momenta, seeds and numbers of epochs in one go.")
        parser.add_argument("--config", action="config", help="a YAML file of these options")
        parser.add_options(SweepOptions)
        with usage_errors(ValueError, MemoryError):
            values = parser.parse_args()
            options = SweepOptions(**yaml.safe_load(parser.dump(values)))  # int and float, not jsonargparse's types
            options.check()
            dataset = options.load(options.seed)
            options.output_for(dataset)
        if is_rank_zero():
            echo(options.summary(dataset))
        announce_loading("PyTorch")
        init_distributed()
        run(options)


if __name__ == "__main__":
    main()
