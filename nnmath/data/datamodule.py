r"""The LightningDataModule: split, standardise by the training rows, yield whole batches."""

from __future__ import annotations

from collections.abc import Sequence
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
    r"""Training, validation and test batches of a data set.

    The features are standardised by the mean and the standard deviation of the training rows, and so is the target of a
    regression.

    Args:
        dataset: the samples.
        batch_size: the rows of a training batch; None takes them all, as the article does. Validation and test always
            take all rows at once.
        split: the shares of training, validation and test rows, which need not add up to 1; classes are spread evenly
            over the three.
        seed: of the split and of the order of mini-batches.
        dtype: of the batches.

    Batches:
        x (n, k), y (n, 1).

    Raises:
        ValueError: the batch size is below 1; the shares are not three positive numbers; there are too few rows for the
            split, or a part of it lacks a class; a feature, or the target of a regression, is constant over the
            training rows or overflows.

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
            validate.in_interval(1, float("inf"), batch_size=batch_size)
        if len(split) != 3 or not (all(share > 0 for share in split) and sum(split) < float("inf")):
            raise ValueError(f"split must be three positive shares, got {tuple(split)}")
        n = len(dataset.y)
        n_val, n_test = (round(n * share / sum(split)) for share in split[1:])
        classes = None if dataset.classes is None else dataset.y
        try:
            rest, test = train_test_split(np.arange(n), test_size=n_test, random_state=seed, stratify=classes)
            classes = None if classes is None else classes[rest]
            train, val = train_test_split(rest, test_size=n_val, random_state=seed, stratify=classes)
        except ValueError as error:
            raise ValueError(f"{n} rows cannot be split into {tuple(split)}: {error}") from error
        self.batch_size, self.seed = batch_size, seed
        self.features, self.target, self.classes = dataset.features, dataset.target, dataset.classes
        self.x_mean, self.x_std = standard(dataset.x[train], dataset.features)
        self.y_mean, self.y_std = 0.0, 1.0
        if dataset.classes is None:
            mean, std = standard(dataset.y[train][:, None], (dataset.target,))
            self.y_mean, self.y_std = float(mean[0]), float(std[0])
        for part, rows in (("training", train), ("validation", val), ("test", test)):
            if dataset.classes is None and len(rows) < 2:
                raise ValueError(f"split {tuple(split)} leaves {len(rows)} {part} row; a regression needs two")
            if dataset.classes is not None and len(np.unique(dataset.y[rows])) < 2:
                raise ValueError(f"split {tuple(split)} leaves a single class among the {len(rows)} {part} rows")
        with np.errstate(all="ignore"):
            x = torch.tensor((dataset.x - self.x_mean) / self.x_std, dtype=dtype)  # (n, k)
            y = torch.tensor((dataset.y - self.y_mean) / self.y_std, dtype=dtype)[:, None]  # (n, 1)
        for name, column in zip((*dataset.features, dataset.target), (*x.T, *y.T), strict=True):
            if not column.isfinite().all():
                raise ValueError(f"column {name!r} has a value too far from the training rows' to be standardised")
        self.train, self.val, self.test = (TensorDataset(x[rows], y[rows]) for rows in (train, val, test))

    def state_dict(self) -> dict[str, Any]:
        r"""The scale, for use on other rows: (x − x_mean) / x_std goes in, O y_std + y_mean comes out."""
        scale = {"x_mean": self.x_mean.tolist(), "x_std": self.x_std.tolist()}
        return scale | {"y_mean": self.y_mean, "y_std": self.y_std}

    def can_be_shared(self, processes: int) -> None:
        r"""Refuse more processes than there are rows in a batch, for they share each.

        Validation and test rows are evaluated by every process, all of them: to put together what each has found of its
        share takes several times as long.

        Raises:
            ValueError: there are more.
        """
        batch = len(self.train) if self.batch_size is None else min(self.batch_size, len(self.train))
        if batch < processes:
            raise ValueError(f"{processes} processes cannot share a batch of {batch} rows: take fewer devices")

    def setup(self, stage: str) -> None:
        r"""Lightning calls this in each of its processes."""
        self.can_be_shared(self.processes["processes"])

    @property
    def processes(self) -> dict[str, int]:
        r"""Which of how many processes this one is: 0 of 1 without a Trainer."""
        if self.trainer is None:
            return {"rank": 0, "processes": 1}
        return {"rank": self.trainer.global_rank, "processes": self.trainer.world_size}

    def batches(self) -> Batches:
        r"""The batches of training rows."""
        if self.batch_size is None or self.batch_size >= len(self.train):
            return Batches(len(self.train), len(self.train), **self.processes)
        return Batches(len(self.train), self.batch_size, self.seed, **self.processes)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.train, self.batches())

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.val, Batches(len(self.val), len(self.val)))

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.test, Batches(len(self.test), len(self.test)))

    def loader(self, rows: TensorDataset, batches: Batches) -> DataLoader[Any]:
        r"""Takes each batch out of the tensors at once, not row by row; on a GPU the tensors already lie there."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        tensors = [tensor.to(device) for tensor in rows.tensors]
        return DataLoader(TensorDataset(*tensors), sampler=batches, batch_size=None)


def standard(rows: NDArray[np.float64], names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Mean and standard deviation of each column.

    Raises:
        ValueError: a column is constant, or its numbers overflow.
    """
    with np.errstate(all="ignore"):
        mean, std = rows.mean(0), rows.std(0)
    for name, column, deviation in zip(names, rows.T, std, strict=True):
        if column.min() == column.max():
            raise ValueError(f"column {name!r} is constant over the training rows, so it cannot be standardised")
        if not 0 < deviation < np.inf:
            raise ValueError(f"column {name!r} has values too large or too small to be standardised")
    return mean, std
