"""What the client costs its caller: making a command, framing it for a batch, reading answers, columns."""

from __future__ import annotations

import time
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from invengine._core import decode_accepted, decode_outcomes, encode_reserves
from invengine.client import batches, commands
from invengine.v1 import reservation_service_pb2 as reservation
from invengine.v1 import types_pb2 as types

from .conftest import LOCATION, SKU

ROWS = 1_000


def answer(rows: int) -> bytes:
    """A SubmitResponse with so many accepted reserves."""
    line = types.LineChange(
        sku=SKU, location=LOCATION, quantity=1, state=types.LineState.LINE_STATE_RESERVED, outstanding=1
    )
    hold = types.HoldChange(reservation_id="0" * 32, version=1, lines=[line])
    outcome = reservation.Outcome(receipt=types.Receipt(sequence=1, durable_sequence=1), holds=[hold])
    return reservation.SubmitResponse(outcomes=[outcome] * rows).SerializeToString()


def test_one_reserve_as_bytes(benchmark: BenchmarkFixture) -> None:
    def make() -> bytes:
        draft = commands.reserve([(SKU, LOCATION, 1)], ttl_s=600)
        return draft.frame(time.time_ns())

    frame: Any = benchmark(make)
    (command,) = reservation.SubmitRequest.FromString(frame).commands
    assert command.reserve.lines[0].sku == SKU
    assert command.reserve.context.idempotency_key


def test_1000_outcomes_as_objects(benchmark: BenchmarkFixture) -> None:
    payload = answer(ROWS)
    outcomes: Any = benchmark(lambda: batches.outcomes(payload, ROWS))
    assert len(outcomes) == ROWS
    assert outcomes[-1].hold.reservation_id == "0" * 32


def test_1000_reserves_as_columns(benchmark: BenchmarkFixture) -> None:
    keys = [f"key-{row}" for row in range(ROWS)]
    columns = ([SKU] * ROWS, [LOCATION] * ROWS, [1] * ROWS, keys)
    payload: Any = benchmark(lambda: encode_reserves(*columns, 0, ROWS, b"", 600_000))
    assert len(reservation.SubmitRequest.FromString(payload).commands) == ROWS


def test_1000_outcomes_as_columns(benchmark: BenchmarkFixture) -> None:
    payload = answer(ROWS)
    accepted, columns = benchmark(lambda: (decode_accepted(payload), decode_outcomes(payload)))
    assert (sum(accepted), [set(column) for column in columns]) == (ROWS, [{"0" * 32}, {""}, {1}])
