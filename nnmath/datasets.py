r"""The data sets: real data that scikit-learn carries, shapes drawn by a formula, and a user's own CSV file.

Neither torch nor lightning is imported here: a script says what is wrong with a file before it waits for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    return two_classes(x, corners[:, 0] != corners[:, 1])


def moons(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""Two interleaving half circles (sklearn.datasets.make_moons); the arguments are those of :func:`xor`."""
    from sklearn.datasets import make_moons

    return two_classes(*make_moons(samples, noise=noise, random_state=seed))


def circles(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""A circle within a circle of twice its radius (sklearn.datasets.make_circles); arguments as :func:`xor`."""
    from sklearn.datasets import make_circles

    return two_classes(*make_circles(samples, noise=noise, factor=0.5, random_state=seed))


def gaussians(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    r"""Two normal clouds around (−½, −½) and (½, ½), 5 times ``noise`` wide; the arguments are those of :func:`xor`."""
    from sklearn.datasets import make_blobs

    centers = [(-0.5, -0.5), (0.5, 0.5)]
    return two_classes(*make_blobs(samples, centers=centers, cluster_std=5 * noise, random_state=seed)[:2])


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
    return two_classes(x + noise / 10 * np.random.default_rng(seed).standard_normal((samples, 2)), arm)


def csv(path: str | os.PathLike[str], features: Sequence[str], target: str) -> Dataset:
    r"""A user's own CSV file: a header line, then a sample a line.

    A target with two distinct values, numbers or text, makes two classes, the smaller 0 and the greater 1; a target
    with more distinct numbers makes a regression.

    Args:
        path: the file; UTF-8, with or without byte order mark, separated by commas.
        features: the names of the columns that are the features, which must hold finite numbers.
        target: the name of the column that is the target.

    Raises:
        ValueError: the file cannot be read or lacks a column, or a column holds what it must not; the message names the
            file, the column and the line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "fruit.csv")
    >>> _ = path.write_text("weight,length,kind\n150,8,apple\n120,19,banana\n")
    >>> csv(path, features=["weight", "length"], target="kind").classes
    ('apple', 'banana')
    """
    import pandas as pd

    path = Path(path)
    columns = [*features, target]
    if not features or len(set(columns)) < len(columns):
        raise ValueError(f"features and target must name different columns, got {columns}")
    try:
        table = pd.read_csv(  # the header as a row of its own, so that no row may be longer
            path,
            header=None,
            encoding="utf-8-sig",
            skipinitialspace=True,
            skip_blank_lines=False,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
        )
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # pandas's ParserError and EmptyDataError, and UnicodeDecodeError
        raise ValueError(f"{path} is not a CSV file: {' '.join(str(error).split())}") from error
    header, table = table.iloc[0].fillna("").tolist(), table.iloc[1:]
    for column in columns:
        if header.count(column) != 1:
            found = "no column" if column not in header else f"{header.count(column)} columns"
            raise ValueError(f"{path} has {found} {column!r}; its columns are {', '.join(map(repr, header))}")
    table.columns = header
    table = table[columns].loc[: table.last_valid_index() if len(table) else None]  # blank lines at the end are none
    if table.empty:
        raise ValueError(f"{path} has a header but no rows")

    def numbers(column: str) -> NDArray[np.float64]:
        values = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
        refuse(column, ~np.isfinite(values), "a finite number")
        return values

    def refuse(column: str, bad: NDArray[np.bool_], wanted: str) -> None:
        if bad.any():
            row = int(bad.argmax())
            cell = table[column].iloc[row]
            found = "is empty" if pd.isna(cell) else f"holds {cell!r}"
            raise ValueError(f"{path}, line {row + 2}: column {column!r} {found}, but {wanted} is needed")

    x = np.stack([numbers(feature) for feature in features], axis=1)
    refuse(target, table[target].isna().to_numpy(), "a value")
    found = pd.to_numeric(table[target], errors="coerce")
    is_text = bool(found.isna().any()) and table[target].nunique() <= 2
    values = table[target].to_numpy(str) if is_text else numbers(target)
    distinct = np.unique(values)
    if len(distinct) == 1:
        raise ValueError(f"{path}: column {target!r} holds {distinct[0]!s} only, so there is nothing to learn")
    if len(distinct) > 2:
        return Dataset(x, values.astype(float), tuple(features), target, None)
    zero, one = (str(value) if is_text else f"{value:.15g}" for value in distinct)
    return Dataset(x, (values == distinct[1]).astype(float), tuple(features), target, (zero, one))


def two_classes(x: NDArray[np.float64], y: NDArray[Any]) -> Dataset:
    r"""Samples in the plane, of the classes 0 and 1."""
    return Dataset(x, y.astype(float), ("x1", "x2"), "class", ("0", "1"))


DRAWN: dict[str, Callable[[int, float, int], Dataset]] = {
    "xor": xor,
    "moons": moons,
    "circles": circles,
    "spirals": spirals,
    "gaussians": gaussians,
}
NAMES = ("breast_cancer", *DRAWN)


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
    if name in DRAWN:
        if features or target:
            raise ValueError(f"features and target go with a CSV file or breast_cancer, not with {name}")
        if samples < 10 or not 0 <= noise < np.inf:
            raise ValueError(f"samples must be at least 10 and noise a number from 0 on, got {samples=}, {noise=}")
        return DRAWN[name](samples, noise, seed)
    if name == "breast_cancer":
        if target:
            raise ValueError("target goes with a CSV file, not with breast_cancer, which has its own")
        return breast_cancer() if features is None else breast_cancer(features)
    if name.lower().endswith(".csv") or os.sep in name:
        if not features or not target:
            raise ValueError(
                f"a CSV file needs features and target, the names of its columns; got {features=}, {target=}"
            )
        return csv(name, features, target)
    raise ValueError(f"dataset must be one of {', '.join(NAMES)} or the path of a .csv file, got {name!r}")
