"""What people do with messages that are kept: gaps that are given up, letters that are sent again or given up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from invengine.v1 import source_service_pb2 as sources
from invengine.v1.inventory_service_pb2 import SourceMessage

from . import methods, requests
from .inbox import APPLIED, DEAD, PARKED, REFUSED, WAITING, Inbox, body, rejected, shipment
from .own import journal_of, open_server, own_target
from .refused import Refused
from .shop import Shop, figures
from .targets import TARGETS, ServerTarget

NOBODY = "nobody-knows-this"
HELD_MAX = 10_000
"""Messages of a source that are parked or wait."""


def dead(inbox: Inbox, number: int = 1, **given: Any) -> tuple[SourceMessage, int]:
    """A dead letter of an item that is not in the catalogue yet, and its id."""
    message = inbox.goods(number, sku=given.get("sku", NOBODY))
    outcome = inbox.one(message)
    assert outcome.disposition == DEAD
    return message, outcome.receipt.sequence


def create(shop: Shop, sku: str) -> None:
    """Puts an item into the catalogue."""
    request = methods.UPSERT_ITEMS.request(context=shop.context())
    request.items.add(sku=sku)
    shop.call(methods.UPSERT_ITEMS, request)


# Gaps


def test_a_gap_that_is_given_up_sets_free_what_is_behind_it(inbox: Inbox) -> None:
    inbox.record(inbox.goods(1), inbox.goods(4), inbox.goods(5), inbox.goods(8))
    request = inbox.skip(3)
    answer = inbox.shop.call(methods.SKIP_GAP, request)
    assert inbox.counts() == (5, 1, 0, 0)
    (event,) = inbox.shop.target.read_events(answer.receipt.sequence, 1)
    skipped = event.gap_skipped
    assert (skipped.source_id, skipped.epoch, skipped.through) == (inbox.name, inbox.place.epoch, 3)
    assert event.context.reason_code == "lost"
    again = inbox.shop.call(methods.SKIP_GAP, request)
    assert (again.receipt.replayed, again.receipt.sequence) == (True, answer.receipt.sequence)
    assert inbox.shop.level(inbox.sku).on_hand == 13
    # What was given up is consumed: it comes too late.
    rejected(inbox.one(inbox.goods(2)), REFUSED, "SEQUENCE_CONSUMED", source=inbox.name)


def test_a_gap_may_be_given_up_in_part(inbox: Inbox) -> None:
    inbox.one(inbox.goods(4))
    inbox.shop.call(methods.SKIP_GAP, inbox.skip(2))
    assert inbox.counts() == (2, 1, 0, 0)
    assert inbox.become(inbox.goods(3)) == [APPLIED]
    assert inbox.counts() == (4, 0, 0, 0)


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"through": 1}, "SEQUENCE_CONSUMED", None),
        ({"through": 4}, "INVALID_FIELD", "through"),
        ({"through": 9}, "INVALID_FIELD", "through"),
        ({"through": 0}, "INVALID_FIELD", "through"),
        ({"through": 2**53}, "INVALID_FIELD", "through"),
        ({"through": 2, "epoch": 0}, "INVALID_FIELD", "epoch"),
        ({"through": 2, "source_id": ""}, "INVALID_FIELD", "source_id"),
        ({"through": 2, "source_id": NOBODY}, "UNKNOWN_SOURCE", None),
    ],
)
def test_what_is_no_gap_is_not_given_up(inbox: Inbox, fields: dict[str, Any], reason: str, field: str | None) -> None:
    inbox.record(inbox.goods(1), inbox.goods(4))
    refused = inbox.shop.refused(methods.SKIP_GAP, inbox.skip(**fields), reason)
    assert refused.fields == ([field] if field else [])
    assert inbox.counts() == (1, 1, 0, 0)


def test_without_a_parked_message_nothing_is_missing(inbox: Inbox) -> None:
    inbox.one(inbox.goods(1))
    assert inbox.shop.refused(methods.SKIP_GAP, inbox.skip(5), "INVALID_FIELD").fields == ["through"]


def test_a_gap_of_an_older_epoch_is_not_given_up(inbox: Inbox) -> None:
    inbox.one(inbox.goods(4))
    request = inbox.skip(3)
    inbox.register()
    inbox.one(inbox.goods(4))
    inbox.shop.refused(methods.SKIP_GAP, request, "STALE_EPOCH", source=inbox.name, current=inbox.place.epoch)


@pytest.mark.parametrize("method", [methods.SKIP_GAP, methods.DISCARD_DEAD_LETTERS])
def test_what_people_do_is_no_message(inbox: Inbox, method: methods.Method[Any, Any]) -> None:
    request: Any = inbox.skip(1) if method is methods.SKIP_GAP else inbox.discard(1)
    request.context.CopyFrom(inbox.context(1))
    assert inbox.shop.refused(method, request, "INVALID_FIELD").fields == ["context.source"]


# Dead letters that are sent again


def test_a_letter_is_applied_once_its_cause_is_gone(inbox: Inbox) -> None:
    sku = inbox.shop.name("sku")
    message, letter = dead(inbox, sku=sku)
    still = inbox.redrive(letter)[0]
    rejected(still, DEAD, "UNKNOWN_SKU", sku=sku)
    assert inbox.counts() == (1, 0, 0, 1)
    create(inbox.shop, sku)
    (applied,) = inbox.redrive(letter, actor="jo", reason_code="created")
    assert (applied.disposition, applied.receipt.replayed) == (APPLIED, False)
    assert inbox.shop.level(sku).on_hand == 1
    assert inbox.counts() == (1, 0, 0, 0)
    settled, changed = inbox.shop.target.read_events(applied.receipt.sequence - 1, 2)
    fact = settled.letter_settled
    assert (fact.source_id, fact.dead_letter, fact.redriven) == (inbox.name, letter, True)
    assert (fact.actor, fact.reason_code) == ("jo", "created")
    assert changed.context.source == message.goods_received.context.source
    assert changed.WhichOneof("fact") == "stock_changed"
    rejected(inbox.redrive(letter)[0], REFUSED, "ENTITY_NOT_FOUND", kind="dead_letter", name=letter)
    # Its sender repeats it.
    again = inbox.one(message)
    assert (again.disposition, again.receipt.replayed) == (APPLIED, True)
    assert again.receipt.sequence == applied.receipt.sequence
    assert inbox.shop.level(sku).on_hand == 1


def test_a_dry_run_says_what_would_happen_and_changes_nothing(inbox: Inbox) -> None:
    sku = inbox.shop.name("sku")
    _, possible = dead(inbox, 1, sku=sku)
    _, impossible = dead(inbox, 2)
    create(inbox.shop, sku)
    before = inbox.shop.target.digest()
    found = inbox.redrive(possible, impossible, possible + 1_000_000, dry_run=True)
    assert [each.disposition for each in found] == [APPLIED, DEAD, REFUSED]
    rejected(found[1], DEAD, "UNKNOWN_SKU", sku=NOBODY)
    rejected(found[2], REFUSED, "ENTITY_NOT_FOUND")
    assert inbox.shop.target.digest() == before
    assert [each.disposition for each in inbox.redrive(possible, impossible)] == [APPLIED, DEAD]
    assert inbox.counts() == (2, 0, 0, 1)


def test_letters_are_independent_and_keep_their_order(inbox: Inbox) -> None:
    held = SourceMessage(stock_adjusted=requests.adjust(inbox.context(1), (inbox.sku, inbox.shop.here, -12)))
    assert inbox.become(held, inbox.goods(2, sku=NOBODY), inbox.goods(3)) == [DEAD, DEAD, APPLIED]
    first, second = [each.sequence for each in inbox.letters()]
    inbox.one(inbox.goods(4))
    assert [each.disposition for each in inbox.redrive(second, first)] == [DEAD, APPLIED]
    assert figures(inbox.shop.level(inbox.sku)) == (0, 0, 0, 0)
    assert [each.sequence for each in inbox.letters()] == [second]


def test_a_corrected_letter_is_applied_instead(inbox: Inbox) -> None:
    message, letter = dead(inbox)
    wrong = SourceMessage()
    wrong.CopyFrom(message)
    wrong.goods_received.lines[0].sku = f"{NOBODY}-either"
    rejected(inbox.redrive(letter, corrected=wrong)[0], DEAD, "UNKNOWN_SKU", sku=f"{NOBODY}-either")
    assert inbox.letters()[0].message == message, "what cannot be applied changes nothing"
    wrong.goods_received.lines[0].sku = inbox.sku
    (dry,) = inbox.redrive(letter, corrected=wrong, dry_run=True)
    assert dry.disposition == APPLIED
    (applied,) = inbox.redrive(letter, corrected=wrong)
    assert applied.disposition == APPLIED
    assert (inbox.shop.level(inbox.sku).on_hand, inbox.counts()) == (11, (1, 0, 0, 0))


def test_a_correction_may_have_another_body(inbox: Inbox) -> None:
    message, letter = dead(inbox)
    other = body(inbox, "stock_adjusted", 1)
    other.stock_adjusted.context.CopyFrom(message.goods_received.context)
    assert inbox.redrive(letter, corrected=other)[0].disposition == APPLIED
    assert inbox.shop.level(inbox.sku).on_hand == 13


@pytest.mark.parametrize("change", ["id", "number", "epoch"])
def test_a_correction_is_of_the_same_message(inbox: Inbox, change: str) -> None:
    message, letter = dead(inbox)
    context = message.goods_received.context
    message.goods_received.lines[0].sku = inbox.sku
    if change == "id":
        context.idempotency_key += "x"
    elif change == "number":
        context.source.sequence += 1
    else:
        context.source.epoch += 1
    with pytest.raises(Refused) as refused:
        inbox.redrive(letter, corrected=message)
    assert (refused.value.reason, refused.value.fields) == ("INVALID_FIELD", ["corrected"])
    assert inbox.counts() == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"dead_letters": []}, "dead_letters"),
        ({"dead_letters": [7, 7]}, "dead_letters[1]"),
        ({"dead_letters": [0]}, "dead_letters[0]"),
        ({"dead_letters": list(range(1, 1002))}, "dead_letters"),
        ({"dead_letters": [7], "source_id": ""}, "source_id"),
        ({"dead_letters": [7, 8], "corrected": SourceMessage()}, "corrected"),
        ({"dead_letters": [7], "actor": "x" * 129}, "actor"),
        ({"dead_letters": [7], "reason_code": "x" * 129}, "reason_code"),
    ],
)
def test_a_bad_redrive(inbox: Inbox, fields: dict[str, Any], field: str) -> None:
    request = sources.RedriveDeadLettersRequest(**({"source_id": inbox.name} | fields))
    assert inbox.shop.refused(methods.REDRIVE_DEAD_LETTERS, request, "INVALID_FIELD").fields == [field]


def test_letters_of_an_unknown_source(inbox: Inbox) -> None:
    request = sources.RedriveDeadLettersRequest(source_id=NOBODY, dead_letters=[7])
    inbox.shop.refused(methods.REDRIVE_DEAD_LETTERS, request, "UNKNOWN_SOURCE", source=NOBODY)
    inbox.shop.refused(methods.DISCARD_DEAD_LETTERS, inbox.discard(7, source_id=NOBODY), "UNKNOWN_SOURCE")


def test_a_letter_belongs_to_its_source(inbox: Inbox) -> None:
    _, letter = dead(inbox)
    other = Inbox(inbox.shop)
    rejected(other.redrive(letter)[0], REFUSED, "ENTITY_NOT_FOUND", kind="dead_letter", name=letter)
    inbox.shop.refused(methods.DISCARD_DEAD_LETTERS, other.discard(letter), "ENTITY_NOT_FOUND")
    assert inbox.counts() == (1, 0, 0, 1)


def test_a_shipment_that_is_sent_again_sets_free_what_waits_for_it(inbox: Inbox) -> None:
    transfer = inbox.shop.name("transfer")
    ship = shipment(inbox, inbox.context(1), transfer)
    ship.lines[0].quantity = 12
    messages = [SourceMessage(transfer_shipped=ship), inbox.arrival(2, transfer)]
    assert inbox.become(*messages) == [DEAD, WAITING]
    inbox.one(inbox.goods(3, 2))
    (letter,) = inbox.letters()
    assert inbox.redrive(letter.sequence)[0].disposition == APPLIED
    assert inbox.counts() == (3, 0, 0, 0)
    assert inbox.shop.level(inbox.sku, inbox.shop.there).on_hand == 12


# Dead letters that are given up


def test_letters_are_given_up_all_or_none(inbox: Inbox) -> None:
    letters = [dead(inbox, number)[1] for number in (1, 2, 3)]
    inbox.shop.refused(
        methods.DISCARD_DEAD_LETTERS, inbox.discard(letters[0], 10**9), "ENTITY_NOT_FOUND", kind="dead_letter"
    )
    assert inbox.counts() == (3, 0, 0, 3)
    request = inbox.discard(*letters[:2])
    answer = inbox.shop.call(methods.DISCARD_DEAD_LETTERS, request)
    assert [each.sequence for each in inbox.letters()] == letters[2:]
    events = inbox.shop.target.read_events(answer.receipt.sequence - 1, 2)
    facts = [each.letter_settled for each in events]
    assert [(each.dead_letter, each.redriven, each.reason_code) for each in facts] == [
        (letter, False, "typo") for letter in letters[:2]
    ]
    again = inbox.shop.call(methods.DISCARD_DEAD_LETTERS, request)
    assert (again.receipt.replayed, again.receipt.sequence) == (True, answer.receipt.sequence)
    rejected(inbox.redrive(letters[0])[0], REFUSED, "ENTITY_NOT_FOUND")


@pytest.mark.parametrize(
    ("letters", "field"),
    [
        ([], "dead_letters"),
        ([7, 7], "dead_letters[1]"),
        ([-1], "dead_letters[0]"),
        (list(range(1, 1002)), "dead_letters"),
    ],
)
def test_a_bad_discard(inbox: Inbox, letters: list[int], field: str) -> None:
    refused = inbox.shop.refused(methods.DISCARD_DEAD_LETTERS, inbox.discard(*letters), "INVALID_FIELD")
    assert refused.fields == [field]


# Bounds


def test_a_source_has_room_for_so_many_parked_messages(inbox: Inbox) -> None:
    """And when the gap is filled all of them are applied, in slices, so that nobody else waits for all of them."""
    for start in range(2, HELD_MAX + 2, 1000):
        assert set(inbox.become(*(inbox.goods(number) for number in range(start, start + 1000)))) == {PARKED}
    late = inbox.goods(HELD_MAX + 2)
    rejected(inbox.one(late), REFUSED, "OVERLOADED", source=inbox.name, limit="parked and waiting messages")
    rejected(inbox.one(inbox.arrival(HELD_MAX + 3, "T")), REFUSED, "OVERLOADED")
    assert inbox.become(inbox.goods(1)) == [APPLIED]
    end = time.monotonic() + 30
    while inbox.figures().parked:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert inbox.become(late) == [APPLIED]
    assert inbox.counts() == (HELD_MAX + 2, 0, 0, 0)
    assert inbox.shop.level(inbox.sku).on_hand == 10 + HELD_MAX + 2


# After a restart


def kept_of_each_kind(inbox: Inbox) -> str:
    """Messages that wait, are dead and are parked; returns the name of the transfer that one waits for."""
    transfer = inbox.shop.name("transfer")
    messages = [inbox.arrival(1, transfer), inbox.goods(2, sku=NOBODY), inbox.goods(5), inbox.goods(4)]
    assert inbox.become(*messages) == [WAITING, DEAD, PARKED, PARKED]
    return transfer


def everything(inbox: Inbox) -> list[Any]:
    return [inbox.parked(), inbox.waiting(), inbox.letters(), inbox.figures(), inbox.shop.target.digest()]


def goes_on(inbox: Inbox, transfer: str) -> None:
    """What was kept is applied when its time comes."""
    inbox.shop.call(methods.SHIP_TRANSFER, shipment(inbox, inbox.shop.context(), transfer))
    assert inbox.shop.level(inbox.sku, inbox.shop.there).on_hand == 3
    create(inbox.shop, NOBODY)
    assert inbox.redrive(inbox.letters()[0].sequence)[0].disposition == APPLIED
    assert inbox.become(inbox.goods(3)) == [APPLIED]
    assert inbox.counts() == (5, 0, 0, 0)
    assert inbox.shop.level(inbox.sku).on_hand == 10


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("snapshot", [False, True])
def test_what_is_kept_survives_a_restart(kind: str, tmp_path: Path, snapshot: bool) -> None:
    with own_target(kind, tmp_path) as target:
        inbox = Inbox(Shop(target), on_hand=10)
        transfer = kept_of_each_kind(inbox)
        before = everything(inbox)
        if snapshot:
            target.call_raw("/invengine.v1.AdminService/CreateSnapshot", b"")
    with own_target(kind, tmp_path) as target:
        inbox.shop.target = target
        assert everything(inbox) == before
        goes_on(inbox, transfer)


def test_what_is_kept_survives_a_kill(tmp_path: Path) -> None:
    target: ServerTarget = open_server("native", tmp_path)
    inbox = Inbox(Shop(target), on_hand=10)
    transfer = kept_of_each_kind(inbox)
    before = everything(inbox)
    target.server.kill()
    target.disconnect()
    with own_target("native", tmp_path) as recovered:
        inbox.shop.target = recovered
        assert everything(inbox) == before
        goes_on(inbox, transfer)
    assert journal_of(tmp_path).is_dir()


def test_a_message_that_waited_for_a_day_becomes_a_dead_letter(tmp_path: Path) -> None:
    with own_target("embedded", tmp_path) as target:
        inbox = Inbox(Shop(target), on_hand=10)
        waiting = inbox.one(inbox.arrival(1, "T-1"))
        later = target.engine_time_ms() + 24 * 3_600_000 + 60_000
    with own_target("embedded", tmp_path, wall_time_ms=later) as target:
        inbox.shop.target = target
        event = inbox.shop.event_after(waiting.receipt.sequence, lambda event: event.HasField("message_dead"))
        assert inbox.counts() == (1, 0, 0, 1)
        (letter,) = inbox.letters()
        assert (letter.sequence, letter.rejection.reason) == (event.sequence, "ENTITY_NOT_FOUND")
        assert dict(letter.rejection.metadata) == {"kind": "stock_transfer", "name": "T-1"}
        assert letter.time.ToMilliseconds() >= later - 60_000
        inbox.shop.call(methods.SHIP_TRANSFER, shipment(inbox, inbox.shop.context(), "T-1"))
        assert inbox.counts() == (1, 0, 0, 1), "it waits no more"
        assert inbox.redrive(letter.sequence)[0].disposition == APPLIED
