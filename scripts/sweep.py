r"""Trains a grid of learning rates, momenta, seeds and epochs in one go: python scripts/sweep.py --help."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt, restricted_number_type

from nnmath.runtime.cli import Parser, echo, exit_on_error, usage_errors
from nnmath.runtime.distributed import Lost, Processes, ctrl_c, meet
from nnmath.runtime.errors import RunError
from nnmath.runtime.files import log_errors, run_folder

if TYPE_CHECKING:
    import pandas as pd

Activation = Literal["sigmoid", "tanh", "relu", "identity"]
Momentum = restricted_number_type("Momentum", float, [(">=", 0), ("<", 1)])
Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])
SHOWN = 5


def sweep(
    dataset: str = "breast_cancer",
    features: list[str] | None = None,
    target: str | None = None,
    samples: PositiveInt = 400,
    noise: NonNegativeFloat = 0.1,
    split: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.6, 0.2, 0.2),
    batch_size: PositiveInt | None = None,
    neurons: PositiveInt | list[PositiveInt] = 4,
    hidden: Activation = "sigmoid",
    output: Activation = "sigmoid",
    learning_rate: PositiveFloat | tuple[PositiveFloat, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
    momentum: Momentum | tuple[Momentum, ...] = (0.0, 0.9),  # type: ignore[valid-type]  # a type made at run time
    seeds: PositiveInt = 10,
    seed: Seed = 0,  # type: ignore[valid-type]  # likewise
    epochs: PositiveInt | tuple[PositiveInt, ...] = (10, 30, 100, 300, 1000),
    schedule: Literal["constant", "cosine"] = "constant",
    eta_min: NonNegativeFloat = 0.0,
    precision: Literal["32-true", "64-true"] = "32-true",
    compile: bool = False,
    log_dir: str = "lightning_logs",
) -> None:
    r"""Trains every combination in one stack of networks, by the equations alone.

    Args:
        dataset: breast_cancer, xor, moons, circles, spirals, gaussians or a .csv file
        features: columns to learn from, as '[a, b]'; for breast_cancer and .csv
        target: column to predict; for .csv
        samples: how many samples to draw; for xor to gaussians
        noise: how much noise to add to them
        split: shares of training, validation and test rows
        batch_size: rows of a batch; all of them if not given
        neurons: neurons of the hidden layers, as 4 or '[8, 8]'; '[]' for no such layer
        hidden: activation of the hidden layers: sigmoid, tanh, relu or identity
        output: activation of the last layer, likewise
        learning_rate: learning rates η, as 0.1 or '[0.1, 0.3]'
        momentum: momenta m, likewise
        seeds: how many seeds; each is what it is to train.py, of the weights, the split, the batches and the noise
        seed: the first of them
        epochs: numbers of epochs, as 100 or '[100, 1000]'
        schedule: constant, or cosine as in train.py
        eta_min: η that the cosine ends at
        precision: of the arithmetic: 32-true or 64-true
        compile: whether torch.compile may help, which takes some seconds first
        log_dir: folder for the runs
    """
    options = dict(locals())
    layers = [neurons] if isinstance(neurons, int) else list(neurons)
    rates, momenta, lengths = (
        [float(v) for v in (value if isinstance(value, (list, tuple)) else [value])]
        for value in (learning_rate, momentum, epochs)
    )
    with usage_errors(MemoryError), usage_errors():
        for name, values in (("learning_rate", rates), ("momentum", momenta), ("epochs", lengths)):
            if not values or len({f"{value:g}" for value in values}) < len(values):
                raise ValueError(f"{name} must be a list of different values, at least one, got {values}")
        if max(rates) > 1e30 or max(momenta) > 1 - 1e-6:
            raise ValueError(
                f"learning_rate must stay below 1e30, momentum below 0.999999, got {max(rates)}, {max(momenta)}"
            )
        if schedule == "cosine" and eta_min > min(rates):
            raise ValueError(f"eta_min must not exceed a learning rate, got {eta_min=}, {min(rates)=}")
        if seed + seeds > 2**32:
            raise ValueError(f"seed + seeds must be at most 2³², got {seed=}, {seeds=}")
        from nnmath.data.datasets import load

        table = load(dataset, features, target, samples, noise, seed)
        if table.classes is None and output != "identity":
            raise ValueError(f"target {table.target!r} is a number, not one of two classes: add --output identity")

    import torch

    from nnmath.data.datamodule import DataModule
    from nnmath.ensemble.sweep import Architecture, Grid, summary
    from nnmath.ensemble.sweep import sweep as trained_on

    dtype = torch.float64 if precision == "64-true" else torch.float32

    def data(seed: int) -> DataModule:
        return DataModule(load(dataset, features, target, samples, noise, seed), batch_size, split, seed, dtype)

    grid = Grid(rates, momenta, range(seed, seed + seeds), [int(t) for t in lengths], schedule, eta_min)
    shape = Architecture(layers, hidden, output)
    with usage_errors(RuntimeError), usage_errors():
        data(seed)
    processes = meet()
    if processes.is_rank_zero:
        sizes = "-".join(map(str, [len(table.features), *layers, 1]))
        echo(f"{sizes} on {Path(dataset).stem}: {len(grid)} networks, up to {max(grid.epochs)} epochs")
        run = run_folder(log_dir, f"sweep_{Path(dataset).stem}")
    with usage_errors(RuntimeError), usage_errors():
        rows, interrupted = trained_on(grid, data, shape, compile, processes.is_rank_zero, processes)
    best = summary(rows)
    if processes.is_rank_zero:
        show(best)
        write(run, options, rows, best)
    conclusion = ""
    if best.val_loss.isna().all():
        conclusion = "every configuration diverged: try smaller learning rates\n"
    elif not interrupted:
        conclusion = on_test_rows(grid, best, data, shape, table.classes is not None, processes) + "\n"
    if processes.is_rank_zero:
        echo(f"{conclusion}results: {run / 'results.csv'}", f"look at it: tensorboard --logdir {shlex.quote(log_dir)}")
    processes.all_gather(None)  # the first has written
    if interrupted:
        runs = rows.groupby(["learning_rate", "momentum", "seed"]).ngroups
        raise RunError(f"interrupted: the results are those of {runs} networks, until epoch {rows.epochs.max()}")


def write(run: Path, options: dict[str, Any], rows: pd.DataFrame, best: pd.DataFrame) -> None:
    r"""Writes all there is into the run's folder."""
    with log_errors(run):
        (run / "config.yaml").write_text(yaml.safe_dump(options, sort_keys=False))
        rows.to_csv(run / "results.csv", index=False, lineterminator="\n")
        (run / "results.json").write_text(json.dumps(finite(rows), indent=1) + "\n")
        log(run, best, options["schedule"])


def finite(rows: pd.DataFrame) -> list[dict[str, Any]]:
    r"""The rows for JSON, which has neither nan nor inf: they become null."""
    import math

    records: list[dict[str, Any]] = rows.to_dict("records")
    return [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()}
        for record in records
    ]


def show(best: pd.DataFrame) -> None:
    r"""The best configurations as a table."""
    import sys

    from rich.console import Console
    from rich.table import Table

    table = Table("η", "momentum", "epochs", "validation loss", "± over seeds", "diverged")
    for row in best.head(SHOWN).itertuples():
        numbers = f"{row.learning_rate:g}", f"{row.momentum:g}", f"{row.epochs}"
        spread = "" if row.spread != row.spread else f"{row.spread:.4f}"
        table.add_row(*numbers, f"{row.val_loss:.4f}", spread, f"{row.diverged} of {row.seeds}" if row.diverged else "")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    worst = best[best.diverged > 0]
    if len(worst):
        print(f"{len(worst)} of {len(best)} configurations diverged, the smallest η at {worst.learning_rate.min():g}")


def on_test_rows(grid: Any, best: pd.DataFrame, data: Any, shape: Any, classes: bool, processes: Processes) -> str:
    r"""What the best configuration gives on the test rows, which had no part in finding it."""
    import torch

    from nnmath.ensemble.sweep import retrain
    from nnmath.equations import ACTIVATIONS, error, forward

    first = best.iloc[0]
    configuration = float(first.learning_rate), float(first.momentum), int(first.epochs)
    found = retrain(grid, *configuration, data, shape, processes)
    activations = [ACTIVATIONS[shape.hidden]] * len(shape.neurons) + [ACTIVATIONS[shape.output]]
    losses, hits = [], []
    for seed, layers in zip(grid.seeds, found, strict=True):
        x, y = (rows.mT for rows in data(seed).test.tensors)
        output = forward(x, layers, activations)[-1]
        losses.append(float(error(output, y)))
        hits.append(float(((output > 0.5) == (y > 0.5)).double().mean()))
    loss, accuracy = (torch.tensor(values, dtype=torch.float64) for values in (losses, hits))

    def spread(values: torch.Tensor) -> str:
        return f"{values.mean():.4f}" + (f" ± {values.std():.4f}" if len(values) > 1 else "")

    told = f"η = {first.learning_rate:g}, momentum {first.momentum:g}, {int(first.epochs)} epochs"
    text = f"best: {told}; on the test rows: loss {spread(loss)}"
    return text + (f", accuracy {spread(accuracy)}" if classes else "")


def log(run: Path, best: pd.DataFrame, schedule: str) -> None:
    r"""Writes the sweep to TensorBoard: figures and curves over η, and a run for each η and momentum, over the epochs.

    The HParams tab has those runs. With one for each number of epochs they would soon be more than 40, of which
    TensorBoard shows none until they are ticked one by one.
    """
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    from nnmath.figures.sweep import curve_over_rates, heat_map

    with SummaryWriter(str(run)) as writer:
        for momentum, part in best.groupby("momentum"):
            grid = part.pivot(index="learning_rate", columns="epochs", values="val_loss")
            costs = grid.to_numpy().T
            figure = heat_map(grid.index.to_numpy(), grid.columns.to_numpy(), costs, "validation loss, mean over seeds")
            writer.add_figure(f"validation_loss/momentum_{momentum:g}", figure)
            curves = {f"{epochs} epochs": cost for epochs, cost in zip(grid.columns, costs, strict=True)}
            figure = curve_over_rates(grid.index.to_numpy(), curves, "validation loss, mean over seeds")
            writer.add_figure(f"validation_loss_over_learning_rate/momentum_{momentum:g}", figure)
            for epochs, cost in zip(grid.columns, costs, strict=True):
                for k, value in enumerate(cost):  # the step is the rate's place in the list
                    tag = f"validation_loss_over_learning_rate/momentum_{momentum:g}_epochs_{epochs}"
                    writer.add_scalar(tag, value, global_step=k)
    for (eta, momentum), part in best.groupby(["learning_rate", "momentum"]):
        with SummaryWriter(str(run / f"learning_rate_{eta:g}_momentum_{momentum:g}")) as writer:
            curves = part.sort_values("epochs").set_index("epochs")[["val_loss", "spread", "train_loss", "diverged"]]
            curves = curves.rename(
                columns={"val_loss": "loss/val", "spread": "loss/val_spread", "train_loss": "loss/train"}
            )
            first = part.iloc[0]
            least = {"best/loss": float(first.val_loss), "best/epochs": float(first.epochs)}
            chosen = {"learning_rate": float(eta), "momentum": float(momentum), "schedule": schedule}
            for summary in hparams(chosen, dict.fromkeys([*curves, *least], 0.0)):
                writer.file_writer.add_summary(summary)
            for tag, curve in curves.items():
                for epochs, value in curve.items():
                    writer.add_scalar(str(tag), value, global_step=epochs)
            for tag, value in least.items():
                writer.add_scalar(tag, value)


def main() -> None:
    ctrl_c()
    parser = Parser("Trains a grid of learning rates, momenta, seeds and numbers of epochs in one go.")
    parser.add_argument("--config", action="config", help="a YAML file of these options")
    parser.add_function_arguments(sweep, as_group=False)
    with usage_errors():
        options = parser.parse_args()
    try:
        sweep(**yaml.safe_load(parser.dump(options)))  # int and float, not jsonargparse's own kinds of them
    except KeyboardInterrupt:
        raise RunError("interrupted before there was anything more to keep") from None
    except Lost as error:
        raise RunError(str(error)) from error


if __name__ == "__main__":
    with exit_on_error():
        main()
