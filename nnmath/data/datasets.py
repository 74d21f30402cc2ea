r"""Data sets by name: real data included in scikit-learn, synthetic data in the plane, or a CSV file by its path.

This module does not import torch or lightning, so that scripts can validate a file before importing them.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnmath.data.csv_files import read_csv
from nnmath.data.dataset import Dataset


def breast_cancer(features: Sequence[str] = ("worst radius", "worst smoothness")) -> Dataset:
    r"""Breast cancer Wisconsin (diagnostic): 569 tumours, 0 malignant and 1 benign, from measurements of cell nuclei.

    Args:
        features: names from sklearn.datasets.load_breast_cancer. The default is the pair that a logistic regression
            classifies best (5-fold cross-validation: 0.958).

    Raises:
        ValueError: there are no features, or one is unknown.

    >>> data = breast_cancer()
    >>> data.x.shape, data.classes
    ((569, 2), ('malignant', 'benign'))
    """
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    names = [str(name) for name in bunch.feature_names]
    if not features or not set(features) <= set(names):
        raise ValueError(f"features of breast_cancer must be among {', '.join(names)}; got {list(features)}")
    x = bunch.data[:, [names.index(feature) for feature in features]]
    malignant, benign = map(str, bunch.target_names)
    return Dataset(x, bunch.target.astype(float), tuple(features), "diagnosis", (malignant, benign))


def xor(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""Exclusive or: the corners of the unit square in turn, plus normal noise. The class is 1 if coordinates differ.

    Args:
        samples: number of samples.
        noise: standard deviation of the noise.
        seed: of the noise.

    >>> xor(samples=4, noise=0).y
    array([0., 1., 1., 0.])
    """
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])[np.arange(samples) % 4]
    x = corners + noise * np.random.default_rng(seed).standard_normal((samples, 2))
    return binary(x, corners[:, 0] != corners[:, 1])


def moons(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""Two interleaving half circles (sklearn.datasets.make_moons); arguments as in :func:`xor`."""
    from sklearn.datasets import make_moons

    return binary(*make_moons(samples, noise=noise, random_state=seed))


def circles(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""A circle inside a circle of twice its radius (sklearn.datasets.make_circles); arguments as in :func:`xor`."""
    from sklearn.datasets import make_circles

    return binary(*make_circles(samples, noise=noise, factor=0.5, random_state=seed))


def gaussians(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""Normal distributions around (−½, −½) and (½, ½) of deviation 5 · ``noise``; arguments as in :func:`xor`."""
    from sklearn.datasets import make_blobs

    centers = [(-0.5, -0.5), (0.5, 0.5)]
    return binary(*make_blobs(samples, centers=centers, cluster_std=5 * noise, random_state=seed)[:2])


def spirals(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""Two point-symmetric spirals r = φ / 3π, up to r = 1, with a tenth of the noise; arguments as in :func:`xor`."""
    arm = np.arange(samples) % 2
    phi = 3 * np.pi * np.sqrt((np.arange(samples) // 2 + 0.5) / ((samples + 1) // 2))  # evenly along the spiral
    r = np.where(arm == 1, 1, -1) * phi / (3 * np.pi)
    x = np.stack([r * np.cos(phi), r * np.sin(phi)], axis=1)
    return binary(x + noise / 10 * np.random.default_rng(seed).standard_normal((samples, 2)), arm)


def binary(x: NDArray[np.float64], y: NDArray[Any]) -> Dataset:
    r"""Samples in the plane with classes 0 and 1."""
    return Dataset(x, y.astype(float), ("x1", "x2"), "class", ("0", "1"))


SYNTHETIC = {function.__name__: function for function in (xor, moons, circles, spirals, gaussians)}
NAMES = ("breast_cancer", *SYNTHETIC)


def load(
    name: str,
    features: Sequence[str] | None = None,
    target: str | None = None,
    samples: int = 400,
    noise: float = 0.1,
    seed: int = 0,
) -> Dataset:
    r"""Load a data set by its name, or by its path if that ends in .csv or contains a separator.

    Args:
        name: one of ``NAMES`` or the path of a CSV file.
        features: feature columns of breast_cancer or a CSV file.
        target: target column of a CSV file.
        samples: number of samples of a synthetic data set, at least 10.
        noise: of a synthetic data set.
        seed: of a synthetic data set.

    Raises:
        ValueError: the name is unknown, an argument does not apply to it or is invalid, or the file is.
    """
    if name in SYNTHETIC:
        if features or target:
            raise ValueError(f"features and target are for CSV files or breast_cancer, not for {name}")
        if samples < 10 or not 0 <= noise < np.inf:
            raise ValueError(f"samples must be at least 10 and noise finite and not negative, got {samples=}, {noise=}")
        return SYNTHETIC[name](samples, noise, seed)
    if name == "breast_cancer":
        if target:
            raise ValueError("target is for CSV files, not for breast_cancer, whose target is the diagnosis")
        return breast_cancer() if features is None else breast_cancer(features)
    if name.lower().endswith(".csv") or os.sep in name:
        if not features or not target:
            raise ValueError(f"a CSV file needs features and target, got {features=}, {target=}")
        return read_csv(name, features, target)
    raise ValueError(f"dataset must be one of {', '.join(NAMES)} or the path of a .csv file, got {name!r}")
