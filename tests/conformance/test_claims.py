"""Numbers of those who do not own them, and counts that are older than what is known: recorded, and without effect."""

from __future__ import annotations

from typing import Any

import pytest

from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import source_service_pb2 as sources
from invengine.v1 import types_pb2 as types
from invengine.v1.journal_service_pb2 import ReadEventsRequest
from invengine.v1.source_service_pb2 import Claim

from . import methods, requests
from .methods import Method
from .rules import ADJUST, DAMAGED, OF_STOCK, ON_HAND, SET, Rules, Sender
from .shop import Shop, figures

NOT_OWNER, STALE = types.CLAIM_REASON_NOT_OWNER, types.CLAIM_REASON_AS_OF_STALE
STATING: dict[str, tuple[Method[Any, Any], Any]] = {
    "set": (methods.SET_QUANTITY, requests.set_quantity),
    "count": (methods.COUNT, requests.count),
}


def claims(shop: Shop, page_size: int = 0, **only: str) -> list[Claim]:
    """The claims that a caller asks for, page after page."""
    request = sources.ListClaimsRequest(page_size=page_size)
    for name, value in only.items():
        setattr(request, name, value)
    found: list[Claim] = []
    while True:
        answer = shop.call(methods.LIST_CLAIMS, request)
        assert len(answer.claims) <= (page_size or 100)
        found += answer.claims
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def known(found: list[Claim]) -> list[tuple[Any, ...]]:
    """What claims say, without their times."""
    return [
        (each.source_id, each.sku, each.location, each.state, each.quantity, each.ledger_quantity, each.reason)
        for each in found
    ]


@pytest.mark.parametrize("command", STATING)
@pytest.mark.parametrize("from_source", [False, True])
def test_a_number_of_somebody_else_is_recorded_and_changes_nothing(
    rules: Rules, command: str, from_source: bool
) -> None:
    (method, make), shop = STATING[command], rules.shop
    sku, owner, other = shop.item(5), Sender(shop), Sender(shop)
    rules.grant(*OF_STOCK, source_id=owner.name)
    before, sequence = figures(shop.level(sku)), shop.target.digest()[1]
    request = make(other.context() if from_source else shop.context(), (sku, shop.here, 9))
    answer = shop.call(method, request)
    assert list(answer.claimed_lines) == [0]
    assert [figures(level) for level in answer.levels] == [before]
    assert figures(shop.level(sku)) == before
    (claim,) = claims(shop, sku=sku)
    writer = other.name if from_source else ""
    assert known([claim]) == [(writer, sku, shop.here, ON_HAND, 9, 5, NOT_OWNER)]
    assert claim.sequence == answer.receipt.sequence
    assert not claim.HasField("event_time")
    (event,) = [each for each in shop.target.read_events(sequence + 1) if each.HasField("context")]
    assert (event.claim_made.sku, event.claim_made.location, event.claim_made.state) == (sku, shop.here, ON_HAND)
    assert (event.claim_made.quantity, event.claim_made.reason) == (9, NOT_OWNER)
    assert event.time == claim.time


def test_some_lines_take_effect_and_others_are_claims(rules: Rules) -> None:
    shop = rules.shop
    sku, other = shop.item(5, there=5), Sender(shop)
    rules.grant(SET, location=shop.here)
    rules.grant(SET, location=shop.there, states=[DAMAGED])
    rules.grant(SET, location=shop.there, states=[ON_HAND], source_id=other.name)
    request = requests.set_quantity(
        shop.context(), (sku, shop.there, 7), (sku, shop.here, 8), (sku, shop.there, 3), (shop.item(), shop.there, 6)
    )
    request.lines[2].state = DAMAGED
    answer = shop.call(methods.SET_QUANTITY, request)
    assert list(answer.claimed_lines) == [0, 3]
    assert [(level.location, level.on_hand, level.damaged) for level in answer.levels] == [
        (shop.there, 8, 3),
        (shop.here, 8, 0),
        (shop.there, 8, 3),
        (shop.there, 0, 0),
    ], "the damaged units are three more on hand"
    assert known(claims(shop, sku=sku)) == [("", sku, shop.there, ON_HAND, 7, 8, NOT_OWNER)]
    outcome = shop.outcome(request.context.idempotency_key).outcome
    assert (list(outcome.claimed_lines), len(outcome.levels)) == ([0, 3], 4)


def test_an_expected_quantity_of_a_claim_is_not_compared(rules: Rules) -> None:
    shop = rules.shop
    sku, other = shop.item(5, there=5), Sender(shop)
    rules.grant(SET, source_id=other.name, location=shop.here)
    rules.grant(SET, location=shop.there)
    request = requests.set_quantity(shop.context(), (sku, shop.here, 7), expected=4)
    assert list(shop.call(methods.SET_QUANTITY, request).claimed_lines) == [0]
    lines = ((sku, shop.here, 7), (sku, shop.there, 7))
    shop.refused(
        methods.SET_QUANTITY, requests.set_quantity(shop.context(), *lines, expected=4), "QUANTITY_STALE", actual=5
    )


def test_a_repeat_gets_the_same_claimed_lines_whatever_the_rules_are_now(rules: Rules) -> None:
    shop = rules.shop
    sku, other = shop.item(5), Sender(shop)
    name = rules.grant(*OF_STOCK, source_id=other.name)
    keyed = requests.count(shop.context(), (sku, shop.here, 9))
    numbered = requests.count(Sender(shop).context(), (sku, shop.here, 8))
    firsts = [shop.call(methods.COUNT, each) for each in (keyed, numbered)]
    rules.delete(name)
    for first, request in zip(firsts, (keyed, numbered), strict=True):
        again = shop.call(methods.COUNT, request)
        assert again.receipt.replayed
        assert (list(again.claimed_lines), again.receipt.sequence) == ([0], first.receipt.sequence)
    assert shop.level(sku).on_hand == 5


def test_the_newest_claim_of_a_writer_counts_and_it_ends_when_a_number_takes_effect(rules: Rules) -> None:
    shop = rules.shop
    sku, erp, till = shop.item(5), Sender(shop), Sender(shop)
    name = rules.grant(SET, source_id=shop.source().source_id)
    for sender, units in ((erp, 9), (till, 4), (erp, 8)):
        shop.call(methods.COUNT, requests.count(sender.context(), (sku, shop.here, units)))
    assert [(each.source_id, each.quantity) for each in claims(shop, sku=sku)] == [(erp.name, 8), (till.name, 4)]
    rules.delete(name)
    shop.call(methods.ADJUST, requests.adjust(shop.context(), (sku, shop.here, 2)))
    assert [each.ledger_quantity for each in claims(shop, sku=sku)] == [7, 7]
    request = requests.set_quantity(erp.context(), (sku, shop.here, 6))
    assert not shop.call(methods.SET_QUANTITY, request).claimed_lines
    assert known(claims(shop, sku=sku)) == [(till.name, sku, shop.here, ON_HAND, 4, 6, NOT_OWNER)]
    other_state = requests.count(till.context(), (sku, shop.here, 1), state=DAMAGED)
    shop.call(methods.COUNT, other_state)
    assert [each.quantity for each in claims(shop, sku=sku)] == [4], "a number about another state settles nothing"


def test_claims_are_filtered_by_source_item_and_location(rules: Rules) -> None:
    shop = rules.shop
    one, two = shop.item(1, there=1), shop.item(1)
    erp, till = Sender(shop), Sender(shop)
    rules.grant(SET, source_id=shop.source().source_id)
    shop.call(
        methods.COUNT, requests.count(erp.context(), (one, shop.here, 2), (one, shop.there, 3), (two, shop.here, 4))
    )
    shop.call(methods.COUNT, requests.count(till.context(), (one, shop.here, 5)))

    def quantities(**only: str) -> list[int]:
        return [each.quantity for each in claims(shop, 0, **only)]

    assert quantities(source_id=erp.name) == [2, 3, 4]
    assert quantities(source_id=till.name) == [5]
    assert quantities(sku=one) == [2, 3, 5]
    assert quantities(location=shop.there) == [3]
    assert quantities(sku=one, location=shop.here, source_id=erp.name) == [2]
    assert quantities(sku=two, location=shop.there) == []
    assert quantities(source_id=shop.source().source_id) == []
    sources_of = shop.call(methods.LIST_SOURCES, methods.LIST_SOURCES.request(page_size=1000)).sources
    counts = {each.source_id: (each.sequence, each.claims) for each in sources_of}
    if erp.name in counts:  # Other tests have made many sources: it may be on a later page.
        assert (counts[erp.name], counts.get(till.name, (1, 1))) == ((1, 3), (1, 1))


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
def test_claims_in_pages_leave_nothing_out(rules: Rules, page_size: int) -> None:
    shop = rules.shop
    skus, senders = [shop.item(1) for _ in range(3)], [Sender(shop) for _ in range(2)]
    rules.grant(SET, source_id=shop.source().source_id)
    for number, sender in enumerate((*senders, None)):
        context = shop.context() if sender is None else sender.context()
        shop.call(methods.COUNT, requests.count(context, *((sku, shop.here, number) for sku in skus)))
    expected = [(writer, sku) for writer in ("", *(sender.name for sender in senders)) for sku in skus]
    found = [(each.source_id, each.sku) for each in claims(shop, page_size, location=shop.here)]
    assert found == expected, "by writer, level and state"
    of_one = [each.sku for each in claims(shop, page_size, source_id=senders[0].name)]
    assert of_one == skus


def at(request: Any, seconds: float, shop: Shop) -> Any:
    """The same command, about a moment so many seconds before now."""
    request.context.event_time.FromMilliseconds(shop.target.engine_time_ms() - round(seconds * 1000))
    return request


@pytest.mark.parametrize("change", ["receive", "adjust", "set", "fulfill", "move"])
def test_a_count_from_before_the_last_change_is_a_claim(rules: Rules, change: str) -> None:
    shop = rules.shop
    sku = shop.item(5)
    hold = shop.hold((sku, shop.here, 1))
    rules.grant(*OF_STOCK)
    line = (sku, shop.here, 1)
    make: dict[str, tuple[Method[Any, Any], Any]] = {
        "receive": (methods.RECEIVE, requests.receive(shop.context(), line)),
        "adjust": (methods.ADJUST, requests.adjust(shop.context(), line)),
        "set": (methods.SET_QUANTITY, requests.set_quantity(shop.context(), (sku, shop.here, 6))),
        "fulfill": (methods.FULFILL, requests.fulfill(shop.context(), hold)),
        "move": (methods.MOVE_QUANTITY, requests.move_quantity(shop.context(), line)),
    }
    shop.call(*make[change])
    before = shop.level(sku).on_hand
    stale = at(requests.count(shop.context(), (sku, shop.here, 99)), 3600, shop)
    answer = shop.call(methods.COUNT, stale)
    assert (list(answer.claimed_lines), answer.levels[0].on_hand) == ([0], before)
    (claim,) = claims(shop, sku=sku)
    assert known([claim]) == [("", sku, shop.here, ON_HAND, 99, before, STALE)]
    assert claim.event_time == stale.context.event_time
    # A count without a time, and one of now, take effect.
    assert not shop.call(methods.COUNT, requests.count(shop.context(), (sku, shop.here, 98))).claimed_lines
    assert claims(shop, sku=sku) == []
    assert not shop.call(methods.COUNT, at(requests.count(shop.context(), (sku, shop.here, 97)), 0, shop)).claimed_lines
    assert shop.level(sku).on_hand == 97


def test_a_change_counts_as_of_its_event_time(rules: Rules) -> None:
    """What is told late, about before the count, does not make the count old."""
    shop = rules.shop
    sku = shop.item()
    rules.grant(*OF_STOCK)
    shop.call(methods.RECEIVE, at(requests.receive(shop.context(), (sku, shop.here, 5)), 7200, shop))
    count = at(requests.count(shop.context(), (sku, shop.here, 4)), 3600, shop)
    assert not shop.call(methods.COUNT, count).claimed_lines
    older = at(requests.count(shop.context(), (sku, shop.here, 3)), 3700, shop)
    assert list(shop.call(methods.COUNT, older).claimed_lines) == [0]
    # A set states what is to be, and not what was seen at some time.
    assert not shop.call(
        methods.SET_QUANTITY, at(requests.set_quantity(shop.context(), (sku, shop.here, 2)), 9000, shop)
    ).claimed_lines


def test_without_rules_for_stock_a_count_is_never_too_old(shop: Shop) -> None:
    sku = shop.item(5)
    count = at(requests.count(shop.context(), (sku, shop.here, 9)), 3600, shop)
    assert not shop.call(methods.COUNT, count).claimed_lines
    assert shop.level(sku).on_hand == 9


def test_a_promise_does_not_make_a_count_old(rules: Rules) -> None:
    shop = rules.shop
    sku = shop.item(5)
    rules.grant(*OF_STOCK)
    shop.allocate(shop.hold((sku, shop.here, 1)))
    count = at(requests.count(shop.context(), (sku, shop.here, 6)), 3600, shop)
    assert not shop.call(methods.COUNT, count).claimed_lines


def test_who_does_not_own_claims_whatever_the_time(rules: Rules) -> None:
    shop = rules.shop
    sku, other = shop.item(5), Sender(shop)
    rules.grant(*OF_STOCK)
    shop.call(methods.ADJUST, requests.adjust(shop.context(), (sku, shop.here, 1)))
    shop.call(methods.COUNT, at(requests.count(other.context(), (sku, shop.here, 9)), 3600, shop))
    assert [each.reason for each in claims(shop, sku=sku)] == [NOT_OWNER]


def test_a_claim_about_a_level_that_had_no_stock_makes_it_known(rules: Rules) -> None:
    shop = rules.shop
    sku = shop.item()
    rules.grant(SET, source_id=shop.source().source_id)
    shop.call(methods.COUNT, requests.count(shop.context(), (sku, shop.here, 3)))
    assert shop.level(sku) == types.InventoryLevel(sku=sku, location=shop.here)
    listed = shop.call(methods.LIST_LEVELS, methods.LIST_LEVELS.request(sku=sku)).levels
    assert [(level.location, level.on_hand) for level in listed] == [(shop.here, 0)]
    assert [each.ledger_quantity for each in claims(shop, sku=sku)] == [0]


def test_names_and_numbers_of_a_claim_are_checked_as_ever(rules: Rules) -> None:
    shop = rules.shop
    sku = shop.item(5)
    rules.grant(SET, source_id=shop.source().source_id)
    for line, reason in (
        ((sku, "nobody-knows-this", 1), "UNKNOWN_LOCATION"),
        (("nobody-knows-this", shop.here, 1), "UNKNOWN_SKU"),
        ((sku, shop.here, -1), "INVALID_FIELD"),
    ):
        shop.refused(methods.COUNT, requests.count(shop.context(), (sku, shop.here, 1), line), reason)
    assert claims(shop, sku=sku) == []


def test_readers_of_events_find_a_claim_by_its_item_and_its_sender(rules: Rules) -> None:
    shop = rules.shop
    sku, other = shop.item(5), Sender(shop)
    rules.grant(ADJUST)
    sequence = shop.target.digest()[1]
    shop.call(methods.COUNT, requests.count(other.context(), (sku, shop.here, 9)))
    request = ReadEventsRequest(from_sequence=sequence + 1)
    for field, value, expected in (
        ("skus", sku, 1),
        ("skus", shop.item(), 0),
        ("locations", shop.here, 1),
        ("source_ids", other.name, 1),
        ("types", "claim_made", 1),
    ):
        request.filter.Clear()
        getattr(request.filter, field).append(value)
        found, _ = shop.target.matching(request)
        assert len([event for event in found if event.HasField("claim_made")]) == expected, (field, value)


def test_a_thousand_lines_may_all_be_claims(rules: Rules) -> None:
    shop = rules.shop
    skus = shop.items(1000, on_hand=1)
    rules.grant(SET, source_id=shop.source().source_id)
    lines = [inventory.StockQuantity(sku=sku, location=shop.here, quantity=2) for sku in skus]
    answer = shop.call(methods.COUNT, inventory.CountRequest(context=shop.context(), lines=lines))
    assert list(answer.claimed_lines) == list(range(1000))
    assert len(claims(shop, 1000, location=shop.here)) == 1000
