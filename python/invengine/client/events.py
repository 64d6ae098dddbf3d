"""Where a reader of the journal is, so that it goes on at the right event of the right history after a reconnect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from invengine.client import arguments, decode
from invengine.client.results import Event
from invengine.errors import InvalidArgument
from invengine.positions import JournalPosition
from invengine.v1 import journal_service_pb2 as journal

METHOD = "/invengine.v1.JournalService/ReadEvents"
PATIENCE_S = 60.0
"""How long a reader tries to reach the server again before it gives up."""


class Cursor:
    """The last event that was seen and how many are left to read. Events that were seen are never given twice.

    From the first event on it goes on by whole positions: a history that was replaced while the connection was away is
    noticed, however the reading began.
    """

    def __init__(
        self, from_sequence: int | None, after: JournalPosition | None, follow: bool, limit: int | None
    ) -> None:
        if from_sequence is not None and after is not None:
            raise InvalidArgument("after", "give from_sequence or after, not both")
        if after is not None and not isinstance(after, JournalPosition):
            raise InvalidArgument("after", "a JournalPosition; JournalPosition.parse reads the text of one")
        first = 1 if from_sequence is None else arguments.whole(from_sequence, "from_sequence")
        if first < 0:
            raise InvalidArgument("from_sequence", f"0 or more; got {first}")
        self._next = max(first, 1) if after is None else after.sequence + 1
        self._after = after
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
        request = journal.ReadEventsRequest(follow=self._follow, limit=left)
        if self._after is None:
            request.from_sequence = self._next
        else:
            after = request.after
            after.ledger, after.sequence = self._after.ledger, self._after.sequence
            after.writer_epoch = self._after.writer_epoch
        return request.SerializeToString()

    def take(self, answer: bytes) -> Iterator[Event]:
        """The events of one answer that were not seen yet."""
        message: Any = journal.ReadEventsResponse.FromString(answer)
        for event in message.events:
            if event.sequence < self._next or self.complete:
                continue
            self._next = event.sequence + 1
            self._taken += 1
            found = decode.event_of(event, message.ledger)
            # A server of before positions does not name its ledger.
            self._after = found.position if message.ledger else None
            yield found
