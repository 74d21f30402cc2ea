r"""A data set: samples, names of the columns, classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Levels = tuple[str, ...] | None  # of a category column, sorted; None for a column of numbers


def number_of_outputs(classes: tuple[str, ...] | None) -> int:
    r"""A network's outputs for a target with these classes: one, or one for each of more than two."""
    return len(classes) if classes and len(classes) > 2 else 1


@dataclass(frozen=True)
class Dataset:
    r"""Samples in rows, not standardised."""

    x: NDArray[np.float64]  # the features, shape (n, k): numbers, or the indices of levels; nan where one is missing
    y: NDArray[np.float64]  # the target, shape (n,): a number, or the index of the class
    features: tuple[str, ...]  # names of the k features
    target: str  # name of the target
    classes: tuple[str, ...] | None  # names of the classes, at least two; None for a regression
    levels: tuple[Levels, ...] = ()  # of each feature; empty if all are numbers
    by_default: bool = False  # the features are all that can be used: one that is constant does no harm
    fill_missing: bool = False  # with the mean, or the commonest level, of the training rows
    note: str = ""  # which columns and rows of the file were left out, and why

    @property
    def inputs(self) -> int:
        r"""The number of a network's inputs: one for each number, and for each level of a category."""
        return sum(len(self.levels_of(j) or "1") for j in range(len(self.features)))

    @property
    def outputs(self) -> int:
        r"""The number of a network's outputs."""
        return number_of_outputs(self.classes)

    def levels_of(self, feature: int) -> Levels:
        r"""The levels of a feature; None if it is a number."""
        return self.levels[feature] if self.levels else None
