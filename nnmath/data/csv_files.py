r"""Read the cells of a CSV file as text; every problem is one line that names the file, the line and what to do.

A CSV file has a header, then one sample per line. It is UTF-8 text of at most 256 MiB with at most 10,000 columns.
These are read as what they mean:

- commas, semicolons, tabs or bars as separators, and Excel's first line ``sep=;``;
- comment lines above the header that begin with ``#``, and blank lines anywhere;
- a separator at the end of each row, and the names of rows in front of them, as R writes them;
- blanks around names and cells; quotes; a byte order mark; any kind of line ends.

Anything that may mean two things is refused: a row with too few or too many cells, a quote that encloses whole rows.
"""

import codecs
import csv
import difflib
import io
import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 256 << 20
MAX_COLUMNS = 10_000
MAX_HEADER_BYTES = 128 << 10
MAX_LINES_ABOVE = 20  # of the header
MAX_TEXT_CELLS = 2_000_000  # in memory at once; each takes 60 bytes or more
SEPARATORS = ",;\t|"
abbreviated = Repr()
abbreviated.maxstring, abbreviated.maxlist = 50, 20
shorten = abbreviated.repr


@dataclass(frozen=True)
class CsvFile:
    r"""The rows of a CSV file, not yet parsed."""

    path: Path
    content: bytes  # of the rows alone
    separator: str
    header: tuple[str, ...]  # normalised; "" for a column without a name
    lines: NDArray[np.int64]  # the number of each row's line in the file
    width: int  # cells of the longest row

    def chunks(self, columns: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], Any]]:
        r"""Yield the lines and the cells of some columns, as tables of stripped text, for many rows at once."""
        import pandas as pd

        positions = [self.header.index(column) for column in columns]
        rows_read = 0
        try:
            with pd.read_csv(
                io.BytesIO(self.content),
                sep=self.separator,
                header=None,
                names=range(self.width),
                index_col=False,
                usecols=positions,
                skipinitialspace=True,
                skip_blank_lines=False,
                dtype=str,
                keep_default_na=False,
                chunksize=max(1, MAX_TEXT_CELLS // max(1, len(positions))),
            ) as chunks:
                for chunk in chunks:
                    table = chunk[positions].fillna("").set_axis(list(columns), axis="columns")
                    yield self.lines[rows_read : rows_read + len(chunk)], table
                    rows_read += len(chunk)
        except pd.errors.ParserError as error:
            reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
            raise ValueError(f"{self.path} is not a CSV file: {reason}; check its separators and quotes") from error
        if rows_read != len(self.lines):
            raise ValueError(f"{self.path} is not a CSV file: its quotes are not in pairs; check them")

    def error(self, line: int, text: str) -> ValueError:
        return ValueError(f"{self.path}, line {line}: {text}")


def read_rows(path: str | os.PathLike[str], columns: Sequence[str]) -> CsvFile:
    r"""Find the header and the rows of a CSV file.

    Args:
        path: a file as described above.
        columns: names that the header must have, each once.

    Raises:
        ValueError: the file cannot be read, or has no such columns.
    """
    path = Path(path)
    try:
        content = read_bytes(path)
        return split_rows(path, content, [normalise(column) for column in columns])
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def normalise(text: str) -> str:
    r"""A name or a label without blanks around it, in Unicode's normal form NFC."""
    return unicodedata.normalize("NFC", text).strip()


def read_bytes(path: Path) -> bytes:
    r"""Content of a UTF-8 file without its byte order mark."""
    if path.exists() and not (path.is_file() or path.is_dir()):  # reading might never end
        raise ValueError(f"{path} is a device or a pipe: copy its content to a file first")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} has {size >> 20} MiB, more than the maximum of {MAX_BYTES >> 20}: drop rows")
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    invalid = content.find(0)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        invalid = error.start
    if invalid >= 0:
        line = content.count(b"\n", 0, invalid) + 1
        byte = f"the byte 0x{content[invalid]:02x} is not UTF-8 text"
        raise ValueError(f"{path}, line {line}: {byte}: save the file as UTF-8")
    if not content.strip(b",;|\t \r\n"):
        raise ValueError(f"{path} is empty: it needs a header line, then one line per sample")
    return content


def split_rows(path: Path, content: bytes, columns: Sequence[str]) -> CsvFile:
    r"""The header, and the rows that are not blank."""
    lines = content.splitlines()
    first, separator, header = find_header(path, lines, columns)
    for column in columns:
        if header.count(column) != 1:
            raise missing_column(path, column, header)
    rows, numbers, counts, has_rest = [], [], [], []  # has_rest: whether a cell beyond the header is not empty
    for number, row, cells in read_lines(path, lines, first, separator):
        cells = cells or row.decode().split(separator)
        if not any(cell.strip() for cell in cells):
            continue
        rows.append(row)
        numbers.append(number)
        counts.append(len(cells))
        has_rest.append(any(cell.strip() for cell in cells[len(header) :]))
    if not rows:
        raise ValueError(f"{path} has a header but no rows")
    named = len(header) - sum(1 for _ in itertools.takewhile(lambda name: not name, reversed(header)))
    if min(counts) == max(counts) == len(header) + 1 and any(has_rest) and has_row_names(rows, separator):
        header = ("", *header)
    elif any(has_rest) or min(counts) < named:
        wrong = next(i for i, count in enumerate(counts) if has_rest[i] or count < named)
        hint = (
            f"; write a cell that holds {separator!r} in quotes, and decimals with a point" if has_rest[wrong] else ""
        )
        cells_in_row = f"{counts[wrong]} cell{'s' * (counts[wrong] > 1)}"
        raise ValueError(f"{path}, line {numbers[wrong]}: {cells_in_row}, but the header has {named} columns{hint}")
    width = max(len(header), *counts)
    padded = (*header, *[""] * (width - len(header)))
    return CsvFile(path, b"\n".join(rows), separator, padded, np.array(numbers), width)


def has_row_names(rows: Sequence[bytes], separator: str) -> bool:
    r"""Whether the first cells are names of rows as R writes them: different texts, or 1, 2, 3, ..."""
    names = [next(csv.reader([row.decode()], delimiter=separator))[0].strip() for row in rows]
    is_text = not any(re.fullmatch(r"[+-]?[\d.,]*", name) for name in names) and len(set(names)) == len(names)
    return is_text or names == [str(i) for i in range(1, len(names) + 1)]


def find_header(path: Path, lines: Sequence[bytes], columns: Sequence[str]) -> tuple[int, str, tuple[str, ...]]:
    r"""The place of the first line below the header, the separator, and the names in the header."""
    separators, start = SEPARATORS, 0
    if sep := re.fullmatch(rb'"?sep=(.)"?[,;\t ]*', lines[0].strip(b" "), re.IGNORECASE):
        separators, start = sep[1].decode(), 1
    best: tuple[tuple[int, ...], int, str, tuple[str, ...]] | None = None
    too_long = False
    for place in range(start, min(len(lines), start + MAX_LINES_ABOVE)):
        line = lines[place]
        if not line.strip(b",;|\t "):
            continue
        for separator in separators:
            if len(line) > MAX_HEADER_BYTES or line.count(separator.encode()) > MAX_COLUMNS:
                too_long = True
                continue
            length, names, extent = header_names(lines, place, separator)
            found = sum(names.count(column) == 1 for column in columns)
            key = (found, not line.lstrip().startswith(b"#"), -place, length)
            if best is None or key > best[0]:
                best = key, place + extent, separator, names
    if best is None or (too_long and best[0][0] < len(columns)):
        limits = f"{MAX_COLUMNS} columns or {MAX_HEADER_BYTES >> 10} KiB"
        raise ValueError(f"{path} has a header of more than {limits}: is it a CSV file?")
    (found, *_), below, separator, names = best
    above = [line for line in lines[start : below - 1] if line.strip() and not line.lstrip().startswith(b"#")]
    if above and found == len(columns):
        raise ValueError(
            f"{path}: the header must be the first line; it seems to be line {below}: delete those above it"
        )
    return below, separator, names


def header_names(lines: Sequence[bytes], place: int, separator: str) -> tuple[int, tuple[str, ...], int]:
    r"""How many cells a line has, their texts, and how many lines they take."""
    reader = csv.reader(
        (line.decode() for line in lines[place : place + 10]), delimiter=separator, skipinitialspace=True
    )
    try:
        names = tuple(map(normalise, next(reader)))
    except csv.Error:
        return 1, (normalise(lines[place].decode()),), 1
    return len(names), names, reader.line_num


def missing_column(path: Path, column: str, header: Sequence[str]) -> ValueError:
    r"""An error about a column that is not there, or is there twice, with the name that may be meant."""
    if count := header.count(column):
        return ValueError(f"{path} has {count} columns named {shorten(column)}: rename all but one")
    named = [name for name in header if name]
    hint = f"its columns are {shorten(named)}"
    if near := nearest(column, named):
        hint = f"did you mean {shorten(near)}?"
        if visible(near) == visible(column):
            hint += f" The two differ by invisible characters: {near!a} and {column!a}."
    elif len(named) == 1 and column in named[0].split():
        hint += ": separate columns by commas, semicolons, tabs or bars"
    elif named and all(re.fullmatch(r"[+-]?[\d.,]+", name) for name in named):
        hint += ", so the first line seems to be no header: add one"
    return ValueError(f"{path} has no column {shorten(column)}; {hint}")


def visible(text: str) -> str:
    r"""A name without blanks and characters that have no shape."""
    return "".join(letter for letter in text if unicodedata.category(letter)[0] not in "CZ")


def nearest(name: str, names: Sequence[str]) -> str:
    r"""The name that is most like another; empty if none is like it.

    >>> nearest("temp", ["Temp", "flow"])
    'Temp'
    """
    plain = {visible(other).casefold(): other for other in reversed(names)}
    close = difflib.get_close_matches(visible(name).casefold(), plain, n=1, cutoff=0.7)
    return plain[close[0]] if close else ""


def read_lines(
    path: Path, lines: Sequence[bytes], first: int, separator: str
) -> Iterator[tuple[int, bytes, Sequence[str]]]:
    r"""The number of each row's first line, its bytes, and its cells if it may have quotes."""
    if not any(b'"' in line for line in lines[first:]):
        yield from ((number, row, ()) for number, row in enumerate(lines[first:], start=first + 1))
        return
    csv.field_size_limit(MAX_BYTES)
    text = (line.decode() + "\n" for line in lines[first:])
    reader = csv.reader(text, delimiter=separator, skipinitialspace=True, strict=True)
    end = first
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {end + 1}: {quote_problem(lines, end, first + reader.line_num, error)}"
            ) from None
        start, end = end, first + reader.line_num
        swallowed = lines[start + 1 : end - 1]
        if (
            end - start > 1
            and cells
            and (Counter(line.count(separator.encode()) for line in swallowed)[len(cells) - 1])
        ):
            raise ValueError(f"{path}, line {start + 1}: a quote is closed only in line {end}: delete or close it")
        yield start + 1, b"\n".join(lines[start:end]), cells


def quote_problem(lines: Sequence[bytes], start: int, end: int, error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote is opened and not closed: delete or close it"
    where = f" and closed in line {end}" if end > start + 1 else ""
    return f"a quote is opened{where} within a cell: delete it, or write it twice in a cell in quotes"
