"""Who may send messages, and how: epochs, authority, echoes, requests, the stream, the events of a source."""

from __future__ import annotations

import pytest

from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1.inventory_service_pb2 import SourceMessage

from . import methods, requests
from .inbox import APPLIED, DEAD, PARKED, REFUSED, WAITING, Inbox, body, rejected, shipment
from .refused import Refused
from .rules import OF_STOCK, PROMISE, Rules
from .shop import Shop, figures
from .targets import ServerTarget

NOBODY = "nobody-knows-this"


def test_a_stale_epoch_and_an_unknown_source_are_refused(inbox: Inbox) -> None:
    stale, unknown = inbox.goods(1), inbox.goods(1)
    unknown.goods_received.context.source.source_id = NOBODY
    inbox.register()
    rejected(inbox.one(stale), REFUSED, "STALE_EPOCH", source=inbox.name, current=inbox.place.epoch)
    rejected(inbox.one(unknown), REFUSED, "UNKNOWN_SOURCE", source=NOBODY)
    assert inbox.counts() == (0, 0, 0, 0)


def test_a_registration_drops_what_is_parked_and_keeps_the_rest(inbox: Inbox) -> None:
    transfer = inbox.shop.name("transfer")
    waiting = inbox.arrival(1, transfer)
    assert inbox.become(waiting, inbox.goods(2, sku=NOBODY), inbox.goods(9)) == [WAITING, DEAD, PARKED]
    answer = inbox.register()
    assert answer.previous_sequence == 2
    assert inbox.counts() == (0, 0, 1, 1)
    inbox.shop.call(methods.SHIP_TRANSFER, shipment(inbox, inbox.shop.context(), transfer))
    assert inbox.shop.level(inbox.sku, inbox.shop.there).on_hand == 3
    assert inbox.counts() == (0, 0, 0, 1)
    assert inbox.become(*(inbox.goods(number) for number in range(9, 0, -1))) == [PARKED] * 8 + [APPLIED]


def test_messages_of_several_sources_in_one_request(inbox: Inbox) -> None:
    other = Inbox(inbox.shop)
    messages = [inbox.goods(1), other.goods(2), inbox.goods(3), other.goods(1), inbox.goods(2)]
    assert inbox.become(*messages) == [APPLIED, PARKED, PARKED, APPLIED, APPLIED]
    assert (inbox.counts(), other.counts()) == ((3, 0, 0, 0), (2, 0, 0, 0))


# Authority


def test_claims_are_made_through_messages(inbox: Inbox) -> None:
    inbox.shop.profile(inbox.name, locations=[inbox.shop.there])
    request = requests.set_quantity(inbox.context(1), (inbox.sku, inbox.shop.there, 4), (inbox.sku, inbox.shop.here, 4))
    outcome = inbox.one(SourceMessage(stock_level_reported=request))
    assert (outcome.disposition, list(outcome.claimed_lines)) == (APPLIED, [1])
    again = inbox.one(SourceMessage(stock_level_reported=request))
    assert (again.receipt.replayed, list(again.claimed_lines)) == (True, [1])
    assert figures(inbox.shop.level(inbox.sku)) == (10, 0, 0, 10)
    assert inbox.figures().claims == 1


def test_what_a_source_may_not_do_is_a_dead_letter(rules: Rules) -> None:
    inbox = Inbox(rules.shop, on_hand=10)
    rules.grant(*OF_STOCK)
    rules.grant(PROMISE)
    outcomes = inbox.record(inbox.goods(1), body(inbox, "reservation_created", 2))
    for outcome, right in zip(outcomes, ("REPORT", "PROMISE"), strict=True):
        rejected(outcome, DEAD, "NOT_AUTHORITATIVE", right=right, source=inbox.name, location=inbox.shop.here)
    assert inbox.counts() == (2, 0, 0, 2)
    # Who has the right to correct the rules can send them again.
    rules.end()
    ids = [letter.sequence for letter in inbox.letters()]
    assert [each.disposition for each in inbox.redrive(*ids)] == [APPLIED, APPLIED]
    assert figures(inbox.shop.level(inbox.sku)) == (11, 3, 0, 8)


def test_a_message_that_passes_on_what_was_applied_is_an_echo(inbox: Inbox) -> None:
    wms = Inbox(inbox.shop)
    told = wms.goods(1, sku=inbox.sku)
    wms.one(told)
    message = inbox.goods(1)
    message.goods_received.context.origin.CopyFrom(told.goods_received.context.source)
    outcome = inbox.one(message)
    assert (outcome.disposition, outcome.receipt.echo, outcome.receipt.replayed) == (APPLIED, True, False)
    again = inbox.one(message)
    assert (again.receipt.echo, again.receipt.replayed) == (True, True)
    assert inbox.shop.level(inbox.sku).on_hand == 11


# Requests


@pytest.mark.parametrize("count", [0, 1001])
def test_a_request_has_1_to_1000_messages(inbox: Inbox, count: int) -> None:
    request = inventory.RecordMessagesRequest(messages=[inbox.goods(n) for n in range(1, count + 1)])
    assert inbox.shop.refused(methods.RECORD_MESSAGES, request, "INVALID_FIELD").fields == ["messages"]
    assert inbox.counts() == (0, 0, 0, 0)


def test_a_request_of_1000_messages(inbox: Inbox) -> None:
    assert set(inbox.become(*(inbox.goods(n) for n in range(1, 1001)))) == {APPLIED}
    assert inbox.shop.level(inbox.sku).on_hand == 1010


def test_the_stream_answers_each_request(server_shop: Shop) -> None:
    inbox, target = Inbox(server_shop), server_shop.target
    assert isinstance(target, ServerTarget)
    batches = [[inbox.goods(2), inbox.goods(3, sku=NOBODY)], [inbox.goods(1)], [inbox.goods(4)]]
    payloads = [inventory.RecordMessageStreamRequest(messages=batch).SerializeToString() for batch in batches]
    found = [
        inventory.RecordMessageStreamResponse.FromString(answer)
        for answer in target.stream_raw(methods.RECORD_MESSAGE_STREAM, iter(payloads))
    ]
    assert [[each.disposition for each in answer.outcomes] for answer in found] == [
        [PARKED, PARKED],
        [APPLIED],
        [APPLIED],
    ]
    assert all(answer.durable_sequence >= answer.outcomes[-1].receipt.sequence for answer in found)
    assert inbox.counts() == (4, 0, 0, 1)


def test_the_first_refusal_of_a_request_ends_the_stream(server_shop: Shop) -> None:
    inbox, target = Inbox(server_shop), server_shop.target
    assert isinstance(target, ServerTarget)
    payloads = [inventory.RecordMessageStreamRequest(messages=[inbox.goods(1)]).SerializeToString(), b""]
    answers = target.stream_raw(methods.RECORD_MESSAGE_STREAM, iter(payloads))
    assert next(answers)
    with pytest.raises(Refused) as refused:
        next(answers)
    assert (refused.value.reason, refused.value.fields) == ("INVALID_FIELD", ["messages"])
    assert inbox.counts() == (1, 0, 0, 0)


def test_a_filter_finds_the_events_of_a_source(inbox: Inbox) -> None:
    start = inbox.shop.target.digest()[1]
    inbox.record(inbox.goods(1, sku=NOBODY), inbox.arrival(2, "no-such-transfer"), inbox.goods(4))
    request = journal.ReadEventsRequest(from_sequence=start + 1)
    request.filter.source_ids.append(inbox.name)
    found, _ = inbox.shop.target.matching(request)
    assert [each.WhichOneof("fact") for each in found] == ["message_dead", "message_waits", "message_parked"]
    request.filter.types.append("message_waits")
    (event,), _ = inbox.shop.target.matching(request)
    assert (event.message_waits.kind, event.message_waits.name) == ("stock_transfer", "no-such-transfer")
