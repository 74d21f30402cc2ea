r"""The LightningDataModule: split the rows, standardise them by the training rows, yield batches."""

import hashlib
from collections.abc import Sequence
from math import inf
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

from nnmath.data.batches import Batches
from nnmath.data.dataset import Dataset
from nnmath.data.preprocessing import Preprocessing
from nnmath.equations import validate


class DataModule(L.LightningDataModule):
    r"""Training, validation and test batches of a data set: x (n, in) and y (n, out).

    The features, and the target of a regression, are standardised by the mean and standard deviation of the training
    rows.

    Args:
        dataset: the samples.
        batch_size: rows per training batch; None takes all rows, as in the article. Validation and test always do.
        split: proportions of training, validation and test rows, of any sum. Classes are stratified. "all" uses all
            rows for each of the three, as for the truth table of XOR.
        seed: of the split and of the order of mini-batches.
        dtype: of the batches.
        preprocessing: that of an earlier run, instead of one that is fitted to the training rows.

    Raises:
        ValueError: the batch size is below 1; split is not "all" or three positive numbers; a part of the split has too
            few rows or lacks a class; a feature, or the target of a regression, cannot be standardised.

    >>> from nnmath.data.datasets import xor
    >>> data = DataModule(xor(samples=100), batch_size=32)
    >>> [len(x) for x, y in data.train_dataloader()]
    [32, 28]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int | None = None,
        split: Sequence[float] | Literal["all"] = (0.6, 0.2, 0.2),
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__()
        if batch_size is not None:
            validate.in_interval(1, inf, batch_size=batch_size)
        self.batch_size, self.split, self.seed = batch_size, split, seed
        parts = split_rows(dataset, split, seed)
        self.preprocessing = preprocessing or Preprocessing.fit(dataset, parts[0])
        self.features, self.target, self.classes = self.preprocessing.inputs, dataset.target, dataset.classes
        if preprocessing and describe(preprocessing) != describe(dataset):
            expected, got = describe(preprocessing), describe(dataset)
            raise ValueError(f"the data have to be those of the earlier run, {expected}, got {got}")
        encoded = self.preprocessing.encode(self.preprocessing.recode(dataset))
        encoded_y = self.preprocessing.encode_target(dataset.y)
        x = torch.tensor(encoded, dtype=dtype)  # (n, in)
        y = torch.tensor(encoded_y, dtype=dtype)  # (n, out)
        for name, column in zip((*self.features, dataset.target), (*x.T, *y.T), strict=False):
            if not column.isfinite().all():
                raise ValueError(f"column {name!r} has a value too far from the training rows to be standardised")
        prints = (fingerprint(encoded[rows], encoded_y[rows]) for rows in parts)
        self.fingerprints = dict(zip(("training", "validation", "test"), prints, strict=True))
        self.train, self.val, self.test = (TensorDataset(x[rows], y[rows]) for rows in parts)

    def state_dict(self) -> dict[str, Any]:
        r"""The preprocessing's fields, to apply to other rows, and the fingerprints of the rows."""
        return self.preprocessing.state_dict() | {"fingerprints": self.fingerprints}

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


def fingerprint(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    r"""A hash of standardised rows and targets in their order, rounded so that other processors compute the same."""
    rows = np.concatenate([x, y], axis=1).round(6) + 0.0  # −0 becomes 0
    return hashlib.sha256(rows.tobytes()).hexdigest()


def split_rows(dataset: Dataset, split: Sequence[float] | Literal["all"], seed: int) -> list[NDArray[np.int64]]:
    r"""Indices of the training, validation and test rows; raise ValueError if a part is too small."""
    if split == "all":
        return [np.arange(len(dataset.y))] * 3
    if len(split) != 3 or not (all(share > 0 for share in split) and sum(split) < inf):
        raise ValueError(f"split must be three positive proportions or all, got {split}")
    n, y = len(dataset.y), None if dataset.classes is None else dataset.y
    for k, name in enumerate(dataset.classes or ()):
        if (count := int((dataset.y == k).sum())) < 3:
            rows = f"{count} row{'s' * (count != 1)}"
            raise ValueError(f"class {name!r} has {rows}: training, validation and test rows need one each")
    n_val, n_test = (round(n * share / sum(split)) for share in split[1:])
    try:
        rest, test = train_test_split(np.arange(n), test_size=n_test, random_state=seed, stratify=y)
        stratify = None if y is None else y[rest]
        parts = [*train_test_split(rest, test_size=n_val, random_state=seed, stratify=stratify), test]
    except ValueError as error:
        raise ValueError(f"{n} rows cannot be split into {tuple(split)}: {error}") from error
    names = ("training", "validation", "test")
    if y is None:
        for name, part in zip(names, parts, strict=True):
            if len(part) < 2:
                raise ValueError(f"split {tuple(split)} leaves {len(part)} {name} row; a regression needs two")
        return parts
    give_each_part_each_class(parts, y)
    for name, part in zip(names, parts, strict=True):
        for k in set(range(len(dataset.classes or ()))) - set(y[part].astype(int)):
            label, rows = (dataset.classes or ())[k], f"the {len(part)} {name} rows"
            raise ValueError(f"split {tuple(split)} leaves no row of class {label!r} for {rows}: enlarge their share")
    return parts


def give_each_part_each_class(parts: Sequence[NDArray[np.int64]], y: NDArray[np.float64]) -> None:
    r"""Exchange rows of the training rows for rows of a class that validation or test rows lack, in place."""
    train = parts[0]
    for part in parts[1:]:
        for k in np.setdiff1d(np.unique(y), np.unique(y[part])):
            own = np.flatnonzero(y[train] == k)
            counts = {c: int((y[part] == c).sum()) for c in np.unique(y[part])}
            common = max(counts, key=lambda c: counts[c])
            if len(own) > 1 and counts[common] > 1:
                there = int(np.flatnonzero(y[part] == common)[-1])
                train[own[-1]], part[there] = part[there], train[own[-1]]


def describe(data: Any) -> str:
    r"""The features, the target and its classes."""
    kind = f"one of {', '.join(data.classes)}" if data.classes else "a number"
    return f"{', '.join(data.features)} and {data.target}, {kind}"
