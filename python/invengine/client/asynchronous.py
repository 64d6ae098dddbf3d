"""The client for asyncio, with automatic batching of commands on holds. It belongs to one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from grpc import aio

from invengine.client import arguments, batches, columns, connection, decode, events
from invengine.client.draft import CommandFields, Draft
from invengine.client.methods import AsyncCommands, AsyncReads, ClientCommands
from invengine.client.operation import AsyncOperation
from invengine.client.reads import Pages, Read
from invengine.client.retry import Pause, Retries, attempts, is_repeatable, may_be_reissued
from invengine.client.source_async import WINDOW, AsyncSource
from invengine.client.stream import METHOD as STREAM
from invengine.client.stream import CommandStream
from invengine.errors import (
    ClientClosed,
    ConnectionLost,
    DeadlineExceeded,
    EntityNotFound,
    InvengineError,
    Rejected,
    Unreachable,
)

if TYPE_CHECKING:
    from invengine.client.columns import ReserveColumns
    from invengine.client.consuming import Progress
    from invengine.client.event_filter import EventFilter
    from invengine.client.results import Event, MessageOutcome, Outcome
    from invengine.positions import JournalPosition

T = TypeVar("T")


class AsyncClient(AsyncReads, ClientCommands, AsyncCommands):
    """A connection to one engine for asyncio code. It belongs to the event loop that first uses it, and to no fork.

    Nothing is sent before the first call. `async with` closes it.

    A task that is cancelled while it waits for a command does not take the command back. What was not sent yet is not
    sent; what was sent may be executed, and its answer is dropped. So give a command that may be cancelled a `key` of
    its own (or use `operation`): repeat it with the key to get its answer, look with `get_outcome(key)`, or undo it
    with `release(reservation_key=key)`. A cancelled message of a source stays open and is settled before the next one.
    A cancelled read leaves nothing behind.

    batching: True collects commands on holds while others are in flight and sends them together over one stream; each
        still has its own outcome. False makes one call for each.
    window: messages of a source that are in flight at once, from 1 on.
    """

    def __init__(
        self,
        target: str = connection.DEFAULT_TARGET,
        channel: str | None = None,
        actor: str | None = None,
        timeout_s: float = connection.DEFAULT_TIMEOUT_S,
        *,
        batching: bool = True,
        ledger: str | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self.channel = "" if channel is None else arguments.nonempty(channel, "channel")
        self.actor = "" if actor is None else arguments.nonempty(actor, "actor")
        self.timeout_s = arguments.timeout(timeout_s, "timeout_s")
        self._target = connection.checked_target(target)
        self._scope_of_use = connection.UsageScope()
        self._options = [*connection.options_for(target), *options]
        self._batching = batching
        self._metadata = connection.metadata_for(ledger)
        self._grpc: Any = None
        self._stream: CommandStream | None = None
        self._calls: dict[str, Any] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection. Calls under way end with an unknown outcome."""
        self._closed = True
        if self._scope_of_use.forked:
            return
        self._scope_of_use.check_loop()
        if self._stream is not None:
            await self._stream.close()
        if self._grpc is not None:
            await self._grpc.close()

    # Commands

    def send(self, draft: Draft[T], timeout_s: float | None = None) -> Coroutine[Any, Any, T]:
        """Sends one draft with retries. It gets a key and issue_time if it has none, and keeps them."""
        time_s = draft.time_s(timeout_s, self.timeout_s)
        if self._batching and draft.kind.submit_field:
            return self._send_batched(draft, time_s)
        return self._send_alone(draft, time_s)

    async def submit(self, drafts: Iterable[Draft[Any]], *, timeout_s: float | None = None) -> list[Outcome]:
        """Sends commands on holds in order, one outcome each; a rejection is returned, not raised.

        Each command is atomic, the batch is not. More than 1,000 commands, or those that do not fit one answer, are
        sent as several batches, one after the other. After an OutcomeUnknown submit the same drafts again: they keep
        their keys.
        """
        wanted, time_s = batches.check(drafts), self._time_s(timeout_s)
        frames = [draft.frame(time.time_ns(), self.channel, self.actor) for draft in wanted]
        found: list[Outcome] = []
        while len(found) < len(wanted):
            payload, asked = batches.request(frames, len(found))
            found += batches.outcomes(await self._call(batches.METHOD, payload, "", time.monotonic() + time_s), asked)
        return batches.located(wanted, found)

    async def record_messages(
        self, messages: Iterable[Draft[Any]], *, timeout_s: float | None = None
    ) -> list[MessageOutcome]:
        """Sends messages of sources in order, one outcome each; a rejection is returned, not raised.

        Each is a draft of `messages`, or of the same command, with a `key`, its id, and a `source`, its number. It is
        applied at once or kept: until the messages before it have come (PARKED), until what it names exists (WAITING),
        or for a person (DEAD_LETTER). What is REFUSED is not kept; its rejection says what to do. More than 1,000
        messages are sent as several batches. After an OutcomeUnknown send the same drafts again: nothing is applied
        twice.

        messages: drafts of messages, such as `messages.goods_received(...)`.
        """
        from invengine.client import recording

        found: list[MessageOutcome] = []
        await self._record(recording.check(messages, numbered=True), self._time_s(timeout_s), found)
        return found

    async def _record(self, drafts: list[Draft[Any]], time_s: float, found: list[MessageOutcome]) -> None:
        """Adds the outcomes to `found`, so that those up to an error are known."""
        from invengine.client import recording

        sealed, retries = recording.sealed(drafts, time.time_ns(), self.channel, self.actor), Retries("")
        while len(found) < len(drafts):
            payload, asked = recording.request(sealed, len(found))
            deadline = time.monotonic() + time_s
            taken, busy = recording.outcomes(await self._call(recording.METHOD, payload, "", deadline), asked)
            found += recording.located(drafts[len(found) :], taken)
            if taken or busy is None:
                retries.succeeded()
            else:
                await asyncio.sleep(retries.pause_s(busy, deadline))
                retries.resume()

    async def submit_reserves(
        self,
        skus: Sequence[str],
        locations: Sequence[str] | str,
        quantities: Sequence[int] | int = 1,
        *,
        keys: Sequence[str] | None = None,
        ttl_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> ReserveColumns:
        """Reserves one line per row, in order, each independently; takes and returns columns."""
        fields["channel"] = self.channel or None if fields.get("channel") is None else fields["channel"]
        fields["actor"] = self.actor or None if fields.get("actor") is None else fields["actor"]
        time_s = self._time_s(fields.get("timeout_s"))
        found, payloads = columns.encoded(skus, locations, quantities, keys, ttl_s, fields)
        for payload in payloads:
            found.add(await self._call(columns.METHOD, payload, "", time.monotonic() + time_s))
        return found

    def operation(self, name: str) -> AsyncOperation:
        """Commands with stable keys derived from `name`: "order-1017/1-reserve", "order-1017/2-allocate", ..."""
        return AsyncOperation(self, name)

    async def source(
        self,
        source_id: str,
        *,
        epoch: int | None = None,
        sequence: int | None = None,
        state_file: str | PathLike[str] | None = None,
        window: int = WINDOW,
    ) -> AsyncSource:
        """Opens the ordered messages of an external system, `window` of them in flight.

        It continues in the epoch that the caller or the state file remembers, after the last `sequence` that was
        answered; without either it registers a new epoch.
        """
        return await AsyncSource.open(
            self, source_id, epoch=epoch, sequence=sequence, state_file=state_file, window=window
        )

    # Journal

    async def read_events(
        self,
        from_sequence: int | None = None,
        *,
        after: JournalPosition | None = None,
        follow: bool = False,
        limit: int | None = None,
        only: EventFilter | None = None,
        patience_s: float = events.PATIENCE_S,
    ) -> AsyncIterator[Event]:
        """Yields the durable events of the journal after a position; with `follow` also future ones.

        `after` is the position of the last event that was handled: store `str(event.position)` together with the result
        of handling it, and read it with `JournalPosition.parse`. If a restore, or a Redis that lost events, replaced
        that position, PositionNotInHistory is raised; continue after its `last_common`. `from_sequence` is for a first
        read: a number alone is refused only if it is beyond the next event, so a replaced history that has grown past
        it goes unnoticed. Without either, all events from the first on.

        After a lost connection it continues with the next event: none is yielded twice, none is skipped. It gives up
        when the server stays unreachable for `patience_s`.
        """
        cursor = events.Cursor(from_sequence, after, follow, limit, only)
        async with aclosing(self._event_batches(cursor, patience_s)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def consume(
        self,
        consumer: str,
        *,
        only: EventFilter | None = None,
        start: JournalPosition | None = None,
        follow: bool = True,
        limit: int | None = None,
        store_interval_s: float = events.STORE_INTERVAL_S,
        patience_s: float = events.PATIENCE_S,
    ) -> AsyncIterator[Event]:
        """Yields events from where this consumer was when it last ran; its position is kept in the ledger.

        An event counts as handled when the loop asks for the next one. The position of the last handled event is stored
        every `store_interval_s`, with the event that comes then, and at a regular end. So each event comes at least
        once: after a crash or a `break` those since the last stored position come again. Positions that consumers
        store are no events here.

        StaleVersion means that another process consumes under this name: stop one of them. A consumer that the ledger
        does not know yet begins after `start`, or with the first event.
        """
        cursor, progress = await self._consumption(consumer, only, start, follow, limit, store_interval_s, patience_s)
        async with aclosing(self._event_batches(cursor, patience_s)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event
                    progress.handled(event.position)
                    if progress.is_due:
                        progress.stored(await self.send(progress.draft()))
                progress.skipped_to(cursor.position)
                if progress.is_due:
                    progress.stored(await self.send(progress.draft()))
        if progress.is_ahead:
            progress.stored(await self.send(progress.draft()))

    async def _consumption(
        self,
        consumer: str,
        only: EventFilter | None,
        start: JournalPosition | None,
        follow: bool,
        limit: int | None,
        store_interval_s: float,
        patience_s: float,
    ) -> tuple[events.Cursor, Progress]:
        from invengine.client import consuming

        only = consuming.checked_filter(only, start, follow, limit, store_interval_s, patience_s)
        try:
            known = await self.get_consumer(consumer)
        except EntityNotFound:
            known = consuming.first_time(consumer, start, (await self.server_info()).ledger)
        cursor = events.Cursor(None, known.position, follow, limit, only)
        return cursor, consuming.Progress(known, store_interval_s)

    async def _event_batches(self, cursor: events.Cursor, patience_s: float) -> AsyncGenerator[Iterator[Event]]:
        """Yields the events of each answer, which may be none. Each must be read before the next is asked for."""
        arguments.timeout(patience_s, "patience_s")
        retries = Retries(None)
        while True:
            error: InvengineError = ConnectionLost("the server ended the stream")
            stream: Any = None
            try:
                stream = await self._reading(events.METHOD, cursor.request())
                async for answer in stream:
                    retries.succeeded()
                    yield cursor.take(answer)
                    if cursor.complete:
                        return
                if cursor.ends_with_stream:
                    return
            except aio.AioRpcError as failure:
                error = connection.error_of(failure)
            except Unreachable as failure:
                error = failure
            finally:
                if stream is not None:
                    stream.cancel()
            await asyncio.sleep(retries.pause_s(error, time.monotonic() + patience_s))
            retries.resume()

    # Calls

    def _time_s(self, timeout_s: float | None) -> float:
        return arguments.timeout(self.timeout_s if timeout_s is None else timeout_s, "timeout_s")

    async def _send_alone(self, draft: Draft[T], time_s: float, unknown: InvengineError | None = None) -> T:
        deadline, anonymous = time.monotonic() + time_s, draft.is_anonymous
        native = draft.kind.method in self._calls
        payload = draft.payload(time.time_ns(), self.channel, self.actor, native)
        while True:
            try:
                answer = await self._call(draft.kind.method, payload, draft.key, deadline, unknown)
                break
            except Rejected as error:
                if not anonymous or not may_be_reissued(error):
                    draft.locate(error)
                    raise
            anonymous, unknown = False, None
            draft.stamp(time.time_ns())
            payload = draft.payload(time.time_ns())
        return draft.kind.result_of(answer, native)

    async def _send_batched(self, draft: Draft[T], time_s: float) -> T:
        self._scope_of_use.check_loop()
        deadline, anonymous = time.monotonic() + time_s, draft.is_anonymous
        frame = draft.frame(time.time_ns(), self.channel, self.actor)
        retries: Retries | None = None
        unknown: InvengineError | None = None
        while True:
            outcome = await (self._stream or self._start_stream()).put(frame, deadline)
            if outcome.__class__ is bytes:
                return draft.kind.result_in(outcome)
            error = _error_in(outcome)
            if error is None:
                return draft.kind.decode(outcome)
            if isinstance(error, Rejected) and error is not outcome:
                error.__cause__ = unknown
                if not anonymous or not may_be_reissued(error):
                    raise draft.locate(error)
                anonymous = False
                draft.stamp(time.time_ns())
                frame = draft.frame(time.time_ns())
                continue
            unknown = error if error.outcome_unknown else unknown
            if not is_repeatable(error) and not isinstance(error, (DeadlineExceeded, ClientClosed)):
                # The stream was refused, perhaps because of another command in it: send this command alone.
                return await self._send_alone(draft, deadline - time.monotonic(), unknown)
            retries = retries or Retries(draft.key)
            await asyncio.sleep(retries.pause_s(error, deadline))
            retries.resume()

    def _start_stream(self) -> CommandStream:
        self._stream = CommandStream(self._open_stream)
        return self._stream

    async def _open_stream(self) -> Any:
        await self._connect(self.timeout_s)
        return self._channel().stream_stream(STREAM)(metadata=self._metadata)

    async def _connect(self, timeout_s: float) -> float:
        """Waits for the connection and returns the remaining time; see `connection.connecting`."""
        deadline = time.monotonic() + timeout_s
        for wait_s in connection.connecting(self._state, self._target, deadline):
            await asyncio.sleep(wait_s)
        return connection.time_left_s(deadline)

    def _state(self) -> int:
        state: int = self._channel().get_state(try_to_connect=True).value[0]
        return state

    def _channel(self) -> Any:
        if self._closed:
            raise ClientClosed("the client is closed")
        self._scope_of_use.check_loop()
        if self._grpc is None:
            self._grpc = aio.insecure_channel(self._target, options=self._options)
        return self._grpc

    async def _read(self, read: Read[T]) -> T:
        time_s = self._time_s(read.timeout_s)
        return read.decoded(
            [
                await self._call(read.method, payload, None, time.monotonic() + time_s)
                for payload in read.payloads(self.channel)
            ]
        )

    async def _walk(self, pages: Pages[T]) -> AsyncIterator[T]:
        token = ""
        while True:
            found, token = await self._read(pages.at(token))
            for each in found:
                yield each
            if not token:
                return

    async def _call(
        self, method: str, payload: bytes, key: str | None, deadline: float, unknown: InvengineError | None = None
    ) -> bytes:
        """Makes one unary call with its retries, which send the same bytes."""
        retries = attempts(deadline, key=key, unknown=unknown)
        step = next(retries)
        while True:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                step = next(retries)
                continue
            try:
                left_s = await self._connect(step.timeout_s)
                answer: bytes = await self._unary(method)(payload, timeout=left_s, metadata=self._metadata)
                return answer
            except aio.AioRpcError as failure:
                step = retries.send(connection.error_of(failure))
            except InvengineError as error:  # Nothing was sent.
                step = retries.send(error)
            except (aio.UsageError, asyncio.CancelledError):
                # grpc ends calls like this when the client is closed; otherwise the caller itself was cancelled.
                if not self._closed:
                    raise
                step = retries.send(ConnectionLost("the client was closed before the answer arrived"))

    def _unary(self, method: str) -> Any:
        call = self._calls.get(method)
        if self._closed:
            raise ClientClosed("the client is closed")
        if call is None:
            call = self._calls[method] = self._channel().unary_unary(method)
        return call

    async def _reading(self, method: str, payload: bytes) -> Any:
        await self._connect(self.timeout_s)
        return self._channel().unary_stream(method)(payload, metadata=self._metadata)


def _error_in(result: Any) -> InvengineError | None:
    """The error of a result of the stream; None if it is an accepted outcome."""
    if isinstance(result, InvengineError):
        return result
    return decode.rejection_of(result.rejection) if result.HasField("rejection") else None
