"""Computes the levels of a ledger from its events: how a service keeps a copy of the stock beside the engine.

Expiry depends on time. Units of a hold are free from its expire_time on, and their Expired event follows when the
engine processes it; another hold may have taken them before. So the fold frees them by time, as the ledger does, and
the event changes nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeAlias

from invengine.client.results import Event, Level, StockState, TransferRemainder
from invengine.client.times import stamp_time
from invengine.positions import JournalPosition

LevelKey: TypeAlias = tuple[str, str]
"""Item and location."""

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
_UNSELLABLE = tuple(state for state in StockState if state.is_unsellable)


class _Units:
    """Units by hold, and their sum."""

    __slots__ = ("of", "total")

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.total = 0

    def add(self, hold: str, units: int) -> bool:
        """Adds units to a hold. False if the result is negative."""
        left = self.of.get(hold, 0) + units
        self.total += units
        if left:
            self.of[hold] = left
        else:
            self.of.pop(hold, None)
        return left >= 0


class _Stock:
    """Units of one item at one location."""

    __slots__ = ("allocated", "in_transit", "on_hand", "reserved", "unsellable")

    def __init__(self) -> None:
        self.on_hand = 0
        self.in_transit = 0
        self.unsellable: dict[int, int] = dict.fromkeys(_UNSELLABLE, 0)
        self.reserved = _Units()
        self.allocated = _Units()


class StockFold:
    """Applies the events of one ledger in order, from the first on, and returns levels at any moment from the last on.

    It needs memory for every level and every hold that has units. After each event the levels are those of the ledger
    at that event; none is ever negative. A missing event is refused (ValueError, and nothing is changed). So is an
    event that contradicts the history; the fold cannot be used after that. It is for one thread at a time.

    event: the next event, as `read_events` yields it.
    sku: the item.
    location: the location.
    at: a moment from the last event on, with a time zone; that of the last event if omitted.
    """

    def __init__(self) -> None:
        self._last: Event | None = None
        self._time = _BEFORE_ALL
        self._stocks: dict[LevelKey, _Stock] = {}
        self._expire_times: dict[str, datetime] = {}
        self._levels_of_hold: dict[str, set[LevelKey]] = {}
        self._expiry_queue: list[tuple[datetime, str]] = []

    @property
    def sequence(self) -> int:
        """Sequence of the last event; 0 before the first."""
        return 0 if self._last is None else self._last.sequence

    @property
    def position(self) -> JournalPosition | None:
        """Position of the last event: continue reading `after` it. None before the first."""
        return None if self._last is None else self._last.position

    @property
    def time(self) -> datetime | None:
        """Engine time of the last event. None before the first."""
        return None if self._last is None else self._time

    def take(self, event: Event) -> None:
        """Applies the next event."""
        if event.sequence != self.sequence + 1:
            raise ValueError(
                f"the next event is {self.sequence + 1}, not {event.sequence}: a fold takes every event once"
            )
        if event.time < self._time:
            raise ValueError(f"the time of event {event.sequence} is before that of the one before it")
        self._advance_time(event.time)
        self._last = event
        apply = self._APPLY.get(event.kind)
        if apply is not None:
            apply(self, event.fact)
            self._drop_if_empty(getattr(event.fact, "reservation_id", ""))

    def available(self, sku: str, location: str, at: datetime | None = None) -> int:
        """Units that may be held at a moment, by default that of the last event; see `level`."""
        return self.level(sku, location, at).available

    def level(self, sku: str, location: str, at: datetime | None = None) -> Level:
        """The level at a moment, by default that of the last event; all zero without stock.

        At a later moment, what expires until then is free. An earlier moment is not available (ValueError).
        """
        moment = self._moment(at)
        return self._level((sku, location), self._stocks.get((sku, location)) or _Stock(), moment)

    def levels(self, at: datetime | None = None) -> Iterator[Level]:
        """Yields all levels at a moment, in the order of their first event; see `level`."""
        moment = self._moment(at)
        for key, stock in list(self._stocks.items()):
            yield self._level(key, stock, moment)

    def _moment(self, at: datetime | None) -> datetime:
        if at is None:
            return self._time
        if at < self._time:
            raise ValueError(f"{at} is before the last event, at {self._time}; a fold does not go back")
        return at

    def _level(self, key: LevelKey, stock: _Stock, moment: datetime) -> Level:
        reserved, allocated = stock.reserved.total, stock.allocated.total
        if moment > self._time:
            reserved -= sum(units for hold, units in stock.reserved.of.items() if self._expire_times[hold] <= moment)
        unheld = stock.on_hand - sum(stock.unsellable.values()) - reserved - allocated
        units: dict[str, Any] = {state.field: stock.unsellable[state] for state in _UNSELLABLE}
        units |= {
            "on_hand": stock.on_hand,
            "reserved": reserved,
            "allocated": allocated,
            "in_transit": stock.in_transit,
        }
        return Level(*key, available=max(unheld, 0), oversold=max(-unheld, 0), **units)

    def _advance_time(self, now: datetime) -> None:
        """Frees what has expired, whether or not its event was applied."""
        self._time = now
        while self._expiry_queue and self._expiry_queue[0][0] <= now:
            end, hold = heapq.heappop(self._expiry_queue)
            if self._expire_times.get(hold) == end:
                for key in list(self._levels_of_hold[hold]):
                    self._move(hold, key, reserved=-self._stocks[key].reserved.of.get(hold, 0))
                self._drop_if_empty(hold)

    # One method for each fact

    def _reserved(self, fact: Any) -> None:
        self._set_expire_time(fact)
        for key, units in _lines(fact):
            self._move(fact.reservation_id, key, reserved=units)

    def _extended(self, fact: Any) -> None:
        self._set_expire_time(fact)

    def _amended(self, fact: Any) -> None:
        for key, units in _lines(fact):
            self._move(fact.reservation_id, key, reserved=units - self._units(fact, key)[0])

    def _allocated(self, fact: Any) -> None:
        for key, units in _lines(fact):
            # Units of an expired hold were not reserved any more.
            self._move(fact.reservation_id, key, reserved=0 if fact.reacquired else -units, allocated=units)

    def _released(self, fact: Any) -> None:
        for key, units in _lines(fact):
            reserved = min(units, self._units(fact, key)[0])
            self._move(fact.reservation_id, key, reserved=-reserved, allocated=reserved - units)

    def _fulfilled(self, fact: Any) -> None:
        for key, units in _lines(fact):
            allocated = min(units, self._units(fact, key)[1])
            self._move(fact.reservation_id, key, reserved=allocated - units, allocated=-allocated)
            self._stocks[key].on_hand -= units

    def _transferred(self, fact: Any) -> None:
        for key, units in _lines(fact):
            reserved = min(units, self._units(fact, key)[0])
            self._move(fact.reservation_id, (key[0], fact.to_location), reserved=reserved, allocated=units - reserved)
            self._move(fact.reservation_id, key, reserved=-reserved, allocated=reserved - units)

    def _stock_changed(self, fact: Any) -> None:
        stock = self._stock((fact.sku, fact.location))
        stock.on_hand += fact.delta
        if fact.state in stock.unsellable:
            stock.unsellable[fact.state] += fact.delta
        if min(stock.on_hand, *stock.unsellable.values()) < 0:
            raise self._impossible(f"leaves less than nothing of {fact.sku} at {fact.location}")

    def _stock_moved(self, fact: Any) -> None:
        stock = self._stock((fact.sku, fact.location))
        for state, units in ((fact.from_state, -fact.quantity), (fact.to_state, fact.quantity)):
            if state in stock.unsellable:
                stock.unsellable[state] += units
        if min(stock.unsellable.values()) < 0:
            raise self._impossible(f"moves more of {fact.sku} at {fact.location} than is in that state")

    def _transfer_shipped(self, fact: Any) -> None:
        for line in fact.lines:
            self._change((line.sku, fact.from_location), on_hand=-line.quantity)
            self._change((line.sku, fact.to_location), in_transit=line.quantity)

    def _transfer_received(self, fact: Any) -> None:
        for line in fact.lines:
            if line.sent_back:
                self._change((line.sku, fact.from_location), on_hand=-line.sent_back)
            arrived = (line.sku, fact.to_location)
            self._change(arrived, on_hand=line.quantity, in_transit=-line.in_transit, state=line.state)

    def _transfer_closed(self, fact: Any) -> None:
        sent_back = fact.remainder == TransferRemainder.SENT_BACK
        for line in fact.lines:
            self._change((line.sku, fact.to_location), in_transit=-line.quantity)
            if sent_back:
                self._change((line.sku, fact.from_location), on_hand=line.quantity)

    # Moving units

    def _change(self, key: LevelKey, on_hand: int = 0, in_transit: int = 0, state: int = StockState.ON_HAND) -> None:
        """Changes the physical stock; units in another state than the sellable one are part of on_hand too."""
        stock = self._stock(key)
        stock.on_hand += on_hand
        stock.in_transit += in_transit
        if state in stock.unsellable:
            stock.unsellable[state] += on_hand
        if min(stock.on_hand, stock.in_transit) < 0:
            raise self._impossible(f"moves more of {key[0]} at {key[1]} than there is")

    def _set_expire_time(self, fact: Any) -> None:
        end = stamp_time(fact.expire_time)
        self._expire_times[fact.reservation_id] = end
        self._levels_of_hold.setdefault(fact.reservation_id, set())
        heapq.heappush(self._expiry_queue, (end, fact.reservation_id))

    def _stock(self, key: LevelKey) -> _Stock:
        return self._stocks.setdefault(key, _Stock())

    def _units(self, fact: Any, key: LevelKey) -> tuple[int, int]:
        """The units that a hold has reserved and allocated on a level."""
        stock = self._stock(key)
        return stock.reserved.of.get(fact.reservation_id, 0), stock.allocated.of.get(fact.reservation_id, 0)

    def _move(self, hold: str, key: LevelKey, reserved: int = 0, allocated: int = 0) -> None:
        """Changes the units of a hold on a level."""
        stock = self._stock(key)
        if not stock.reserved.add(hold, reserved) or not stock.allocated.add(hold, allocated):
            raise self._impossible(f"takes more units of {key[0]} at {key[1]} from {hold} than it has")
        keys = self._levels_of_hold.setdefault(hold, set())
        if hold in stock.reserved.of or hold in stock.allocated.of:
            keys.add(key)
        else:
            keys.discard(key)

    def _drop_if_empty(self, hold: str) -> None:
        """Drops a hold without units: an event that takes expired units again contains them."""
        if not self._levels_of_hold.get(hold, True):
            del self._levels_of_hold[hold]
            self._expire_times.pop(hold, None)

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
        "stock_moved": _stock_moved,
        "transfer_shipped": _transfer_shipped,
        "transfer_received": _transfer_received,
        "transfer_closed": _transfer_closed,
    }


def _lines(fact: Any) -> list[tuple[LevelKey, int]]:
    return [((line.sku, line.location), line.quantity) for line in fact.lines]
