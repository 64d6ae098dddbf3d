"""Reserve: all lines or none, in part only if asked, never in one's own way, and until an exact time."""

from __future__ import annotations

import pytest

from invengine.v1 import types_pb2 as types

from . import methods, requests
from .shop import Shop, figures


def taken(hold: types.HoldChange) -> list[tuple[str, str, int]]:
    """Item, location and units of each line that was taken."""
    for line in hold.lines:
        assert line.state == types.LINE_STATE_RESERVED
        assert line.outstanding == line.quantity
    return [(line.sku, line.location, line.quantity) for line in hold.lines]


def test_a_hold_lists_the_units_it_took(shop: Shop) -> None:
    sku = shop.item(5)
    context = shop.context(order_ref="order", holder="holder", channel=shop.channel())
    answer = shop.reserve((sku, shop.here, 2), context=context, ttl_s=60)
    assert answer.hold.version == 1
    assert not answer.hold.reacquired
    assert not answer.receipt.replayed
    assert answer.receipt.durable_sequence >= answer.receipt.sequence > 0
    assert taken(answer.hold) == [(sku, shop.here, 2)]
    found = shop.reservation(requests.by_id(answer.hold.reservation_id))
    assert (found.channel, found.order_ref, found.holder) == (context.channel, "order", "holder")
    assert found.idempotency_key == context.idempotency_key
    assert found.expire_time == answer.hold.expire_time
    assert figures(shop.level(sku)) == (5, 2, 0, 3)


@pytest.mark.case("C06")
def test_lines_of_one_level_are_merged_and_all_are_sorted(shop: Shop) -> None:
    one, two = sorted([shop.item(9, there=9), shop.item(9)])
    lines = [(two, shop.here, 1), (one, shop.there, 2), (two, shop.here, 3), (one, shop.here, 1), (one, shop.there, 1)]
    places = sorted([(one, shop.here, 1), (one, shop.there, 3), (two, shop.here, 4)])
    answer = shop.reserve(*lines)
    assert taken(answer.hold) == places
    found = shop.reservation(requests.by_id(answer.hold.reservation_id))
    assert [(line.sku, line.location, line.quantity) for line in found.lines] == places


@pytest.mark.case("C06")
def test_lines_of_one_level_are_summed_before_the_check(shop: Shop) -> None:
    sku = shop.item(5)
    request = requests.reserve(shop.context(), (sku, shop.here, 3), (sku, shop.here, 3))
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", sku=sku, location=shop.here, requested=6, available=5)


@pytest.mark.parametrize(("units", "left"), [(1, 0), (6, 5), (2**53 - 1, 5)])
def test_a_rejection_reports_what_is_left(shop: Shop, units: int, left: int) -> None:
    sku = shop.item(5)
    if not left:
        shop.hold((sku, shop.here, 5))
    request = requests.reserve(shop.context(), (sku, shop.here, units))
    refused = shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", sku=sku, requested=units, available=left)
    assert refused.metadata["location"] == shop.here


def test_exactly_the_available_units_can_be_held(shop: Shop) -> None:
    sku = shop.item(5)
    shop.hold((sku, shop.here, 5))
    assert figures(shop.level(sku)) == (5, 5, 0, 0)
    assert shop.available(sku) == 0


@pytest.mark.case("C07")
def test_one_short_line_of_many_refuses_all_and_is_named(shop: Shop) -> None:
    skus = shop.items(50, on_hand=5)
    short = skus[30]
    lines = [(sku, shop.here, 6 if sku == short else 1) for sku in skus]
    request = requests.reserve(shop.context(), *lines)
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", sku=short, requested=6, available=5)
    assert {figures(shop.level(sku)) for sku in skus} == {(5, 0, 0, 5)}


def test_stock_of_another_place_does_not_count(shop: Shop) -> None:
    sku = shop.item(1, there=50)
    request = requests.reserve(shop.context(), (sku, shop.here, 2))
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", location=shop.here, available=1)


def test_partial_takes_what_is_available_and_omits_lines_with_nothing(shop: Shop) -> None:
    full, some, none = sorted([shop.item(9), shop.item(9), shop.item(9)])
    shop.hold((some, shop.here, 7), (none, shop.here, 9))
    lines = [(none, shop.here, 5), (some, shop.here, 5), (full, shop.here, 5)]
    answer = shop.reserve(*lines, allow_partial=True)
    assert taken(answer.hold) == [(full, shop.here, 5), (some, shop.here, 2)]
    found = shop.reservation(requests.by_id(answer.hold.reservation_id))
    assert [(line.sku, line.quantity, line.reserved) for line in found.lines] == [(full, 5, 5), (some, 2, 2)]
    assert figures(shop.level(none)) == (9, 9, 0, 0)


def test_partial_with_nothing_at_all_is_refused(shop: Shop) -> None:
    one, two = shop.item(2), shop.item()
    shop.hold((one, shop.here, 2))
    request = requests.reserve(shop.context(), (one, shop.here, 1), (two, shop.here, 1), allow_partial=True)
    refused = shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", available=0, requested=1)
    assert refused.metadata["sku"] in (one, two)


def test_partial_with_everything_available_is_complete(shop: Shop) -> None:
    sku = shop.item(5)
    assert taken(shop.reserve((sku, shop.here, 5), allow_partial=True).hold) == [(sku, shop.here, 5)]


def test_a_shopper_never_competes_with_their_own_hold(shop: Shop) -> None:
    sku, holder = shop.item(2), shop.name("holder")
    first = shop.hold((sku, shop.here, 2), holder=holder)
    # Without replace_own the shopper's own hold counts like any other.
    request = requests.reserve(shop.context(holder=holder), (sku, shop.here, 2))
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", available=0)
    answer = shop.reserve((sku, shop.here, 2), context=shop.context(holder=holder), replace_own=True)
    assert taken(answer.hold) == [(sku, shop.here, 2)]
    old = shop.reservation(first)
    assert (old.version, old.lines[0].reserved, old.lines[0].released) == (2, 0, 2)
    assert figures(shop.level(sku)) == (2, 2, 0, 0)


def test_replacing_writes_what_it_released_and_what_it_took(shop: Shop) -> None:
    sku, holder = shop.item(2), shop.name("holder")
    first = shop.hold((sku, shop.here, 2), holder=holder)
    answer = shop.reserve((sku, shop.here, 1), context=shop.context(holder=holder), replace_own=True)
    released, reserved = shop.target.read_events(answer.receipt.sequence - 1, 2)
    assert released.released.reservation_id == first.reservation_id
    assert [(line.sku, line.quantity) for line in released.released.lines] == [(sku, 2)]
    assert reserved.reserved.reservation_id == answer.hold.reservation_id
    assert released.context == reserved.context


def test_replacing_touches_reserved_units_on_the_same_levels_only(shop: Shop) -> None:
    sku, other = shop.item(10, there=10), shop.item(10)
    holder = shop.name("holder")
    mixed = shop.hold((sku, shop.here, 4), (sku, shop.there, 1), (other, shop.here, 1), holder=holder)
    shop.allocate(requests.by_id(mixed.reservation_id, (sku, shop.here, 1)))
    stranger = shop.hold((sku, shop.here, 2), holder=shop.name("holder"))
    nobody = shop.hold((sku, shop.here, 2))
    shop.reserve((sku, shop.here, 5), context=shop.context(holder=holder), replace_own=True)
    assert figures(shop.level(sku)) == (10, 9, 1, 0)
    lines = {(line.sku, line.location): line for line in shop.reservation(mixed).lines}
    here = lines[sku, shop.here]
    assert (here.reserved, here.allocated, here.released) == (0, 1, 3)
    assert lines[sku, shop.there].reserved == lines[other, shop.here].reserved == 1
    assert shop.reservation(stranger).version == shop.reservation(nobody).version == 1


def test_replacing_releases_all_of_ones_holds_on_the_level(shop: Shop) -> None:
    sku, holder = shop.item(6), shop.name("holder")
    old = [shop.hold((sku, shop.here, 2), holder=holder) for _ in range(3)]
    shop.reserve((sku, shop.here, 6), context=shop.context(holder=holder), replace_own=True)
    assert [shop.reservation(hold).lines[0].released for hold in old] == [2, 2, 2]
    assert figures(shop.level(sku)) == (6, 6, 0, 0)


def test_a_replacement_that_is_refused_leaves_the_old_hold(shop: Shop) -> None:
    sku, holder = shop.item(5), shop.name("holder")
    old = shop.hold((sku, shop.here, 2), holder=holder)
    shop.hold((sku, shop.here, 1))
    request = requests.reserve(shop.context(holder=holder), (sku, shop.here, 5), replace_own=True)
    # The shopper could have what is free and what is theirs.
    shop.refused(methods.RESERVE, request, "INSUFFICIENT_STOCK", sku=sku, requested=5, available=4)
    assert (shop.reservation(old).version, shop.reservation(old).lines[0].reserved) == (1, 2)


def test_replacing_in_part_takes_what_is_free_and_ones_own(shop: Shop) -> None:
    sku, holder = shop.item(5), shop.name("holder")
    shop.hold((sku, shop.here, 2), holder=holder)
    shop.hold((sku, shop.here, 1))
    context = shop.context(holder=holder)
    answer = shop.reserve((sku, shop.here, 9), context=context, allow_partial=True, replace_own=True)
    assert taken(answer.hold) == [(sku, shop.here, 4)]
    assert figures(shop.level(sku)) == (5, 5, 0, 0)


def test_a_holder_without_holds_can_ask_to_replace(shop: Shop) -> None:
    sku = shop.item(1)
    context = shop.context(holder=shop.name("holder"))
    assert shop.reserve((sku, shop.here, 1), context=context, replace_own=True).hold.version == 1


def test_no_token_is_given_twice(shop: Shop) -> None:
    sku = shop.item(1)
    tokens = set()
    for _ in range(30):
        hold = shop.hold((sku, shop.here, 1))
        shop.release(hold)
        tokens.add(hold.reservation_id)
    assert len(tokens) == 30
