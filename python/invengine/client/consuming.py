"""How far a consumer of events has come, and when to store it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from invengine.client import arguments, results
from invengine.client.entities import upsert_consumers
from invengine.client.event_filter import EventFilter
from invengine.client.events import Cursor
from invengine.errors import InvalidArgument
from invengine.positions import JournalPosition

if TYPE_CHECKING:
    from invengine.client.draft import Draft
    from invengine.client.results import Consumer, Upserted

SKIPPED_MAX = 1_000
"""How many events that did not match may be read again after a restart. Without it two idle consumers would answer each
other's stored positions for ever."""


class Progress:
    """The position of a consumer: stored with compare-and-swap, so that a second consumer of its name is noticed."""

    def __init__(self, consumer: Consumer, store_interval_s: float) -> None:
        self._stored = consumer
        self._interval_s = store_interval_s
        self._position: JournalPosition = consumer.position
        self._has_handled = False
        self._next_s = time.monotonic() + self._interval_s

    def handled(self, position: JournalPosition) -> None:
        """Notes that an event was handled."""
        self._position, self._has_handled = position, True

    def skipped_to(self, position: JournalPosition | None) -> None:
        """Notes that everything up to a position was handled, or is of no interest."""
        if position is not None:
            self._position = position

    @property
    def is_ahead(self) -> bool:
        """True if the stored position is worth replacing."""
        return self._has_handled or self._position.sequence - self._stored.position.sequence >= SKIPPED_MAX

    @property
    def is_due(self) -> bool:
        """True if it is to be replaced now."""
        return self.is_ahead and time.monotonic() >= self._next_s

    def draft(self) -> Draft[Upserted]:
        """Returns the command that stores the position, if nobody else did."""
        version = self._stored.version
        return upsert_consumers([results.Consumer(self._stored.consumer, self._position, version)])

    def stored(self, outcome: Upserted) -> None:
        """Notes that the draft was accepted."""
        self._stored = results.Consumer(self._stored.consumer, self._position, outcome.versions[0])
        self._has_handled = False
        self._next_s = time.monotonic() + self._interval_s


def checked_filter(
    only: EventFilter | None,
    start: JournalPosition | None,
    follow: bool,
    limit: int | None,
    store_interval_s: float,
    patience_s: float,
) -> EventFilter:
    """Checks the arguments of `consume` before anything is sent, and returns its filter."""
    arguments.timeout(store_interval_s, "store_interval_s")
    arguments.timeout(patience_s, "patience_s")
    if start is not None and not isinstance(start, JournalPosition):
        raise InvalidArgument("start", "a JournalPosition; JournalPosition.parse reads the text of one")
    only = EventFilter() if only is None else only
    Cursor(None, start, follow, limit, only)
    return replace(only, without_consumers=True)


def first_time(consumer: str, start: JournalPosition | None, ledger: str) -> Consumer:
    """The consumer that does not exist yet: at `start`, or before the first event."""
    return results.Consumer(consumer, JournalPosition.start(ledger) if start is None else start, 0)
