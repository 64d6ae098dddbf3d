"""Where a reader of the journal is, so that it goes on at the right event after a reconnect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from invengine.client import arguments, decode
from invengine.client.results import Event
from invengine.errors import InvalidArgument
from invengine.v1 import journal_service_pb2 as journal

METHOD = "/invengine.v1.JournalService/ReadEvents"
PATIENCE_S = 60.0
"""How long a reader tries to reach the server again before it gives up."""


class Cursor:
    """The next event wanted and how many are left to read. Events that were seen are never given twice."""

    def __init__(self, from_sequence: int, follow: bool, limit: int | None) -> None:
        first = arguments.whole(from_sequence, "from_sequence")
        if first < 0:
            raise InvalidArgument("from_sequence", f"0 or more; got {first}")
        self.next_sequence = max(first, 1)
        self._follow = arguments.flag(follow, "follow")
        self._limit = 0 if limit is None else arguments.positive(limit, "limit", "every event")
        self._taken = 0

    @property
    def complete(self) -> bool:
        """True if as many events were read as were wanted."""
        return self._limit > 0 and self._taken >= self._limit

    @property
    def ends_with_stream(self) -> bool:
        """True if a stream that the server ended in order means that there is no more to read."""
        return self.complete or not self._follow

    def request(self) -> bytes:
        """The request for what is still wanted."""
        left = self._limit - self._taken if self._limit else 0
        request = journal.ReadEventsRequest(from_sequence=self.next_sequence, follow=self._follow, limit=left)
        return request.SerializeToString()

    def take(self, answer: bytes) -> Iterator[Event]:
        """The events of one answer that were not seen yet."""
        message: Any = journal.ReadEventsResponse.FromString(answer)
        for event in message.events:
            if event.sequence < self.next_sequence or self.complete:
                continue
            self.next_sequence = event.sequence + 1
            self._taken += 1
            yield decode.event_of(event)
