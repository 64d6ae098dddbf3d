"""A caller who reserves one unit and releases it, again and again, while others do as they like.

It runs in a process of its own. What a client of ours would repeat is not repeated, so that each refusal is seen.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc

from invengine.bench.server import LOCATION, sku
from invengine.v1 import reservation_service_pb2 as reservation

NOW = "now"
BEGUN = "begun"
CALL_S = 10.0
WARM_UP_CALLS = 20


@dataclass(slots=True)
class Tally:
    """What came of the calls."""

    took_us: list[int] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    held: int = 0
    """Units that were reserved and could not be released."""


def main() -> int:
    """Calls the server of the first line of stdin until stdin ends; calls before the line `now` do not count. Says when
    it has begun, and at its end what came of it."""
    target = json.loads(sys.stdin.readline())["target"]
    tally, over = Tally(), threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            if line.strip() == NOW:
                tally.took_us.clear()
        over.set()

    listener = threading.Thread(target=listen, daemon=True)
    with grpc.insecure_channel(target) as channel:
        for number in itertools.count():
            if number == WARM_UP_CALLS:
                print(BEGUN, flush=True)
                listener.start()
            if over.is_set():
                break
            _reserve_and_release(channel, tally, f"bystander-{number}")
    print(json.dumps({"took_us": tally.took_us, "refused": tally.refused, "held": tally.held}), flush=True)
    return 0


def _reserve_and_release(channel: grpc.Channel, tally: Tally, key: str) -> None:
    reserve = reservation.ReserveRequest()
    reserve.lines.add(sku=sku(), location=LOCATION, quantity=1)
    if not _call(channel, tally, "Reserve", reserve, key):
        return
    tally.held += 1
    release = reservation.ReleaseRequest()
    release.target.reservation_key = key
    if _call(channel, tally, "Release", release, f"{key}-back"):
        tally.held -= 1


def _call(channel: Any, tally: Tally, method: str, request: Any, key: str) -> bool:
    request.context.idempotency_key = key
    request.context.issue_time.GetCurrentTime()
    call = channel.unary_unary(f"/invengine.v1.ReservationService/{method}")
    payload = request.SerializeToString()
    began = time.perf_counter_ns()
    try:
        call(payload, timeout=CALL_S)
    except grpc.RpcError as error:
        tally.refused[error.code().name] += 1
        return False
    finally:
        tally.took_us.append((time.perf_counter_ns() - began) // 1_000)
    return True
