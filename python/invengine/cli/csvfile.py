"""Reading rows from a CSV file with a header; every problem names its line."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from invengine.cli.exits import UsageProblemError


class Row(NamedTuple):
    """The fields of a row in the order of the columns, as they stand in the file, and the line that the row ends on."""

    line: int
    fields: tuple[str, ...]


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Gives the rows of a CSV file. The first of `columns` must be there and filled, and is unique.

    Spaces belong to a field: `mug ` is another name than `mug`, and whoever is asked for it says what is wrong with it.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_rows(file, path, columns))
    except OSError as error:
        raise UsageProblemError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageProblemError(f"{path} is not CSV in UTF-8: {error}") from None


def _rows(file: Iterator[str], path: Path, columns: Sequence[str]) -> Iterator[Row]:
    reader = csv.DictReader(file, strict=True)
    header = list(reader.fieldnames or ())
    if columns[0] not in header:
        raise UsageProblemError(f"{path}: the first line must be a header with the column {columns[0]}")
    for name in header:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1) or [", ".join(columns)]
            raise UsageProblemError(f"{path}: unknown column {name!r}; did you mean {near[0]}?")
    lines: dict[str, int] = {}
    for row in reader:
        name = row[columns[0]]
        if not name or None in row:
            raise UsageProblemError(
                f"{path}, line {reader.line_num}: {columns[0]} is empty or there are too many fields"
            )
        if name in lines:
            raise UsageProblemError(f"{path}, line {reader.line_num}: {name!r} was on line {lines[name]} already")
        lines[name] = reader.line_num
        yield Row(reader.line_num, tuple(row.get(column) or "" for column in columns))
