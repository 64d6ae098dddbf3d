"""Reads rows from a CSV file with a header; every error names its line."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from invengine.cli.exits import UsageProblemError

_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}


class Row(NamedTuple):
    """The cells of a row in the order of the columns, unchanged, and the last line of the row."""

    line: int
    cells: tuple[str, ...]


def read_rows(path: Path, columns: Sequence[str], delimiter: str = ",") -> list[Row]:
    """Returns the rows of a CSV file. The first of `columns` is required, not empty and unique.

    Spaces are part of a cell: `mug ` is a different name from `mug`, and the server rejects it with a reason.
    """
    separator = "\t" if delimiter in ("tab", "\\t") else delimiter
    if len(separator) != 1 or separator in '\r\n"':
        raise UsageProblemError(f"--delimiter is one character, such as ';', or the word tab; got {delimiter!r}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_rows(file, path, columns, separator))
    except OSError as error:
        raise UsageProblemError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageProblemError(f"{path} is not CSV in UTF-8: {error}") from None


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


def _rows(file: Iterator[str], path: Path, columns: Sequence[str], separator: str) -> Iterator[Row]:
    reader = csv.DictReader(file, strict=True, delimiter=separator)
    header = list(reader.fieldnames or ())
    _check_separator(header, path, columns, separator)
    if columns[0] not in header:
        raise UsageProblemError(f"{path}: the first line must be a header with the column {columns[0]}")
    for name in header:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1) or [", ".join(columns)]
            raise UsageProblemError(f"{path}: unknown column {name!r}; did you mean {near[0]}?")
    lines: dict[str, int] = {}
    for row in reader:
        short = [column for column in header if row[column] is None]
        if short:
            # A missing cell is not an empty one: the row may have been truncated.
            raise UsageProblemError(f"{path}, line {reader.line_num}: no cell for {short[0]}; write an empty one")
        name = row[columns[0]]
        if not name or None in row:
            raise UsageProblemError(
                f"{path}, line {reader.line_num}: {columns[0]} is empty or there are too many fields"
            )
        if name in lines:
            raise UsageProblemError(f"{path}, line {reader.line_num}: {name!r} was on line {lines[name]} already")
        lines[name] = reader.line_num
        yield Row(reader.line_num, tuple(row.get(column) or "" for column in columns))
