"""What one client process believes and measured: its own ledger, counts of answers, latencies. Adds up across processes."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

from invengine.simulate.sales import Place


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
    """Commands whose outcome was unknown at first, and was then found out by their key."""
    contradictions: list[str] = field(default_factory=list)
    """Answers to one key that were not the same."""
    false_refusals: int = 0
    """Refusals for want of stock that themselves say that there was enough."""
    fulfilled: Counter[Place] = field(default_factory=Counter)
    stock: Counter[Place] = field(default_factory=Counter)
    """Changes of on_hand by returns and adjustments."""
    allocated: Counter[Place] = field(default_factory=Counter)
    """Units still allocated: promised and not yet fulfilled."""
    orders: Counter[str] = field(default_factory=Counter)
    """How sales ended."""
    reserve_ms: array[float] = field(default_factory=_floats)
    """Time from sending a reserve to its answer."""
    reserve_late_ms: array[float] = field(default_factory=_floats)
    """Time from the moment when the reserve should have left to its answer."""
    command_ms: array[float] = field(default_factory=_floats)
    """Time from sending any other command to its answer."""
    at_s: array[float] = field(default_factory=_floats)
    """For each value of reserve_ms: seconds of the stream when it was sent."""
    uploads_ms: array[float] = field(default_factory=_floats)
    """Time of a whole upload of a store."""

    def add(self, other: Tally) -> None:
        """Adds another role's sums."""
        for name in ("accepted", "refused", "faults", "fulfilled", "stock", "allocated", "orders"):
            getattr(self, name).update(getattr(other, name))
        for name in ("replayed", "calls", "units_reserved", "unknown_resolved", "false_refusals"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("contradictions", "reserve_ms", "reserve_late_ms", "command_ms", "at_s", "uploads_ms"):
            getattr(self, name).extend(getattr(other, name))
