"""The results of commands on holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from invengine.client.results.receipts import Receipt
from invengine.client.times import from_ms


class Line(NamedTuple):
    """Units of one item at one location. A plain tuple (sku, location, quantity) works as well."""

    sku: str
    location: str
    quantity: int = 1


class LineState(IntEnum):
    """Where the units of a reservation line are."""

    UNSPECIFIED = 0
    RESERVED = 1
    ALLOCATED = 2
    RELEASED = 3
    EXPIRED = 4
    FULFILLED = 5


class HoldLine(NamedTuple):
    """What one command did to one line: `quantity` units moved into `state`, `outstanding` are still held."""

    sku: str
    location: str
    quantity: int
    state: LineState
    outstanding: int


@dataclass(frozen=True, slots=True)
class Hold:
    """What one command did to one reservation."""

    reservation_id: str
    version: int
    expire_time_ms: int
    reacquired: bool
    lines: tuple[HoldLine, ...]
    receipt: Receipt

    @property
    def expire_time(self) -> datetime:
        """When the units that are still reserved expire."""
        return from_ms(self.expire_time_ms)


@dataclass(frozen=True, slots=True)
class HoldSummary:
    """What one command did to holds in total, if listing every one of them would exceed the maximum answer.

    `client.list_reservations(order=...)` returns their current state, page after page. What the command did to each of
    them is in `client.read_events(first_sequence, limit=last_sequence - first_sequence + 1)`: its events have its key
    (or its source) in their context. Events of other commands may precede the first of them.
    """

    reservations: int
    lines: int
    units: dict[LineState, int]
    """Units that it moved, by their state now; for extend and amend the reserved units of the lines."""
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What an accepted command did to the holds it named."""

    receipt: Receipt
    holds: tuple[Hold, ...]
    """One per reservation; empty if there is a `summary`, or if a release only left a tombstone."""
    key_cancelled: bool = False
    """True if a release found no hold under its key and left a tombstone."""
    summary: HoldSummary | None = None
    """The totals if there were too many holds to list; None if `holds` has them all."""

    @property
    def hold(self) -> Hold:
        """The only hold that changed. ValueError if there are none or several."""
        return only(self.holds, self.summary)


def only(holds: tuple[Hold, ...], summary: HoldSummary | None) -> Hold:
    if summary is not None:
        raise ValueError(f"{summary.reservations} holds changed, too many to name each: look at the `summary`")
    (only,) = holds
    return only
