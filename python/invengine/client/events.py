"""The position of a reader of the journal, which lets it continue at the right event of the right history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from invengine.client import arguments, contract, decode
from invengine.errors import InvalidArgument

if TYPE_CHECKING:
    from invengine.client.event_filter import EventFilter
    from invengine.client.results import Event
    from invengine.positions import JournalPosition

METHOD = "/invengine.v1.JournalService/ReadEvents"
PATIENCE_S = 60.0
"""How long a reader tries to reach the server again before it gives up."""
STORE_INTERVAL_S = 5.0
"""The least time between two positions that a consumer stores: each is an event, and a key that is remembered."""


class Cursor:
    """How far events were read and how many are left to read. No event is yielded twice.

    After the first event it continues by complete positions, so it notices a history that was replaced while it was
    disconnected, however the reading started.
    """

    def __init__(
        self,
        from_sequence: int | None,
        after: JournalPosition | None,
        follow: bool,
        limit: int | None,
        only: EventFilter | None = None,
    ) -> None:
        if from_sequence is not None and after is not None:
            raise InvalidArgument("after", "give from_sequence or after, not both")
        if after is not None:
            from invengine.positions import JournalPosition

            if not isinstance(after, JournalPosition):
                raise InvalidArgument("after", "a JournalPosition; JournalPosition.parse reads the text of one")
        first = 1 if from_sequence is None else arguments.integer(from_sequence, "from_sequence")
        if first < 0:
            raise InvalidArgument("from_sequence", f"0 or more; got {first}")
        self._next = max(first, 1) if after is None else after.sequence + 1
        self._after = after
        self._follow = arguments.flag(follow, "follow")
        self._limit = 0 if limit is None else arguments.positive(limit, "limit", "every event")
        self._taken = 0
        self._filter = None
        if only is not None:
            from invengine.client.event_filter import message_of

            self._filter = message_of(only, "only")

    @property
    def position(self) -> JournalPosition | None:
        """The last event that was yielded, or after a whole answer read: nothing up to there is still to come."""
        return self._after

    @property
    def complete(self) -> bool:
        """True if the limit is reached."""
        return self._limit > 0 and self._taken >= self._limit

    @property
    def ends_with_stream(self) -> bool:
        """True if there is no more to read after the server has ended the stream normally."""
        return self.complete or not self._follow

    def request(self) -> bytes:
        """Returns the request for the remaining events."""
        left = self._limit - self._taken if self._limit else 0
        request = contract.journal.ReadEventsRequest(follow=self._follow, limit=left, filter=self._filter)
        if self._after is None:
            request.from_sequence = self._next
        else:
            after = request.after
            after.ledger, after.sequence = self._after.ledger, self._after.sequence
            after.writer_epoch = self._after.writer_epoch
        return request.SerializeToString()

    def take(self, answer: bytes) -> Iterator[Event]:
        """Yields the events of one answer that were not read yet."""
        message: Any = contract.journal.ReadEventsResponse.FromString(answer)
        for event in message.events:
            if event.sequence < self._next or self.complete:
                continue
            self._next = event.sequence + 1
            self._taken += 1
            found = decode.event_of(event, message.ledger)
            # A server older than positions does not name its ledger.
            self._after = found.position if message.ledger else None
            yield found
        read = message.read_through
        if read.sequence >= self._next and not self.complete:
            from invengine.positions import JournalPosition

            self._next = read.sequence + 1
            self._after = JournalPosition(read.ledger, read.writer_epoch, read.sequence)
