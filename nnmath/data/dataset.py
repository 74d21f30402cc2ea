r"""A data set: samples, names of the columns, classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Dataset:
    r"""Samples in rows, not standardised."""

    x: NDArray[np.float64]  # the features, shape (n, k)
    y: NDArray[np.float64]  # the target, shape (n,); 0 or 1 if there are classes
    features: tuple[str, ...]  # names of the k features
    target: str  # name of the target
    classes: tuple[str, str] | None  # names of the classes y = 0 and y = 1; None for a regression
