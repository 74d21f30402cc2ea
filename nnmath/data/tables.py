r"""A data set from a CSV file: which columns are features, what the target is, and what to do about missing values."""

import os
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from nnmath.data.columns import DATE, MAX_LEVELS, Column, as_feature, as_target, read_columns
from nnmath.data.csv_files import CsvFile, missing_column, normalise, read_rows, shorten
from nnmath.data.dataset import Dataset

Task = Literal["classes", "regression"]
Missing = Literal["refuse", "drop", "mean"]


def read_csv(
    path: str | os.PathLike[str],
    features: Sequence[str] | None,
    target: str,
    task: Task | None = None,
    missing: Missing = "refuse",
) -> Dataset:
    r"""Read a data set from a CSV file; :mod:`~nnmath.data.csv_files` says which files are read.

    A feature is a column of numbers, of true and false or yes and no (1 and 0), or a category of at most 32 texts. A
    target of two distinct values, or of texts, makes classes, other numbers make a regression. An empty cell, NA, N/A,
    ?, null, None, nan and - are missing values.

    Args:
        path: the file.
        features: names of the feature columns; None for every column that can be used but the target.
        target: name of the target column.
        task: "classes" or "regression", where a target of 3 to 20 whole numbers may be either.
        missing: "refuse" files with missing values, "drop" the rows that have one, or "mean": rows without a target are
            dropped, and features are filled with the mean of the training rows, a category with its commonest level.

    Raises:
        ValueError: the file cannot be read, or its content is invalid or may mean two things.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "fruit.csv")
    >>> _ = path.write_text("weight,colour,kind\n150,green,apple\n120,yellow,banana\n")
    >>> data = read_csv(path, features=None, target="kind")
    >>> data.features, data.levels, data.classes
    (('weight', 'colour'), (None, ('green', 'yellow')), ('apple', 'banana'))
    """
    names = None if features is None else [normalise(feature) for feature in features]
    target = normalise(target)
    if names is not None and (not names or len({*names, target}) <= len(names)):
        raise ValueError(f"features and target must name different columns, got {[*names, target]}")
    file = read_rows(path, [*(names or ()), target])
    by_default = names is None
    if names is None:
        names = [name for name in file.header if name and name != target]
        if twice := [name for name in names if names.count(name) > 1]:
            raise missing_column(file.path, twice[0], file.header)
    *columns, last = read_columns(file, [*names, target])
    left_out = {c.name: reason for c in columns if by_default and (reason := why_unusable(c))}
    columns = [column for column in columns if column.name not in left_out]
    notes = [f"not used: {', '.join(f'{name!r} ({reason})' for name, reason in left_out.items())}"] if left_out else []
    if not columns:
        raise ValueError(f"{file.path} has no column to learn {shorten(target)} from; {''.join(notes)}".rstrip("; "))
    if missing == "refuse":
        refuse_missing(file, [*columns, last])
    parsed = [as_feature(column) for column in columns]
    y, classes = as_target(last, task)
    x = np.stack([values for values, _ in parsed], axis=1)
    dropped = np.isnan(y) | (np.isnan(x).any(1) if missing == "drop" else False)
    if dropped.any():
        reason = "with missing values" if missing == "drop" else "without a target"
        notes.append(f"left out: {dropped.sum()} of {len(y)} rows, {reason}")
    if dropped.all():
        raise ValueError(f"{file.path}: each row has a missing value")
    levels = tuple(level for _, level in parsed)
    features = tuple(column.name for column in columns)
    return Dataset(
        x[~dropped], y[~dropped], features, target, classes, levels, by_default, missing == "mean", "; ".join(notes)
    )


def why_unusable(column: Column) -> str:
    r"""Why a column is no feature by default; empty if it is one."""
    present = ~column.missing
    if re.fullmatch(r"Unnamed: \d+", column.name):
        return "pandas' row numbers"
    if not present.any():
        return "empty"
    few = column.codes is not None
    if few and (len(column.labels) == 1 or (column.is_numeric and len(np.unique(column.values[present])) == 1)):
        return "constant"
    if column.is_numeric or column.seems_numeric:
        return ""
    if few and all(DATE.fullmatch(label) for label in column.labels):
        return "dates"
    if not few or len(column.labels) > MAX_LEVELS:
        return "many different texts"
    return ""


def refuse_missing(file: CsvFile, columns: Sequence[Column]) -> None:
    r"""Raise ValueError if a value is missing."""
    missing = np.stack([column.missing for column in columns], axis=1)
    rows = np.asarray(missing.any(1))
    if not rows.any():
        return
    column = columns[int(np.argmax(missing[int(np.argmax(rows))]))]
    line, text = column.first(rows)
    problem = f"column {shorten(column.name)} {f'holds {shorten(text)}' if text else 'is empty'}"
    options = "--missing drop leaves such rows out, --missing mean fills features with the mean of the training rows"
    raise file.error(line, f"{problem}, a missing value, as in {rows.sum()} of {len(rows)} rows; {options}")
