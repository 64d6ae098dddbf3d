"""What the events of a run come to in figures, for the report."""

from __future__ import annotations

from collections import Counter

from invengine.client import Event
from invengine.simulate.audit import LevelKey


class EventCounts:
    """Takes events in order and counts them. `watched` is the place whose reserved units are added up."""

    def __init__(self, watched: LevelKey | None = None) -> None:
        self.kinds: Counter[str] = Counter()
        self.expired_holds: set[str] = set()
        self.reacquired_holds: set[str] = set()
        self.watched_reserved_units = 0
        self._watched = watched

    @property
    def events(self) -> int:
        """All events."""
        return self.kinds.total()

    def take(self, event: Event) -> None:
        """Counts one event."""
        self.kinds[event.kind] += 1
        if event.kind == "expired":
            self.expired_holds.add(event.fact.reservation_id)
        elif event.kind == "allocated" and event.fact.reacquired:
            self.reacquired_holds.add(event.fact.reservation_id)
        elif event.kind == "reserved":
            places = ((line.sku, line.location, line.quantity) for line in event.fact.lines)
            self.watched_reserved_units += sum(units for *place, units in places if tuple(place) == self._watched)
