r"""Data sets by name: real data included in scikit-learn, synthetic data in the plane, or a CSV file by its path.

This module does not import torch or lightning, so that scripts can validate a file before importing them.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnmath.data.csv_files import nearest
from nnmath.data.dataset import Dataset
from nnmath.data.tables import Missing, Task, read_csv

TARGETS = {  # of the data sets in scikit-learn
    "breast_cancer": "diagnosis",
    "iris": "species",
    "wine": "cultivar",
    "digits": "digit",
    "diabetes": "progression",
}
BREAST_CANCER_FEATURES = ("worst radius", "worst smoothness")


def bundled(name: str, features: Sequence[str] | None = None) -> Dataset:
    r"""A data set included in scikit-learn.

    - breast_cancer: 569 tumours, 0 malignant and 1 benign, from measurements of cell nuclei.
    - iris: 150 flowers of three species, from four lengths.
    - wine: 178 wines of three cultivars, from 13 measurements.
    - digits: 1,797 images of 8 x 8 pixels, ten digits.
    - diabetes: the progression of the disease in 442 patients a year later, a regression on ten measurements.

    Args:
        name: one of these.
        features: names of columns; by default all that are not constant, but two of breast_cancer: the pair that a
            logistic regression classifies best (5-fold cross-validation: 0.958).

    Raises:
        ValueError: there are no features, or one is unknown.

    >>> data = bundled("breast_cancer")
    >>> data.x.shape, data.classes
    ((569, 2), ('malignant', 'benign'))
    """
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, f"load_{name}")()
    names = [str(feature) for feature in bunch.feature_names]
    by_default = features is None
    if features is None:
        varying = [feature for feature, column in zip(names, bunch.data.T, strict=True) if np.ptp(column) > 0]
        features = BREAST_CANCER_FEATURES if name == "breast_cancer" else varying
    if not features or not set(features) <= set(names):
        unknown = next((feature for feature in features if feature not in names), "")
        near = nearest(unknown, names)
        hint = f"; did you mean {near!r}?" if near else ""
        raise ValueError(f"features of {name} must be among {', '.join(names)}; got {list(features)}{hint}")
    x = bunch.data[:, [names.index(feature) for feature in features]]
    classes = None if name == "diabetes" else tuple(map(str, bunch.target_names))
    return Dataset(x, bunch.target.astype(float), tuple(features), TARGETS[name], classes, by_default=by_default)


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
NAMES = (*TARGETS, *SYNTHETIC)


def load(
    name: str,
    features: Sequence[str] | None = None,
    target: str | None = None,
    samples: int = 400,
    noise: float = 0.1,
    seed: int = 0,
    task: Task | None = None,
    missing: Missing = "refuse",
) -> Dataset:
    r"""Load a data set by its name, or by its path if that ends in .csv or contains a separator.

    Args:
        name: one of ``NAMES`` or the path of a CSV file.
        features: feature columns of a data set in scikit-learn or of a CSV file; by default all that can be used.
        target: target column of a CSV file.
        samples: number of samples of a synthetic data set, at least 4.
        noise: of a synthetic data set.
        seed: of a synthetic data set.
        task: of a CSV file, see :func:`~nnmath.data.tables.read_csv`.
        missing: of a CSV file, in the same way.

    Raises:
        ValueError: the name is unknown, an argument does not apply to it or is invalid, or the file is.
    """
    is_file = name.lower().endswith(".csv") or os.sep in name
    if not is_file and name in NAMES and (target or task or missing != "refuse"):
        given = "target" if target else "task" if task else "missing"
        raise ValueError(f"{given} is for CSV files, not for {name}")
    if name in SYNTHETIC:
        if features:
            raise ValueError(f"features are for CSV files and {', '.join(TARGETS)}, not for {name}")
        if samples < 4 or not 0 <= noise < np.inf:
            raise ValueError(f"samples must be at least 4 and noise finite and not negative, got {samples=}, {noise=}")
        return SYNTHETIC[name](samples, noise, seed)
    if name in TARGETS:
        return bundled(name, features)
    if is_file:
        if not target:
            raise ValueError("a CSV file needs a target, the name of the column to predict (--target)")
        return read_csv(name, features, target, task, missing)
    near, is_sheet = nearest(name, NAMES), name.lower().endswith((".xlsx", ".xls", ".ods"))
    hint = "; save the sheet as a CSV file" if is_sheet else f"; did you mean {near}?" if near else ""
    raise ValueError(f"dataset must be one of {', '.join(NAMES)} or the path of a .csv file, got {name!r}{hint}")
