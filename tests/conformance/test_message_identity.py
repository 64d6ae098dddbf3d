"""What a message is known by: its id, its number and its body, and the dead letter that it became."""

from __future__ import annotations

from invengine.v1 import types_pb2 as types

from . import methods
from .inbox import APPLIED, DEAD, REFUSED, Inbox, rejected
from .test_kept_messages import dead


def test_a_correction_of_no_letter(inbox: Inbox) -> None:
    rejected(inbox.redrive(10**9, corrected=inbox.goods(1))[0], REFUSED, "ENTITY_NOT_FOUND", kind="dead_letter")


def test_what_remains_a_letter_keeps_its_id(inbox: Inbox) -> None:
    _, letter = dead(inbox)
    inbox.one(inbox.goods(2))
    assert inbox.redrive(letter)[0].receipt.sequence == letter


def test_an_unknown_origin_holds_up_nothing(inbox: Inbox) -> None:
    message = inbox.goods(1)
    message.goods_received.context.origin.CopyFrom(types.SourcePosition(source_id="nobody", epoch=1, sequence=1))
    assert inbox.become(message, inbox.goods(2)) == [DEAD, APPLIED]


def test_another_body_under_the_id_and_number_of_a_letter(inbox: Inbox) -> None:
    message, _ = dead(inbox)
    message.goods_received.lines[0].quantity += 1
    rejected(inbox.one(message), REFUSED, "IDEMPOTENCY_KEY_REUSED")


def test_another_id_under_the_number_of_an_applied_one(inbox: Inbox) -> None:
    inbox.one(inbox.goods(1))
    rejected(inbox.one(inbox.goods(1)), REFUSED, "SEQUENCE_CONFLICT", sequence=1)


def test_a_correction_is_of_the_same_source(inbox: Inbox) -> None:
    message, letter = dead(inbox)
    message.goods_received.lines[0].sku = inbox.sku
    message.goods_received.context.source.source_id = inbox.shop.source().source_id
    request = methods.REDRIVE_DEAD_LETTERS.request(source_id=inbox.name, dead_letters=[letter], corrected=message)
    assert inbox.shop.refused(methods.REDRIVE_DEAD_LETTERS, request, "INVALID_FIELD").fields == ["corrected"]
