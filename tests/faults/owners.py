"""Two servers and one journal: one sleeps while the other claims, and wakes in the middle of its work."""

from __future__ import annotations

import signal
import time
from typing import NamedTuple

import grpc
from google.protobuf.message import Message

from invengine.v1 import availability_service_pb2 as availability
from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import types_pb2 as types

from ..conformance import methods
from .house import PLACES, SKUS, House
from .shopper import OPTIONS

EXIT_POISONED = 5
WAITING = 40
END_S = 30.0


class Asleep(NamedTuple):
    """How calls ended that reached a server while it slept."""

    reads: list[grpc.StatusCode]
    writes: list[grpc.StatusCode]


def take_over(first: House, second: House, seconds: float) -> Asleep:
    """Stops the first server under load, starts the second, wakes the first, and requires that it ends.

    Gives how the calls ended that reached the first while it slept: it finds them when it wakes.
    """
    with grpc.insecure_channel(first.address, options=OPTIONS) as channel:
        # A connection that is open before: what it sends is read first of all when the server wakes.
        method, request = _questions(0)[0]
        channel.unary_unary(method, None, None)(request.SerializeToString(), timeout=END_S)
        first.running.pause()
        stopped = time.monotonic()
        second.start()
        calls = [
            channel.unary_unary(method, None, None).future(request.SerializeToString(), timeout=END_S + seconds)
            for number in range(WAITING)
            for method, request in _questions(number)
        ]
        # What counts is how long nobody could prove that the ledger was still the first one's.
        time.sleep(max(0.0, stopped + seconds - time.monotonic()))
        first.signal(signal.SIGCONT)
        code = first.running.process.wait(END_S)
        assert code == EXIT_POISONED, f"the server that lost its ledger ended with {code}"
        endings = [call.code() for call in calls]
        return Asleep(reads=endings[::2], writes=endings[1::2])


def _questions(number: int) -> list[tuple[str, Message]]:
    query = availability.AvailabilityQuery(sku=SKUS[0], location=PLACES[0])
    line = types.LineRequest(sku=SKUS[0], location=PLACES[0], quantity=1)
    context = types.CommandContext(idempotency_key=f"asleep-{number}")
    return [
        (methods.GET_AVAILABILITY.path, availability.GetAvailabilityRequest(queries=[query])),
        (methods.RESERVE.path, reservations.ReserveRequest(context=context, lines=[line])),
    ]
