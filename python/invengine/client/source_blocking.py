"""An ordered source for threads: one message in flight, each numbered and settled before the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from invengine.client import arguments, recording
from invengine.client.draft import Draft
from invengine.client.methods import Commands
from invengine.client.numbering import (
    RECORDED_AT_ONCE,
    Message,
    NumberedSource,
    Numbering,
    StateFile,
    consumes_number,
    resume_position,
)
from invengine.client.results import MessageOutcome, Position, Registration
from invengine.errors import DeadlineExceeded, Fault, InvengineError, Rejected, SequenceGap, StaleEpoch

if TYPE_CHECKING:
    from invengine.client.blocking import Client

T = TypeVar("T")


class OrderedSource(NumberedSource, Commands):
    """Numbers the messages of one external system and delivers them in order, each exactly once.

    Use the command methods as on a client. A message with an unknown outcome (OutcomeUnknown) is delivered again
    before the next one. StaleEpoch means that another incarnation took over: stop. Threads take turns.
    """

    def __init__(
        self, client: Client, numbering: Numbering, file: StateFile | None, registration: Registration | None
    ) -> None:
        super().__init__(numbering, file, registration)
        self._client = client
        self._turn = threading.Lock()

    @classmethod
    def open(
        cls,
        client: Client,
        source_id: str,
        *,
        epoch: int | None = None,
        sequence: int | None = None,
        state_file: str | PathLike[str] | None = None,
    ) -> OrderedSource:
        """Continues in a stored epoch or registers a new one; see `Client.source`."""
        file = None if state_file is None else StateFile(state_file)
        known = resume_position(source_id, epoch, sequence, file)
        if known is not None:
            return cls(client, Numbering(source_id, known.epoch, known.sequence), file, None)
        registration = client.register_source(source_id)
        source = cls(client, Numbering(source_id, registration.epoch, 0), file, registration)
        source._save()
        return source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to undo: what was delivered stays delivered."""

    @property
    def position(self) -> Position:
        """Epoch and last answered sequence; store it across a restart."""
        return self._numbering.position

    def send(self, draft: Draft[T], timeout_s: float | None = None) -> T:
        """Delivers one draft as the next message."""
        deadline = time.monotonic() + draft.time_s(timeout_s, self._client.timeout_s)
        with self._turn:
            for message in self._numbering.abandoned:
                self._settle_abandoned(message, deadline)
            answer: T = self._deliver(self._numbering.add(draft), deadline)
            return answer

    def record(self, messages: Iterable[Draft[Any]], *, timeout_s: float | None = None) -> list[MessageOutcome]:
        """Sends messages in order, as the next ones of this source; one outcome each, and no rejection is raised.

        Each is a draft of `messages` with a `key`, its id; the source gives it its number. What cannot be applied is
        kept by the ledger and holds up nothing behind it. What has no answer (OutcomeUnknown), or is REFUSED while a
        later message is kept, is sent again before the next message. PARKED means that the ledger lacks earlier
        messages: send again what comes after the number that `list_sources` has.

        messages: drafts of messages, such as `messages.goods_received(...)`.
        """
        wanted, found = recording.check(messages, numbered=False), list[MessageOutcome]()
        time_s = arguments.timeout(self._client.timeout_s if timeout_s is None else timeout_s, "timeout_s")
        for start in range(0, len(wanted), RECORDED_AT_ONCE):
            deadline = time.monotonic() + time_s
            with self._turn:
                for message in self._numbering.abandoned:
                    self._settle_abandoned(message, deadline)
                found += self._record(wanted[start : start + RECORDED_AT_ONCE], deadline)
        return found

    def _record(self, drafts: list[Draft[Any]], deadline: float) -> list[MessageOutcome]:
        numbered, outcomes = self._numbered(drafts), list[MessageOutcome]()
        try:
            self._client._record(drafts, max(deadline - time.monotonic(), 0.0), outcomes)
        except BaseException as error:
            self._unanswered(numbered[len(outcomes) :], error)
            raise
        finally:
            self._concluded(numbered[: len(outcomes)], outcomes)
        return outcomes

    def _settle_abandoned(self, message: Message, deadline: float) -> None:
        try:
            self._deliver(message, deadline)
        except Fault as error:
            # A new message must not overtake it.
            raise DeadlineExceeded("an earlier message still has no answer, so this one was not sent") from error
        except (StaleEpoch, SequenceGap):
            raise
        except Rejected:
            pass  # It is answered now; its own caller got OutcomeUnknown.

    def _deliver(self, message: Message, deadline: float) -> Any:
        try:
            try:
                answer = self._attempt(message, deadline)
            except SequenceGap as gap:
                self._resend(gap, message, deadline)
                answer = self._attempt(message, deadline)
        except InvengineError as error:
            self._refused(message, error)
            raise
        except BaseException:
            self._numbering.abandon(message)
            raise
        self._settle(message)
        return answer

    def _attempt(self, message: Message, deadline: float) -> Any:
        self._numbering.stamp(message)
        left_s = max(deadline - time.monotonic(), 0.0)
        if not message.recorded:
            return self._client.send(message.draft, left_s)
        (outcome,) = self._client.record_messages([message.draft], timeout_s=left_s)
        return recording.raised(outcome)

    def _resend(self, gap: SequenceGap, message: Message, deadline: float) -> None:
        earlier = self._numbering.answered_from(gap.expected, message.number)
        if earlier is None:
            raise gap
        for each in earlier:
            try:
                self._attempt(each, deadline)
            except InvengineError as error:
                if not consumes_number(error, self._numbering.source_id):
                    raise

    def _refused(self, message: Message, error: InvengineError) -> None:
        if consumes_number(error, self._numbering.source_id):
            self._settle(message)
        elif isinstance(error, Fault) and (error.outcome_unknown or message.uncertain):
            self._numbering.abandon(message)
        elif message.recorded:
            self._give_up(message)
        else:
            self._numbering.withdraw(message)

    def _settle(self, message: Message) -> None:
        self._numbering.settle(message)
        self._save()
