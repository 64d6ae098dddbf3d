"""A real gRPC server on a loopback port with the answers that a test prepares."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import reservation_service_pb2 as reservation
from invengine.v1 import types_pb2 as types

RESERVE = "/invengine.v1.ReservationService/Reserve"
STREAM = "/invengine.v1.ReservationService/SubmitStream"
SUBMIT = "/invengine.v1.ReservationService/Submit"

Behaviour = Callable[[bytes], bytes]

ARRIVAL_S = 20.0


def status_bytes(
    code: int,
    reason: str,
    metadata: Mapping[str, str] | None = None,
    *,
    retry_after_s: float | None = None,
    violations: Mapping[str, str] | None = None,
    message: str = "",
) -> bytes:
    """A google.rpc.Status as the engine writes it."""
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain="invengine", metadata=metadata or {})]
    if violations is not None:
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=rule)
            for field, rule in violations.items()
        ]
        details.append(error_details_pb2.BadRequest(field_violations=fields))
    if retry_after_s is not None:
        delay = duration_pb2.Duration(nanos=round(retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code, message=message or reason)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status.SerializeToString()


class Refusal(Exception):
    """Raised by a behaviour to answer with a status; without a reason with one that only has `words`."""

    def __init__(self, code: grpc.StatusCode, reason: str = "", *, words: str = "the wire broke", **more: Any) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.words = words
        self.more = more


if TYPE_CHECKING:
    _Handlers = grpc.GenericRpcHandler[Any, Any]
else:
    _Handlers = grpc.GenericRpcHandler


class Silent(dict[str, Behaviour]):
    """Every method answers an empty message, except where that says nothing: a consumer always has a position."""

    def __missing__(self, method: str) -> Behaviour:
        if method.endswith("/RecordMessages"):
            return record_all
        consumer = types.Consumer(consumer="feed", position=types.JournalPosition(ledger="main"), version=1)
        answer = journal.GetConsumerResponse(consumer=consumer) if method.endswith("/GetConsumer") else None
        return lambda body: answer.SerializeToString() if answer is not None else b""


def record_all(body: bytes) -> bytes:
    """Applies every message."""
    applied = inventory.MessageOutcome(disposition=inventory.MESSAGE_DISPOSITION_APPLIED)
    asked = inventory.RecordMessagesRequest.FromString(body).messages
    return inventory.RecordMessagesResponse(outcomes=[applied] * len(asked)).SerializeToString()


class Peer(_Handlers):
    """Answers by `behaviours` (one for each method) and keeps every request in `requests`."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.streaming: Callable[[Iterator[bytes]], Iterator[bytes]] = answer_each(self.stream_answer)
        self.reading: Callable[[bytes], Iterator[bytes]] = lambda _: iter(())
        self.requests: list[tuple[str, bytes]] = []
        self.invocation_metadata: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._server: grpc.Server | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listens, on the same port as before if it listened before."""
        self._server = grpc.server(ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """Cuts every connection."""
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def bodies(self, method: str) -> list[bytes]:
        """The requests of one method, in the order they came."""
        return [body for name, body in self.requests if name == method]

    async def arrived(self, count: int) -> None:
        """Returns once this many requests have arrived."""
        end = time.monotonic() + ARRIVAL_S
        while len(self.requests) < count:
            assert time.monotonic() < end, f"{len(self.requests)} of {count} requests came"
            await asyncio.sleep(0.002)

    def stream_answer(self, request: bytes) -> bytes:
        """Answers one SubmitStreamRequest; a test may replace it by way of behaviours[STREAM]."""
        return self.behaviours.get(STREAM, accept_all)(request)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Picks how a call is answered."""
        method = handler_call_details.method
        self.invocation_metadata.append(dict(handler_call_details.invocation_metadata or ()))
        if method == STREAM:
            return grpc.stream_stream_rpc_method_handler(self._stream)
        if method.endswith("/ReadEvents"):
            return grpc.unary_stream_rpc_method_handler(lambda body, context: self._events(method, body, context))
        return grpc.unary_unary_rpc_method_handler(lambda body, context: self._unary(method, body, context))

    def _unary(self, method: str, body: bytes, context: grpc.ServicerContext) -> bytes:
        with self._lock:
            self.requests.append((method, body))
        try:
            return self.behaviours[method](body)
        except Refusal as refusal:
            return _refuse(context, refusal)

    def _stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        try:
            yield from self.streaming(self._seen(requests))
        except Refusal as refusal:
            _refuse(context, refusal)

    def _seen(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        for body in requests:
            self.requests.append((STREAM, body))
            yield body

    def _events(self, method: str, body: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self.requests.append((method, body))
        try:
            yield from self.reading(body)
        except Refusal as refusal:
            _refuse(context, refusal)


def _refuse(context: grpc.ServicerContext, refusal: Refusal) -> NoReturn:
    if refusal.reason:
        details = status_bytes(refusal.code.value[0], refusal.reason, **refusal.more)
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
    context.abort(refusal.code, refusal.reason or refusal.words)
    raise AssertionError("abort raises")


def answer_each(answer: Behaviour) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    """A stream that answers each request on its own."""

    def stream(requests: Iterator[bytes]) -> Iterator[bytes]:
        for request in requests:
            yield answer(request)

    return stream


def in_turn(*steps: Behaviour | Refusal | bytes) -> Behaviour:
    """Answers with one step after the other; the last one stays."""
    left = list(steps)

    def behave(body: bytes) -> bytes:
        step = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(step, Refusal):
            raise step
        return step if isinstance(step, bytes) else step(body)

    return behave


def late(seconds: float, answer: bytes | Behaviour) -> Behaviour:
    """Answers after a delay."""

    def behave(body: bytes) -> bytes:
        time.sleep(seconds)
        return answer if isinstance(answer, bytes) else answer(body)

    return behave


def accepted_outcome(key: str, sequence: int = 7) -> reservation.Outcome:
    """An accepted outcome of one line whose reservation id names the key."""
    outcome = reservation.Outcome()
    outcome.receipt.sequence = outcome.receipt.durable_sequence = sequence
    hold = outcome.holds.add(reservation_id=f"id-of-{key}", version=1)
    hold.expire_time.seconds, hold.expire_time.nanos = 1_700_000_000, 100_000_000
    hold.lines.add(sku="mug", location="wh-1", quantity=2, state=1, outstanding=2)
    return outcome


def accept_all(request: bytes) -> bytes:
    """Accepts every command of a Submit or SubmitStream."""
    commands = reservation.SubmitStreamRequest.FromString(request).commands
    outcomes = [accepted_outcome(context_of(command).idempotency_key) for command in commands]
    return reservation.SubmitStreamResponse(outcomes=outcomes, durable_sequence=7).SerializeToString()


def context_of(command: reservation.Command) -> Any:
    """The shared fields of one command of a batch."""
    return getattr(command, command.WhichOneof("command") or "").context


def reserve_answer(key: str = "k", sequence: int = 7, replayed: bool = False) -> bytes:
    """An accepted ReserveResponse."""
    outcome = accepted_outcome(key, sequence)
    answer = reservation.ReserveResponse(receipt=outcome.receipt, hold=outcome.holds[0])
    answer.receipt.replayed = replayed
    return answer.SerializeToString()


def mutated(payload: bytes, draw: random.Random) -> bytes:
    """The same bytes with some mistakes."""
    found = bytearray(payload)
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(found) + 1)
        if draw.random() < 0.2:
            del found[at : at + draw.randrange(1, 9)]
        elif draw.random() < 0.3:
            found[at:at] = draw.randbytes(draw.randrange(1, 12))
        elif at < len(found):
            found[at] = draw.choice((found[at] ^ 1 << draw.randrange(8), draw.randrange(256)))
    return bytes(found)
