"""What one client process recorded and measured: its own ledger, counts, latencies. Tallies add up across processes."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from invengine.simulate.audit import LevelKey


class Shortage(NamedTuple):
    """Units that a store's till had sold and that the ledger refused when they were uploaded."""

    at_s: float
    place: LevelKey
    units: int
    sold_before: int = 0
    """Units of the same level that tills sold since the previous upload, also unknown to the ledger."""


def _floats() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Tally:
    """Sums of one role, or of all of them."""

    accepted: Counter[str] = field(default_factory=Counter)
    """Accepted commands by kind, each key once."""
    refused: Counter[str] = field(default_factory=Counter)
    """Refused commands by "kind reason", each key once."""
    replayed: int = 0
    calls: int = 0
    units_reserved: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    unknown_resolved: int = 0
    """Commands whose outcome was unknown at first and was then looked up by their key."""
    looked_up: int = 0
    """Acknowledged answers that the server was asked about after it came back."""
    lost: list[str] = field(default_factory=list)
    """Those that were unknown or different there."""
    contradictions: list[str] = field(default_factory=list)
    """Keys that got different answers."""
    false_refusals: int = 0
    """Refusals for insufficient stock whose own facts state that there was enough."""
    fulfilled: Counter[LevelKey] = field(default_factory=Counter)
    stock: Counter[LevelKey] = field(default_factory=Counter)
    """Changes of on_hand by returns and adjustments."""
    allocated: Counter[LevelKey] = field(default_factory=Counter)
    """Units still allocated: promised and not yet fulfilled."""
    orders: Counter[str] = field(default_factory=Counter)
    """How sales ended: each sale is counted once."""
    parts: int = 0
    """Sales that took only what was available, however they ended."""
    short: list[Shortage] = field(default_factory=list)
    reserve_ms: array[float] = field(default_factory=_floats)
    """Time from sending a reserve to its answer."""
    reserve_late_ms: array[float] = field(default_factory=_floats)
    """Time from when the reserve should have been sent to its answer."""
    command_ms: array[float] = field(default_factory=_floats)
    """Time from sending any other command to its answer."""
    command_at_s: array[float] = field(default_factory=_floats)
    """For each value of command_ms: seconds of the stream when it was sent."""
    at_s: array[float] = field(default_factory=_floats)
    """For each value of reserve_ms: seconds of the stream when it was sent."""
    flash_ms: array[float] = field(default_factory=_floats)
    """Callers of the flash sale: time from when each came to the answer."""
    flash_at_s: array[float] = field(default_factory=_floats)
    """For each value of flash_ms: seconds of the stream when its batch was sent."""
    uploads_ms: array[float] = field(default_factory=_floats)
    """Time of a whole upload of a store."""
    uploads_at_s: array[float] = field(default_factory=_floats)
    """For each value of uploads_ms: seconds of the stream when it began."""

    def count_line(self, kind: str, place: LevelKey, units: int) -> None:
        """Records one line of an accepted command in the client's own ledger."""
        if kind == "reserve":
            self.units_reserved += units
        elif kind == "allocate":
            self.allocated[place] += units
        elif kind == "fulfill":
            self.fulfilled[place] += units
            self.allocated[place] -= units

    def add(self, other: Tally) -> None:
        """Adds another role's sums."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, Counter):
                mine.update(theirs)
            elif isinstance(mine, int):
                setattr(self, each.name, mine + theirs)
            else:
                mine.extend(theirs)


def total(tallies: Iterable[Tally]) -> Tally:
    """The sums of several roles."""
    found = Tally()
    for tally in tallies:
        found.add(tally)
    return found
