"""Filters of events. The server sends every event; they are filtered here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from invengine.cli.exits import UsageProblemError
from invengine.client import Event
from invengine.v1 import journal_service_pb2

KINDS = tuple(field.name for field in journal_service_pb2.Event.DESCRIPTOR.oneofs_by_name["fact"].fields)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Conditions of an event. Each given condition must hold; a kind may be one of several."""

    sku: str | None = None
    location: str | None = None
    kinds: tuple[str, ...] = ()
    order: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise UsageProblemError(f"there is no kind of event {kind!r}: name one of {', '.join(KINDS)}")

    @property
    def given(self) -> bool:
        """True if there is any condition."""
        return self != EventFilter()

    def wants(self, event: Event) -> bool:
        """True if the event matches."""
        if self.kinds and event.kind not in self.kinds:
            return False
        context: Any = event.context
        if self.key is not None and (context is None or context.idempotency_key != self.key):
            return False
        if self.order is not None and self.order not in _orders(event):
            return False
        if self.sku is None and self.location is None:
            return True
        return any(
            self.sku in (None, sku) and (self.location is None or self.location in places)
            for sku, places in _levels(event.fact)
        )

    def chosen(self, events: Iterable[Event], limit: int | None) -> Iterator[Event]:
        """Yields the matching events, at most `limit` of them; all if it is None."""
        return islice((event for event in events if self.wants(event)), limit)


def _orders(event: Event) -> set[str]:
    return {getattr(part, "order_ref", "") for part in (event.context, event.fact)} - {""}


def _levels(fact: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields the items with the locations of an event: its lines, or its own fields. A transfer has both locations."""
    there = (fact.to_location,) if hasattr(fact, "to_location") else ()
    for line in getattr(fact, "lines", ()):
        yield line.sku, (line.location, *there)
    if isinstance(fact, journal_service_pb2.EntityRemoved):
        yield fact.name if fact.kind == "item" else "", (fact.name,) if fact.kind == "location" else ()
    if hasattr(fact, "sku") or hasattr(fact, "location"):
        yield getattr(fact, "sku", ""), (getattr(fact, "location", ""),)
