"""Output of commands: tables for people, one JSON object per line for programs."""

from __future__ import annotations

import dataclasses
import enum
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from invengine.cli.streams import BOLD, standard_output, styled, unread

# Each unit with its length in seconds, and the least number of seconds for which it is used.
_UNITS = (("days", 86400.0, 172800.0), ("h", 3600.0, 7200.0), ("min", 60.0, 120.0), ("s", 1.0, 1.0), ("ms", 0.001, 0.0))


def print_json(value: Any) -> None:
    """Prints one object on one line and flushes. Characters that are invisible or would break the line are escaped."""
    import json  # Most commands print a table.

    # Named tuples become objects; json itself would write lists.
    found = plain(value)
    text = "".join(
        char if char.isprintable() else json.dumps(char)[1:-1] for char in json.dumps(found, ensure_ascii=False)
    )
    out = standard_output()
    if out is not None and not out.can_encode(text):
        text = json.dumps(found)
    print_line(text)


def print_line(text: str) -> None:
    """Prints one line and flushes."""
    print(text, flush=True)


def visible(text: str) -> str:
    """The text in quotation marks, with `<U+200B>` for characters that are invisible or change how the rest looks."""
    return '"' + "".join(char if char.isprintable() else f"<U+{ord(char):04X}>" for char in text) + '"'


def print_rows(rows: Iterable[Any], columns: Sequence[str], *, as_json: bool) -> None:
    """Prints values with these attributes: a table, or one JSON object per line."""
    if as_json:
        for row in rows:
            print_json(row)
            if unread():
                return
        return
    print_table(columns, ([getattr(row, column) for column in columns] for row in rows))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table with right-aligned numbers. Nothing is truncated or wrapped, so that other tools can parse it.

    On a terminal that is too narrow, columns that are 0 in every row are named below instead; if that is not enough,
    each row becomes a list of names and values, one per line.
    """
    names = [column.replace("_", " ") for column in columns]
    cells = [[_cell(value) for value in row] for row in rows]
    out = standard_output()
    width_max = shutil.get_terminal_size().columns if out is not None and out.isatty() else None
    if width_max is None or _width(names, cells) <= width_max:
        _print_cells(names, cells)
        return
    zero = [at for at in range(len(names)) if cells and all(row[at] == "0" for row in cells)]
    kept = [at for at in range(len(names)) if at not in zero]
    fewer = [[row[at] for at in kept] for row in cells]
    if _width([names[at] for at in kept], fewer) <= width_max:
        _print_cells([names[at] for at in kept], fewer)
        print_line(f"0 everywhere: {', '.join(names[at] for at in zero)}")
        return
    name_width = max(len(name) for name in names)
    records = [
        "\n".join(f"{name:<{name_width}}  {cell}" for name, cell in zip(names, row, strict=True)) for row in cells
    ]
    print_line("\n\n".join(records))


def _widths(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(row[at]) for row in (names, *cells)) for at in range(len(names))]


def _width(names: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    return sum(_widths(names, cells)) + 2 * (len(names) - 1)


def _print_cells(names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    numeric = [
        bool(cells) and all(row[at].lstrip("-").isdecimal() or row[at] == "-" for row in cells)
        for at in range(len(names))
    ]
    widths = _widths(names, cells)
    lines = []
    for row in (names, *cells):
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    lines[0] = styled(lines[0], BOLD)
    print_line("\n".join(lines))


def print_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints names with their values, one per line or as one JSON object."""
    if as_json:
        print_json(facts)
        return
    rows = list(_fact_rows(facts))
    width = max((len(name) for name, _ in rows), default=0)
    print_line("\n".join(f"{name.ljust(width)}  {_cell(value)}".rstrip() for name, value in rows))


def _fact_rows(facts: Mapping[str, Any], indent: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        label = f"{indent}{name.replace('_', ' ')}"
        if name.endswith("_s") and isinstance(value, float):
            yield label.removesuffix(" s"), duration(value)
        elif isinstance(value, Mapping) and value:
            yield label, " "
            yield from _fact_rows(value, indent + "  ")
        else:
            yield label, value


def duration(seconds: float) -> str:
    """Formats a duration for people, with three digits."""
    if not seconds:
        return "0 s"
    unit, length_s = next((unit, length_s) for unit, length_s, from_s in _UNITS if abs(seconds) >= from_s)
    units = seconds / length_s
    return f"{units:.3g} {unit}" if abs(units) < 100 else f"{units:.0f} {unit}"


def plain(value: Any) -> Any:
    """Converts a result of the client to JSON types. Times are RFC 3339 in UTC."""
    messages = sys.modules.get("google.protobuf.message")
    if messages is not None and isinstance(value, messages.Message):
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(value, preserving_proto_field_name=True)
    positions = sys.modules.get("invengine.positions")
    if positions is not None and isinstance(value, positions.JournalPosition):
        return str(value)  # As `--after` takes it.
    for kind, convert in _PLAIN:
        if isinstance(value, kind):
            return convert(value)
    return str(value)


def _from_dataclass(value: Any) -> Any:
    if "__str__" in type(value).__dict__:
        # It is written as one text, such as a sum of money.
        return str(value)
    found = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if "expire_time_ms" in found:
        found["expire_time"] = plain(value.expire_time)
        del found["expire_time_ms"]
    return found


def _from_tuple(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    return [plain(each) for each in value]


def _time(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple | list):
        return ", ".join(_cell(each) for each in value) or "-"
    text = str(plain(value)) if not isinstance(value, float) else f"{value:g}"
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown or "-"


_PLAIN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((bool, float, str, type(None)), lambda value: value),
    (enum.Enum, lambda value: value.name.lower()),
    (int, lambda value: value),
    (datetime, _time),
    (Path, str),
    (Mapping, lambda value: {str(name): plain(each) for name, each in value.items()}),
    (tuple, _from_tuple),
    ((list, frozenset, set), lambda value: [plain(each) for each in value]),
    (object, lambda value: _from_dataclass(value) if dataclasses.is_dataclass(value) else str(value)),
)
