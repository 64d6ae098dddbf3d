"""One intention is executed once, also if it was rejected before: a rejection to be remembered stays valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from invengine.client import Client, commands
from invengine.errors import InsufficientStock
from invengine.v1 import types_pb2 as types

from . import methods, requests
from .own import open_target, own_target
from .shop import Shop, figures, refusal_of
from .targets import SERVERS, TARGETS, ServerTarget, Target
from .test_sources import message


def remembered(context: types.CommandContext) -> types.CommandContext:
    """The same, asking that a refusal be remembered."""
    context.remember_refusal = True
    return context


def _crash(target: Target) -> None:
    """Ends a server as a power cut would; an engine in this process can only be closed."""
    if isinstance(target, ServerTarget):
        target.server.kill()
        target.disconnect()
    else:
        target.close()


@pytest.mark.parametrize("with_snapshot", [False, True], ids=["from the journal", "from a snapshot"])
@pytest.mark.parametrize("kind", TARGETS)
def test_a_remembered_refusal_is_given_again_after_a_kill(kind: str, with_snapshot: bool, tmp_path: Path) -> None:
    target = open_target(kind, tmp_path)
    shop = Shop(target)
    sku = shop.item(1)
    ask = requests.reserve(remembered(shop.context("order-1")), (sku, shop.here, 2))
    payload = ask.SerializeToString()
    first = refusal_of(target, methods.RESERVE.path, payload)
    assert first.reason == "INSUFFICIENT_STOCK"
    shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, shop.here, 9)))
    events = [event for event in target.read_events() if event.HasField("command_refused")]
    assert [event.context.idempotency_key for event in events] == ["order-1"]
    assert events[0].context.remember_refusal
    assert events[0].command_refused.rejection.reason == first.reason
    if with_snapshot:
        target.call_raw("/invengine.v1.AdminService/CreateSnapshot", b"")
    digest = target.digest()
    _crash(target)
    with own_target(kind, tmp_path) as again:
        shop.target = again
        assert again.digest() == digest
        assert refusal_of(again, methods.RESERVE.path, payload) == first
        outcome = shop.outcome("order-1")
        assert outcome.known
        assert outcome.outcome.rejection.reason == first.reason
        assert not outcome.key_cancelled
        assert again.digest() == digest
        assert figures(shop.level(sku)) == (10, 0, 0, 10)


@pytest.mark.parametrize("kind", SERVERS)
def test_an_operation_that_diverged_repeats_the_same_outcomes_after_a_kill(kind: str, tmp_path: Path) -> None:
    """Refused at berlin, so lyon is reserved and allocated; berlin receives; killed, started, run again."""

    def order(client: Client) -> tuple[str, bool]:
        with client.operation("order-1") as operation:
            try:
                hold = operation.reserve([("mug", "berlin", 1)])
            except InsufficientStock:
                hold = operation.reserve([("mug", "lyon", 1)])
            changed = operation.allocate(hold, order_ref="order-1")
            return hold.lines[0].location, changed.receipt.replayed

    target = open_target(kind, tmp_path, auto_create="true")
    assert isinstance(target, ServerTarget)
    with Client(target.server.address) as client:
        client.receive([("mug", "lyon", 1)])
        client.adjust([("mug", "berlin", 1)])
        client.adjust([("mug", "berlin", -1)])
        assert order(client) == ("lyon", False)
        client.receive([("mug", "berlin", 5)])
    target.server.kill()
    target.disconnect()
    with own_target(kind, tmp_path, auto_create="true") as again:
        assert isinstance(again, ServerTarget)
        with Client(again.server.address) as client:
            assert order(client) == ("lyon", True)
            assert client.get_level("mug", "berlin").allocated == 0
            assert client.get_level("mug", "lyon").allocated == 1


def test_the_client_asks_where_the_caller_named_the_key_and_for_every_allocate() -> None:
    line = [("mug", "wh", 1)]
    named = commands.reserve(line, key="mine")
    nobody = commands.reserve(line)
    paid = commands.allocate(reservation_key="mine")
    for draft in (named, nobody, paid):
        draft.seal(1)
        draft.seal(2)
    asked = [draft.request.context.remember_refusal for draft in (named, nobody, paid)]
    assert asked == [True, False, True]


@pytest.mark.parametrize("kind", TARGETS)
def test_without_the_field_a_refusal_ends_with_the_process(kind: str, tmp_path: Path) -> None:
    target = open_target(kind, tmp_path)
    shop = Shop(target)
    sku = shop.item(1)
    ask = requests.reserve(shop.context(), (sku, shop.here, 2))
    shop.refused(methods.RESERVE, ask, "INSUFFICIENT_STOCK")
    shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, shop.here, 9)))
    shop.refused(methods.RESERVE, ask, "INSUFFICIENT_STOCK")
    _crash(target)
    with own_target(kind, tmp_path) as again:
        shop.target = again
        assert shop.call(methods.RESERVE, ask).hold.version == 1


def test_a_refused_key_under_another_number_gets_the_same_refusal_and_uses_the_number_up(shop: Shop) -> None:
    sku, place = shop.item(1), shop.source()
    first = requests.reserve(remembered(message(place, 1, idempotency_key="twice-numbered")), (sku, shop.here, 2))
    refused = refusal_of(shop.target, methods.RESERVE.path, first.SerializeToString())
    shop.call(methods.RECEIVE, requests.receive(message(place, 2), (sku, shop.here, 9)))
    second = requests.reserve(remembered(message(place, 3, idempotency_key="twice-numbered")), (sku, shop.here, 2))
    assert refusal_of(shop.target, methods.RESERVE.path, second.SerializeToString()) == refused
    shop.call(methods.RECEIVE, requests.receive(message(place, 4), (sku, shop.here, 1)))
    assert figures(shop.level(sku)) == (11, 0, 0, 11)


def test_releasing_the_key_of_a_refused_reserve_leaves_its_refusal(shop: Shop) -> None:
    sku = shop.item(1)
    ask = requests.reserve(remembered(shop.context()), (sku, shop.here, 2))
    refused = refusal_of(shop.target, methods.RESERVE.path, ask.SerializeToString())
    answer = shop.release(requests.by_key(ask.context.idempotency_key))
    assert answer.key_cancelled
    assert not answer.holds
    shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, shop.here, 9)))
    assert shop.refused(methods.RESERVE, ask, "INSUFFICIENT_STOCK") == refused
    assert shop.outcome(ask.context.idempotency_key).outcome.rejection.reason == "INSUFFICIENT_STOCK"


def test_a_release_that_only_cancels_a_key_says_where_it_looked(shop: Shop) -> None:
    sku, channel, place = shop.item(5), shop.channel(), shop.source()
    held = shop.reserve((sku, shop.here, 1), context=shop.context(channel=channel))
    key = next(e.context.idempotency_key for e in shop.target.read_events(held.receipt.sequence, 1))
    answer = shop.release(requests.by_key(key))
    assert (answer.key_cancelled, answer.HasField("key_scope")) == (True, True)
    assert (answer.key_scope.channel, answer.key_scope.source_id) == ("", "")
    numbered = requests.release(message(place, 1), requests.by_key(key))
    assert shop.call(methods.RELEASE, numbered).key_scope.source_id == place.source_id
    outcomes = shop.submit(requests.release(shop.context(channel=shop.channel()), requests.by_key(key)))
    assert outcomes[0].key_cancelled
    assert outcomes[0].key_scope.channel not in ("", channel)
    assert shop.level(sku).reserved == 1, "the hold of the other channel stays"
    released = shop.release(requests.by_key(key), channel=channel)
    assert (released.key_cancelled, released.HasField("key_scope")) == (False, False)
    assert shop.level(sku).reserved == 0


@pytest.mark.parametrize("kind", TARGETS)
def test_memory_for_refusals_is_bounded_and_what_it_forgets_is_never_executed(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path, refusal_bytes_max=40_000) as target:
        shop = Shop(target)
        sku = shop.item(1)
        now_ms = target.engine_time_ms()
        first = requests.reserve(remembered(shop.context()), (sku, shop.here, 2))
        first.context.issue_time.FromMilliseconds(now_ms)
        refusal_of(target, methods.RESERVE.path, first.SerializeToString())
        others = [requests.reserve(remembered(shop.context()), (sku, shop.here, 2)) for _ in range(1_000)]
        shop.submit(*others[:500])
        shop.submit(*others[500:])
        shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, shop.here, 9)))
        info = target.call(methods.GET_SERVER_INFO, methods.GET_SERVER_INFO.request())
        assert info.refusal_bytes_max == 40_000
        assert 0 < info.refusal_bytes <= 41_000
        window_ms = info.effective_refusal_window.ToMilliseconds()
        assert window_ms < info.effective_dedupe_window.ToMilliseconds()
        shop.refused(methods.RESERVE, first, "DEDUPE_WINDOW_EXPIRED")
        assert figures(shop.level(sku)) == (10, 0, 0, 10)
