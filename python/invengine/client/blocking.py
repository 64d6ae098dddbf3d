"""The client for threads: every method blocks. Any number of threads may share one client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from invengine.client import batches, columns, commands, connection, events, reads
from invengine.client.commands import CommandFields, Draft
from invengine.client.commands_blocking import Commands
from invengine.client.operation import Operation
from invengine.client.reads import Pages, Read
from invengine.client.results import (
    Availability,
    Channel,
    Digest,
    Event,
    Hold,
    Item,
    KnownOutcome,
    Level,
    Location,
    Outcome,
    Registration,
    Reservation,
    ServerDescription,
    Upserted,
)
from invengine.client.retry import Pause, turn
from invengine.client.source_blocking import OrderedSource
from invengine.errors import ClientClosed, ConnectionLost, InvengineError

T = TypeVar("T")


class Client(Commands):
    """A connection to one engine for synchronous code.

    `channel` and `actor` are written into every command that does not name its own. `timeout_s` is the time for one
    call with all its retries. Nothing is sent before the first call.
    """

    def __init__(
        self,
        target: str = connection.DEFAULT_TARGET,
        channel: str | None = None,
        actor: str | None = None,
        timeout_s: float = connection.DEFAULT_TIMEOUT_S,
        *,
        ledger: str = "",
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self.channel = channel or ""
        self.actor = actor or ""
        self.timeout_s = timeout_s
        self._metadata = connection.metadata_for(ledger)
        self._grpc: Any = grpc.insecure_channel(target, options=[*connection.OPTIONS, *options])
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
        self._grpc.close()

    # Commands

    def send(self, draft: Draft[T], timeout_s: float | None = None) -> T:
        """Sends one draft with retries. It gets a key and issue_time if it has none, and keeps them."""
        key = draft.seal(time.time_ns(), "", self.channel, self.actor)
        answer = self._call(draft.kind.method, draft.request.SerializeToString(), key, timeout_s)
        return draft.kind.decode(draft.kind.answer.FromString(answer))

    def submit(self, drafts: Iterable[Draft[Any]], *, timeout_s: float | None = None) -> list[Outcome]:
        """Sends commands on holds in order, one outcome each; a no is a value here, not raised.

        Each command is atomic, the batch is not. More than 1,000 go as several batches, one after the other. After an
        OutcomeUnknown submit the same drafts again: they keep their keys.
        """
        wanted = batches.check(drafts)
        for draft in wanted:
            draft.seal(time.time_ns(), "", self.channel, self.actor)
        found: list[Outcome] = []
        for payload in batches.requests(wanted):
            found += batches.outcomes(self._call(batches.METHOD, payload, "", timeout_s))
        return found

    def submit_reserves(
        self,
        skus: Sequence[str],
        locations: Sequence[str] | str,
        quantities: Sequence[int] | int = 1,
        *,
        keys: Sequence[str] | None = None,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
        **fields: Unpack[CommandFields],
    ) -> columns.ReserveColumns:
        """Reserves one line a row, in order, each on its own; columns in, columns out."""
        fields.setdefault("channel", self.channel or None)
        fields.setdefault("actor", self.actor or None)
        found, payloads = columns.encoded(skus, locations, quantities, keys, ttl_s, fields)
        for payload in payloads:
            found.add(self._call(columns.METHOD, payload, "", timeout_s))
        return found

    def operation(self, name: str) -> Operation:
        """Commands with stable keys derived from `name`: "order-1017/1-reserve", "order-1017/2-allocate", ..."""
        return Operation(self, name)

    def source(
        self,
        source_id: str,
        *,
        epoch: int | None = None,
        sequence: int | None = None,
        state_file: str | PathLike[str] | None = None,
    ) -> OrderedSource:
        """The ordered line of messages of an outside system.

        It continues in the epoch that the caller or the state file remembers, after the last `sequence` that was
        answered; without either it registers a new epoch.
        """
        return OrderedSource.open(self, source_id, epoch=epoch, sequence=sequence, state_file=state_file)

    def register_source(
        self, source_id: str, *, timeout_s: float | None = None, **fields: Unpack[CommandFields]
    ) -> Registration:
        """Starts the next epoch of a source. Older epochs are refused from then on."""
        return self.send(commands.register_source(source_id, **fields), timeout_s)

    # Reservations

    def get_reservation(
        self,
        reservation_id: str | Hold | None = None,
        *,
        reservation_key: str | None = None,
        channel: str | None = None,
        source_id: str = "",
        timeout_s: float | None = None,
    ) -> Reservation:
        """One reservation as it stands, by its id or by the key of its Reserve."""
        scope = self.channel if channel is None else channel
        return self._read(reads.get_reservation(reservation_id, reservation_key, scope, source_id), timeout_s)

    def list_reservations(
        self, *, order: str = "", holder: str = "", include_ended: bool = False, page_size: int = 1000
    ) -> Iterator[Reservation]:
        """Reservations in the order they were made; fetches page after page."""
        return self._walk(reads.list_reservations(order, holder, include_ended, page_size))

    def get_outcome(
        self, key: str, *, channel: str | None = None, source_id: str = "", timeout_s: float | None = None
    ) -> KnownOutcome:
        """What the command with this key did."""
        scope = self.channel if channel is None else channel
        return self._read(reads.get_outcome(key, scope, source_id), timeout_s)

    # Stock

    def get_level(self, sku: str, location: str, *, timeout_s: float | None = None) -> Level:
        """The quantities of one item at one location."""
        return self._read(reads.get_level(sku, location), timeout_s)

    def list_levels(self, *, sku: str = "", location: str = "", page_size: int = 1000) -> Iterator[Level]:
        """Levels of an item, of a location or all; fetches page after page."""
        return self._walk(reads.list_levels(sku, location, page_size))

    def availability(self, sku: str, location: str | None = None, *, timeout_s: float | None = None) -> int:
        """Units that may be held now, at one location or at all of them together."""
        return sum(each.available for each in self.availabilities([(sku, location)], timeout_s=timeout_s))

    def availabilities(
        self,
        queries: Iterable[tuple[str, str | None] | str],
        *,
        channel: str | None = None,
        timeout_s: float | None = None,
    ) -> list[Availability]:
        """Units that may be held now, for many (sku, location); a sku alone is answered for each of its levels."""
        scope = self.channel if channel is None else channel
        asked = reads.availabilities(queries, scope)
        return [each for question in asked for each in self._read(question, timeout_s)]

    # Catalogue

    def upsert_items(
        self, items: Iterable[Item], *, timeout_s: float | None = None, **fields: Unpack[CommandFields]
    ) -> Upserted:
        """Creates or replaces items, atomically: 1 to 1,000."""
        return self.send(commands.upsert_items(items, **fields), timeout_s)

    def upsert_locations(
        self, locations: Iterable[Location], *, timeout_s: float | None = None, **fields: Unpack[CommandFields]
    ) -> Upserted:
        """Creates or replaces locations, atomically: 1 to 1,000."""
        return self.send(commands.upsert_locations(locations, **fields), timeout_s)

    def upsert_channels(
        self, channels: Iterable[Channel], *, timeout_s: float | None = None, **fields: Unpack[CommandFields]
    ) -> Upserted:
        """Creates or replaces channels, atomically: 1 to 1,000."""
        return self.send(commands.upsert_channels(channels, **fields), timeout_s)

    def get_item(self, sku: str, *, timeout_s: float | None = None) -> Item:
        """One item."""
        return self._read(reads.get_item(sku), timeout_s)

    def list_items(self, *, page_size: int = 1000) -> Iterator[Item]:
        """All items, in the order they were created."""
        return self._walk(reads.list_items(page_size))

    def get_location(self, location: str, *, timeout_s: float | None = None) -> Location:
        """One location."""
        return self._read(reads.get_location(location), timeout_s)

    def list_locations(self, *, page_size: int = 1000) -> Iterator[Location]:
        """All locations, in the order they were created."""
        return self._walk(reads.list_locations(page_size))

    def get_channel(self, channel: str, *, timeout_s: float | None = None) -> Channel:
        """One channel."""
        return self._read(reads.get_channel(channel), timeout_s)

    def list_channels(self, *, page_size: int = 1000) -> Iterator[Channel]:
        """All channels, in the order they were created."""
        return self._walk(reads.list_channels(page_size))

    # Journal and server

    def read_events(
        self, from_sequence: int = 1, *, follow: bool = False, limit: int = 0, patience_s: float = events.PATIENCE_S
    ) -> Iterator[Event]:
        """Events of the journal from a position on, durable ones only; with `follow` also those to come.

        After a lost connection it goes on with the next event: none is given twice, none is left out. It gives up
        when the server stays away for `patience_s`.
        """
        cursor = events.Cursor(from_sequence, follow, limit)
        retries = None
        while True:
            error: InvengineError = ConnectionLost("the server ended the stream")
            stream = self._stream(events.METHOD, cursor.request())
            try:
                for answer in stream:
                    retries = None
                    yield from cursor.take(answer)
                if cursor.ends_with_stream:
                    return
            except grpc.RpcError as failure:
                error = connection.error_of(failure)
            finally:
                stream.cancel()
            if retries is None:
                retries = turn(time.monotonic() + patience_s, key=None, failed=error)
                step = next(retries)
            else:
                step = retries.send(error)
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                next(retries)

    def digest(self, *, timeout_s: float | None = None) -> Digest:
        """The digest of all ledger state at the newest durable position."""
        return self._read(reads.digest(), timeout_s)

    def server_info(self, *, timeout_s: float | None = None) -> ServerDescription:
        """What the server is, what it promises and what its limits are."""
        return self._read(reads.server_description(), timeout_s)

    def create_snapshot(self, *, timeout_s: float | None = None) -> int:
        """Has the server write a snapshot of what is durable now; the position that it holds, once it counts.

        A server without a durable journal refuses. An earlier position is given if nothing happened since.
        """
        return self._read(reads.create_snapshot(), timeout_s)

    # The way to the wire

    def _read(self, question: Read[T], timeout_s: float | None) -> T:
        answer = self._call(question.method, question.request.SerializeToString(), None, timeout_s)
        return question.decode(question.answer.FromString(answer))

    def _walk(self, pages: Pages[T]) -> Iterator[T]:
        token = ""
        while True:
            found, token = self._read(pages.at(token), None)
            yield from found
            if not token:
                return

    def _call(self, method: str, payload: bytes, key: str | None, timeout_s: float | None) -> bytes:
        """One unary call with its retries; the same bytes each time."""
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        retries = turn(deadline, key=key)
        step = next(retries)
        while True:
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                step = next(retries)
                continue
            try:
                answer: bytes = self._unary(method)(payload, timeout=step.timeout_s, metadata=self._metadata)
                return answer
            except grpc.RpcError as failure:
                step = retries.send(connection.error_of(failure))
            except ValueError:
                # grpc says so when the channel is closed, here or by another thread while the call begins.
                if not self._closed:
                    raise
                step = retries.send(ClientClosed("the client is closed"))

    def _unary(self, method: str) -> Any:
        call = self._calls.get(method)
        if call is None:
            call = self._calls[method] = self._grpc.unary_unary(method)
        return call

    def _stream(self, method: str, payload: bytes) -> Any:
        if self._closed:
            raise ClientClosed("the client is closed")
        return self._grpc.unary_stream(method)(payload, metadata=self._metadata)
