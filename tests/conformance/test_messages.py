"""Messages of sources: each is applied once, in the order of its source, or kept; nothing that was told is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import types_pb2 as types
from invengine.v1.inventory_service_pb2 import SourceMessage

from . import methods, requests
from .inbox import APPLIED, DEAD, PARKED, REFUSED, WAITING, Inbox, body, rejected, shipment
from .shop import figures

BODIES = [each.name for each in SourceMessage.DESCRIPTOR.oneofs_by_name["body"].fields]
NOBODY = "nobody-knows-this"


AFTER = {
    "goods_received": (13, 0, 0),
    "return_received": (13, 0, 0),
    "stock_level_reported": (3, 0, 0),
    "cycle_count_adjusted": (3, 0, 0),
    "stock_adjusted": (13, 0, 0),
    "stock_moved": (10, 3, 0),
    "transfer_shipped": (7, 0, 0),
    "transfer_received": (7, 0, 0),
    "transfer_closed": (10, 0, 0),
    "reservation_created": (10, 0, 3),
}
"""on_hand, damaged and reserved at the first location, which had ten units."""


@pytest.mark.parametrize("name", BODIES)
def test_every_message_has_the_effect_of_its_command(inbox: Inbox, name: str) -> None:
    message = body(inbox, name, 1)
    outcome = inbox.one(message)
    assert (outcome.disposition, outcome.receipt.replayed) == (APPLIED, False)
    level = inbox.shop.level(inbox.sku)
    assert (level.on_hand, level.damaged, level.reserved) == AFTER[name]
    (event,) = inbox.shop.target.read_events(outcome.receipt.sequence, 1)
    request = getattr(message, name)
    assert (event.context.source, event.context.idempotency_key) == (
        request.context.source,
        request.context.idempotency_key,
    )
    again = inbox.one(message)
    assert (again.disposition, again.receipt.replayed) == (APPLIED, True)
    assert again.receipt.sequence == outcome.receipt.sequence
    known = inbox.shop.outcome(request.context.idempotency_key, source_id=inbox.name)
    assert known.outcome.receipt.sequence == outcome.receipt.sequence


@pytest.mark.parametrize("name", BODIES)
def test_every_message_can_be_parked(inbox: Inbox, name: str) -> None:
    assert inbox.become(body(inbox, name, 2)) == [PARKED]
    assert inbox.become(inbox.goods(1, 0 + 5)) == [APPLIED]
    on_hand, damaged, reserved = AFTER[name]
    absolute = name in ("stock_level_reported", "cycle_count_adjusted")
    level = inbox.shop.level(inbox.sku)
    assert (level.on_hand, level.damaged, level.reserved) == (on_hand + (0 if absolute else 5), damaged, reserved)
    assert inbox.counts() == (2, 0, 0, 0)


def test_messages_in_reverse_order_are_applied_in_order_with_the_first(inbox: Inbox) -> None:
    shop, messages = inbox.shop, [inbox.goods(number, number) for number in range(1, 7)]
    parked = inbox.record(*messages[:0:-1])
    assert {each.disposition for each in parked} == {PARKED}
    assert inbox.counts() == (0, 5, 0, 0)
    assert figures(shop.level(inbox.sku)) == (10, 0, 0, 10)
    kept = inbox.parked()
    assert [each.position.sequence for each in kept] == [2, 3, 4, 5, 6]
    assert [each.message for each in kept] == messages[1:]
    assert [each.sequence for each in reversed(kept)] == [each.receipt.sequence for each in parked]
    assert kept[0].message_id == messages[1].goods_received.context.idempotency_key
    assert min(each.time.ToMilliseconds() for each in kept) == inbox.figures().parked_since.ToMilliseconds()
    first = inbox.one(messages[0])
    assert first.disposition == APPLIED
    assert inbox.counts() == (6, 0, 0, 0)
    assert shop.level(inbox.sku).on_hand == 10 + sum(range(1, 7))
    events = shop.target.read_events(first.receipt.sequence, 6)
    assert [each.context.source.sequence for each in events] == [1, 2, 3, 4, 5, 6]
    assert {each.WhichOneof("fact") for each in events} == {"stock_changed"}
    again = inbox.record(*messages)
    assert [each.receipt.sequence for each in again] == [each.sequence for each in events]
    assert all(each.receipt.replayed and each.disposition == APPLIED for each in again)


def test_a_gap_holds_back_what_is_behind_it_and_a_command_fills_it_too(inbox: Inbox) -> None:
    assert inbox.become(inbox.goods(2), inbox.goods(4), inbox.goods(1)) == [PARKED, PARKED, APPLIED]
    assert inbox.counts() == (2, 1, 0, 0)
    inbox.shop.call(methods.RECEIVE, requests.receive(inbox.context(3), (inbox.sku, inbox.shop.here, 1)))
    assert inbox.counts() == (4, 0, 0, 0)
    assert inbox.shop.level(inbox.sku).on_hand == 14


def test_a_parked_message_that_is_sent_again_is_the_same_one(inbox: Inbox) -> None:
    message = inbox.goods(3)
    first, again = inbox.one(message), inbox.one(message)
    assert (again.disposition, again.receipt.replayed) == (PARKED, True)
    assert again.receipt.sequence == first.receipt.sequence
    assert inbox.counts() == (0, 1, 0, 0)


def test_another_message_under_the_number_of_a_parked_one_is_a_conflict(inbox: Inbox) -> None:
    message = inbox.goods(3)
    inbox.one(message)
    key = message.goods_received.context.idempotency_key
    for other in (inbox.goods(3), inbox.goods(3, 2, key=key), body(inbox, "stock_moved", 3)):
        rejected(inbox.one(other), REFUSED, "SEQUENCE_CONFLICT", source=inbox.name, sequence=3)
    assert [each.message for each in inbox.parked()] == [message]


def test_another_body_under_the_number_of_an_applied_one_is_a_conflict(inbox: Inbox) -> None:
    inbox.one(inbox.goods(1))
    rejected(inbox.one(inbox.goods(1, 2)), REFUSED, "SEQUENCE_CONFLICT", source=inbox.name, sequence=1)
    assert inbox.counts() == (1, 0, 0, 0)


def test_an_id_under_another_number_is_a_repeat_that_uses_that_number(inbox: Inbox) -> None:
    first = inbox.one(inbox.goods(1, key="m-1"))
    again = inbox.one(inbox.goods(2, key="m-1"))
    assert (again.disposition, again.receipt.replayed) == (APPLIED, True)
    assert again.receipt.sequence == first.receipt.sequence
    assert inbox.become(inbox.goods(3)) == [APPLIED]
    assert inbox.shop.level(inbox.sku).on_hand == 12
    rejected(inbox.one(inbox.goods(4, 7, key="m-1")), DEAD, "IDEMPOTENCY_KEY_REUSED", field="lines.quantity")
    assert inbox.counts() == (4, 0, 0, 1)


def test_an_id_that_was_refused_is_refused_again_under_another_number(inbox: Inbox) -> None:
    first = inbox.goods(1, sku=NOBODY, key="m-1")
    letter = inbox.one(first)
    again = inbox.one(first)
    assert (again.disposition, again.receipt.sequence) == (DEAD, letter.receipt.sequence)
    other = rejected(inbox.one(inbox.goods(2, sku=NOBODY, key="m-1")), DEAD, "UNKNOWN_SKU", sku=NOBODY)
    assert other.message == letter.rejection.message
    assert inbox.become(inbox.goods(3)) == [APPLIED]


def test_the_key_of_a_message_is_that_of_its_command(inbox: Inbox) -> None:
    message = inbox.goods(1)
    request = message.goods_received
    first = inbox.shop.call(methods.RECEIVE, request)
    again = inbox.one(message)
    assert (again.disposition, again.receipt.replayed) == (APPLIED, True)
    assert again.receipt.sequence == first.receipt.sequence
    other = inbox.goods(2)
    applied = inbox.one(other)
    answer = inbox.shop.call(methods.RECEIVE, other.goods_received)
    assert (answer.receipt.replayed, answer.receipt.sequence) == (True, applied.receipt.sequence)


# Waiting


def test_what_names_an_unknown_transfer_waits_and_is_applied_when_that_is_shipped(inbox: Inbox) -> None:
    shop, transfer = inbox.shop, inbox.shop.name("transfer")
    message = inbox.arrival(1, transfer)
    message.transfer_received.context.event_time.FromSeconds(1_790_000_000)
    waiting = inbox.one(message)
    assert (waiting.disposition, waiting.receipt.replayed) == (WAITING, False)
    assert inbox.counts() == (1, 0, 1, 0)
    (kept,) = inbox.waiting()
    assert (kept.waits_for.kind, kept.waits_for.name) == ("stock_transfer", transfer)
    assert (kept.sequence, kept.message) == (waiting.receipt.sequence, message)
    assert kept.event_time.ToSeconds() == 1_790_000_000
    assert inbox.figures().waiting_since == kept.time
    again = inbox.one(message)
    assert (again.disposition, again.receipt.replayed) == (WAITING, True)
    assert again.receipt.sequence == waiting.receipt.sequence
    # It holds up nothing.
    assert inbox.become(inbox.goods(2)) == [APPLIED]
    answer = shop.call(methods.SHIP_TRANSFER, shipment(inbox, shop.context(), transfer))
    assert inbox.counts() == (2, 0, 0, 0)
    assert shop.level(inbox.sku, shop.there).on_hand == 3
    events = shop.target.read_events(answer.receipt.sequence, 3)
    assert [each.WhichOneof("fact") for each in events] == ["transfer_shipped", "wait_ended", "transfer_received"]
    assert events[1].wait_ended.waiting == waiting.receipt.sequence
    assert events[2].context.source.sequence == 1
    applied = inbox.one(message)
    assert (applied.disposition, applied.receipt.replayed) == (APPLIED, True)
    assert applied.receipt.sequence == events[2].sequence


def test_a_message_that_ships_sets_free_what_waits_in_the_same_step(inbox: Inbox) -> None:
    shop, transfer, other = inbox.shop, inbox.shop.name("transfer"), Inbox(inbox.shop)
    close = inventory.CloseTransferRequest(
        context=other.context(2), transfer=transfer, remainder=types.TRANSFER_REMAINDER_LOST
    )
    arrive = inventory.ReceiveTransferRequest(context=other.context(1), transfer=transfer)
    arrive.lines.add(sku=inbox.sku, quantity=1)
    waits = [SourceMessage(transfer_received=arrive), SourceMessage(transfer_closed=close)]
    assert other.become(*waits) == [WAITING, WAITING]
    ship = SourceMessage(transfer_shipped=shipment(inbox, inbox.context(1), transfer))
    assert inbox.become(ship) == [APPLIED]
    assert other.counts() == (2, 0, 0, 0)
    found = shop.call(methods.GET_STOCK_TRANSFER, methods.GET_STOCK_TRANSFER.request(transfer=transfer)).stock_transfer
    assert [(line.shipped, line.received, line.lost) for line in found.lines] == [(3, 1, 2)]


def test_one_that_waits_is_one_whatever_its_number(inbox: Inbox) -> None:
    transfer = inbox.shop.name("transfer")
    first = inbox.one(inbox.arrival(1, transfer, key="m-1"))
    again = inbox.one(inbox.arrival(2, transfer, key="m-1"))
    assert (again.disposition, again.receipt.replayed) == (WAITING, True)
    assert again.receipt.sequence == first.receipt.sequence
    assert inbox.counts() == (2, 0, 1, 0)
    reused = rejected(inbox.one(inbox.goods(3, key="m-1")), DEAD, "IDEMPOTENCY_KEY_REUSED")
    assert reused.metadata["sequence"] == str(first.receipt.sequence)
    inbox.shop.call(methods.SHIP_TRANSFER, shipment(inbox, inbox.shop.context(), transfer))
    assert inbox.shop.level(inbox.sku, inbox.shop.there).on_hand == 3
    assert inbox.counts() == (3, 0, 0, 1)


def test_what_cannot_be_applied_when_its_transfer_is_shipped_becomes_a_dead_letter(inbox: Inbox) -> None:
    transfer = inbox.shop.name("transfer")
    message = inbox.arrival(1, transfer)
    message.transfer_received.expected_version = 9
    waiting = inbox.one(message)
    assert waiting.disposition == WAITING
    inbox.shop.call(methods.SHIP_TRANSFER, shipment(inbox, inbox.shop.context(), transfer))
    assert inbox.counts() == (1, 0, 0, 1)
    (letter,) = inbox.letters()
    assert (letter.rejection.reason, letter.message) == ("STALE_VERSION", message)
    assert letter.sequence > waiting.receipt.sequence


# Dead letters


def refused_message(inbox: Inbox, reason: str) -> SourceMessage:
    """A message that the ledger refuses for this reason."""
    shop, context = inbox.shop, inbox.context(1)
    line = (inbox.sku, shop.here, 1)

    def known_transfer() -> SourceMessage:
        return SourceMessage(transfer_shipped=shipment(inbox, context, shop.stock_transfer(inbox.sku, 1)))

    made: dict[str, Callable[[], SourceMessage]] = {
        "UNKNOWN_SKU": lambda: SourceMessage(goods_received=requests.receive(context, (NOBODY, shop.here, 1))),
        "UNKNOWN_LOCATION": lambda: SourceMessage(return_received=requests.give_back(context, (inbox.sku, NOBODY, 1))),
        "INSUFFICIENT_STOCK": lambda: SourceMessage(
            stock_adjusted=requests.adjust(context, (inbox.sku, shop.here, -11))
        ),
        "QUANTITY_STALE": lambda: SourceMessage(cycle_count_adjusted=requests.count(context, line, expected=9)),
        "TRANSFER_STATE": known_transfer,
    }
    return made[reason]()


@pytest.mark.parametrize(
    "reason", ["UNKNOWN_SKU", "UNKNOWN_LOCATION", "INSUFFICIENT_STOCK", "QUANTITY_STALE", "TRANSFER_STATE"]
)
def test_what_the_ledger_refuses_is_a_dead_letter_and_holds_up_nothing(inbox: Inbox, reason: str) -> None:
    message = refused_message(inbox, reason)
    before = figures(inbox.shop.level(inbox.sku))
    outcome = inbox.one(message)
    rejected(outcome, DEAD, reason)
    assert figures(inbox.shop.level(inbox.sku)) == before
    (letter,) = inbox.letters()
    assert (letter.sequence, letter.message) == (outcome.receipt.sequence, message)
    assert letter.rejection == outcome.rejection
    (event,) = inbox.shop.target.read_events(outcome.receipt.sequence, 1)
    assert event.message_dead.rejection == outcome.rejection
    assert inbox.become(inbox.goods(2)) == [APPLIED]
    assert inbox.counts() == (2, 0, 0, 1)


def test_a_parked_message_becomes_a_dead_letter_in_its_turn(inbox: Inbox) -> None:
    parked = inbox.goods(2, sku=NOBODY)
    assert inbox.become(parked, inbox.goods(3), inbox.goods(1)) == [PARKED, PARKED, APPLIED]
    assert inbox.counts() == (3, 0, 0, 1)
    assert [each.message for each in inbox.letters()] == [parked]
    rejected(inbox.one(parked), DEAD, "UNKNOWN_SKU", sku=NOBODY)


INVALID: dict[str, tuple[Callable[[SourceMessage], None], list[str]]] = {
    "no lines": (lambda message: message.goods_received.ClearField("lines"), ["lines"]),
    "a line without units": (lambda message: _line(message, quantity=0), ["lines[0].quantity"]),
    "a line without names": (
        lambda message: _line(message, sku="", location=""),
        ["lines[0].sku", "lines[0].location"],
    ),
    "a long actor": (lambda message: _context(message, actor="x" * 129), ["context.actor"]),
    "an origin without epoch": (
        lambda message: message.goods_received.context.origin.MergeFrom(
            types.SourcePosition(source_id="wms", sequence=1)
        ),
        ["context.origin.epoch"],
    ),
}


def _line(message: SourceMessage, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(message.goods_received.lines[0], name, value)


def _context(message: SourceMessage, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(message.goods_received.context, name, value)


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_message_is_kept_with_its_violations(inbox: Inbox, name: str) -> None:
    message = inbox.goods(1)
    change, fields = INVALID[name]
    change(message)
    outcome = inbox.one(message)
    assert rejected(outcome, DEAD, "INVALID_FIELD").fields == fields
    (letter,) = inbox.letters()
    assert (letter.message, letter.rejection) == (message, outcome.rejection)
    assert inbox.become(inbox.goods(2)) == [APPLIED]
    # The command alone says the same.
    request = inbox.goods(3).goods_received
    request.MergeFrom(message.goods_received)
    message.goods_received.context.source.sequence = 3
    alone = inbox.shop.refused(methods.RECEIVE, message.goods_received, "INVALID_FIELD")
    assert (alone.fields, alone.message) == (fields, outcome.rejection.message)


UNREADABLE: dict[str, tuple[Callable[[types.CommandContext], None], list[str]]] = {
    "no id": (lambda context: context.ClearField("idempotency_key"), ["context.idempotency_key"]),
    "a long id": (lambda context: _set(context, idempotency_key="x" * 129), ["context.idempotency_key"]),
    "no position": (lambda context: context.ClearField("source"), ["context.source"]),
    "no number": (lambda context: context.source.ClearField("sequence"), ["context.source.sequence"]),
    "no epoch": (lambda context: context.source.ClearField("epoch"), ["context.source.epoch"]),
    "no source": (lambda context: context.source.ClearField("source_id"), ["context.source.source_id"]),
}


def _set(context: types.CommandContext, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(context, name, value)


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_message_without_id_or_position_is_refused_and_uses_no_number(inbox: Inbox, name: str) -> None:
    message = inbox.goods(1)
    change, fields = UNREADABLE[name]
    change(message.goods_received.context)
    assert rejected(inbox.one(message), REFUSED, "INVALID_FIELD").fields == fields
    assert inbox.counts() == (0, 0, 0, 0)
    assert inbox.become(inbox.goods(1)) == [APPLIED]


def test_a_message_without_a_body_is_refused(inbox: Inbox) -> None:
    assert rejected(inbox.one(SourceMessage()), REFUSED, "INVALID_FIELD").fields == ["body"]
