"""The opening stock that a file states: lines become levels, and levels become commands. Nothing here asks a server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from invengine.cli.csvfile import BadLine, Row
from invengine.cli.imports import BATCH, Place, Report, shown
from invengine.client import Receipt, StockState, commands, decode
from invengine.client.commands import CommandFields
from invengine.client.draft import Draft, Kind
from invengine.client.results import Level

COLUMNS = ("sku", "location", "quantity", "state")
REQUIRED = 3
QUANTITY_MAX = 2**53 - 1
# A request has at most 1 MiB; a line has its names, and less than this many bytes for everything else.
REQUEST_BYTES_MAX, LINE_BYTES = 900_000, 48

# The answer has a thousand levels, of which an import needs none.
_SET = Kind("set", "inventory", "SetQuantity", decode.receipt_of)
# An empty cell is the whole.
_STATES = {"": StockState.ON_HAND} | {state.field: state for state in StockState}


class OpeningLine(NamedTuple):
    """A line of the file: units in one state. Those of on_hand are all units of the level, in whatever state."""

    line: int
    quantity: int
    state: StockState


class OpeningLevel(NamedTuple):
    """What one item has at one location. Its lines go into one command, which is the only way to state on_hand and its
    parts together."""

    sku: str
    location: str
    lines: tuple[OpeningLine, ...]

    @property
    def place(self) -> tuple[str, str]:
        """The item and the location."""
        return self.sku, self.location

    @property
    def is_oversold(self) -> bool:
        """True if more of its units are unsellable than it has: on_hand was likely taken for the sellable ones."""
        if len(self.lines) == 1:
            return False
        whole = [line.quantity for line in self.lines if not line.state.is_unsellable]
        return bool(whole) and whole[0] < sum(line.quantity for line in self.lines if line.state.is_unsellable)


class OpeningBatch(NamedTuple):
    """Levels of one command. Number and content follow from the file alone, so that a later run has the same ones."""

    number: int
    levels: tuple[OpeningLevel, ...]

    @property
    def lines(self) -> int:
        """How many lines of the file it has."""
        return sum(len(level.lines) for level in self.levels)


def levels_of(report: Report) -> list[OpeningLevel]:
    """The levels of a file in the order of their first lines, without those that have a bad line."""
    report.malformed += report.table.bad
    spoilt = {(bad.cells[0], bad.cells[1]) for bad in report.table.bad}
    levels: dict[Place, OpeningLevel] = {}
    for row in report.table.rows:
        place = (row.cells[0], row.cells[1])
        before = levels.get(place)
        earlier = () if before is None else before.lines
        found = _line(row, earlier)
        if isinstance(found, OpeningLine):
            levels[place] = OpeningLevel(*place, (*earlier, found))
        else:
            report.malformed.append(found)
            spoilt.add(place)
    for place in spoilt & levels.keys():
        report.left_out += len(levels.pop(place).lines)
    return list(levels.values())


def _line(row: Row, earlier: tuple[OpeningLine, ...]) -> OpeningLine | BadLine:
    """Reads a row; `earlier` are the lines of the same level above it."""
    sku, location, cell, state_cell = row.cells
    quantity = quantity_of(cell)
    if isinstance(quantity, str):
        return BadLine(row.line, quantity)
    state = _STATES.get(state_cell)
    if state is None:
        why = ": stock transfers alone change it" if state_cell == "in_transit" else ""
        known = ", ".join(state.field for state in StockState)
        return BadLine(row.line, f"{shown(state_cell)} is not a state of opening stock{why}: one of {known}")
    for before in earlier:
        if before.state is state:
            what = f"{shown(sku)} at {shown(location)}, {state.field},"
            return BadLine(row.line, f"{what} was on line {before.line} already")
    if earlier and sum(line.quantity for line in earlier if line.state.is_unsellable) + quantity > QUANTITY_MAX:
        return BadLine(row.line, f"a level has at most {QUANTITY_MAX:,} units, all states together")
    return OpeningLine(row.line, quantity, state)


@lru_cache(maxsize=10_000)
def quantity_of(cell: str, *, least: int = 0) -> int | str:
    """Reads a number of units: digits alone. Returns what is wrong with it if it is none."""
    if not cell:
        return "quantity is empty: write 0 if there are none"
    digits = cell.lstrip("0") or "0"
    if not re.fullmatch(r"[0-9]+", cell) or len(digits) > len(str(QUANTITY_MAX)) or int(digits) > QUANTITY_MAX:
        return f"{shown(cell)} is not a whole number of units from {least} to {QUANTITY_MAX}, written as digits"
    if int(digits) < least:
        return f"quantity is {cell}: at least {least}"
    return int(digits)


def batches_of(levels: Iterable[OpeningLevel]) -> Iterator[OpeningBatch]:
    """Divides levels into commands of up to 1,000 lines, and of no more bytes than a request may have."""
    batch: list[OpeningLevel] = []
    number, lines, size = 1, 0, 0
    for level in levels:
        count = len(level.lines)
        names = len(level.sku.encode()) + len(level.location.encode())
        if batch and (lines + count > BATCH or size + count * (names + LINE_BYTES) > REQUEST_BYTES_MAX):
            yield OpeningBatch(number, tuple(batch))
            batch, number, lines, size = [], number + 1, 0, 0
        batch.append(level)
        lines += count
        size += count * (names + LINE_BYTES)
    if batch:
        yield OpeningBatch(number, tuple(batch))


def key_of(sha256: str, number: int, attempt: int) -> str:
    """The key of a batch. The same file gets the same keys, under whatever name.

    A batch has a further attempt if lines of it were left out, or if it was refused: the earlier key has been used.
    """
    return f"import/stock-set/{sha256[:40]}/{number}/{attempt}"


def draft_of(batch: OpeningBatch, key: str, fields: CommandFields) -> Draft[Receipt]:
    """The command of a batch: quantities of levels that have none. Its result is the receipt alone."""
    lines = [(level.sku, level.location, line.quantity, 0) for level in batch.levels for line in level.lines]
    draft: Draft[Any] = commands.set_quantity(lines, **(fields | {"key": key}))
    states = [line.state for level in batch.levels for line in level.lines]
    for number, state in enumerate(states):
        if state.is_unsellable:
            draft.request.lines[number].state = int(state)
    draft.kind = _SET
    return draft


def rows_of(level: Level) -> Iterator[tuple[str, str, int, str]]:
    """The rows of a level in a file: all of its units on hand, then the unsellable parts that it has."""
    for state in StockState:
        units = getattr(level, state.field)
        if units or not state.is_unsellable:
            yield level.sku, level.location, units, state.field
