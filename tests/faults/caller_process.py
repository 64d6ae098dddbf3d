"""A process of callers that record every call and its answer: `python -m tests.faults.caller_process CONFIG`.

CONFIG is a `CallerConfig` as a JSON object. Each thread continues until a line arrives on stdin; a call in progress is
then still repeated until it has an answer.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from invengine.v1 import availability_service_pb2 as availability
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import source_service_pb2 as sources
from invengine.v1 import types_pb2 as types

from .record import ACCEPTED, READ, REFUSED, Call, lines_of

SERVICES = {"Receive": "InventoryService", "GetAvailability": "AvailabilityService", "RegisterSource": "SourceService"}
DETAILS = "grpc-status-details-bin"
# Statuses that leave the outcome unknown, or mean "not now": the call is repeated with the same key.
OPEN_CODES = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
}
OPEN_NUMBERS = {code.value[0] for code in OPEN_CODES}
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
)
RETRY_PAUSE_S = 0.02
SETTLE_S = 30.0
HOLDS_KEPT = 12


@dataclass(frozen=True, slots=True)
class CallerConfig:
    """The configuration of a process of callers."""

    addresses: list[str]
    file: str
    seed: int
    threads: int
    skus: list[str]
    scarce: list[str]
    """Items with little stock, for which callers compete."""
    locations: list[str]
    channel: str = ""
    try_s: float = 5.0
    """How long one attempt waits for its answer."""
    pause_s: float = 0.0
    """How long each caller waits between two calls."""


@dataclass(slots=True)
class RotatingConnections:
    """The connections of one caller; when one fails, the next is used."""

    addresses: list[str]
    try_s: float
    turn: int = 0
    channels: list[grpc.Channel] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.channels = [grpc.insecure_channel(address, options=OPTIONS) for address in self.addresses]

    def send(self, call: Call, path: str, body: bytes) -> bytes:
        """Sends a call over the current connection and returns the answer; raises RpcError."""
        turn = self.turn
        call.server = self.addresses[turn]
        service = SERVICES.get(path, "ReservationService")
        method = self.channels[turn].unary_unary(f"/invengine.v1.{service}/{path}", None, None)
        try:
            answer: bytes = method(body, timeout=self.try_s)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                self.turn = (turn + 1) % len(self.addresses)
            raise
        return answer


class Caller:
    """One thread: sends random calls, repeats each until it is answered, and remembers its holds."""

    def __init__(self, config: CallerConfig, number: int, stop: threading.Event) -> None:
        self.calls: list[Call] = []
        self._config = config
        self._name = f"s{config.seed}-{number}"
        self._chance = random.Random(f"{config.seed}/{number}")
        self._connections = RotatingConnections(config.addresses, config.try_s, number % len(config.addresses))
        self._stop = stop
        self._count = 0
        self._holds: list[str] = []
        self._position: types.SourcePosition | None = None
        self._source = f"{self._name}-source" if number % 4 == 0 else ""

    def run(self) -> None:
        """Sends calls until it is stopped."""
        if self._source:
            self._register()
        while not self._stop.is_set():
            if self._chance.random() < 0.08:
                self._settle([self._reserve(keyed=True) for _ in range(self._chance.randint(2, 12))])
            else:
                self._settle([self._next()])
            if self._config.pause_s:
                self._stop.wait(self._config.pause_s)

    # Choosing calls

    def _next(self) -> Call:
        kind = self._chance.choices(
            ("reserve", "allocate", "release", "fulfill", "extend", "receive", "read"), (40, 12, 12, 8, 4, 4, 20)
        )[0]
        if kind == "read":
            return self._query()
        if kind == "receive":
            line = inventory.StockLine(sku=self._sku(), location=self._location(), quantity=self._chance.randint(1, 5))
            return self._call("Receive", inventory.ReceiveRequest(context=self._context(), lines=[line]))
        if kind == "reserve" or not self._holds:
            return self._reserve(keyed=not self._source or self._chance.random() < 0.5)
        target = types.HoldTarget(reservation_id=self._chance.choice(self._holds))
        if kind == "extend":
            extend = reservations.ExtendRequest(context=self._context(), target=target, ttl=Duration(seconds=600))
            return self._call("Extend", extend)
        request: Any = {
            "allocate": reservations.AllocateRequest,
            "release": reservations.ReleaseRequest,
            "fulfill": reservations.FulfillRequest,
        }[kind]
        return self._call(kind.capitalize(), request(context=self._context(), target=target))

    def _reserve(self, *, keyed: bool) -> Call:
        lines = [
            types.LineRequest(sku=self._sku(), location=self._location(), quantity=self._chance.randint(1, 3))
            for _ in range(self._chance.choice((1, 1, 1, 2, 3)))
        ]
        context = self._context() if keyed else self._numbered()
        ttl = Duration(seconds=self._chance.choice((1, 2, 600, 600, 600)))
        return self._call("Reserve", reservations.ReserveRequest(context=context, lines=lines, ttl=ttl))

    def _query(self) -> Call:
        queries = [availability.AvailabilityQuery(sku=self._sku(), location=self._location()) for _ in range(2)]
        return self._call("GetAvailability", availability.GetAvailabilityRequest(queries=queries))

    def _sku(self) -> str:
        return self._chance.choice(self._config.scarce if self._chance.random() < 0.5 else self._config.skus)

    def _location(self) -> str:
        return self._chance.choice(self._config.locations)

    def _context(self) -> types.CommandContext:
        self._count += 1
        return types.CommandContext(idempotency_key=f"{self._name}-{self._count}", channel=self._config.channel)

    def _numbered(self) -> types.CommandContext:
        assert self._position is not None
        self._position.sequence += 1
        return types.CommandContext(source=self._position)

    def _call(self, path: str, request: Any) -> Call:
        return Call(self._name, path, request.SerializeToString())

    def _register(self) -> None:
        key = f"{self._name}-register"
        context = types.CommandContext(idempotency_key=key)
        request = sources.RegisterSourceRequest(context=context, source_id=self._source)
        call = self._call("RegisterSource", request)
        self._settle([call], keep=False)
        epoch = sources.RegisterSourceResponse.FromString(call.answer).epoch
        self._position = types.SourcePosition(source_id=self._source, epoch=epoch)

    # Repeating until answered

    def _settle(self, calls: list[Call], *, keep: bool = True) -> None:
        """Repeats calls until each has its answer, or until the time after a stop is used up."""
        begin_ns = time.monotonic_ns()
        for call in calls:
            call.begin_ns = begin_ns
        give_up_at = float("inf")
        left = calls
        while left and time.monotonic() < give_up_at:
            if self._stop.is_set() and give_up_at == float("inf"):
                give_up_at = time.monotonic() + SETTLE_S
            left = self._try(left)
            if left:
                time.sleep(RETRY_PAUSE_S)
        end_ns = time.monotonic_ns()
        for call in left:
            call.end_ns = end_ns
        if keep:
            self.calls += calls
            self._remember(calls)

    def _try(self, calls: list[Call]) -> list[Call]:
        """Makes one attempt and returns the calls that are still open."""
        try:
            if len(calls) == 1:
                calls[0].answer = self._connections.send(calls[0], calls[0].path, calls[0].body)
                calls[0].outcome = READ if calls[0].path == "GetAvailability" else ACCEPTED
                calls[0].end_ns = time.monotonic_ns()
                return []
            return self._try_batch(calls)
        except grpc.RpcError as error:
            return [call for call in calls if not _note(call, error)]

    def _try_batch(self, calls: list[Call]) -> list[Call]:
        commands = [reservations.Command(reserve=reservations.ReserveRequest.FromString(c.body)) for c in calls]
        submit = reservations.SubmitRequest(commands=commands)
        answer = reservations.SubmitResponse.FromString(
            self._connections.send(calls[0], "Submit", submit.SerializeToString())
        )
        left, end_ns = [], time.monotonic_ns()
        for call, outcome in zip(calls, answer.outcomes, strict=True):
            call.server, call.end_ns, call.batched = calls[0].server, end_ns, True
            if not outcome.HasField("rejection"):
                call.outcome = ACCEPTED
                response = reservations.ReserveResponse(receipt=outcome.receipt, hold=outcome.holds[0])
                call.answer = response.SerializeToString()
            elif outcome.rejection.code in OPEN_NUMBERS:
                call.tries.append(f"{outcome.rejection.code} {outcome.rejection.reason}")
                left.append(call)
            else:
                call.outcome, call.reason = REFUSED, outcome.rejection.reason
                call.answer = outcome.rejection.SerializeToString()
        return left

    def _remember(self, calls: list[Call]) -> None:
        for call in calls:
            if call.path == "Reserve" and call.outcome == ACCEPTED:
                self._holds.append(reservations.ReserveResponse.FromString(call.answer).hold.reservation_id)
        self._holds = self._holds[-HOLDS_KEPT:]


def _note(call: Call, error: grpc.RpcError) -> bool:
    """Records how an attempt ended; True if that is the answer."""
    code = error.code()
    reason, details = reason_of(error)
    call.batched = False
    if code in OPEN_CODES:
        call.tries.append(f"{code.name} {reason}")
        return False
    call.outcome, call.reason, call.answer, call.end_ns = REFUSED, reason, details, time.monotonic_ns()
    return True


def reason_of(error: grpc.RpcError) -> tuple[str, bytes]:
    """The stable reason of an error and its Status; TRANSPORT if it does not come from invengine."""
    details: bytes = next((entry.value for entry in error.trailing_metadata() or () if entry.key == DETAILS), b"")
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(details).details:
        if detail.Unpack(info):
            break
    return info.reason or "TRANSPORT", details


def main() -> None:
    """Runs the callers of one process and writes what they recorded."""
    config = CallerConfig(**json.loads(sys.argv[1]))
    stop = threading.Event()
    callers = [Caller(config, number, stop) for number in range(config.threads)]
    threads = [threading.Thread(target=caller.run) for caller in callers]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    stop.set()
    for thread in threads:
        thread.join()
    with Path(config.file).open("w", encoding="ascii") as file:
        for caller in callers:
            file.writelines(lines_of(caller.calls))


if __name__ == "__main__":
    main()
