r"""A grid of learning rates, momenta, seeds and numbers of epochs, trained in as few stacks as possible."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, product
from operator import itemgetter
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from nnmath.data.datamodule import DataModule
from nnmath.data.options import NetworkOptions
from nnmath.ensemble.chunks import Schedule
from nnmath.ensemble.stack import Interrupted, Trained, init_stack, train, unstack
from nnmath.equations import ACTIVATIONS, Activation, Layer, error, forward
from nnmath.runtime.distributed import gather, rank, world_size

CONFIG_COLUMNS = ["learning_rate", "momentum", "epochs"]  # of a configuration; the seeds are its repetitions
RESULT_COLUMNS = [*CONFIG_COLUMNS, "seed", "train_loss", "val_loss", "diverged"]
MAX_BYTES = 1 << 28  # of the training inputs of one stack
DEFAULT_NETWORK = NetworkOptions()

Data = Callable[[int], DataModule]  # seed ↦ data; the data of all seeds must have the same number of rows
Member = tuple[int, float, float]  # seed, learning rate and momentum of one network


@dataclass(frozen=True)
class Grid:
    r"""The product of learning rates, momenta, seeds and numbers of epochs.

    Args:
        learning_rates: η of each configuration.
        momenta: m of each configuration.
        seeds: of the weights, the split and the batches, as in scripts/train.py.
        epochs: numbers of epochs. With a constant learning rate one training passes through all of them; with a cosine
            each needs its own training, since the half wave spans the whole run.
        schedule: "constant" or "cosine".
        eta_min: final learning rate of the cosine.
    """

    learning_rates: Sequence[float]
    momenta: Sequence[float]
    seeds: Sequence[int]
    epochs: Sequence[int]
    schedule: Schedule = "constant"
    eta_min: float = 0.0

    def __len__(self) -> int:
        r"""The number of trainings."""
        return len(self.members()) * len(self.runs())

    def members(self) -> list[Member]:
        r"""The networks of one run, seed by seed."""
        return list(product(self.seeds, self.learning_rates, self.momenta))

    def runs(self) -> list[list[int]]:
        r"""The epochs that each run records, the last of which ends it."""
        epochs = sorted(set(self.epochs))
        return [[end] for end in epochs] if self.schedule == "cosine" else [epochs]


def sweep(
    grid: Grid,
    data: Data,
    network: NetworkOptions = DEFAULT_NETWORK,
    compile: bool = False,
    progress: bool = False,
) -> tuple[pd.DataFrame, bool]:
    r"""Train every network of the grid; under torchrun every process trains its part.

    Several processes give the rows of one, up to rounding, which depends on the size of a stack.

    Args:
        grid: the configurations and seeds.
        data: seed ↦ the data.
        network: the layers of each network.
        compile: whether to use torch.compile.
        progress: whether to show a progress bar.

    Returns:
        A row for each network and number of epochs, sorted by configuration and seed, with the loss E of its training
        and validation rows and whether it has diverged; and whether Ctrl-C ended the sweep. An interrupted sweep
        returns the finished stacks or, with a constant learning rate, what the first stack has recorded. Rank 0 returns
        the rows of all processes, the other ranks no rows.

    Raises:
        KeyboardInterrupt: Ctrl-C before there is any result, or in one of several processes.
        RunError: another process has ended.
    """
    tables: list[pd.DataFrame] = []
    interrupted = False
    for members, record in stacks(grid, grid.members()[rank() :: world_size()], data(grid.seeds[0])):
        try:
            trained = train_members(members, record, grid, data, network, compile=compile, progress=progress)
            tables.append(table(members, trained))
        except KeyboardInterrupt as interrupt:
            interrupted = True
            partial = interrupt.trained if isinstance(interrupt, Interrupted) else None
            if partial and partial.done and grid.schedule == "constant" and not tables:
                tables.append(table(members, partial))
            if world_size() > 1 or not tables:
                raise
            break
    tables = list(chain.from_iterable(gather(tables)))
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=RESULT_COLUMNS)
    return rows.sort_values([*CONFIG_COLUMNS, "seed"], ignore_index=True), interrupted


def activations(network: NetworkOptions, data: DataModule) -> list[Activation]:
    r"""Return f of each layer."""
    return [ACTIVATIONS[network.hidden]] * len(network.hidden_sizes) + [ACTIVATIONS[network.output_for(data)]]


def stacks(grid: Grid, members: Sequence[Member], data: DataModule) -> Iterator[tuple[list[Member], list[int]]]:
    r"""The stacks in which the members are trained, one after the other, and the epochs that each records.

    The networks of a stack share their mini-batches, so with mini-batches each seed needs its own stack.
    """
    x = data.train.tensors[0]
    size = max(1, MAX_BYTES // (x.numel() * x.element_size()))
    keys = [seed if data.batch_size is not None else i // size for i, (seed, _, _) in enumerate(members)]
    for record in grid.runs():
        for _, group in groupby(zip(keys, members, strict=True), key=itemgetter(0)):
            yield [member for _, member in group], record


def train_members(
    members: Sequence[Member], record: Sequence[int], grid: Grid, data: Data, network: NetworkOptions, **options: Any
) -> Trained:
    r"""Train some networks of the grid in one stack, until the last epoch to record; ``options`` are those of train."""
    seeds, rates, momenta = zip(*members, strict=True)
    modules = {seed: data(seed) for seed in dict.fromkeys(seeds)}
    first = modules[seeds[0]]
    dtype = first.train.tensors[0].dtype

    def columns(part: str) -> list[Tensor]:
        tensors = {seed: getattr(module, part).tensors for seed, module in modules.items()}
        if len(modules) == 1:  # shared by all networks
            return [rows.mT.contiguous() for rows in tensors[seeds[0]]]
        return [torch.stack([tensors[seed][i].mT for seed in seeds]) for i in range(2)]

    (x, y), (x_val, y_val) = columns("train"), columns("val")
    layers = init_stack([x.shape[-2], *network.hidden_sizes, y.shape[-2]], seeds)  # in float32, as in Lightning
    return train(
        [Layer(weight.to(dtype), bias.to(dtype)) for weight, bias in layers],
        x,
        y,
        epochs=record[-1],
        learning_rate=torch.tensor(rates, dtype=dtype),
        momentum=torch.tensor(momenta, dtype=dtype),
        schedule=grid.schedule,
        eta_min=grid.eta_min,
        activations=activations(network, first),
        batches=None if first.batch_size is None else first.batches(),
        validation=(x_val, y_val),
        record=record,
        **options,
    )


def table(members: Sequence[Member], trained: Trained) -> pd.DataFrame:
    r"""The recorded costs of a stack, a row for each network and number of epochs."""
    assert trained.val_cost is not None  # there are validation rows
    finite = trained.train_cost.isfinite() & trained.val_cost.isfinite()  # (K, M)
    if trained.epochs[-1] == trained.done:
        finite[-1] &= ~trained.diverged
    rows = pd.DataFrame(list(members) * len(trained.epochs), columns=["seed", "learning_rate", "momentum"])
    rows["epochs"] = [epochs for epochs in trained.epochs for _ in members]
    for name, values in (("train_loss", trained.train_cost), ("val_loss", trained.val_cost), ("diverged", ~finite)):
        rows[name] = values.flatten().tolist()
    return rows[RESULT_COLUMNS]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    r"""The configurations, best first: mean and standard deviation of the validation loss over the seeds.

    Configurations with diverged seeds come last; their means are over the other seeds.
    """
    kept = rows.assign(val_loss=rows.val_loss.where(~rows.diverged), train_loss=rows.train_loss.where(~rows.diverged))
    configurations = kept.groupby(CONFIG_COLUMNS, sort=True).agg(
        val_loss=("val_loss", "mean"),
        spread=("val_loss", "std"),
        train_loss=("train_loss", "mean"),
        seeds=("seed", "size"),
        diverged=("diverged", "sum"),
    )
    return configurations.reset_index().sort_values(["diverged", "val_loss"], kind="stable", ignore_index=True)


def evaluate(grid: Grid, data: Data, network: NetworkOptions) -> tuple[Tensor, Tensor]:
    r"""Train the only configuration of a grid, in this process, and evaluate it on the test rows.

    Returns:
        The loss E and the accuracy of each seed's network, two tensors of shape (seeds,).
    """
    losses, accuracies = [], []
    for members, record in stacks(grid, grid.members(), data(grid.seeds[0])):
        layers = train_members(members, record, grid, data, network).layers
        for i, (seed, _, _) in enumerate(members):
            x, y = (rows.mT for rows in data(seed).test.tensors)
            output = forward(x, unstack(layers, i), activations(network, data(seed)))[-1]
            losses.append(float(error(output, y)))
            predicted, true = (t.argmax(0) if len(t) > 1 else t[0] > 0.5 for t in (output, y))
            accuracies.append(float((predicted == true).double().mean()))
    return torch.tensor(losses, dtype=torch.float64), torch.tensor(accuracies, dtype=torch.float64)
