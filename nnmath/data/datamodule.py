r"""The LightningDataModule: split the rows, standardise them by the training rows, yield batches."""

from collections.abc import Sequence
from math import inf
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

from nnmath.data.batches import Batches
from nnmath.data.dataset import Dataset
from nnmath.equations import validate


class DataModule(L.LightningDataModule):
    r"""Training, validation and test batches of a data set: x (n, k) and y (n, 1).

    The features, and the target of a regression, are standardised by the mean and standard deviation of the training
    rows.

    Args:
        dataset: the samples.
        batch_size: rows per training batch; None takes all rows, as in the article. Validation and test always do.
        split: proportions of training, validation and test rows, of any sum. Classes are stratified.
        seed: of the split and of the order of mini-batches.
        dtype: of the batches.

    Raises:
        ValueError: the batch size is below 1; the proportions are not three positive numbers; a part of the split has
            too few rows or lacks a class; a feature, or the target of a regression, cannot be standardised.

    >>> from nnmath.data.datasets import xor
    >>> data = DataModule(xor(samples=100), batch_size=32)
    >>> [len(x) for x, y in data.train_dataloader()]
    [32, 28]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int | None = None,
        split: Sequence[float] = (0.6, 0.2, 0.2),
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if batch_size is not None:
            validate.in_interval(1, inf, batch_size=batch_size)
        self.batch_size, self.seed = batch_size, seed
        self.features, self.target, self.classes = dataset.features, dataset.target, dataset.classes
        train, val, test = split_rows(dataset, split, seed)
        self.x_mean, self.x_std = mean_and_std(dataset.x[train], dataset.features)
        self.y_mean, self.y_std = 0.0, 1.0
        if dataset.classes is None:
            mean, std = mean_and_std(dataset.y[train][:, None], (dataset.target,))
            self.y_mean, self.y_std = float(mean[0]), float(std[0])
        with np.errstate(all="ignore"):
            x = torch.tensor((dataset.x - self.x_mean) / self.x_std, dtype=dtype)  # (n, k)
            y = torch.tensor((dataset.y - self.y_mean) / self.y_std, dtype=dtype)[:, None]  # (n, 1)
        for name, column in zip((*dataset.features, dataset.target), (*x.T, *y.T), strict=True):
            if not column.isfinite().all():
                raise ValueError(f"column {name!r} has a value too far from the training rows to be standardised")
        self.train, self.val, self.test = (TensorDataset(x[rows], y[rows]) for rows in (train, val, test))

    def state_dict(self) -> dict[str, Any]:
        r"""The scale, to apply a trained network to other rows: input (x − x_mean) / x_std, output O y_std + y_mean."""
        scale = {"x_mean": self.x_mean.tolist(), "x_std": self.x_std.tolist()}
        return scale | {"y_mean": self.y_mean, "y_std": self.y_std}

    def validate_world_size(self, world_size: int) -> None:
        r"""Raise ValueError if there are more processes than rows in a batch."""
        rows = self.batches().batch_size
        if rows < world_size:
            raise ValueError(f"{world_size} processes cannot share a batch of {rows} rows: use fewer devices")

    def setup(self, stage: str) -> None:
        self.validate_world_size(self.rank_and_world_size[1])

    @property
    def rank_and_world_size(self) -> tuple[int, int]:
        r"""Rank of this process and number of processes; 0 and 1 without a Trainer."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def batches(self) -> Batches:
        r"""The batches of training rows, in order if there is only one."""
        n = len(self.train)
        if self.batch_size is None or self.batch_size >= n:
            return Batches(n, n, None, *self.rank_and_world_size)
        return Batches(n, self.batch_size, self.seed, *self.rank_and_world_size)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.train, self.batches())

    # Every process evaluates all validation and test rows, because gathering results takes several times as long.
    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.val, Batches(len(self.val), len(self.val)))

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.test, Batches(len(self.test), len(self.test)))

    def loader(self, rows: TensorDataset, batches: Batches) -> DataLoader[Any]:
        r"""A DataLoader that indexes the tensors once per batch, on the Trainer's device."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        tensors = [tensor.to(device) for tensor in rows.tensors]
        return DataLoader(TensorDataset(*tensors), sampler=batches, batch_size=None)


def split_rows(dataset: Dataset, split: Sequence[float], seed: int) -> list[NDArray[np.int64]]:
    r"""Indices of the training, validation and test rows; raise ValueError if a part is too small."""
    if len(split) != 3 or not (all(share > 0 for share in split) and sum(split) < inf):
        raise ValueError(f"split must be three positive proportions, got {tuple(split)}")
    n, y = len(dataset.y), None if dataset.classes is None else dataset.y
    n_val, n_test = (round(n * share / sum(split)) for share in split[1:])
    try:
        rest, test = train_test_split(np.arange(n), test_size=n_test, random_state=seed, stratify=y)
        stratify = None if y is None else y[rest]
        parts = [*train_test_split(rest, test_size=n_val, random_state=seed, stratify=stratify), test]
    except ValueError as error:
        raise ValueError(f"{n} rows cannot be split into {tuple(split)}: {error}") from error
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        if y is None and len(part) < 2:
            raise ValueError(f"split {tuple(split)} leaves {len(part)} {name} row; a regression needs two")
        if y is not None and len(np.unique(y[part])) < 2:
            raise ValueError(f"split {tuple(split)} leaves a single class among the {len(part)} {name} rows")
    return parts


def mean_and_std(rows: NDArray[np.float64], names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Mean and standard deviation of each column; raise ValueError if a column is constant or overflows."""
    with np.errstate(all="ignore"):
        mean, std = rows.mean(0), rows.std(0)
    for name, column, deviation in zip(names, rows.T, std, strict=True):
        if column.min() == column.max():
            raise ValueError(f"column {name!r} is constant over the training rows, so it cannot be standardised")
        if not 0 < deviation < np.inf:
            raise ValueError(f"column {name!r} has values too large or too small to be standardised")
    return mean, std
