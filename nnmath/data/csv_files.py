r"""Read a data set from a CSV file; every problem is one line that names the file, the line and the column.

A CSV file has a header line, then one sample per line. It is UTF-8 text of at most 256 MiB with at most 10,000 columns,
separated by commas, semicolons or tabs. Decimals are written with a point. A target with two distinct values, numbers
or text, makes two classes: the smaller is 0, the larger is 1. More than two distinct numbers make a regression.
"""

import codecs
import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from reprlib import Repr
from typing import Any

import numpy as np

from nnmath.data.dataset import Dataset

MAX_BYTES = 256 << 20
MAX_COLUMNS = 10_000
MAX_HEADER_BYTES = 128 << 10
MAX_TEXT_CELLS = 2_000_000  # in memory at once; each takes 60 bytes or more
abbreviated = Repr()
abbreviated.maxstring, abbreviated.maxlist = 50, 20
shorten = abbreviated.repr


def read_csv(path: str | os.PathLike[str], features: Sequence[str], target: str) -> Dataset:
    r"""Read a CSV file.

    Args:
        path: a file as described above, with or without a byte order mark.
        features: names of the feature columns, which must hold finite numbers.
        target: name of the target column.

    Raises:
        ValueError: the file cannot be read, or its content is invalid.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "fruit.csv")
    >>> _ = path.write_text("weight,length,kind\n150,8,apple\n120,19,banana\n")
    >>> read_csv(path, features=["weight", "length"], target="kind").classes
    ('apple', 'banana')
    """
    path, columns = Path(path), [*features, target]
    if not features or len(set(columns)) < len(columns):
        raise ValueError(f"features and target must name different columns, got {columns}")
    try:
        content = read_bytes(path)
        return parse(content, *read_header(content, columns), columns)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}{error}") from error


def read_bytes(path: Path) -> bytes:
    r"""Content of a UTF-8 file without its byte order mark and the blank lines at its end."""
    if path.exists() and not (path.is_file() or path.is_dir()):  # reading might never end
        raise ValueError(" is a device or a pipe: copy its content to a file first")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f" has {path.stat().st_size >> 20} MiB, more than the maximum of {MAX_BYTES >> 20}: drop rows")
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    invalid = content.find(0)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        invalid = error.start
    if invalid >= 0:
        line = content.count(b"\n", 0, invalid) + 1
        raise ValueError(f", line {line}: the byte 0x{content[invalid]:02x} is not UTF-8 text: save the file as UTF-8")
    end = len(content.rstrip(b",;\t \r\n"))
    if end == 0:
        raise ValueError(" is empty: it needs a header line, then one line per sample")
    return content[:end] + b"".join(content[end:].splitlines()[:1])  # with the empty cells of the last row


def read_header(content: bytes, columns: Sequence[str]) -> tuple[str, list[str]]:
    r"""Return the separator, which is the one that yields the named columns, and the header with each of them once."""
    start = content[:MAX_HEADER_BYTES].decode(errors="ignore")
    candidates = []
    for separator in ",;\t":
        text = io.StringIO(start, newline="")
        header = next(csv.reader(text, delimiter=separator, skipinitialspace=True))
        if (len(content) > MAX_HEADER_BYTES and not text.read(1)) or len(header) > MAX_COLUMNS:
            limits = f"{MAX_COLUMNS} columns or {MAX_HEADER_BYTES >> 10} KiB"
            raise ValueError(f" has a header of more than {limits}: is it a CSV file?")
        candidates.append((sum(header.count(column) == 1 for column in columns), len(header), separator, header))
    *_, separator, header = max(candidates, key=lambda candidate: candidate[:2])
    for column in columns:
        if (count := header.count(column)) != 1:
            raise ValueError(f" has {count or 'no'} columns named {shorten(column)}; its header is {shorten(header)}")
    return separator, header


def read_chunks(content: bytes, separator: str, header: Sequence[str]) -> Iterator[Any]:
    r"""Yield tables of text, indexed by row number. The header, row 0, is left out."""
    import pandas as pd

    try:
        with pd.read_csv(
            io.BytesIO(content),
            sep=separator,
            header=None,  # the header is read as a row, so that no row is allowed to be longer
            skipinitialspace=True,
            skip_blank_lines=False,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            chunksize=MAX_TEXT_CELLS // len(header),
            on_bad_lines="error",
        ) as chunks:
            for chunk in chunks:
                yield chunk[chunk.index > 0].set_axis(header, axis="columns")
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        if quote := re.fullmatch(r"EOF inside string starting at row (\d+)", reason):
            reason = f"a quote is opened {int(quote[1])} rows below the header and not closed"
        raise ValueError(f" is not a CSV file: {reason}; check the separators and quotes there") from error


def parse(content: bytes, separator: str, header: Sequence[str], columns: Sequence[str]) -> Dataset:
    r"""Convert the content of a CSV file to a data set. The last of the columns is the target."""
    import pandas as pd

    *features, target = columns
    tables, is_first_label = [], []
    labels: list[str] = []  # the first three; if there are only two, ``is_first_label`` distinguishes them
    not_numeric: ValueError | None = None  # about the first target that is not a number
    for chunk in read_chunks(content, separator, header):
        cells = chunk[columns]
        numbers = cells.apply(pd.to_numeric, errors="coerce").astype(float)
        bad = ~np.isfinite(numbers)
        checks = [(name, bad[name], "a finite number") for name in features]
        for name, mask, expected in [*checks, (target, cells[target].isna(), "a value")]:
            if mask.any():
                raise cell_error(content, cells[name][mask], expected)
        if bad[target].any():
            not_numeric = not_numeric or cell_error(content, cells[target][bad[target]], "a finite number")
        labels = [*dict.fromkeys([*labels, *cells[target].unique()])][:3]
        tables.append(numbers.to_numpy())
        is_first_label.append(cells[target].isin(labels[:1]))
    if not labels:
        raise ValueError(" has a header but no rows")
    table, names = np.concatenate(tables), sorted(labels)
    x, y = np.ascontiguousarray(table[:, :-1]), table[:, -1]
    if not_numeric:
        if len(labels) > 2 or np.isinf(y).any() or any(label.strip(" +-").lower() == "nan" for label in labels):
            raise not_numeric
        y = (np.concatenate(is_first_label) == (labels[0] == names[-1])).astype(float)
    values = np.unique(y)
    if len(values) == 1:
        raise ValueError(f": column {shorten(target)} holds only {shorten(labels[0])}, so there is nothing to learn")
    if len(values) > 2:
        return Dataset(x, y, tuple(features), target, None)
    zero, one = names if not_numeric else (f"{value:.15g}" for value in values)
    return Dataset(x, (y == values[1]).astype(float), tuple(features), target, (zero, one))


def cell_error(content: bytes, bad_cells: Any, expected: str) -> ValueError:
    r"""An error about the first of the bad cells of a column."""
    row, text = next(bad_cells.items())
    place = f"row {row} below the header" if b'"' in content else f"line {row + 1}"  # quotes can enclose line breaks
    problem = f"holds {shorten(text)}" if isinstance(text, str) else "is empty"
    hint = "; write decimals with a point" if re.fullmatch(r"[+-]?[\d.]*,\d+", str(text)) else ""
    return ValueError(f", {place}: column {shorten(bad_cells.name)} {problem}, expected {expected}{hint}")
