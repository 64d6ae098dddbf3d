"""The client for threads: every method blocks. Any number of threads may share one client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import grpc

from invengine.client import arguments, connection, events
from invengine.client.draft import CommandFields, Draft
from invengine.client.methods import ClientCommands, Commands, Reads
from invengine.client.reads import Pages, Read
from invengine.client.retry import Pause, Retries, attempts, may_be_reissued
from invengine.errors import ClientClosed, ConnectionLost, EntityNotFound, InvengineError, Rejected, Unreachable

if TYPE_CHECKING:
    from invengine.client.columns import ReserveColumns
    from invengine.client.consuming import Progress
    from invengine.client.event_filter import EventFilter
    from invengine.client.operation import Operation
    from invengine.client.results import Event, MessageOutcome, Outcome
    from invengine.client.source_blocking import OrderedSource
    from invengine.positions import JournalPosition

T = TypeVar("T")


class Client(Reads, ClientCommands, Commands):
    """A connection to one engine for synchronous code. Any number of threads may share it; a fork may not.

    Nothing is sent before the first call. `with` closes it. `invengine.errors` has what every call may raise.

    target: where the server listens: HOST:PORT, [IPV6]:PORT or unix:PATH.
    channel: the sales channel; for a client the default of its commands. For a read the scope of a key, or the channel
        whose availability is requested; the client's own if omitted.
    actor: who makes the call, recorded with the events; for a client the default of its commands.
    timeout_s: seconds for one call with all its retries and pauses, at most 365 days; 10 for a client, the client's
        own for a call.
    ledger: the name of the ledger, 1 to 128 printable ASCII characters; the only one of the server if omitted.
    options: gRPC channel arguments beside those that the client sets.
    draft: a command made by a function of `invengine.client.commands`. Sending it again repeats the same intention.
    drafts: commands on holds, in the order in which they are executed.
    skus: the item of each row.
    locations: the location of each row, or one for all.
    quantities: whole units of each row, or one number for all.
    keys: an idempotency key for each row; random ones if omitted.
    name: what the keys of an operation start with, such as an order number; it must outlive the process.
    source_id: the external system; for a read the scope of the key, instead of a channel.
    epoch: the registration of a source to continue, together with `sequence`; otherwise that of the state file, or a
        new one.
    sequence: the last number of the source that was answered, 0 or more.
    state_file: a small file that stores epoch and sequence of a source; created if it does not exist.
    key: the idempotency key to look up.
    order: only the reservations of this order; all if omitted.
    holder: only the reservations of this holder; all if omitted.
    include_ended: True also returns reservations with nothing outstanding.
    page_size: entries per request, 1 to 1,000.
    sku: the item; for a list only its levels, all if omitted.
    location: the location; for a list only its levels, all if omitted; for availability all locations together if
        omitted.
    at: the moment: the sequence of an event (0 is before the first), its `JournalPosition`, or a datetime with a time
        zone that is before the server's present time.
    queries: each (sku, location), or a sku alone for each of its levels.
    items, locations, channels: 1 to 1,000 entries; a field that an entry leaves empty is empty afterwards.
    from_sequence: the sequence of the first event to read, for a first read; events are numbered from 1.
    after: the position of the last event that was handled; not together with `from_sequence`.
    follow: True waits at the end for new events.
    limit: end after this many events, 1 or more; no limit if omitted.
    only: an `EventFilter`: the server sends only events that match; every event if omitted.
    consumer: the name under which the ledger keeps the position of a reader.
    start: the position after which a consumer begins that the ledger does not know yet; the first event if omitted.
    store_interval_s: seconds between two positions that a consumer stores, at most 365 days.
    patience_s: seconds for which a reader tries to reach a server that is unreachable, at most 365 days.
    """

    def __init__(
        self,
        target: str = connection.DEFAULT_TARGET,
        channel: str | None = None,
        actor: str | None = None,
        timeout_s: float = connection.DEFAULT_TIMEOUT_S,
        *,
        ledger: str | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self.channel = "" if channel is None else arguments.nonempty(channel, "channel")
        self.actor = "" if actor is None else arguments.nonempty(actor, "actor")
        self.timeout_s = arguments.timeout(timeout_s, "timeout_s")
        self._target = connection.checked_target(target)
        self._scope_of_use = connection.UsageScope()
        self._metadata = connection.metadata_for(ledger)
        self._grpc: Any = grpc.insecure_channel(target, options=[*connection.options_for(target), *options])
        self._calls: dict[str, Any] = {}
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection. Calls under way end with an unknown outcome."""
        self._closed = True
        if not self._scope_of_use.forked:
            self._grpc.close()

    # Commands

    def send(self, draft: Draft[T], timeout_s: float | None = None) -> T:
        """Sends one draft with retries. It gets a key and issue_time if it has none, and keeps them."""
        deadline = time.monotonic() + draft.time_s(timeout_s, self.timeout_s)
        anonymous = draft.is_anonymous
        # Loading `_core` takes longer than a call: a program that makes only one has no use for it.
        native = draft.kind.method in self._calls
        payload = draft.payload(time.time_ns(), self.channel, self.actor, native)
        while True:
            try:
                answer = self._call(draft.kind.method, payload, draft.key, deadline)
                break
            except Rejected as error:
                if not anonymous or not may_be_reissued(error):
                    draft.locate(error)
                    raise
            anonymous = False
            draft.stamp(time.time_ns())
            payload = draft.payload(time.time_ns())
        return draft.kind.result_of(answer, native)

    def submit(self, drafts: Iterable[Draft[Any]], *, timeout_s: float | None = None) -> list[Outcome]:
        """Sends commands on holds in order, one outcome each; a rejection is returned, not raised.

        Each command is atomic, the batch is not. More than 1,000 commands, or those that do not fit one answer, are
        sent as several batches, one after the other. After an OutcomeUnknown submit the same drafts again: they keep
        their keys.
        """
        from invengine.client import batches

        wanted, time_s = batches.check(drafts), self._time_s(timeout_s)
        frames = [draft.frame(time.time_ns(), self.channel, self.actor) for draft in wanted]
        found: list[Outcome] = []
        while len(found) < len(wanted):
            payload, asked = batches.request(frames, len(found))
            found += batches.outcomes(self._call(batches.METHOD, payload, "", time.monotonic() + time_s), asked)
        return batches.located(wanted, found)

    def record_messages(
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
        self._record(recording.check(messages, numbered=True), self._time_s(timeout_s), found)
        return found

    def _record(self, drafts: list[Draft[Any]], time_s: float, found: list[MessageOutcome]) -> None:
        """Adds the outcomes to `found`, so that those up to an error are known."""
        from invengine.client import recording

        sealed, retries = recording.sealed(drafts, time.time_ns(), self.channel, self.actor), Retries("")
        while len(found) < len(drafts):
            payload, asked = recording.request(sealed, len(found))
            deadline = time.monotonic() + time_s
            taken, busy = recording.outcomes(self._call(recording.METHOD, payload, "", deadline), asked)
            found += recording.located(drafts[len(found) :], taken)
            if taken or busy is None:
                retries.succeeded()
            else:
                time.sleep(retries.pause_s(busy, deadline))
                retries.resume()

    def submit_reserves(
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
        from invengine.client import columns

        fields["channel"] = self.channel or None if fields.get("channel") is None else fields["channel"]
        fields["actor"] = self.actor or None if fields.get("actor") is None else fields["actor"]
        time_s = self._time_s(fields.get("timeout_s"))
        found, payloads = columns.encoded(skus, locations, quantities, keys, ttl_s, fields)
        for payload in payloads:
            found.add(self._call(columns.METHOD, payload, "", time.monotonic() + time_s))
        return found

    def operation(self, name: str) -> Operation:
        """Commands with stable keys derived from `name`: "order-1017/1-reserve", "order-1017/2-allocate", ..."""
        from invengine.client.operation import Operation

        return Operation(self, name)

    def source(
        self,
        source_id: str,
        *,
        epoch: int | None = None,
        sequence: int | None = None,
        state_file: str | PathLike[str] | None = None,
    ) -> OrderedSource:
        """Opens the ordered messages of an external system.

        It continues in the epoch that the caller or the state file remembers, after the last `sequence` that was
        answered; without either it registers a new epoch.
        """
        from invengine.client.source_blocking import OrderedSource

        return OrderedSource.open(self, source_id, epoch=epoch, sequence=sequence, state_file=state_file)

    # Journal

    def read_events(
        self,
        from_sequence: int | None = None,
        *,
        after: JournalPosition | None = None,
        follow: bool = False,
        limit: int | None = None,
        only: EventFilter | None = None,
        patience_s: float = events.PATIENCE_S,
    ) -> Iterator[Event]:
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
        for batch in self._event_batches(cursor, patience_s):
            yield from batch

    def consume(
        self,
        consumer: str,
        *,
        only: EventFilter | None = None,
        start: JournalPosition | None = None,
        follow: bool = True,
        limit: int | None = None,
        store_interval_s: float = events.STORE_INTERVAL_S,
        patience_s: float = events.PATIENCE_S,
    ) -> Iterator[Event]:
        """Yields events from where this consumer was when it last ran; its position is kept in the ledger.

        An event counts as handled when the loop asks for the next one. The position of the last handled event is stored
        every `store_interval_s`, with the event that comes then, and at a regular end. So each event comes at least
        once: after a crash or a `break` those since the last stored position come again. Positions that consumers
        store are no events here.

        StaleVersion means that another process consumes under this name: stop one of them. A consumer that the ledger
        does not know yet begins after `start`, or with the first event.
        """
        cursor, progress = self._consumption(consumer, only, start, follow, limit, store_interval_s, patience_s)
        for batch in self._event_batches(cursor, patience_s):
            for event in batch:
                yield event
                progress.handled(event.position)
                if progress.is_due:
                    progress.stored(self.send(progress.draft()))
            progress.skipped_to(cursor.position)
            if progress.is_due:
                progress.stored(self.send(progress.draft()))
        if progress.is_ahead:
            progress.stored(self.send(progress.draft()))

    def _consumption(
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
            known = self.get_consumer(consumer)
        except EntityNotFound:
            known = consuming.first_time(consumer, start, self.server_info().ledger)
        cursor = events.Cursor(None, known.position, follow, limit, only)
        return cursor, consuming.Progress(known, store_interval_s)

    def _event_batches(self, cursor: events.Cursor, patience_s: float) -> Iterator[Iterator[Event]]:
        """Yields the events of each answer, which may be none. Each must be read before the next is asked for."""
        arguments.timeout(patience_s, "patience_s")
        retries = Retries(None)
        while True:
            error: InvengineError = ConnectionLost("the server ended the stream")
            stream: Any = None
            try:
                stream = self._stream(events.METHOD, cursor.request())
                for answer in stream:
                    retries.succeeded()
                    yield cursor.take(answer)
                    if cursor.complete:
                        return
                if cursor.ends_with_stream:
                    return
            except grpc.RpcError as failure:
                error = connection.error_of(failure)
            except Unreachable as failure:
                error = failure
            finally:
                if stream is not None:
                    stream.cancel()
            time.sleep(retries.pause_s(error, time.monotonic() + patience_s))
            retries.resume()

    # Calls

    def _read(self, read: Read[T]) -> T:
        time_s = self._time_s(read.timeout_s)
        return read.decoded(
            self._call(read.method, payload, None, time.monotonic() + time_s) for payload in read.payloads(self.channel)
        )

    def _walk(self, pages: Pages[T]) -> Iterator[T]:
        token = ""
        while True:
            found, token = self._read(pages.at(token))
            yield from found
            if not token:
                return

    def _time_s(self, timeout_s: float | None) -> float:
        return arguments.timeout(self.timeout_s if timeout_s is None else timeout_s, "timeout_s")

    def _call(self, method: str, payload: bytes, key: str | None, deadline: float) -> bytes:
        """Makes one unary call with its retries, which send the same bytes."""
        retries = attempts(deadline, key=key)
        step = next(retries)
        while True:
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                step = next(retries)
                continue
            try:
                left_s = self._connect(step.timeout_s)
                answer: bytes = self._unary(method)(payload, timeout=left_s, metadata=self._metadata)
                return answer
            except grpc.RpcError as failure:
                step = retries.send(connection.error_of(failure))
            except InvengineError as error:  # Nothing was sent.
                step = retries.send(error)
            except ValueError:
                # grpc raises it when the channel is closed, here or by another thread while the call starts.
                if not self._closed:
                    raise
                step = retries.send(ClientClosed("the client is closed"))

    def _connect(self, timeout_s: float) -> float:
        """Waits for the connection and returns the remaining time; see `connection.connecting`."""
        self._scope_of_use.check()
        deadline = time.monotonic() + timeout_s
        for wait_s in connection.connecting(self._state, self._target, deadline):
            time.sleep(wait_s)
        return connection.time_left_s(deadline)

    def _state(self) -> int:
        # The equivalent of get_state() of asyncio channels. The public alternative, subscribe(), needs a thread per
        # client, and reports a change, or starts to connect, up to 0.2 s late.
        state: int = self._grpc._channel.check_connectivity_state(True)
        return state

    def _unary(self, method: str) -> Any:
        call = self._calls.get(method)
        if call is None:
            call = self._calls[method] = self._grpc.unary_unary(method)
        return call

    def _stream(self, method: str, payload: bytes) -> Any:
        if self._closed:
            raise ClientClosed("the client is closed")
        self._connect(self.timeout_s)
        return self._grpc.unary_stream(method)(payload, metadata=self._metadata)
