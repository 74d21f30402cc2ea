r"""A grid of learning rates, momenta, seeds and numbers of epochs, all trained in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from nnmath.data.datamodule import DataModule
from nnmath.ensemble.chunks import Schedule
from nnmath.ensemble.stack import Interrupted, Trained, init_stack, train
from nnmath.equations import ACTIVATIONS, ActivationName, Layer
from nnmath.runtime.distributed import ALONE, Processes

CONFIG_COLUMNS = ["learning_rate", "momentum", "epochs"]
r"""What makes a configuration; the seeds are its repetitions."""
MAX_BYTES = 1 << 28
r"""Bytes that the samples of all networks of one stack may take."""


@dataclass(frozen=True)
class Grid:
    r"""What is crossed with what.

    Args:
        learning_rates: η of each configuration.
        momenta: m of each.
        seeds: of the weights, the split and the batches, as in scripts/train.py.
        epochs: numbers of epochs; under a constant learning rate one training passes through all of them, under a
            cosine each is a training of its own, for the half wave is as long as the run.
        schedule: "constant" or "cosine".
        eta_min: where the cosine ends.
    """

    learning_rates: Sequence[float]
    momenta: Sequence[float]
    seeds: Sequence[int]
    epochs: Sequence[int]
    schedule: Schedule = "constant"
    eta_min: float = 0.0

    def __len__(self) -> int:
        r"""The number of networks that are trained."""
        lengths = len(set(self.epochs)) if self.schedule == "cosine" else 1
        return len(self.learning_rates) * len(self.momenta) * len(self.seeds) * lengths


@dataclass(frozen=True)
class Architecture:
    r"""The network that is trained: its hidden layers, its activations."""

    neurons: Sequence[int] = (4,)
    hidden: ActivationName = "sigmoid"
    output: ActivationName = "sigmoid"


def sweep(
    grid: Grid,
    data: Callable[[int], DataModule],
    shape: Architecture = Architecture(),
    compile: bool = False,
    progress: bool = False,
    processes: Processes = ALONE,
) -> tuple[pd.DataFrame, bool]:
    r"""Trains every network of the grid.

    Args:
        grid: the configurations and seeds.
        data: seed ↦ the data; all of the same number of rows.
        shape: of the network.
        compile: whether torch.compile may help.
        progress: whether to show a bar.
        processes: those that share each stack; see :func:`~nnmath.ensemble.stack.train`.

    Returns:
        A row for each network and number of epochs, in the order of the grid: learning_rate, momentum, epochs, seed,
        the loss E of its training and its validation rows, and whether it has diverged; and whether Ctrl-C ended it, so
        that only what was done by then is there: the stacks that were finished, or of the very first one, under a
        constant learning rate, the epochs.

    Raises:
        KeyboardInterrupt: Ctrl-C before there was anything.
    """
    tables: list[pd.DataFrame] = []
    interrupted = False
    for seeds, epochs, record in stacks(grid, data(grid.seeds[0])):
        try:
            trained = train_grid(grid, seeds, epochs, record, data, shape, compile, progress, processes)
            tables.append(table(grid, seeds, trained))
        except KeyboardInterrupt as stop:
            interrupted = True
            if not tables:
                if grid.schedule == "cosine" or not isinstance(stop, Interrupted) or not stop.trained.done:
                    raise
                tables.append(table(grid, seeds, stop.trained))
            break
    rows = pd.concat(tables, ignore_index=True)
    return rows.sort_values([*CONFIG_COLUMNS, "seed"], ignore_index=True), interrupted


def stacks(grid: Grid, data: DataModule) -> Iterator[tuple[list[int], int, list[int]]]:
    r"""The stacks that are trained one after the other: seeds, epochs, and the epochs that are recorded."""
    x = data.train.tensors[0]
    of_a_seed = x.numel() * x.element_size() * len(grid.learning_rates) * len(grid.momenta)
    together = 1 if data.batch_size is not None else max(1, MAX_BYTES // of_a_seed)  # each seed has its own batches
    epochs = sorted(set(grid.epochs))
    lengths = [(end, [end]) for end in epochs] if grid.schedule == "cosine" else [(epochs[-1], epochs)]
    for end, record in lengths:
        for i in range(0, len(grid.seeds), together):
            yield list(grid.seeds[i : i + together]), end, record


def train_grid(
    grid: Grid,
    seeds: Sequence[int],
    epochs: int,
    record: Sequence[int],
    data: Callable[[int], DataModule],
    shape: Architecture,
    compile: bool = False,
    progress: bool = False,
    processes: Processes = ALONE,
) -> Trained:
    r"""Trains all configurations for some seeds in one stack: seed after seed, in it rate after rate, then momenta."""
    rates, momenta = len(grid.learning_rates), len(grid.momenta)
    each = rates * momenta
    modules = [data(seed) for seed in seeds]
    dtype = modules[0].train.tensors[0].dtype

    def columns(parts: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
        if len(parts) == 1:
            return [rows.mT.contiguous() for rows in parts[0]]  # shared by all
        return [torch.stack([part[i].mT for part in parts]).repeat_interleave(each, 0) for i in range(2)]

    x, y = columns([module.train.tensors for module in modules])
    x_val, y_val = columns([module.val.tensors for module in modules])
    sizes = [x.shape[-2], *shape.neurons, 1]
    stack = [
        Layer(weight.repeat_interleave(each, 0).to(dtype), bias.repeat_interleave(each, 0).to(dtype))
        for weight, bias in init_stack(sizes, seeds)  # in float32, as Lightning does
    ]
    eta, m = (torch.tensor(values, dtype=dtype) for values in (grid.learning_rates, grid.momenta))
    return train(
        stack,
        x,
        y,
        epochs=epochs,
        learning_rate=eta.repeat_interleave(momenta).repeat(len(seeds)),
        momentum=m.repeat(rates * len(seeds)),
        schedule=grid.schedule,
        eta_min=grid.eta_min,
        activations=[ACTIVATIONS[shape.hidden]] * len(shape.neurons) + [ACTIVATIONS[shape.output]],
        batches=None if modules[0].batch_size is None else modules[0].batches(),
        validation=(x_val, y_val),
        record=record,
        compile=compile,
        progress=progress,
        processes=processes,
    )


def table(grid: Grid, seeds: Sequence[int], trained: Trained) -> pd.DataFrame:
    r"""What was recorded of a stack, a row for each network and number of epochs."""
    assert trained.val_cost is not None  # the validation rows were given
    index = pd.MultiIndex.from_product(
        [trained.epochs, seeds, grid.learning_rates, grid.momenta],
        names=["epochs", "seed", "learning_rate", "momentum"],
    )
    rows = index.to_frame(index=False)
    rows["train_loss"], rows["val_loss"] = trained.train_cost.flatten().tolist(), trained.val_cost.flatten().tolist()
    finite = trained.train_cost.isfinite() & trained.val_cost.isfinite()
    last = trained.diverged if trained.epochs[-1] == trained.done else torch.zeros_like(trained.diverged)
    finite[-1] &= ~last
    rows["diverged"] = (~finite).flatten().tolist()
    return rows[[*CONFIG_COLUMNS, "seed", "train_loss", "val_loss", "diverged"]]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    r"""The configurations, the best first: mean and standard deviation of the validation loss over the seeds.

    A configuration of which a seed diverged comes last; its mean is that of the seeds that did not.
    """
    kept = rows.assign(val_loss=rows.val_loss.where(~rows.diverged), train_loss=rows.train_loss.where(~rows.diverged))
    by = kept.groupby(CONFIG_COLUMNS, sort=True)
    result = by.agg(
        val_loss=("val_loss", "mean"),
        spread=("val_loss", "std"),
        train_loss=("train_loss", "mean"),
        seeds=("seed", "size"),
        diverged=("diverged", "sum"),
    ).reset_index()
    return result.sort_values(["diverged", "val_loss"], kind="stable", ignore_index=True)


def retrain(
    grid: Grid,
    learning_rate: float,
    momentum: float,
    epochs: int,
    data: Callable[[int], DataModule],
    shape: Architecture,
    processes: Processes = ALONE,
) -> list[list[Layer]]:
    r"""The networks of one configuration, trained anew: one for each seed."""
    one = Grid([learning_rate], [momentum], grid.seeds, [epochs], grid.schedule, grid.eta_min)
    found: list[list[Layer]] = []
    for seeds, length, record in stacks(one, data(grid.seeds[0])):
        layers = train_grid(one, seeds, length, record, data, shape, processes=processes).layers
        found += [[Layer(weight[i], bias[i]) for weight, bias in layers] for i in range(len(seeds))]
    return found
