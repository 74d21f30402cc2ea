r"""What the cells of a column mean: numbers, true or false, or the levels of a category.

What is written differently but means the same is read as the same; what may mean two things is refused with the remedy.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnmath.data.csv_files import CsvFile, normalise, shorten
from nnmath.data.dataset import Levels

MAX_LEVELS = 32  # of a category
MAX_CLASSES, MAX_WHOLE = 100, 20
MAX_REMEDY = 40  # characters of a cell
MAX_DISTINCT = 1000  # texts of a column that are kept; one with more has numbers, or cannot be used
MISSING = frozenset(("", "na", "n/a", "#n/a", "?", "null", "none", "nan", "-"))
TRUTH = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+")
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
NUMBER = r"[+-]?(\d[\d.,]*|[.,]\d+)([eE][+-]?\d+)?"
DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( .*)?|\d{1,2}:\d{2}(:\d{2})?"
)
UNIT = re.compile(
    rf"(?P<before>[$€£¥]?)\s*(?P<number>{NUMBER})\s*(?P<after>[%‰€$£¥]|[^\W\d_][^\W\d_]*[²³/°]?[^\W\d_]*)?"
)


@dataclass
class Column:
    r"""A column of a CSV file.

    ``values`` has the numbers, nan where there is none; ``codes`` the indices of ``texts``, None if there are too many.
    """

    name: str
    file: CsvFile
    values: NDArray[np.float64]
    codes: NDArray[np.int64] | None
    texts: list[str]
    missing: NDArray[np.bool_]

    @property
    def is_numeric(self) -> bool:
        r"""Whether each cell that is not missing is a finite number."""
        return bool((np.isfinite(self.values) | self.missing).all())

    @property
    def labels(self) -> list[str]:
        r"""The distinct texts that are not missing, sorted."""
        return sorted(text for text in self.texts if text.casefold() not in MISSING)

    @property
    def seems_numeric(self) -> bool:
        r"""Whether at least half of the cells that are not missing are numbers."""
        return bool(2 * np.isfinite(self.values).sum() >= (~self.missing).sum())

    def first(self, bad: NDArray[np.bool_]) -> tuple[int, str]:
        r"""The line and the text of the first of the bad cells."""
        row = int(np.argmax(bad))
        line = int(self.file.lines[row])
        if self.codes is not None:
            return line, self.texts[self.codes[row]]
        for lines, table in self.file.chunks([self.name]):
            if line in lines:
                return line, str(table[self.name].iloc[int(np.searchsorted(lines, line))]).strip()
        raise AssertionError(line)

    def cell_error(self, expected: str = "a finite number") -> ValueError:
        r"""An error about the first cell that is not a number."""
        line, text = self.first(~np.isfinite(self.values) & ~self.missing)
        hint = remedy(text, self.file.separator)
        return self.file.error(line, f"column {shorten(self.name)} holds {shorten(text)}, expected {expected}{hint}")


def remedy(text: str, separator: str) -> str:
    r"""What to write instead of a cell that is not a number; empty if that is unknown, or too long for a message."""
    if len(text) > MAX_REMEDY:
        return ""
    if DATE.fullmatch(text):
        return "; give dates and times as numbers, such as days since the first, or leave the column out"
    if GROUPED.fullmatch(text):
        without = text.replace(",", "")
        decimal = "" if separator == "," else f", or with a decimal point, {text.replace(',', '.')}"
        return f"; leave thousands separators out: write {without}{decimal}"
    if re.fullmatch(r"[+-]?\d{1,3}([.,' ]\d{3})+([.,]\d+)?", text) and not COMMA_NUMBER.fullmatch(text):
        whole, point, rest = re.sub(r"[' ]", "", text).rpartition(max(",.", key=text.rfind))
        is_decimal = text.count(point) == 1 and len(re.findall(r"[.,' ]", text)) > 1
        plain = re.sub(r"[.,]", "", whole) + ("." if is_decimal else "") + rest
        return f"; leave thousands separators out: write {plain}"
    if COMMA_NUMBER.fullmatch(text):
        return f"; write decimals with a point: {text.replace(',', '.')}"
    if (unit := UNIT.fullmatch(text)) and (unit["before"] or unit["after"]):
        return f"; write the number without its unit: {unit['number']}"
    return ""


def read_columns(file: CsvFile, names: Sequence[str]) -> list[Column]:
    r"""Read columns of a file.

    Raises:
        ValueError: the file is no CSV file, or decimals may be written with a comma as well as with a point.
    """
    import pandas as pd

    has_decimal_commas = find_decimal_commas(file, names)
    parts: dict[str, list[Any]] = {name: [] for name in names}
    codes_of: dict[str, dict[str, int]] = {name: {} for name in names}
    for _, table in file.chunks(names):
        for name in names:
            codes, uniques = pd.factorize(table[name])
            texts = [normalise(text) for text in uniques]
            signed = [t.replace("−", "-") if t[:1] == "−" else t for t in texts]  # a typographer's minus
            plain = [t.replace(",", ".") if has_decimal_commas and COMMA_NUMBER.fullmatch(t) else t for t in signed]
            numbers = np.array(pd.to_numeric(pd.Series(plain, dtype=object), errors="coerce"), dtype=float)
            numbers[~np.isfinite(numbers)] = np.nan
            missing = np.array([text.casefold() in MISSING for text in texts], dtype=bool)
            known = codes_of[name]
            if len(known) <= MAX_DISTINCT:
                new = [known.setdefault(text, len(known)) for text in texts]
                parts[name].append((numbers[codes], missing[codes], np.array(new, dtype=np.int64)[codes]))
            else:
                parts[name].append((numbers[codes], missing[codes], None))
    columns = []
    for name in names:
        values, missing_cells, codes_read = zip(*parts[name], strict=True)
        few = len(codes_of[name]) <= MAX_DISTINCT
        all_codes = np.concatenate(codes_read) if few else None
        texts = list(codes_of[name]) if few else []
        columns.append(Column(name, file, np.concatenate(values), all_codes, texts, np.concatenate(missing_cells)))
    return columns


def find_decimal_commas(file: CsvFile, names: Sequence[str]) -> bool:
    r"""Whether the file writes decimals with a comma; ValueError if it also has points in the named columns."""
    separator = re.escape(file.separator.encode())
    cells = rb"(?:^|%b)[ \"]*([+-]?\d*,\d+)[ \"]*(?=%b|$)" % (separator, separator)
    found = (
        {match[1].decode() for match in re.finditer(cells, file.content, re.MULTILINE)}
        if file.separator != ","
        else set()
    )
    if not found or all(GROUPED.fullmatch(text) for text in found):
        return False
    comma = min(text for text in found if not GROUPED.fullmatch(text))
    for lines, table in file.chunks(names):
        for name in names:
            both = table[name].str.strip().str.fullmatch(r"[+-]?\d[\d.]*,\d+") & table[name].str.contains(
                ".", regex=False
            )
            if both.any():
                row = int(np.argmax(both))
                text = table[name].iloc[row].strip()
                problem = f"column {shorten(name)} holds {shorten(text)}, expected a finite number"
                raise file.error(int(lines[row]), problem + remedy(text, file.separator))
    for lines, table in file.chunks(names):
        for name in names:
            with_point = table[name].str.strip().str.fullmatch(r"[+-]?\d*\.\d+")
            if with_point.any():
                row = int(np.argmax(with_point))
                text = (
                    f"column {shorten(name)} holds {shorten(table[name].iloc[row].strip())}, but elsewhere the file has"
                )
                advice = "write all decimals with a point, and no thousands separators"
                raise file.error(int(lines[row]), f"{text} decimal commas ({shorten(comma)}): {advice}")
    return True


def as_feature(column: Column) -> tuple[NDArray[np.float64], Levels]:
    r"""The numbers of a feature, or the indices of its levels.

    Raises:
        ValueError: a cell is not a number in a column of numbers; a category has too many levels.
    """
    if column.is_numeric:
        return column.values, None
    if column.seems_numeric:
        raise column.cell_error()
    line, text = column.first(~column.missing & ~np.isfinite(column.values))
    if hint := remedy(text, column.file.separator):
        raise column.file.error(line, f"column {shorten(column.name)} holds {shorten(text)}, expected a number{hint}")
    labels = column.labels
    if column.codes is None or len(labels) > MAX_LEVELS:
        count = f"more than {MAX_DISTINCT}" if column.codes is None else str(len(labels))
        message = (
            f"{column.file.path}: column {shorten(column.name)} has {count} different texts, more than {MAX_LEVELS}"
        )
        raise ValueError(f"{message}: leave it out of the features")
    refuse_similar(column, labels)
    if {label.casefold() for label in labels} <= TRUTH.keys():
        numbers = np.array([TRUTH.get(text.casefold(), np.nan) for text in column.texts])
        return numbers[column.codes], None
    return level_indices(column, labels), tuple(labels)


def as_known_feature(column: Column, levels: Levels) -> NDArray[np.float64]:
    r"""A feature as in training: its numbers, or the indices of the levels, nan where it is missing.

    Raises:
        ValueError: a cell is not a number, or a level that occurs in no training row.
    """
    if levels is None:
        values, own = as_feature(column)
        if own is not None:
            raise column.cell_error()
        return values
    indices = level_indices(column, levels)
    unseen = np.isnan(indices) & ~column.missing
    if unseen.any():
        line, text = column.first(unseen)
        known = f"no training row has it; known are {shorten(list(levels))}"
        raise column.file.error(line, f"column {shorten(column.name)} holds {shorten(text)}, but {known}")
    return indices


def level_indices(column: Column, labels: Sequence[str]) -> NDArray[np.float64]:
    r"""The index of each cell's text among the labels; nan where it is missing."""
    if column.codes is None:
        many = f"has more than {MAX_DISTINCT} different texts"
        raise ValueError(f"{column.file.path}: column {shorten(column.name)} {many}")
    index = {label: float(i) for i, label in enumerate(labels)}
    return np.array([index.get(text, np.nan) for text in column.texts])[column.codes]


def refuse_similar(column: Column, labels: Sequence[str]) -> None:
    r"""Raise ValueError if two labels differ in case alone."""
    if len({label.casefold() for label in labels}) < len(labels):
        differing = "differ in case alone: write each in one way"
        raise ValueError(
            f"{column.file.path}: in column {shorten(column.name)} some of {shorten(list(labels))} {differing}"
        )


def as_target(column: Column, task: str | None) -> tuple[NDArray[np.float64], tuple[str, ...] | None]:
    r"""The numbers of a target, or the indices of its classes, and the names of these.

    Two distinct values make two classes, more distinct texts as many, other numbers a regression. Whole numbers from 3
    to 20 distinct ones may be either, so that ``task``, "classes" or "regression", has to say which.

    Raises:
        ValueError: the column is neither a number nor at most 100 classes, or the task has to be given.
    """
    name, path = shorten(column.name), column.file.path
    if column.is_numeric:
        values = np.unique(column.values[~column.missing])
        names = [f"{value:.15g}" for value in values[: MAX_CLASSES + 1]]
        is_whole = len(values) <= MAX_WHOLE and bool((values == np.round(values)).all())
        if len(values) > 2 and is_whole and task is None:
            shown = ", ".join(names) if len(", ".join(names)) < 150 else f"from {names[0]} to {names[-1]}"
            raise ValueError(
                f"{path}: target {name} has the {len(values)} whole numbers {shown}: "
                "--task classes if they name classes, --task regression if they are a quantity"
            )
        check_labels(column, names[:1] if len(values) == 1 else names if task == "classes" else ["", ""])
        if task == "regression" or (task is None and len(values) > 2):
            return column.values, None
        indices = np.searchsorted(values, column.values).astype(float)
        return np.where(column.missing, np.nan, indices), tuple(names)
    labels = column.labels
    is_quantity = len(labels) != 2 and (column.seems_numeric or bool(labels and all(remedy(t, "") for t in labels)))
    if task == "regression" or is_quantity:
        raise column.cell_error()
    check_labels(column, labels if column.codes is not None else [""] * (MAX_CLASSES + 1))
    refuse_similar(column, labels)
    return level_indices(column, labels), tuple(labels)


def check_labels(column: Column, labels: Sequence[str]) -> None:
    r"""Raise ValueError unless there are at least two classes, and at most 100."""
    name, path = shorten(column.name), column.file.path
    if not labels:
        raise ValueError(f"{path}: target {name} has no values")
    if len(labels) == 1:
        raise ValueError(f"{path}: target {name} holds only {shorten(labels[0])}, so there is nothing to learn")
    if len(labels) > MAX_CLASSES:
        raise ValueError(f"{path}: target {name} has more than {MAX_CLASSES} different values, too many for classes")
