r"""Data sets out of CSV files."""

from __future__ import annotations

import codecs
import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from csv import reader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnmath.data.dataset import Dataset

MAX_BYTES = 256 << 20  # bytes of a CSV file


MAX_COLUMNS = 10_000  # columns


MAX_HEADER_BYTES = 128 << 10  # bytes of its header; a single cell may have as many


MAX_TEXT_CELLS = 2_000_000  # that are text at one time


def read_csv(path: str | os.PathLike[str], features: Sequence[str], target: str) -> Dataset:
    r"""A user's own CSV file: a header line, then a sample a line.

    A target with two distinct values, numbers or text, makes two classes, the smaller 0 and the greater 1; a target
    with more distinct numbers makes a regression.

    Args:
        path: the file; UTF-8, with or without byte order mark, at most 256 MiB and 10,000 columns. Commas, semicolons
            or tabs separate its columns: whichever makes columns of these names out of its header.
        features: the names of the columns that are the features, which must hold finite numbers.
        target: the name of the column that is the target.

    Raises:
        ValueError: the file cannot be read or lacks a column, or a column holds what it must not; the message names the
            file, the column and the line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "fruit.csv")
    >>> _ = path.write_text("weight,length,kind\n150,8,apple\n120,19,banana\n")
    >>> read_csv(path, features=["weight", "length"], target="kind").classes
    ('apple', 'banana')
    """
    path = Path(path)
    columns = [*features, target]
    if not features or len(set(columns)) < len(columns):
        raise ValueError(f"features and target must name different columns, got {columns}")
    try:
        return parse(read(path), features, target)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}{error}") from error


def read(path: Path) -> bytes:
    r"""The bytes of a CSV file, without blank lines at the end.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large, empty, no text in UTF-8, or no regular file.
    """
    status = path.stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # it might never end
        raise ValueError(" is a device or a pipe: copy what it gives into a file first")
    if status.st_size > MAX_BYTES:
        raise ValueError(f" has {status.st_size >> 20} MiB, and at most {MAX_BYTES >> 20} are read: leave rows out")
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(" is written in UTF-16: save it as UTF-8")
    bad = content.find(0)
    if bad < 0:
        try:
            content.decode()
        except UnicodeDecodeError as error:
            bad = error.start
    if bad >= 0:
        line = content.count(b"\n", 0, bad) + 1
        raise ValueError(f", line {line}: the byte 0x{content[bad]:02x} is no text in UTF-8: save the file as UTF-8")
    filled = len(content.rstrip(b",;\t \r\n"))
    if not content[:filled].removeprefix(codecs.BOM_UTF8):
        raise ValueError(" is empty: it needs a header line, then a sample a line")
    return content[:filled] + b"".join(content[filled:].splitlines()[:1])


def parse(content: bytes, features: Sequence[str], target: str) -> Dataset:
    r"""The samples in a CSV file's bytes; arguments and errors as in :func:`read_csv`, without the file's name."""
    import pandas as pd

    separator, header = find_separator(content, [*features, target])

    def problem(column: str, bad: NDArray[np.bool_], wanted: str) -> ValueError | None:
        if not bad.any():
            return None
        row = int(bad.argmax())
        cell = cells[column].iloc[row]
        found = "is empty" if pd.isna(cell) else f"holds {shorten(cell)}"
        hint = "; write decimals with a point" if re.fullmatch(r"[+-]?[\d.]*,\d+", str(cell)) else ""
        place = f", {line(content, cells[column].index[row])}: column {shorten(column)}"
        return ValueError(f"{place} {found}, but {wanted} is needed{hint}")

    xs, ys, firsts = [], [], []
    words: list[str] = []  # the target's first three; where there are but two, the first is told from the other
    no_number: ValueError | None = None
    for table in read_chunks(content, separator, len(header)):
        cells = {column: table[header.index(column)] for column in (*features, target)}
        values = {column: pd.to_numeric(cells[column], errors="coerce").to_numpy(float) for column in cells}
        problems = {column: problem(column, ~np.isfinite(values[column]), "a finite number") for column in cells}
        other = problems.pop(target)
        no_number = no_number or other
        for error in (*problems.values(), problem(target, cells[target].isna().to_numpy(), "a value")):
            if error:
                raise error
        words = [*dict.fromkeys((*words, *cells[target].unique()))][:3]
        xs.append(np.stack([values[feature] for feature in features], axis=1))
        ys.append(values[target])
        firsts.append((cells[target] == words[0]).to_numpy(bool))
    if not xs:
        raise ValueError(" has a header but no rows")
    x, y, names = np.concatenate(xs), np.concatenate(ys), sorted(words)
    if no_number and (len(words) > 2 or any(map(is_not_finite, words))):
        raise no_number
    if no_number:
        y = np.where(np.concatenate(firsts) == (words[0] == names[-1]), 1.0, 0.0)
    distinct = np.unique(y)
    if len(distinct) == 1:
        raise ValueError(f": column {shorten(target)} holds {shorten(words[0])} only, so there is nothing to learn")
    if len(distinct) > 2:
        return Dataset(x, y, tuple(features), target, None)
    zero, one = names if no_number else (f"{value:.15g}" for value in distinct)
    return Dataset(x, (y == distinct[1]).astype(float), tuple(features), target, (zero, one))


def find_separator(content: bytes, columns: Sequence[str]) -> tuple[str, list[str]]:
    r"""The separator of a CSV file, and the names in its header.

    Raises:
        ValueError: a column is not there or there twice, whatever the separator; the header is too long.
    """
    headers: dict[str, list[str]] = {}
    for separator in ",;\t":
        start = io.StringIO(content[:MAX_HEADER_BYTES].decode("utf-8-sig", errors="ignore"), newline="")
        headers[separator] = next(reader(start, delimiter=separator, skipinitialspace=True))
        if (len(content) > MAX_HEADER_BYTES and not start.read(1)) or len(headers[separator]) > MAX_COLUMNS:
            raise ValueError(
                f" has a header of more than {MAX_COLUMNS} columns or {MAX_HEADER_BYTES >> 10} KiB: is it a CSV file?"
            )
    separator = max(
        headers, key=lambda mark: (sum(headers[mark].count(name) == 1 for name in columns), len(headers[mark]))
    )
    header = headers[separator]
    for column in columns:
        if header.count(column) != 1:
            found = f"{header.count(column)} columns" if column in header else "no column"
            names = ", ".join(map(shorten, header[:20])) + (", …" if len(header) > 20 else "")
            raise ValueError(f" has {found} {shorten(column)}; its columns are {names}")
    return separator, header


def read_chunks(content: bytes, separator: str, width: int) -> Iterator[Any]:
    r"""The cells below a CSV file's header as text, two million at a time: they take 60 bytes and more each.

    Raises:
        ValueError: a row is longer than the header, or a quote is not closed.
    """
    import pandas as pd

    try:
        with pd.read_csv(  # the header is a row like the others, so that none may be longer
            io.BytesIO(content),
            sep=separator,
            header=None,
            encoding="utf-8-sig",
            skipinitialspace=True,
            skip_blank_lines=False,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            chunksize=MAX_TEXT_CELLS // width,
        ) as parts:
            for table in parts:
                rows = table[table.index > 0]
                if len(rows):
                    yield rows
    except pd.errors.ParserError as error:
        said = " ".join(str(error).split())
        if ragged := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", said):
            expected, number, found = map(int, ragged.groups())
            hint = f"put a cell that holds {separator!r} in quotes"
            said = f", {line(content, number - 1)}: {found} cells, but {expected} columns; {hint}"
        elif quote := re.search(r"EOF inside string starting at row (\d+)", said):
            said = f", {line(content, int(quote[1]))}: a quote is opened there and not closed"
        else:
            said = f" is not a CSV file: {said}"
        raise ValueError(said) from error


def line(content: bytes, row: int) -> str:
    r"""The name of a row, the header being row 0: its line, except where quoted cells may hold line breaks."""
    return f"row {row} below the header" if b'"' in content and row else f"line {row + 1}"


def shorten(text: str) -> str:
    r"""A text in quotes, on one line, and not too long for a message."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def is_not_finite(text: str) -> bool:
    r"""Whether a text is the number nan or inf."""
    try:
        return not np.isfinite(float(text))
    except ValueError:
        return False
