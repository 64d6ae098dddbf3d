"""Messages that pass on those of another source: what was applied already is recorded and has no effect."""

from __future__ import annotations

from typing import Any

import pytest

from invengine.v1 import types_pb2 as types

from . import methods, requests
from .commands import COMMANDS, AnyMethod
from .refused import Refused
from .requests import HoldRequest
from .rules import PROMISE, Rules, Sender
from .shop import Shop, figures


def passing_on(context: types.CommandContext, origin: types.SourcePosition) -> types.CommandContext:
    """The same shared fields, of a command that passes this message on."""
    context.origin.CopyFrom(origin)
    return context


def told(shop: Shop, sku: str) -> Sender:
    """A source whose first message has said that three units arrived."""
    found = Sender(shop)
    shop.call(methods.RECEIVE, requests.receive(found.context(), (sku, shop.here, 3)))
    return found


@pytest.mark.parametrize("from_source", [False, True])
def test_what_was_applied_already_has_no_effect(shop: Shop, from_source: bool) -> None:
    sku, erp = shop.item(), Sender(shop)
    wms = told(shop, sku)
    before, sequence = figures(shop.level(sku)), shop.target.digest()[1]
    context = passing_on(erp.context() if from_source else shop.context(), wms.last)
    request = requests.receive(context, (sku, shop.here, 3))
    answer = shop.call(methods.RECEIVE, request)
    assert (answer.receipt.echo, answer.receipt.replayed, list(answer.levels)) == (True, False, [])
    assert figures(shop.level(sku)) == before
    (event,) = [each for each in shop.target.read_events(sequence + 1) if each.HasField("context")]
    assert event.echoed.origin == wms.last
    assert event.context.origin == wms.last
    again = shop.call(methods.RECEIVE, request)
    assert (again.receipt.echo, again.receipt.replayed) == (True, True)
    assert again.receipt.sequence == answer.receipt.sequence
    scope = {"source_id": erp.name} if from_source else {}
    known = shop.outcome(request.context.idempotency_key, **scope)
    assert (known.outcome.receipt.echo, known.outcome.HasField("rejection")) == (True, False)


def test_what_was_not_applied_yet_takes_effect_and_the_original_later_too(shop: Shop) -> None:
    """The ledger does not know what the other message says: only a repeat of what it has can be an echo."""
    sku = shop.item()
    wms = told(shop, sku)
    origin = wms.last
    origin.sequence += 1
    sequence = shop.target.digest()[1]
    request = requests.receive(passing_on(shop.context(), origin), (sku, shop.here, 2))
    assert not shop.call(methods.RECEIVE, request).receipt.echo
    assert shop.level(sku).on_hand == 5
    (event,) = shop.target.read_events(sequence + 1)
    assert event.context.origin == origin
    again = shop.call(methods.RECEIVE, request)
    assert (again.receipt.replayed, again.receipt.echo) == (True, False)


def test_what_was_refused_is_news(shop: Shop) -> None:
    sku = shop.item()
    wms = told(shop, sku)
    with pytest.raises(Refused, match="nothing-of-this-name"):
        shop.target.call(methods.RECEIVE, requests.receive(wms.context(), ("nothing-of-this-name", shop.here, 1)))
    answer = shop.call(methods.RECEIVE, requests.receive(passing_on(shop.context(), wms.last), (sku, shop.here, 2)))
    assert not answer.receipt.echo
    assert shop.level(sku).on_hand == 5


def test_only_stock_and_promises_are_passed_on(shop: Shop) -> None:
    wms = told(shop, shop.item())
    register = methods.REGISTER_SOURCE.request(context=passing_on(shop.context(), wms.last), source_id=wms.name)
    assert shop.refused(methods.REGISTER_SOURCE, register, "INVALID_FIELD").fields == ["context.origin"]


def test_an_older_epoch_of_a_source_has_no_news(shop: Shop) -> None:
    sku = shop.item()
    wms = told(shop, sku)
    origin = wms.last
    shop.source(wms.name)
    origin.sequence += 1000
    answer = shop.call(methods.RECEIVE, requests.receive(passing_on(shop.context(), origin), (sku, shop.here, 2)))
    assert answer.receipt.echo
    assert shop.level(sku).on_hand == 3


def test_an_origin_must_be_a_message_that_can_be(shop: Shop) -> None:
    sku, erp = shop.item(), Sender(shop)
    wms = told(shop, sku)
    future = wms.last
    future.epoch += 1
    nobody = types.SourcePosition(source_id="nobody-knows-this", epoch=1, sequence=1)
    line = (sku, shop.here, 1)
    request = requests.receive(passing_on(shop.context(), nobody), line)
    shop.refused(methods.RECEIVE, request, "UNKNOWN_SOURCE", source="nobody-knows-this")
    request = requests.receive(passing_on(shop.context(), future), line)
    assert shop.refused(methods.RECEIVE, request, "INVALID_FIELD").fields == ["context.origin.epoch"]
    own = erp.context()
    request = requests.receive(passing_on(own, own.source), line)
    assert shop.refused(methods.RECEIVE, request, "INVALID_FIELD").fields == ["context.origin.source_id"]
    for bad, field in (
        (types.SourcePosition(epoch=1, sequence=1), "source_id"),
        (types.SourcePosition(source_id=wms.name, sequence=1), "epoch"),
        (types.SourcePosition(source_id=wms.name, epoch=1), "sequence"),
    ):
        request = requests.receive(passing_on(shop.context(), bad), line)
        assert shop.refused(methods.RECEIVE, request, "INVALID_FIELD").fields == [f"context.origin.{field}"]


def test_an_unknown_origin_uses_up_the_number_of_a_message(shop: Shop) -> None:
    sku, erp = shop.item(), Sender(shop)
    nobody = types.SourcePosition(source_id="nobody-knows-this", epoch=1, sequence=1)
    request = requests.receive(passing_on(erp.context(), nobody), (sku, shop.here, 1))
    for _ in range(2):
        with pytest.raises(Refused, match="nobody-knows-this"):
            shop.target.call(methods.RECEIVE, request)
    shop.call(methods.RECEIVE, requests.receive(erp.context(), (sku, shop.here, 1)))


def test_the_origin_is_part_of_what_a_key_stands_for(shop: Shop) -> None:
    sku = shop.item()
    wms, key = told(shop, sku), shop.name("key")
    shop.call(methods.RECEIVE, requests.receive(passing_on(shop.context(key), wms.last), (sku, shop.here, 3)))
    request = requests.receive(shop.context(key), (sku, shop.here, 3))
    shop.refused(methods.RECEIVE, request, "IDEMPOTENCY_KEY_REUSED")
    other = requests.receive(shop.context(), (sku, shop.here, 1))
    shop.call(methods.RECEIVE, other)
    other.context.origin.CopyFrom(wms.last)
    shop.refused(methods.RECEIVE, other, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize("command", ["reserve", *COMMANDS])
def test_an_echo_of_a_command_on_holds_names_no_hold(shop: Shop, command: str) -> None:
    sku = shop.item(5)
    wms, hold = told(shop, sku), shop.hold((sku, shop.here, 1))
    before = [figures(shop.level(sku)), shop.reservation(hold)]
    method: AnyMethod = methods.RESERVE
    request: HoldRequest = requests.reserve(shop.context(), (sku, shop.here, 1))
    if command != "reserve":
        method, make = COMMANDS[command]
        request = make(shop, hold, sku)
    request.context.origin.CopyFrom(wms.last)
    answer: Any = shop.call(method, request)
    assert answer.receipt.echo
    assert not (answer.HasField("hold") if command == "reserve" else answer.holds)
    assert [figures(shop.level(sku)), shop.reservation(hold)] == before
    request.context.idempotency_key = shop.name("key")
    (outcome,) = shop.submit(request)
    assert (outcome.receipt.echo, list(outcome.holds), outcome.HasField("rejection")) == (True, [], False)


def test_an_echo_needs_no_right(rules: Rules) -> None:
    """It asks for nothing: whoever may not do it has only told what is known."""
    shop = rules.shop
    sku = shop.item(5)
    wms = told(shop, sku)
    rules.grant(PROMISE, source_id=wms.name)
    answer = shop.call(methods.RESERVE, requests.reserve(passing_on(shop.context(), wms.last), (sku, shop.here, 1)))
    assert answer.receipt.echo
    news = wms.last
    news.sequence += 1
    request = requests.reserve(passing_on(shop.context(), news), (sku, shop.here, 1))
    shop.refused(methods.RESERVE, request, "NOT_AUTHORITATIVE", right="PROMISE")
