r"""Turns samples into a network's inputs and targets, and its outputs into predictions; fitted to training rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isclose
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnmath.data.dataset import Dataset, Levels, number_of_outputs

Array = NDArray[np.float64]
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Preprocessing:
    r"""Missing values, categories as one-hot columns, standardisation.

    An input is (x − x_mean) / x_std, where x is a number, or 1 for one level of a category and 0 for the others. The
    prediction of a regression is O y_std + y_mean. Classes are 0 and 1, or one-hot if there are more than two.
    """

    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] | None
    levels: tuple[Levels, ...]  # of each feature, those of the training rows
    fill: tuple[float | None, ...]  # for each feature, what replaces a missing value; None: nothing does
    x_mean: tuple[float, ...]  # of each input
    x_std: tuple[float, ...]
    y_mean: float
    y_std: float

    @classmethod
    def fit(cls, dataset: Dataset, rows: NDArray[np.int64]) -> Self:
        r"""Fit to the training rows; raise ValueError if a column cannot be standardised."""
        x = dataset.x[rows]
        levels: list[Levels] = []
        fill: list[float | None] = []
        for j, column in enumerate(x.T):
            present, level_names = column[~np.isnan(column)], dataset.levels_of(j)
            if not len(present):
                raise ValueError(f"column {dataset.features[j]!r} has no value in the training rows")
            seen, counts = np.unique(present, return_counts=True)
            levels.append(level_names and tuple(level_names[int(code)] for code in seen))
            with np.errstate(all="ignore"):  # what overflows is refused below
                common = float(present.mean()) if level_names is None else float(np.argmax(counts))
            fill.append(common if dataset.fill_missing else None)
        names = dataset.features, dataset.target, dataset.classes
        unscaled = cls(*names, tuple(levels), tuple(fill), (0.0,), (1.0,), 0.0, 1.0)
        encoded = unscaled.encode(unscaled.recode(dataset)[rows])
        x_mean, x_std = mean_and_std(encoded, unscaled.inputs, dataset.by_default)
        y_mean, y_std = np.zeros(1), np.ones(1)
        if dataset.classes is None:
            y_mean, y_std = mean_and_std(dataset.y[rows, None], (dataset.target,))
        x_scale, y_scale = (tuple(x_mean.tolist()), tuple(x_std.tolist())), (float(y_mean[0]), float(y_std[0]))
        return cls(*names, tuple(levels), tuple(fill), *x_scale, *y_scale)

    @property
    def inputs(self) -> tuple[str, ...]:
        r"""The names of the network's inputs."""
        names: list[str] = []
        for feature, levels in zip(self.features, self.levels, strict=True):
            names += [feature] if levels is None else [f"{feature}={level}" for level in levels]
        return tuple(names)

    @property
    def outputs(self) -> int:
        r"""The number of the network's outputs."""
        return number_of_outputs(self.classes)

    @property
    def task(self) -> str:
        r"""What is predicted: "regression", "binary" or "multiclass"."""
        return "regression" if self.classes is None else "binary" if len(self.classes) == 2 else "multiclass"

    def recode(self, dataset: Dataset) -> Array:
        r"""The features with the indices of the training rows' levels; ValueError if one occurs in none of them."""
        x = dataset.x.copy()
        for j, known in enumerate(self.levels):
            names = dataset.levels_of(j)
            if (known is None) != (names is None):
                kinds = "numbers", "a category"
                kind, other = kinds if known is None else kinds[::-1]
                raise ValueError(f"column {self.features[j]!r} holds {other}, but {kind} in training")
            if known is not None and names is not None:
                codes = [known.index(name) if name in known else np.inf for name in names]
                present = ~np.isnan(x[:, j])
                x[present, j] = np.array(codes, dtype=float)[x[present, j].astype(int)]
                if np.isinf(x[:, j]).any():
                    unseen = [name for name in names if name not in known]
                    message = f"column {self.features[j]!r} has {', '.join(map(repr, unseen[:5]))}, in no training row"
                    known_levels = ", ".join(map(repr, known))
                    raise ValueError(f"{message}; known are {known_levels}: leave the column or these rows out")
        return x

    def encode(self, x: Array) -> Array:
        r"""The network's inputs (n, in) for features (n, k), whose levels are recoded; nan where a value is missing."""
        columns = []
        for j, (known, fill) in enumerate(zip(self.levels, self.fill, strict=True)):
            column = x[:, j : j + 1] if fill is None else np.where(np.isnan(x[:, j : j + 1]), fill, x[:, j : j + 1])
            if known is not None:
                column = np.where(np.isnan(column), np.nan, column == np.arange(len(known)))
            columns.append(column)
        with np.errstate(all="ignore"):
            return (np.concatenate(columns, axis=1, dtype=float) - np.array(self.x_mean)) / np.array(self.x_std)

    def encode_target(self, y: Array) -> Array:
        r"""The network's targets (n, out) for a target (n,)."""
        if self.outputs > 1:
            return np.eye(self.outputs)[y.astype(int)]
        with np.errstate(all="ignore"):
            return (y[:, None] - self.y_mean) / self.y_std

    def state_dict(self) -> dict[str, Any]:
        r"""All fields, as lists, numbers and texts."""
        return {name: as_list(value) for name, value in asdict(self).items()}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        return cls(**{name: as_tuple(value) for name, value in state.items()})

    def matches(self, state: Mapping[str, Any]) -> bool:
        r"""Whether a state is this one, up to the rounding of sums."""
        return is_same(self.state_dict(), dict(state))


def as_list(value: Any) -> Any:
    return [as_list(item) for item in value] if isinstance(value, (tuple, list)) else value


def as_tuple(value: Any) -> Any:
    return tuple(as_tuple(item) for item in value) if isinstance(value, (tuple, list)) else value


def is_same(a: Any, b: Any) -> bool:
    r"""Whether nested values are equal, numbers to 1e-9."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return isclose(a, b, rel_tol=1e-9, abs_tol=1e-300)
    return bool(a == b)


def mean_and_std(rows: Array, names: Sequence[str], allow_constant: bool = False) -> tuple[Array, Array]:
    r"""Mean and standard deviation of each column; 1 for a constant one, if that is allowed.

    Raises:
        ValueError: a column is constant, or but for rounding, or overflows. Rounding is what scikit-learn's
            StandardScaler takes for it: a variance of at most n ε variance + (n ε mean)².
    """
    n = len(rows)
    with np.errstate(all="ignore"):
        mean, std = rows.mean(0), rows.std(0)
        is_rounding = (std > 0) & np.isfinite(mean + std) & (std**2 <= n * EPS * std**2 + (n * EPS * mean) ** 2)
        constant = (rows.min(0) == rows.max(0)) | is_rounding
    for j, name in enumerate(names):
        if constant[j] and allow_constant:
            std[j] = 1
        elif constant[j]:
            rounding = "" if rows[:, j].min() == rows[:, j].max() else " but for rounding"
            where = f"over the training rows{rounding}"
            raise ValueError(f"column {name!r} is constant {where}, so it cannot be standardised: leave it out")
        if not 0 < std[j] < np.inf:
            raise ValueError(f"column {name!r} has values too large or too small to be standardised")
    return mean, std
