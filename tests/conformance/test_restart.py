"""What an answer promises survives the end of the process: SIGKILL at any moment, or a clean stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from invengine import _core
from invengine.v1.reservation_service_pb2 import ReserveRequest, ReserveResponse

from . import methods, requests
from .own import ended, journal_of, open_server, open_target, own_target, started
from .refused import Refused
from .shop import Shop, figures
from .targets import TARGETS
from .test_sources import message

WIDTH = 64
KILLS = 3


@pytest.mark.case("A14", "A15")
def test_acknowledged_answers_survive_a_kill(tmp_path: Path) -> None:
    """Reserves, kills the server among calls under way, and asks every key again; several times over."""
    reported: dict[str, tuple[ReserveRequest, ReserveResponse]] = {}
    asked: list[ReserveRequest] = []
    shop: Shop | None = None
    sku = ""
    for _ in range(KILLS):
        target = open_server("native", tmp_path)
        if shop is None:
            shop = Shop(target)
            sku = shop.item(100 * WIDTH)
        shop.target = target
        _repeat(shop, reported)
        digest, at = target.digest()
        batches = [[requests.reserve(shop.context(), (sku, shop.here, 1)) for _ in range(WIDTH)] for _ in range(6)]
        calls = [started(target, methods.RESERVE, batch) for batch in batches[:5]]
        outcomes = [ended(methods.RESERVE, call) for batch in calls[:3] for call in batch]
        calls.append(started(target, methods.RESERVE, batches[5]))
        target.server.kill()
        outcomes += [ended(methods.RESERVE, call) for batch in calls[3:] for call in batch]
        target.disconnect()
        sent = [request for batch in batches for request in batch]
        asked += sent
        for request, outcome in zip(sent, outcomes, strict=True):
            if isinstance(outcome, ReserveResponse):
                reported[request.context.idempotency_key] = (request, outcome)
        assert json.loads(_core.verify(str(journal_of(tmp_path)), at))["digest"] == digest
    assert shop is not None
    assert len(reported) >= KILLS * 3 * WIDTH
    with own_target("native", tmp_path) as recovered:
        shop.target = recovered
        _repeat(shop, reported)
        # Callers without an answer repeat their calls, and no unit is held twice.
        for request in asked:
            shop.call(methods.RESERVE, request)
        assert figures(shop.level(sku)) == (100 * WIDTH, len(asked), 0, 100 * WIDTH - len(asked))
        made = [event.context.idempotency_key for event in recovered.read_events() if event.HasField("reserved")]
        assert sorted(made) == sorted(request.context.idempotency_key for request in asked)


def _repeat(shop: Shop, reported: dict[str, tuple[ReserveRequest, ReserveResponse]]) -> None:
    for request, answer in reported.values():
        again = shop.call(methods.RESERVE, request)
        assert again.receipt.replayed
        assert (again.hold, again.receipt.sequence) == (answer.hold, answer.receipt.sequence)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_clean_stop_and_a_start_change_nothing(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path) as target:
        shop = Shop(target)
        sku, place = shop.item(9, there=9), shop.source()
        hold = shop.hold((sku, shop.here, 5), ttl_s=3600)
        shop.allocate(requests.by_id(hold.reservation_id, (sku, shop.here, 2)), order_ref="order")
        shop.call(methods.TRANSFER, requests.transfer(shop.context(), hold, shop.there))
        sourced = requests.reserve(message(place, 1), (sku, shop.here, 1), ttl_s=3600)
        shop.call(methods.RESERVE, sourced)
        before = shop.reservation(hold), shop.level(sku), shop.level(sku, shop.there), target.digest()
        info = shop.call(methods.GET_SERVER_INFO, methods.GET_SERVER_INFO.request())
        events = target.read_events()
    with own_target(kind, tmp_path) as target:
        shop.target = target
        assert (shop.reservation(hold), shop.level(sku), shop.level(sku, shop.there), target.digest()) == before
        assert target.read_events() == events
        now = shop.call(methods.GET_SERVER_INFO, methods.GET_SERVER_INFO.request())
        assert now.writer_epoch == info.writer_epoch + 1
        assert (now.sequence, now.recovered_events) == (info.sequence, info.sequence)
        assert now.engine_time.ToMilliseconds() >= info.engine_time.ToMilliseconds()
        assert shop.call(methods.RESERVE, sourced).receipt.replayed
        assert shop.reserve((sku, shop.here, 1), context=message(place, 2)).hold.version == 1
        (event,) = target.read_events(now.sequence + 1, 1)
        assert event.writer_epoch == now.writer_epoch
    report = json.loads(_core.verify(str(journal_of(tmp_path)), before[3][1]))
    assert report["digest"] == before[3][0]


@pytest.mark.case("D06")
def test_a_hold_that_expires_while_the_server_is_unreachable(tmp_path: Path) -> None:
    with own_target("embedded", tmp_path) as target:
        shop = Shop(target)
        sku = shop.item(5)
        answer = shop.reserve((sku, shop.here, 3), ttl_s=60)
        later = shop.target.engine_time_ms() + 3_600_000
    # An hour later by the clock.
    with own_target("embedded", tmp_path, wall_time_ms=later) as target:
        shop.target = target
        assert figures(shop.level(sku)) == (5, 0, 0, 5)
        event = shop.end_of(answer.hold, answer.receipt.sequence)
        assert event.time.ToMilliseconds() >= later
        assert shop.allocate(requests.by_id(answer.hold.reservation_id)).holds[0].reacquired


@pytest.mark.case("D02")
def test_engine_time_does_not_go_back_with_the_clock(tmp_path: Path) -> None:
    with own_target("embedded", tmp_path) as target:
        shop = Shop(target)
        sku = shop.item(5)
        shop.hold((sku, shop.here, 1))
        before_ms = target.engine_time_ms()
    with own_target("embedded", tmp_path, wall_time_ms=before_ms - 7_200_000) as target:
        shop.target = target
        shop.hold((sku, shop.here, 1))
        times = [event.time.ToMilliseconds() for event in target.read_events()]
        assert times == sorted(times)
        assert target.engine_time_ms() >= times[-1]


@pytest.mark.case("A07")
def test_what_is_remembered_and_what_is_not(tmp_path: Path) -> None:
    with own_target("embedded", tmp_path) as target:
        shop = Shop(target)
        sku, place = shop.item(1), shop.source()
        cancelled = shop.context()
        shop.release(requests.by_key(cancelled.idempotency_key))
        refused = requests.reserve(shop.context(), (sku, shop.here, 2))
        numbered = requests.reserve(message(place, 1), (sku, shop.here, 2))
        for request in (refused, numbered):
            assert isinstance(target.outcomes(methods.RESERVE, [request])[0], Refused)
        shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, shop.here, 9)))
    with own_target("embedded", tmp_path) as target:
        shop.target = target
        # A tombstone and the rejection of a numbered message are in the journal.
        late = requests.reserve(cancelled, (sku, shop.here, 1))
        shop.refused(methods.RESERVE, late, "KEY_CANCELLED")
        shop.refused(methods.RESERVE, numbered, "INSUFFICIENT_STOCK", requested=2, available=1)
        # Any other no was not: the same key is decided afresh.
        assert shop.call(methods.RESERVE, refused).hold.version == 1


def test_a_token_of_before_a_restart_is_never_issued_again(tmp_path: Path) -> None:
    tokens: list[str] = []
    shop: Shop | None = None
    sku = ""
    for _ in range(3):
        with own_target("embedded", tmp_path) as target:
            if shop is None:
                shop = Shop(target)
                sku = shop.item(1)
            shop.target = target
            for _ in range(5):
                hold = shop.hold((sku, shop.here, 1))
                shop.release(hold)
                tokens.append(hold.reservation_id)
    assert len(set(tokens)) == 15


@pytest.mark.parametrize("kind", TARGETS)
def test_a_journal_has_one_owner(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path), pytest.raises(_core.EngineFault):
        open_target("embedded", tmp_path)
    # Given back, it can be opened again.
    with own_target("embedded", tmp_path) as target:
        assert target.digest()[1] == 0
