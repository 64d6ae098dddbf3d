"""DRAINING: a stopping server answers accepted calls and refuses the rest; a closed engine reports that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from invengine import _core
from invengine.v1.journal_service_pb2 import ReadEventsRequest
from invengine.v1.reservation_service_pb2 import ReserveRequest, ReserveResponse

from . import methods, requests
from .own import ended, open_server, own_target, started
from .refused import Refused, TransportEnded
from .shop import Shop
from .targets import SERVERS, EmbeddedTarget

CALLS = 400
CALLS_MAX = 20_000


def _reserves(shop: Shop, sku: str) -> Iterator[ReserveRequest]:
    while True:
        yield requests.reserve(shop.context(), (sku, shop.here, 1), ttl_s=3600)


@pytest.mark.case("I01", "G05")
@pytest.mark.parametrize("kind", SERVERS)
def test_what_was_accepted_is_answered_and_the_rest_refused(kind: str, tmp_path: Path) -> None:
    target = open_server(kind, tmp_path)
    shop = Shop(target)
    sku = shop.item(CALLS_MAX)
    reserves = _reserves(shop, sku)
    asked = [next(reserves) for _ in range(CALLS)]
    calls = started(target, methods.RESERVE, asked)
    calls[0].result(60)
    target.server.terminate()
    # Callers continue until the connection is closed.
    while len(asked) < CALLS_MAX and not isinstance(ended(methods.RESERVE, calls[-1]), TransportEnded):
        asked.append(next(reserves))
        calls += started(target, methods.RESERVE, asked[-1:])
    outcomes = [ended(methods.RESERVE, call) for call in calls]
    target.disconnect()
    # A second signal would end it at once.
    assert target.server.wait() == 0

    accepted = [found for found in outcomes if isinstance(found, ReserveResponse)]
    refused = [found for found in outcomes if isinstance(found, Refused)]
    assert accepted
    assert {found.reason for found in refused} <= {"DRAINING"}
    with own_target(kind, tmp_path) as again:
        shop.target = again
        _check(shop, asked, outcomes, sku)


def _check(
    shop: Shop, asked: list[ReserveRequest], outcomes: list[ReserveResponse | Refused | TransportEnded], sku: str
) -> None:
    """After the restart: what was acknowledged is there, what was refused was not done, nothing was done twice."""
    for request, outcome in zip(asked, outcomes, strict=True):
        if isinstance(outcome, Refused):
            assert not shop.outcome(request.context.idempotency_key).known
    for request, outcome in zip(asked, outcomes, strict=True):
        answer = shop.call(methods.RESERVE, request)
        if isinstance(outcome, ReserveResponse):
            assert answer.receipt.replayed
            assert answer.hold == outcome.hold
            assert answer.receipt.sequence == outcome.receipt.sequence
    assert shop.level(sku).reserved == len(asked)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_stop_does_not_wait_for_idle_readers(kind: str, tmp_path: Path) -> None:
    target = open_server(kind, tmp_path)
    shop = Shop(target)
    answer = shop.reserve((shop.item(1), shop.here, 1))
    listening = Event()
    ends: list[str] = []

    def listen() -> None:
        try:
            for event in target.event_stream(ReadEventsRequest(from_sequence=answer.receipt.sequence, follow=True)):
                assert event.sequence == answer.receipt.sequence
                listening.set()
            ends.append("it ended")
        except (Refused, TransportEnded):
            ends.append("it was ended")

    thread = Thread(target=listen)
    thread.start()
    assert listening.wait(30)
    target.server.stop()
    thread.join(30)
    target.disconnect()
    assert len(ends) == 1


@pytest.mark.case("G05")
def test_an_engine_that_drains_answers_what_it_accepted(tmp_path: Path) -> None:
    with own_target("embedded", tmp_path) as target:
        assert isinstance(target, EmbeddedTarget)
        shop = Shop(target)
        sku = shop.item(CALLS)
        reserves = _reserves(shop, sku)
        asked = [next(reserves) for _ in range(CALLS)]
        calls = started(target, methods.RESERVE, asked[: CALLS // 2])
        drain = Thread(target=target.engine.drain)
        drain.start()
        calls += started(target, methods.RESERVE, asked[CALLS // 2 :])
        drain.join(30)
        outcomes = [ended(methods.RESERVE, call) for call in calls]
        assert all(isinstance(found, ReserveResponse) for found in outcomes[: CALLS // 2])
        assert {found.reason for found in outcomes if isinstance(found, Refused)} <= {"DRAINING"}
        with pytest.raises(Refused) as refused:
            target.call(methods.RESERVE, next(reserves))
        assert refused.value.reason == "DRAINING"
        # Reads continue, and show that refused commands changed nothing.
        assert shop.level(sku).reserved == sum(isinstance(found, ReserveResponse) for found in outcomes)


def test_a_closed_engine_raises_engine_closed(tmp_path: Path) -> None:
    with own_target("embedded", tmp_path) as target:
        assert isinstance(target, EmbeddedTarget)
        shop = Shop(target)
        request = requests.reserve(shop.context(), (shop.item(1), shop.here, 1))
        target.close()
        for use in (
            lambda: target.call(methods.RESERVE, request),
            target.engine.stats,
            lambda: target.engine.read_events(1, 1, 0),
        ):
            with pytest.raises(_core.EngineClosed):
                use()
