r"""The data sets: real data that scikit-learn carries, shapes drawn by a formula, and a user's own CSV file.

Neither torch nor lightning is imported here: a script says what is wrong with a file before it waits for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnmath.data.csv_files import read_csv
from nnmath.data.dataset import Dataset


def breast_cancer(features: Sequence[str] = ("worst radius", "worst smoothness")) -> Dataset:
    r"""Breast cancer Wisconsin (diagnostic): 569 tumours, 0 malignant and 1 benign, from measurements of cell nuclei.

    Args:
        features: names among the thirty of sklearn.datasets.load_breast_cancer. The default pair is the one that a
            logistic regression classifies best (5-fold cross-validation: 0.958).

    Raises:
        ValueError: a feature is not among the thirty.

    >>> data = breast_cancer()
    >>> data.x.shape, data.classes
    ((569, 2), ('malignant', 'benign'))
    """
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    names = [str(name) for name in bunch.feature_names]
    unknown = [feature for feature in features if feature not in names]
    if unknown or not features:
        raise ValueError(f"features of breast_cancer must be among {', '.join(names)}; got {list(features)}")
    x = bunch.data[:, [names.index(feature) for feature in features]]
    malignant, benign = (str(name) for name in bunch.target_names)
    return Dataset(x, bunch.target.astype(float), tuple(features), "diagnosis", (malignant, benign))


def xor(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""Exclusive or: corners of the unit square in turn, plus normal noise; 1 where the coordinates differ.

    Args:
        samples: the number n of samples.
        noise: the noise's standard deviation; 0 gives the four corners themselves.
        seed: of the noise.

    >>> xor(samples=4, noise=0).y
    array([0., 1., 1., 0.])
    """
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])[np.arange(samples) % 4]
    x = corners + noise * np.random.default_rng(seed).standard_normal((samples, 2))
    return binary(x, corners[:, 0] != corners[:, 1])


def moons(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""Two interleaving half circles (sklearn.datasets.make_moons); the arguments are those of :func:`xor`."""
    from sklearn.datasets import make_moons

    return binary(*make_moons(samples, noise=noise, random_state=seed))


def circles(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""A circle within a circle of twice its radius (sklearn.datasets.make_circles); arguments as :func:`xor`."""
    from sklearn.datasets import make_circles

    return binary(*make_circles(samples, noise=noise, factor=0.5, random_state=seed))


def gaussians(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""Two normal clouds around (−½, −½) and (½, ½), 5 times ``noise`` wide; the arguments are those of :func:`xor`."""
    from sklearn.datasets import make_blobs

    centers = [(-0.5, -0.5), (0.5, 0.5)]
    return binary(*make_blobs(samples, centers=centers, cluster_std=5 * noise, random_state=seed)[:2])


def spirals(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""Two spirals of one and a half turns, point-symmetric to each other: r = φ / 3π; arguments as :func:`xor`.

    Args:
        samples: the number n of samples; the spirals take turns.
        noise: standard deviation of the normal noise, in tenths of the spirals' radius 1.
        seed: of the noise.
    """
    arm = np.arange(samples) % 2
    phi = 3 * np.pi * np.sqrt((np.arange(samples) // 2 + 0.5) / ((samples + 1) // 2))  # evenly along the spiral
    r = np.where(arm == 1, 1, -1) * phi / (3 * np.pi)
    x = np.stack([r * np.cos(phi), r * np.sin(phi)], axis=1)
    return binary(x + noise / 10 * np.random.default_rng(seed).standard_normal((samples, 2)), arm)


def binary(x: NDArray[np.float64], y: NDArray[Any]) -> Dataset:
    r"""Samples in the plane, of the classes 0 and 1."""
    return Dataset(x, y.astype(float), ("x1", "x2"), "class", ("0", "1"))


SYNTHETIC: dict[str, Callable[[int, float, int], Dataset]] = {
    "xor": xor,
    "moons": moons,
    "circles": circles,
    "spirals": spirals,
    "gaussians": gaussians,
}
NAMES = ("breast_cancer", *SYNTHETIC)


def load(
    name: str,
    features: Sequence[str] | None = None,
    target: str | None = None,
    samples: int = 400,
    noise: float = 0.1,
    seed: int = 0,
) -> Dataset:
    r"""Data set by its name or, where the name ends in .csv or has a path's separator, by its file.

    Args:
        name: breast_cancer, xor, moons, circles, spirals, gaussians or a CSV file.
        features: the columns to learn from; for breast_cancer and CSV files.
        target: the column to predict; for CSV files.
        samples: how many samples to draw, at least 10; for the drawn shapes.
        noise: how much noise to add; for the drawn shapes.
        seed: of the drawn shapes.

    Raises:
        ValueError: the name is unknown, an argument does not go with it, or the data are refused.
    """
    if name in SYNTHETIC:
        if features or target:
            raise ValueError(f"features and target go with a CSV file or breast_cancer, not with {name}")
        if samples < 10 or not 0 <= noise < np.inf:
            raise ValueError(f"samples must be at least 10 and noise a number from 0 on, got {samples=}, {noise=}")
        return SYNTHETIC[name](samples, noise, seed)
    if name == "breast_cancer":
        if target:
            raise ValueError("target goes with a CSV file, not with breast_cancer, which has its own")
        return breast_cancer() if features is None else breast_cancer(features)
    if name.lower().endswith(".csv") or os.sep in name:
        if not features or not target:
            raise ValueError(
                f"a CSV file needs features and target, the names of its columns; got {features=}, {target=}"
            )
        return read_csv(name, features, target)
    raise ValueError(f"dataset must be one of {', '.join(NAMES)} or the path of a .csv file, got {name!r}")
