"""The engine in the caller's process: one call, a batch in columns, a read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from invengine import Engine
from invengine._core import decode_accepted, encode_reserves
from invengine.v1 import availability_service_pb2 as availability
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import reservation_service_pb2 as reservation
from invengine.v1 import types_pb2 as types

from .conftest import LOCATION, SKU, UNITS

RESERVE = "/invengine.v1.ReservationService/Reserve"
SUBMIT = "/invengine.v1.ReservationService/Submit"
AVAILABILITY = "/invengine.v1.AvailabilityService/GetAvailability"
LEVEL = "/invengine.v1.InventoryService/GetInventoryLevel"
BATCH = 1_000


def reserved(engine: Engine) -> int:
    """Units that the engine says are reserved; checks that the level adds up."""
    request = inventory.GetInventoryLevelRequest(sku=SKU, location=LOCATION).SerializeToString()
    level = inventory.GetInventoryLevelResponse.FromString(engine.call(LEVEL, request)).level
    assert level.on_hand == UNITS == level.available + level.reserved
    return level.reserved


def test_reserve(benchmark: BenchmarkFixture, engine: Engine, keys: Iterator[str]) -> None:
    line = types.LineRequest(sku=SKU, location=LOCATION, quantity=1)
    payload = reservation.ReserveRequest(lines=[line]).SerializeToString()
    made: list[bytes] = []
    benchmark(lambda: made.append(engine.call(RESERVE, payload, idempotency_key=next(keys))))
    assert reserved(engine) == len(made)


def test_submit_of_1000_in_columns(benchmark: BenchmarkFixture, engine: Engine, keys: Iterator[str]) -> None:
    skus, locations, quantities = [SKU] * BATCH, [LOCATION] * BATCH, [1] * BATCH
    accepted: list[int] = []

    def submit() -> None:
        names = [next(keys) for _ in range(BATCH)]
        answer = engine.call(SUBMIT, encode_reserves(skus, locations, quantities, names, 0, len(skus), b"", 0))
        accepted.append(sum(decode_accepted(answer) or ()))

    benchmark(submit)
    assert set(accepted) == {BATCH}
    assert reserved(engine) == BATCH * len(accepted)


def test_availability_of_one_level(benchmark: BenchmarkFixture, engine: Engine) -> None:
    query = availability.AvailabilityQuery(sku=SKU, location=LOCATION)
    payload = availability.GetAvailabilityRequest(queries=[query]).SerializeToString()
    answer: Any = benchmark(lambda: engine.call(AVAILABILITY, payload))
    assert availability.GetAvailabilityResponse.FromString(answer).availabilities[0].available == UNITS
