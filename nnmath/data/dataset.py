r"""A data set: rows, names of the columns, classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Dataset:
    r"""Samples in rows, not yet standardised.

    Args:
        x: the features, shape (n, k).
        y: the target, shape (n,): 0 or 1 where there are classes, else any number.
        features: the k names of the features.
        target: the name of the target.
        classes: what y = 0 and y = 1 mean; None for a regression.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    features: tuple[str, ...]
    target: str
    classes: tuple[str, str] | None
