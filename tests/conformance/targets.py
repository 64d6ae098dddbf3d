"""The three ways to the same engine behind one interface: a call returns its answer or raises Refused."""

from __future__ import annotations

import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import grpc

from invengine import _core
from invengine.v1 import journal_service_pb2, reservation_service_pb2
from invengine.v1.journal_service_pb2 import Event, ReadEventsRequest, ReadEventsResponse
from invengine.v1.types_pb2 import JournalPosition

from . import methods
from .methods import A, Method, Q
from .refused import CODES, Refused, from_rpc_error, from_status
from .server import ServerProcess

SERVERS = ("native", "python")
TARGETS = (*SERVERS, "embedded")

TIMEOUT_S = 30.0
CONNECTIONS = 8
KEY = "idempotency-key"
LEDGER = "invengine-ledger"
NO_METADATA: Mapping[str, str] = {}

_OPTIONS = (
    # Otherwise connections of one process to one address would be shared.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 64 << 10),
    ("grpc.absolute_max_metadata_size", 64 << 10),
    ("grpc.enable_retries", 0),
)


class Target(ABC):
    """An engine and one way to reach it."""

    name: str

    @abstractmethod
    def call_raw(
        self, path: str, payload: bytes, *, metadata: Mapping[str, str] = NO_METADATA, timeout_s: float = TIMEOUT_S
    ) -> bytes:
        """Returns the bytes of the answer. Raises Refused; TransportEnded if the error is not from invengine."""

    @abstractmethod
    def start_raw(self, path: str, payload: bytes, *, timeout_s: float = TIMEOUT_S) -> Future[bytes]:
        """The same without waiting. Many calls may be in flight at the same time."""

    @abstractmethod
    def read_events(self, from_sequence: int = 0, limit: int = 0) -> list[Event]:
        """Yields the durable events from a position on, up to what is durable now."""

    @abstractmethod
    def matching(self, request: ReadEventsRequest) -> tuple[list[Event], JournalPosition]:
        """Returns the events that a filter lets through, and how far the journal was read for them. Raises Refused."""

    @abstractmethod
    def follow_events(self, from_sequence: int, count: int) -> list[Event]:
        """Returns the first `count` events from a position on, waiting for new ones."""

    @abstractmethod
    def close(self) -> None:
        """Stops the engine and requires that it stops without an error."""

    def call(
        self,
        method: Method[Q, A],
        request: Q,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        timeout_s: float = TIMEOUT_S,
    ) -> A:
        """Calls a method and returns its answer. Raises like `call_raw`."""
        payload = request.SerializeToString()
        return method.answer.FromString(self.call_raw(method.path, payload, metadata=metadata, timeout_s=timeout_s))

    def outcomes(self, method: Method[Q, A], requests: Iterable[Q]) -> list[A | Refused]:
        """Returns the outcomes of calls that were all in flight at the same time, in the order of the requests."""
        started = [self.start_raw(method.path, request.SerializeToString()) for request in requests]
        return [_outcome(method, future) for future in started]

    def digest(self) -> tuple[str, int]:
        """Digest of all durable state, and its position."""
        answer = self.call(methods.GET_DIGEST, journal_service_pb2.GetDigestRequest())
        return answer.digest, answer.sequence

    def engine_time_ms(self) -> int:
        """Engine time now."""
        info = self.call(methods.GET_SERVER_INFO, methods.GET_SERVER_INFO.request())
        return info.engine_time.ToMilliseconds()


class ServerTarget(Target):
    """A server, reached over the wire on several connections."""

    def __init__(self, name: str, server: ServerProcess) -> None:
        self.name = name
        self.server = server
        self._channels = [grpc.insecure_channel(server.address, options=_OPTIONS) for _ in range(CONNECTIONS)]
        self._turn = itertools.cycle(self._channels)

    @property
    def channel(self) -> grpc.Channel:
        """The connection that single calls use."""
        return self._channels[0]

    def call_raw(
        self, path: str, payload: bytes, *, metadata: Mapping[str, str] = NO_METADATA, timeout_s: float = TIMEOUT_S
    ) -> bytes:
        call = self.channel.unary_unary(path, None, None)
        try:
            answer: bytes = call(payload, metadata=tuple(metadata.items()), timeout=timeout_s or None)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        return answer

    def start_raw(self, path: str, payload: bytes, *, timeout_s: float = TIMEOUT_S) -> Future[bytes]:
        future: Future[bytes] = Future()
        call: Any = next(self._turn).unary_unary(path, None, None).future(payload, timeout=timeout_s)
        call.add_done_callback(lambda done: _settle(future, done))
        return future

    def submit_stream(
        self, requests: Iterable[reservation_service_pb2.SubmitStreamRequest]
    ) -> Iterator[reservation_service_pb2.SubmitStreamResponse]:
        """Yields the answers of one SubmitStream as they arrive."""
        payloads = (request.SerializeToString() for request in requests)
        for answer in self.stream_raw(methods.SUBMIT_STREAM, payloads):
            yield reservation_service_pb2.SubmitStreamResponse.FromString(answer)

    def stream_raw(self, path: str, payloads: Iterator[bytes], *, timeout_s: float = TIMEOUT_S) -> Iterator[bytes]:
        """The answers' bytes of a stream of both directions."""
        try:
            yield from self.channel.stream_stream(path, None, None)(payloads, timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    def event_stream(self, request: ReadEventsRequest) -> Iterator[Event]:
        """The events of one ReadEvents; closing the iterator ends the call."""
        for answer in self.event_messages(request):
            yield from answer.events

    def event_messages(self, request: ReadEventsRequest) -> Iterator[ReadEventsResponse]:
        """The messages of one ReadEvents; closing the iterator ends the call."""
        call: Any = self.channel.unary_stream(methods.READ_EVENTS, None, None)(
            request.SerializeToString(), timeout=TIMEOUT_S
        )
        try:
            for answer in call:
                yield ReadEventsResponse.FromString(answer)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()

    def read_events(self, from_sequence: int = 0, limit: int = 0) -> list[Event]:
        return list(self.event_stream(ReadEventsRequest(from_sequence=from_sequence, limit=limit)))

    def matching(self, request: ReadEventsRequest) -> tuple[list[Event], JournalPosition]:
        messages = list(self.event_messages(request))
        through = messages[-1].read_through if messages else JournalPosition()
        return [event for each in messages for event in each.events], through

    def follow_events(self, from_sequence: int, count: int) -> list[Event]:
        request = ReadEventsRequest(from_sequence=from_sequence, follow=True)
        return list(itertools.islice(self.event_stream(request), count))

    def disconnect(self) -> None:
        """Closes the connections; the server continues."""
        for channel in self._channels:
            channel.close()

    def close(self) -> None:
        self.disconnect()
        self.server.stop()


class EmbeddedTarget(Target):
    """An engine in this process."""

    name = "embedded"

    def __init__(self, **settings: object) -> None:
        self.engine = _core.Engine.open(json.dumps({"journal": "memory", "ledger": "main", **settings}))

    def call_raw(
        self, path: str, payload: bytes, *, metadata: Mapping[str, str] = NO_METADATA, timeout_s: float = TIMEOUT_S
    ) -> bytes:
        try:
            return self.engine.call(
                path,
                payload,
                idempotency_key=metadata.get(KEY, ""),
                ledger=metadata.get(LEDGER, ""),
                timeout_ms=int(timeout_s * 1000),
            )
        except _core.CallError as error:
            raise from_status(*error.args) from None

    def start_raw(self, path: str, payload: bytes, *, timeout_s: float = TIMEOUT_S) -> Future[bytes]:
        future: Future[bytes] = Future()

        def on_done(code: int, answer: bytes) -> None:
            try:
                if code == grpc.StatusCode.OK.value[0]:
                    future.set_result(answer)
                else:
                    future.set_exception(from_status(code, answer))
            except AssertionError as error:
                future.set_exception(error)

        self.engine.start_call(path, payload, on_done, timeout_ms=int(timeout_s * 1000))
        return future

    def read_events(self, from_sequence: int = 0, limit: int = 0) -> list[Event]:
        sequence = max(1, from_sequence)
        end = self.digest()[1] if not limit else min(self.digest()[1], sequence + limit - 1)
        events: list[Event] = []
        while sequence <= end:
            events += self._batch(sequence, min(500, end - sequence + 1), wait_ms=0)
            sequence = events[-1].sequence + 1
        return events

    def matching(self, request: ReadEventsRequest) -> tuple[list[Event], JournalPosition]:
        wanted = request.filter.SerializeToString()
        events: list[Event] = []
        try:
            sequence, left, _ = self.engine.begin_events(request.SerializeToString())
            end, through = self.digest()[1], JournalPosition()
            while sequence <= end and left != 0:
                answer = ReadEventsResponse.FromString(self.engine.read_events(sequence, left or 0, 0, wanted))
                events += answer.events
                through = answer.read_through
                sequence, left = through.sequence + 1, left and left - len(answer.events)
        except _core.CallError as error:
            raise from_status(*error.args) from None
        return events, through

    def follow_events(self, from_sequence: int, count: int) -> list[Event]:
        events: list[Event] = []
        while len(events) < count:
            found = self._batch(from_sequence + len(events), count - len(events), wait_ms=int(TIMEOUT_S * 1000))
            assert found, "events that were waited for did not come"
            events += found
        return events

    def close(self) -> None:
        self.engine.close()

    def _batch(self, from_sequence: int, limit: int, wait_ms: int) -> list[Event]:
        answer = self.engine.read_events(from_sequence, limit, wait_ms)
        return list(ReadEventsResponse.FromString(answer).events)


def _outcome(method: Method[Q, A], future: Future[bytes]) -> A | Refused:
    try:
        return method.answer.FromString(future.result(TIMEOUT_S * 2))
    except Refused as refused:
        return refused


def _settle(future: Future[bytes], done: Any) -> None:
    try:
        code = done.code()
        if code is grpc.StatusCode.OK:
            future.set_result(done.result())
        else:
            assert code in CODES.values()
            future.set_exception(from_rpc_error(done))
    except AssertionError as error:
        future.set_exception(error)
