"""Events in the form of the journal, for tests of the auditor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from invengine.client import Event
from invengine.client.times import put_time
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import types_pb2 as types

START = datetime(2026, 11, 27, tzinfo=UTC)
PLACE = ("MUG", "berlin")


class Journal:
    """Makes events with rising sequences. `at_s` counts from START."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, kind: str, at_s: float, fact: Any, key: str = "", channel: str = "web") -> Event:
        """Appends one event; without a key it is the engine's own."""
        context = types.CommandContext(idempotency_key=key, channel=channel) if key else None
        event = Event(len(self.events) + 1, START + timedelta(seconds=at_s), 1, kind, fact, context)
        self.events.append(event)
        return event

    def stock(
        self, delta: int, at_s: float = 0.0, state: types.StockState.ValueType = types.STOCK_STATE_ON_HAND
    ) -> Event:
        """Units more or fewer."""
        fact = journal.StockChanged(sku=PLACE[0], location=PLACE[1], delta=delta, state=state)
        return self.add("stock_changed", at_s, fact, key=f"stock-{len(self.events)}")

    def reserved(self, hold: str, units: int, at_s: float, ends_s: float) -> Event:
        """A hold was taken."""
        fact = journal.Reserved(reservation_id=hold, lines=lines(units))
        put_time(fact.expire_time, START + timedelta(seconds=ends_s))
        return self.add("reserved", at_s, fact, key=f"{hold}/reserve")

    def allocated(self, hold: str, units: int, at_s: float, *, reacquired: bool = False) -> Event:
        """Units were bound to an order."""
        fact = journal.Allocated(reservation_id=hold, lines=lines(units), reacquired=reacquired)
        return self.add("allocated", at_s, fact, key=f"{hold}/allocate")

    def expired(self, hold: str, units: int, at_s: float) -> Event:
        """The engine gave units back at their time."""
        return self.add("expired", at_s, journal.Expired(reservation_id=hold, lines=lines(units)))

    def released(self, hold: str, units: int, at_s: float) -> Event:
        """Units were given back."""
        fact = journal.Released(reservation_id=hold, lines=lines(units))
        return self.add("released", at_s, fact, key=f"{hold}/release")

    def fulfilled(self, hold: str, units: int, at_s: float) -> Event:
        """Units left."""
        fact = journal.Fulfilled(reservation_id=hold, lines=lines(units))
        return self.add("fulfilled", at_s, fact, key=f"{hold}/fulfill")


def lines(units: int) -> list[types.LineSelection]:
    """One line with the item and location of the test."""
    return [types.LineSelection(sku=PLACE[0], location=PLACE[1], quantity=units)]
