"""An auditor's books: every hold and every level added up again from the events, by rules written down anew.

They know docs/holds.md and the meaning of the events, and nothing of the engine. After each event they check that no
unit is lost or counted twice, that nothing is negative, and that no new promise was made without the goods.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import types_pb2 as types

Place: TypeAlias = tuple[str, str]
"""Item and location."""

Touched: TypeAlias = tuple[Place, bool]
"""A place that an event touched, and whether the event promised units of it."""

WHOLE = (types.STOCK_STATE_UNSPECIFIED, types.STOCK_STATE_ON_HAND)


@dataclass(slots=True)
class Units:
    """Units of one line of a hold, by where they are."""

    reserved: int = 0
    allocated: int = 0
    released: int = 0
    expired: int = 0
    fulfilled: int = 0

    def take(self, units: int, first: str, second: str) -> None:
        """Takes units out of one place and, where that is not enough, out of another."""
        from_first = min(units, getattr(self, first))
        setattr(self, first, getattr(self, first) - from_first)
        setattr(self, second, getattr(self, second) - (units - from_first))

    def check(self) -> None:
        """No unit was taken from where it was not."""
        assert min(self.reserved, self.allocated, self.released, self.expired, self.fulfilled) >= 0, self


@dataclass(slots=True)
class Held:
    """One hold."""

    expire_ms: int
    lines: dict[Place, Units] = field(default_factory=lambda: defaultdict(Units))


class Books:
    """What the events say about some items. `sequence` is the position of the last event."""

    def __init__(self, skus: Iterable[str], sequence: int) -> None:
        self.sequence = sequence
        self.holds: dict[str, Held] = {}
        self.on_hand: dict[Place, int] = defaultdict(int)
        self.unsellable: dict[Place, int] = defaultdict(int)
        self._skus = frozenset(skus)

    def add(self, event: journal.Event) -> None:
        """Reads one event and checks the books."""
        assert event.sequence == self.sequence + 1, "the journal has a gap"
        self.sequence = event.sequence
        for place, promised in self._apply(event):
            assert self.on_hand[place] >= 0, event
            assert self.unsellable[place] >= 0, event
            if promised:
                assert self.free(place, event.time.ToMilliseconds()) >= 0, f"a promise without goods: {event}"

    def reserved(self, place: Place, now_ms: int) -> int:
        """Units of open timed holds: the sum over the holds themselves."""
        open_holds = (hold for hold in self.holds.values() if hold.expire_ms > now_ms)
        return sum(hold.lines[place].reserved for hold in open_holds if place in hold.lines)

    def allocated(self, place: Place) -> int:
        """Units of hard holds: the sum over the holds themselves."""
        return sum(hold.lines[place].allocated for hold in self.holds.values() if place in hold.lines)

    def free(self, place: Place, now_ms: int) -> int:
        """What nobody holds; below zero if more is held than is there."""
        return self.on_hand[place] - self.unsellable[place] - self.reserved(place, now_ms) - self.allocated(place)

    def ends_between(self, first_ms: int, last_ms: int) -> bool:
        """True if a hold falls due in this time."""
        return any(first_ms < hold.expire_ms <= last_ms for hold in self.holds.values())

    def _apply(self, event: journal.Event) -> list[Touched]:
        kind = str(event.WhichOneof("fact"))
        fact = getattr(event, kind)
        if kind == "stock_changed":
            return self._stock_changed(event.stock_changed)
        if kind == "reserved":
            self.holds[fact.reservation_id] = Held(fact.expire_time.ToMilliseconds())
        hold = self.holds.get(getattr(fact, "reservation_id", ""))
        lines = [line for line in getattr(fact, "lines", ()) if line.sku in self._skus]
        if hold is None:
            assert not lines, f"a hold that was never taken: {event}"
            return []
        if kind == "extended":
            hold.expire_ms = fact.expire_time.ToMilliseconds()
        touched = []
        for line in lines:
            place = (line.sku, line.location)
            if kind == "transferred":
                touched += self._transferred(hold, place, (line.sku, fact.to_location), line.quantity)
            else:
                touched.append((place, self._move(hold.lines[place], event, place, line.quantity)))
        for place, _ in touched:
            hold.lines[place].check()
        return touched

    def _move(self, units: Units, event: journal.Event, place: Place, quantity: int) -> bool:
        """What happened to a line; true if it is a new promise."""
        match event.WhichOneof("fact"):
            case "reserved":
                units.reserved += quantity
                return True
            case "amended":
                raised = quantity > units.reserved
                units.released += max(0, units.reserved - quantity)
                units.reserved = quantity
                return raised
            case "allocated":
                units.allocated += quantity
                source = "expired" if event.allocated.reacquired else "reserved"
                units.take(quantity, source, source)
                return event.allocated.reacquired
            case "released":
                units.released += quantity
                units.take(quantity, "reserved", "allocated")
            case "expired":
                units.expired += quantity
                units.reserved -= quantity
            case "fulfilled":
                units.fulfilled += quantity
                units.take(quantity, "allocated", "reserved")
                self.on_hand[place] -= quantity
        return False

    def _transferred(self, hold: Held, place: Place, to: Place, quantity: int) -> list[Touched]:
        units, there = hold.lines[place], hold.lines[to]
        reserved = min(quantity, units.reserved)
        units.reserved -= reserved
        units.allocated -= quantity - reserved
        there.reserved += reserved
        there.allocated += quantity - reserved
        return [(place, False), (to, True)]

    def _stock_changed(self, fact: journal.StockChanged) -> list[Touched]:
        if fact.sku not in self._skus:
            return []
        place = (fact.sku, fact.location)
        self.on_hand[place] += fact.delta
        if fact.state not in WHOLE:
            self.unsellable[place] += fact.delta
        return [(place, False)]
