"""Two servers and one journal: one is paused while the other claims it, and resumes in the middle of its work."""

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
from .caller_process import OPTIONS
from .server_fixture import LOCATIONS, SKUS, ServerFixture

EXIT_POISONED = 5
WAITING = 40
END_S = 30.0


class CallsWhilePaused(NamedTuple):
    """How the calls ended that reached a server while it was paused."""

    reads: list[grpc.StatusCode]
    writes: list[grpc.StatusCode]


def take_over(first: ServerFixture, second: ServerFixture, seconds: float) -> CallsWhilePaused:
    """Pauses the first server under load, starts the second, resumes the first, and requires that it exits.

    Returns how the calls ended that reached the first while it was paused: it reads them when it resumes.
    """
    with grpc.insecure_channel(first.address, options=OPTIONS) as channel:
        # A connection that is already open: what it sends is read first when the server resumes.
        method, request = _calls(0)[0]
        channel.unary_unary(method, None, None)(request.SerializeToString(), timeout=END_S)
        first.running.pause()
        paused_at = time.monotonic()
        second.start()
        calls = [
            channel.unary_unary(method, None, None).future(request.SerializeToString(), timeout=END_S + seconds)
            for number in range(WAITING)
            for method, request in _calls(number)
        ]
        # The time counts from the moment when the first one could no longer prove its ownership.
        time.sleep(max(0.0, paused_at + seconds - time.monotonic()))
        first.signal(signal.SIGCONT)
        code = first.running.process.wait(END_S)
        assert code == EXIT_POISONED, f"the server that lost its ledger exited with {code}"
        endings = [call.code() for call in calls]
        return CallsWhilePaused(reads=endings[::2], writes=endings[1::2])


def _calls(number: int) -> list[tuple[str, Message]]:
    query = availability.AvailabilityQuery(sku=SKUS[0], location=LOCATIONS[0])
    line = types.LineRequest(sku=SKUS[0], location=LOCATIONS[0], quantity=1)
    context = types.CommandContext(idempotency_key=f"paused-{number}")
    return [
        (methods.GET_AVAILABILITY.path, availability.GetAvailabilityRequest(queries=[query])),
        (methods.RESERVE.path, reservations.ReserveRequest(context=context, lines=[line])),
    ]
