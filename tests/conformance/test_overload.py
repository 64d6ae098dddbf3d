"""OVERLOADED: commands over the limit get a time to wait, and none is lost or executed twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from invengine.v1.reservation_service_pb2 import ReserveRequest

from . import methods, requests
from .own import own_target
from .refused import Refused
from .shop import Shop, check_rejected
from .targets import TARGETS

CALLERS = 120


@pytest.mark.parametrize("kind", TARGETS)
def test_too_many_at_once_are_refused_with_a_delay(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path, in_flight_max=1) as target:
        shop = Shop(target)
        sku = shop.item(CALLERS)
        waiting = [requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(CALLERS)]
        waiting, refused = _once(shop, waiting)
        assert refused, "all of many calls were taken, though only one may wait"
        assert len(waiting) < CALLERS, "nobody was served"
        # Whoever asks first is served, so each round is one shorter at least.
        for _ in range(CALLERS):
            if not waiting:
                break
            # Refused commands changed nothing, so they are repeated with the same keys.
            assert shop.level(sku).reserved == CALLERS - len(waiting)
            waiting, _ = _once(shop, waiting)
        assert not waiting, f"{len(waiting)} callers were never served"
        assert shop.level(sku).reserved == CALLERS
        shop.finish()


@pytest.mark.parametrize("kind", TARGETS)
def test_one_after_the_other_is_never_too_much(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path, in_flight_max=1) as target:
        shop = Shop(target)
        sku = shop.item(50)
        for _ in range(50):
            shop.reserve((sku, shop.here, 1))
        assert shop.level(sku).reserved == 50


@pytest.mark.parametrize("kind", TARGETS)
def test_repeats_and_refusals_take_up_no_room(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path, in_flight_max=1) as target:
        shop = Shop(target)
        sku = shop.item(5)
        request = requests.reserve(shop.context(), (sku, shop.here, 1))
        hold = shop.call(methods.RESERVE, request).hold
        held = requests.by_id(hold.reservation_id)
        shop.allocate(held)
        for _ in range(5):
            assert shop.call(methods.RESERVE, request).receipt.replayed
            shop.refused(methods.ALLOCATE, requests.allocate(shop.context(), held), "ALREADY_ALLOCATED")
        shop.reserve((sku, shop.here, 1))
        assert shop.level(sku).reserved == 1


@pytest.mark.parametrize("kind", TARGETS)
def test_a_batch_that_is_too_large_is_executed_in_part(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path, in_flight_max=1) as target:
        shop = Shop(target)
        sku = shop.item(CALLERS)
        batch = [requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(CALLERS)]
        outcomes = shop.submit(*batch)
        late = [request for request, outcome in zip(batch, outcomes, strict=True) if outcome.HasField("rejection")]
        assert 0 < len(late) < CALLERS
        for request, outcome in zip(batch, outcomes, strict=True):
            if request in late:
                check_rejected(outcome, "OVERLOADED")
                assert not shop.outcome(request.context.idempotency_key).known
        assert shop.level(sku).reserved == CALLERS - len(late)


def _once(shop: Shop, asked: list[ReserveRequest]) -> tuple[list[ReserveRequest], list[Refused]]:
    """Sends all commands at the same time: which were refused, and with what."""
    outcomes = shop.target.outcomes(methods.RESERVE, asked)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert {outcome.reason for outcome in refused} <= {"OVERLOADED"}
    assert all(outcome.retry_delay_ms for outcome in refused)
    again = [request for request, outcome in zip(asked, outcomes, strict=True) if isinstance(outcome, Refused)]
    return again, refused
