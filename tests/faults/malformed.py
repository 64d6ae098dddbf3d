"""Damaged messages: real requests with flipped bits, truncated, doubled or mixed, and random bytes."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from invengine.v1 import availability_service_pb2 as availability
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import types_pb2 as types

from .caller_process import OPTIONS, reason_of

WINDOW = 128
CALL_S = 30.0
UNKNOWN_SKU = "unknown item"


def originals() -> list[tuple[str, bytes]]:
    """Methods with well-formed requests that name nothing that exists, so that none of them changes anything."""
    context = types.CommandContext(
        idempotency_key="key-0123456789",
        order_ref="order",
        holder="holder",
        source=types.SourcePosition(source_id="till", epoch=1, sequence=7),
    )
    line = types.LineRequest(sku=UNKNOWN_SKU, location="nowhere", quantity=3)
    chosen = types.LineSelection(sku=UNKNOWN_SKU, location="nowhere", quantity=1)
    target = types.HoldTarget(reservation_id="0123456789abcdef0123456789abcdef", lines=[chosen], expected_version=1)
    reserve = reservations.ReserveRequest(context=context, lines=[line, line], ttl=Duration(seconds=600))
    allocate = reservations.AllocateRequest(context=context, target=target)
    submit = reservations.SubmitRequest(
        commands=[reservations.Command(reserve=reserve), reservations.Command(allocate=allocate)]
    )
    stock = inventory.StockLine(sku=UNKNOWN_SKU, location="nowhere", quantity=5)
    query = availability.AvailabilityQuery(sku=UNKNOWN_SKU, location="nowhere")
    requests = {
        "ReservationService/Reserve": reserve,
        "ReservationService/Allocate": allocate,
        "ReservationService/Fulfill": reservations.FulfillRequest(context=context, target=target),
        "ReservationService/Submit": submit,
        "ReservationService/GetOutcome": reservations.GetOutcomeRequest(idempotency_key="key"),
        "InventoryService/Receive": inventory.ReceiveRequest(context=context, lines=[stock]),
        "AvailabilityService/GetAvailability": availability.GetAvailabilityRequest(queries=[query]),
    }
    return [(f"/invengine.v1.{path}", request.SerializeToString()) for path, request in requests.items()]


def damaged(chance: random.Random, message: bytes, other: bytes) -> bytes:
    """Returns the message with some random damage."""
    found = bytearray(message)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(7):
            case 0 if found:
                found[at % len(found)] ^= 1 << chance.randrange(8)
            case 1:
                del found[at:]
            case 2:
                found[at:at] = chance.randbytes(chance.randint(1, 12))
            case 3:
                found[at:at] = found[at : at + 40]
            case 4:
                found[at:] = other[min(at, len(other)) :]
            case 5 if found:
                found[at % len(found)] = chance.choice((0, 0x7F, 0x80, 0xFF))
            case _:
                found = bytearray(chance.randbytes(chance.randint(0, 64)))
    return bytes(found)


class Sender:
    """Sends damaged messages over a few connections and counts the answers."""

    def __init__(self, address: str, seed: int) -> None:
        self.answers: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._originals = originals()
        self._channels = [grpc.insecure_channel(address, options=OPTIONS) for _ in range(4)]
        self._slots = threading.BoundedSemaphore(WINDOW)
        self._lock = threading.Lock()

    def send(self, count: int) -> None:
        """Sends `count` messages and waits for all answers."""
        for number in range(count):
            path, message = self._chance.choice(self._originals)
            body = damaged(self._chance, message, self._chance.choice(self._originals)[1])
            self._slots.acquire()
            channel = self._channels[number % len(self._channels)]
            call: Any = channel.unary_unary(path, None, None).future(body, timeout=CALL_S)
            call.add_done_callback(self._done)
        for _ in range(WINDOW):
            self._slots.acquire()
        for _ in range(WINDOW):
            self._slots.release()

    def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            channel.close()

    def _done(self, call: Any) -> None:
        code = call.code()
        answer = "OK" if code is grpc.StatusCode.OK else f"{code.name} {reason_of(call)[0]}"
        with self._lock:
            self.answers[answer] += 1
        self._slots.release()


def unwanted(answers: Counter[str]) -> dict[str, int]:
    """Answers that no message may get: without a reason, with a meaningless code, or none at all."""
    bad = ("UNKNOWN", "INTERNAL", "UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED")
    return {
        answer: count for answer, count in answers.items() if answer.startswith(bad) or answer.endswith("TRANSPORT")
    }
