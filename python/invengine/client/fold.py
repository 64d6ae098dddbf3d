"""The levels of a ledger, added up from its events: how a service keeps a copy of the stock beside the engine.

Expiry is a matter of time. Units of a hold are free from its expire_time on, and their Expired event follows when the
engine comes to it; another hold may have taken them before. So the fold lets go of them by time, as the ledger does,
and the event changes nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeAlias

from invengine.client.results import Event, Level, StockState
from invengine.client.times import stamp_time
from invengine.positions import JournalPosition

Place: TypeAlias = tuple[str, str]
"""Item and location."""

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
_PARTS = {
    StockState.DAMAGED: "damaged",
    StockState.RETURNED: "returned",
    StockState.QUALITY_CONTROL: "quality_control",
}


class _Units:
    """Units by hold, and their sum."""

    __slots__ = ("of", "total")

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.total = 0

    def add(self, hold: str, units: int) -> bool:
        """Adds units of a hold. False if fewer than none would be left."""
        left = self.of.get(hold, 0) + units
        self.total += units
        if left:
            self.of[hold] = left
        else:
            self.of.pop(hold, None)
        return left >= 0


class _Stock:
    """Units at one place."""

    __slots__ = ("allocated", "damaged", "on_hand", "quality_control", "reserved", "returned")

    def __init__(self) -> None:
        self.on_hand = self.damaged = self.returned = self.quality_control = 0
        self.reserved = _Units()
        self.allocated = _Units()


class StockFold:
    """Applies the events of one ledger in order, from the first one on, and answers levels at any moment from then on.

    It needs memory for every level and every hold that has units. After each event the levels are those of the ledger
    at that event; none is ever negative. Events of which one was left out are refused (ValueError, nothing is changed).
    So are those that no history could have; the fold is then of no use any more. It is for one thread at a time.

    event: the next event, as `read_events` gives it.
    sku: the item.
    location: the location.
    at: a moment from the last event on, with a time zone; that of the last event if left out.
    """

    def __init__(self) -> None:
        self._last: Event | None = None
        self._time = _BEFORE_ALL
        self._stocks: dict[Place, _Stock] = {}
        self._ends: dict[str, datetime] = {}
        self._places: dict[str, set[Place]] = {}
        self._due: list[tuple[datetime, str]] = []

    @property
    def sequence(self) -> int:
        """Sequence of the last event that was taken; 0 before the first."""
        return 0 if self._last is None else self._last.sequence

    @property
    def position(self) -> JournalPosition | None:
        """Position of the last event that was taken: read on `after` it. None before the first."""
        return None if self._last is None else self._last.position

    @property
    def time(self) -> datetime | None:
        """Engine time of the last event that was taken. None before the first."""
        return None if self._last is None else self._time

    def take(self, event: Event) -> None:
        """Applies the next event."""
        if event.sequence != self.sequence + 1:
            raise ValueError(
                f"the next event is {self.sequence + 1}, not {event.sequence}: a fold takes every event once"
            )
        if event.time < self._time:
            raise ValueError(f"the time of event {event.sequence} is before that of the one before it")
        self._pass_time(event.time)
        self._last = event
        apply = self._APPLY.get(event.kind)
        if apply is not None:
            apply(self, event.fact)
            self._forget_if_over(getattr(event.fact, "reservation_id", ""))

    def available(self, sku: str, location: str, at: datetime | None = None) -> int:
        """Units that may be held at a moment, by default that of the last event; see `level`."""
        return self.level(sku, location, at).available

    def level(self, sku: str, location: str, at: datetime | None = None) -> Level:
        """The level at a moment, by default that of the last event; all zero for a place without stock.

        A later moment shows what the events so far leave of it: what expires until then is free. An earlier one is gone
        (ValueError).
        """
        moment = self._moment(at)
        return self._level((sku, location), self._stocks.get((sku, location)) or _Stock(), moment)

    def levels(self, at: datetime | None = None) -> Iterator[Level]:
        """All levels at a moment, in the order in which they were first heard of; see `level`."""
        moment = self._moment(at)
        for place, stock in list(self._stocks.items()):
            yield self._level(place, stock, moment)

    def _moment(self, at: datetime | None) -> datetime:
        if at is None:
            return self._time
        if at < self._time:
            raise ValueError(f"{at} is before the last event, at {self._time}; a fold does not go back")
        return at

    def _level(self, place: Place, stock: _Stock, moment: datetime) -> Level:
        reserved, allocated = stock.reserved.total, stock.allocated.total
        if moment > self._time:
            reserved -= sum(units for hold, units in stock.reserved.of.items() if self._ends[hold] <= moment)
        parts = (stock.damaged, stock.returned, stock.quality_control)
        room = stock.on_hand - sum(parts) - reserved - allocated
        in_transit = 0
        return Level(*place, stock.on_hand, reserved, allocated, *parts, in_transit, max(room, 0), max(-room, 0))

    def _pass_time(self, now: datetime) -> None:
        """What is due is free, whether or not its event has come."""
        self._time = now
        while self._due and self._due[0][0] <= now:
            end, hold = heapq.heappop(self._due)
            if self._ends.get(hold) == end:
                for place in list(self._places[hold]):
                    self._move(hold, place, reserved=-self._stocks[place].reserved.of.get(hold, 0))
                self._forget_if_over(hold)

    # What each fact does

    def _reserved(self, fact: Any) -> None:
        self._end_at(fact)
        for place, units in _lines(fact):
            self._move(fact.reservation_id, place, reserved=units)

    def _extended(self, fact: Any) -> None:
        self._end_at(fact)

    def _amended(self, fact: Any) -> None:
        for place, units in _lines(fact):
            self._move(fact.reservation_id, place, reserved=units - self._units(fact, place)[0])

    def _allocated(self, fact: Any) -> None:
        for place, units in _lines(fact):
            # What comes back from expiry is held by nobody before.
            self._move(fact.reservation_id, place, reserved=0 if fact.reacquired else -units, allocated=units)

    def _released(self, fact: Any) -> None:
        for place, units in _lines(fact):
            reserved = min(units, self._units(fact, place)[0])
            self._move(fact.reservation_id, place, reserved=-reserved, allocated=reserved - units)

    def _fulfilled(self, fact: Any) -> None:
        for place, units in _lines(fact):
            allocated = min(units, self._units(fact, place)[1])
            self._move(fact.reservation_id, place, reserved=allocated - units, allocated=-allocated)
            self._stocks[place].on_hand -= units

    def _transferred(self, fact: Any) -> None:
        for place, units in _lines(fact):
            reserved = min(units, self._units(fact, place)[0])
            self._move(fact.reservation_id, (place[0], fact.to_location), reserved=reserved, allocated=units - reserved)
            self._move(fact.reservation_id, place, reserved=-reserved, allocated=reserved - units)

    def _stock_changed(self, fact: Any) -> None:
        stock = self._stock((fact.sku, fact.location))
        stock.on_hand += fact.delta
        part = _PARTS.get(fact.state)
        if part is not None:
            setattr(stock, part, getattr(stock, part) + fact.delta)
        if min(stock.on_hand, stock.damaged, stock.returned, stock.quality_control) < 0:
            raise self._impossible(f"leaves less than nothing of {fact.sku} at {fact.location}")

    # Moving units

    def _end_at(self, fact: Any) -> None:
        end = stamp_time(fact.expire_time)
        self._ends[fact.reservation_id] = end
        self._places.setdefault(fact.reservation_id, set())
        heapq.heappush(self._due, (end, fact.reservation_id))

    def _stock(self, place: Place) -> _Stock:
        return self._stocks.setdefault(place, _Stock())

    def _units(self, fact: Any, place: Place) -> tuple[int, int]:
        """What a hold has reserved and allocated at a place."""
        stock = self._stock(place)
        return stock.reserved.of.get(fact.reservation_id, 0), stock.allocated.of.get(fact.reservation_id, 0)

    def _move(self, hold: str, place: Place, reserved: int = 0, allocated: int = 0) -> None:
        """Changes what a hold has at a place."""
        stock = self._stock(place)
        if not stock.reserved.add(hold, reserved) or not stock.allocated.add(hold, allocated):
            raise self._impossible(f"takes more units of {place[0]} at {place[1]} from {hold} than it has")
        places = self._places.setdefault(hold, set())
        if hold in stock.reserved.of or hold in stock.allocated.of:
            places.add(place)
        else:
            places.discard(place)

    def _forget_if_over(self, hold: str) -> None:
        """A hold that has nothing left needs no memory: what comes back from expiry comes with its units."""
        if not self._places.get(hold, True):
            del self._places[hold]
            self._ends.pop(hold, None)

    def _impossible(self, why: str) -> ValueError:
        return ValueError(
            f"event {self.sequence} {why}: these are not all events of one ledger; read them again from the first"
        )

    _APPLY: ClassVar[dict[str, Callable[[StockFold, Any], None]]] = {
        "reserved": _reserved,
        "extended": _extended,
        "amended": _amended,
        "allocated": _allocated,
        "released": _released,
        "fulfilled": _fulfilled,
        "transferred": _transferred,
        "stock_changed": _stock_changed,
    }


def _lines(fact: Any) -> list[tuple[Place, int]]:
    return [((line.sku, line.location), line.quantity) for line in fact.lines]
