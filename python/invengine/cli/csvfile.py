"""CSV files with a header: reads them and tells every bad line, and writes them."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from invengine.cli.exits import UsageProblemError

LINES_MAX = 2_000_000
"""The most lines of one file. All of them are read and checked before anything is sent: about 0.6 GB of memory for a
million."""
_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}


class Row(NamedTuple):
    """The cells of a row in the order of the known columns, unchanged, and the last line of the row."""

    line: int
    cells: tuple[str, ...]


class BadLine(NamedTuple):
    """A line that cannot be used, and why. `cells` are those that it has, so that what belongs to them is known."""

    line: int
    problem: str
    cells: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A file that was read. Every line that has anything is either in `rows` or in `bad`."""

    name: str
    sha256: str
    """Of its bytes: two files with the same one are the same file, whatever their names."""
    header: frozenset[str]
    """The columns that it has. A column that it lacks has empty cells."""
    rows: list[Row]
    bad: list[BadLine]

    @property
    def lines(self) -> int:
        """How many lines have anything, without the header."""
        return len(self.rows) + len(self.bad)


def read_table(path: Path, columns: Sequence[str], required: int = 1, delimiter: str = ",") -> Table:
    """Reads a CSV file. The first `required` of `columns` must be there, and not be empty in any row.

    Spaces are part of a cell: `mug ` is a different name from `mug`, and the server rejects it with a reason. What is
    wrong with the file as a whole is a UsageProblemError; what is wrong with a line is told in `bad`.
    """
    separator = separator_of(delimiter)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageProblemError(f"cannot read {path}: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageProblemError(f"{path}, line {line}: not text in UTF-8: save it as CSV in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    rows: list[Row] = []
    bad: list[BadLine] = []
    try:
        header = next(reader, [])
        _check_header(header, path, columns, required, separator)
        for row in _rows(reader, header, columns, required):
            (rows if isinstance(row, Row) else bad).append(row)  # type: ignore[arg-type]
            if len(rows) + len(bad) > LINES_MAX:
                raise UsageProblemError(f"{path} has more than {LINES_MAX:,} lines: divide it into several files")
    except csv.Error as error:
        raise UsageProblemError(f"{path}, line {reader.line_num}: not CSV in UTF-8: {error}") from None
    return Table(str(path), hashlib.sha256(content).hexdigest(), frozenset(header), rows, bad)


def separator_of(delimiter: str) -> str:
    """The character that --delimiter names."""
    separator = "\t" if delimiter in ("tab", "\\t") else delimiter
    if len(separator) != 1 or separator in '\r\n"':
        raise UsageProblemError(f"--delimiter is one character, such as ';', or the word tab; got {delimiter!r}")
    return separator


def write_rows(file: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str) -> int:
    """Writes a header and rows as `read_table` reads them, and returns how many rows."""
    writer = csv.writer(file, delimiter=separator_of(delimiter), lineterminator="\n")
    writer.writerow(columns)
    count = 0
    for row in rows:
        writer.writerow(row)
        count += 1
    return count


def first_of(seen: dict[Any, int], key: Any, line: int, what: str) -> str:
    """Remembers that this line has this key; returns what is wrong if an earlier one had it, else an empty text."""
    before = seen.setdefault(key, line)
    return "" if before == line else f"{what} was on line {before} already"


def _check_header(header: Sequence[str], path: Path, columns: Sequence[str], required: int, separator: str) -> None:
    _check_separator(header, path, columns, separator)
    for name in columns[:required]:
        if name not in header:
            raise UsageProblemError(f"{path}: the first line must be a header with the column {name}")
    for at, name in enumerate(header):
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1) or [", ".join(columns)]
            raise UsageProblemError(f"{path}: unknown column {name!r}; did you mean {near[0]}?")
        if name in header[:at]:
            raise UsageProblemError(f"{path}: the column {name} is there twice: leave one out")


def _check_separator(header: Sequence[str], path: Path, columns: Sequence[str], separator: str) -> None:
    """Refuses a header that another separator would divide into known columns."""
    if len(header) != 1 or header[0] in columns:
        return
    for other, name in _SEPARATORS.items():
        names = [part.strip().strip('"') for part in header[0].split(other)]
        if other != separator and len(names) > 1 and names[0] in columns:
            expected = _SEPARATORS.get(separator, repr(separator))
            raise UsageProblemError(
                f"{path}: the columns are separated by {name} and {expected} is expected: give --delimiter "
                f"{'tab' if other == chr(9) else repr(other)}, or save it as {','.join(columns)} with commas"
            )


def _rows(reader: Any, header: Sequence[str], columns: Sequence[str], required: int) -> Iterator[Row | BadLine]:
    width = len(header)
    # What the header lacks is read from behind the last cell, where an empty one is added to each row.
    at = [header.index(column) if column in header else width for column in columns]
    cells_of: Any = itemgetter(*at) if len(at) > 1 else lambda row: (row[at[0]],)
    # Names come again and again: each is kept once.
    known: dict[str, str] = {}
    kept = known.setdefault
    for row in reader:
        if len(row) != width:
            if row:
                yield _of_other_width(row, reader.line_num, header, at)
            continue
        row.append("")
        cells = cells_of(row)
        cells = tuple(map(kept, cells, cells))
        if "" in cells[:required]:
            yield BadLine(reader.line_num, f"{columns[cells.index('')]} is empty", cells)
        else:
            yield Row(reader.line_num, cells)


def _of_other_width(row: Sequence[str], line: int, header: Sequence[str], at: Sequence[int]) -> BadLine:
    if len(row) < len(header):
        # A missing cell is not an empty one: the row may have been truncated.
        problem = f"no cell for {header[len(row)]}; write an empty one"
    else:
        problem = f"too many cells: {len(row)}, and the header has {len(header)}"
    return BadLine(line, problem, tuple(row[n] if n < min(len(row), len(header)) else "" for n in at))
