"""Reads: what was acknowledged to anybody is seen by everybody, and pages leave nothing out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import types_pb2 as types

from . import methods, requests
from .aged import Aged
from .inbox import Inbox
from .methods import Method
from .refused import Refused
from .shop import Shop, figures


def reservations(shop: Shop, page_size: int = 0, **wanted: str | bool) -> Iterator[list[types.Reservation]]:
    """Pages of reservations."""
    request = methods.LIST_RESERVATIONS.request(page_size=page_size)
    for name, value in wanted.items():
        setattr(request, name, value)
    while True:
        answer = shop.call(methods.LIST_RESERVATIONS, request)
        yield list(answer.reservations)
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def levels(shop: Shop, page_size: int = 0, **wanted: str) -> Iterator[list[types.InventoryLevel]]:
    """Pages of levels."""
    request = methods.LIST_LEVELS.request(page_size=page_size)
    for name, value in wanted.items():
        setattr(request, name, value)
    while True:
        answer = shop.call(methods.LIST_LEVELS, request)
        yield list(answer.levels)
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def tokens(pages: Iterator[list[types.Reservation]]) -> list[str]:
    """Ids of all pages, in their order."""
    return [found.reservation_id for page in pages for found in page]


def test_many_questions_are_answered_in_their_order(shop: Shop) -> None:
    one, two, nowhere = shop.item(5, there=3), shop.item(1), shop.item()
    shop.hold((one, shop.here, 2))
    query = methods.GET_AVAILABILITY.request(channel=shop.channel())
    for sku, location in ((two, shop.here), (one, ""), (nowhere, shop.here), (nowhere, ""), (one, shop.here)):
        query.queries.add(sku=sku, location=location)
    answer = shop.call(methods.GET_AVAILABILITY, query)
    everywhere = sorted([(one, shop.here, 3), (one, shop.there, 3)])
    expected = [(two, shop.here, 1), *everywhere, (nowhere, shop.here, 0), (one, shop.here, 3)]
    assert [(each.sku, each.location, each.available) for each in answer.availabilities] == expected
    assert 0 < answer.durable_sequence <= answer.sequence


def test_1000_questions_at_once(shop: Shop) -> None:
    skus = shop.items(1000, on_hand=3)
    query = methods.GET_AVAILABILITY.request()
    for sku in skus:
        query.queries.add(sku=sku, location=shop.here)
    found = shop.call(methods.GET_AVAILABILITY, query).availabilities
    assert [(each.sku, each.available) for each in found] == [(sku, 3) for sku in skus]


def test_one_unknown_question_refuses_all(shop: Shop) -> None:
    query = methods.GET_AVAILABILITY.request()
    query.queries.add(sku=shop.item(1), location=shop.here)
    query.queries.add(sku="nobody-knows-this")
    shop.refused(methods.GET_AVAILABILITY, query, "UNKNOWN_SKU", sku="nobody-knows-this")


@pytest.mark.case("C02")
def test_what_was_acknowledged_is_seen_at_once_on_every_connection(shop: Shop) -> None:
    sku = shop.item(40)
    query = methods.GET_AVAILABILITY.request()
    query.queries.add(sku=sku, location=shop.here)
    level = methods.GET_LEVEL.request(sku=sku, location=shop.here)
    for held in range(1, 41):
        receipt = shop.reserve((sku, shop.here, 1)).receipt
        (answer,) = shop.target.outcomes(methods.GET_AVAILABILITY, [query])
        assert isinstance(answer, methods.GET_AVAILABILITY.answer)
        assert answer.availabilities[0].available == 40 - held
        assert answer.sequence >= receipt.sequence
        (found,) = shop.target.outcomes(methods.GET_LEVEL, [level])
        assert isinstance(found, methods.GET_LEVEL.answer)
        assert found.level.reserved == held
        assert found.durable_sequence >= receipt.sequence


def test_a_reservation_by_id_and_by_key(shop: Shop) -> None:
    one, two = sorted([shop.item(5), shop.item(5)])
    channel = shop.channel()
    context = shop.context(channel=channel, order_ref="order", holder="holder")
    hold = shop.reserve((two, shop.here, 2), (one, shop.here, 1), context=context).hold
    request = methods.GET_RESERVATION.request(reservation_id=hold.reservation_id)
    by_id = shop.call(methods.GET_RESERVATION, request)
    request = methods.GET_RESERVATION.request(reservation_key=context.idempotency_key, channel=channel)
    assert shop.call(methods.GET_RESERVATION, request).reservation == by_id.reservation
    assert 0 < by_id.durable_sequence <= by_id.sequence
    found = by_id.reservation
    assert (found.channel, found.order_ref, found.holder) == (channel, "order", "holder")
    assert found.create_time.ToMilliseconds() < found.expire_time.ToMilliseconds()
    assert [(line.sku, line.location, line.quantity, line.reserved) for line in found.lines] == [
        (one, shop.here, 1, 1),
        (two, shop.here, 2, 2),
    ]


def test_an_expired_reservation_reads_as_expired(aged: Aged) -> None:
    old = aged.take()
    (line,) = aged.shop.reservation(old.target).lines
    assert (line.quantity, line.reserved, line.expired) == (3, 0, 3)


@pytest.mark.parametrize("page_size", [0, 1, 2, 7, 1000])
def test_reservations_of_an_order_in_pages(shop: Shop, page_size: int) -> None:
    sku, order = shop.item(20), shop.name("order")
    made = [shop.hold((sku, shop.here, 1), order_ref=order).reservation_id for _ in range(7)]
    shop.hold((sku, shop.here, 1), order_ref=shop.name("order"))
    pages = list(reservations(shop, page_size, order_ref=order))
    assert tokens(iter(pages)) == made
    assert all(len(page) == (page_size or 100) for page in pages[:-1])


def test_reservations_of_a_holder(shop: Shop) -> None:
    sku, holder = shop.item(20), shop.name("holder")
    made = [shop.hold((sku, shop.here, 1), holder=holder, order_ref=order).reservation_id for order in "abc"]
    shop.hold((sku, shop.here, 1), holder=shop.name("holder"), order_ref="a")
    assert tokens(reservations(shop, holder=holder)) == made
    assert tokens(reservations(shop, holder=holder, order_ref="b")) == made[1:2]
    assert tokens(reservations(shop, holder=shop.name("nobody"))) == []


def test_ended_reservations_are_listed_on_request(aged: Aged) -> None:
    old, shop = aged.take(), aged.shop
    order, sku = old.order_ref, shop.item(9)
    released, fulfilled, allocated, reserved = (
        shop.hold((sku, shop.here, 1), order_ref=order).reservation_id for _ in range(4)
    )
    shop.release(requests.by_id(released))
    shop.fulfill(requests.by_id(fulfilled))
    shop.allocate(requests.by_id(allocated))
    assert tokens(reservations(shop, order_ref=order)) == [allocated, reserved]
    everything = [old.target.reservation_id, released, fulfilled, allocated, reserved]
    assert tokens(reservations(shop, order_ref=order, include_ended=True)) == everything
    assert tokens(reservations(shop, 2, order_ref=order, include_ended=True)) == everything


def test_a_page_is_continued_after_what_happened_in_between(shop: Shop) -> None:
    sku, order = shop.item(20), shop.name("order")
    made = [shop.hold((sku, shop.here, 1), order_ref=order).reservation_id for _ in range(6)]
    pages = reservations(shop, 2, order_ref=order)
    first = tokens(iter([next(pages)]))
    shop.release(requests.by_id(made[0]))
    shop.release(requests.by_id(made[3]))
    later = shop.hold((sku, shop.here, 1), order_ref=order).reservation_id
    assert first == made[:2]
    assert tokens(pages) == [made[2], made[4], made[5], later]


def test_all_reservations_in_pages(shop: Shop) -> None:
    sku = shop.item(20)
    made = [shop.hold((sku, shop.here, 1)).reservation_id for _ in range(5)]
    found = tokens(reservations(shop, 1000))
    assert [token for token in found if token in made] == made
    assert len(found) == len(set(found))


@pytest.mark.parametrize("page_size", [0, 1, 3, 1000])
def test_levels_of_an_item_or_a_place_in_pages(shop: Shop, page_size: int) -> None:
    skus = [shop.item(2, there=3) for _ in range(4)]
    at_there = [level for page in levels(shop, page_size, location=shop.there) for level in page]
    assert [(level.sku, level.on_hand) for level in at_there] == [(sku, 3) for sku in skus]
    of_item = [level for page in levels(shop, page_size, sku=skus[1]) for level in page]
    assert [(level.location, level.on_hand) for level in of_item] == [(shop.here, 2), (shop.there, 3)]
    both = [level for page in levels(shop, page_size, sku=skus[1], location=shop.here) for level in page]
    assert both == [shop.level(skus[1])]


def test_all_levels_in_pages(shop: Shop) -> None:
    skus = shop.items(30, on_hand=1)
    found = [(level.sku, level.location) for page in levels(shop, 1000) for level in page]
    assert [sku for sku, _ in found if sku in skus] == skus
    assert len(found) == len(set(found))


def test_levels_of_unknown_names(shop: Shop) -> None:
    request = methods.LIST_LEVELS.request(sku="nobody-knows-this")
    shop.refused(methods.LIST_LEVELS, request, "UNKNOWN_SKU", sku="nobody-knows-this")
    request = methods.LIST_LEVELS.request(location="nobody-knows-this")
    shop.refused(methods.LIST_LEVELS, request, "UNKNOWN_LOCATION", location="nobody-knows-this")


def test_an_entry_of_the_catalogue_is_created_and_replaced(shop: Shop) -> None:
    sku = shop.name("sku")
    for item in (catalog.Item(sku=sku), catalog.Item(sku=sku, display_name="Töpfchen", gtin="04012345678901")):
        shop.call(methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=shop.context(), items=[item]))
        assert shop.call(methods.GET_ITEM, catalog.GetItemRequest(sku=sku)).item == item
    place = catalog.Location(location=shop.here, display_name="Here", gln="4012345678901")
    shop.call(methods.UPSERT_LOCATIONS, catalog.UpsertLocationsRequest(context=shop.context(), locations=[place]))
    assert shop.call(methods.GET_LOCATION, catalog.GetLocationRequest(location=shop.here)).location == place
    channel = catalog.Channel(channel=shop.channel(), display_name="Web")
    shop.call(methods.UPSERT_CHANNELS, catalog.UpsertChannelsRequest(context=shop.context(), channels=[channel]))
    assert shop.call(methods.GET_CHANNEL, catalog.GetChannelRequest(channel=channel.channel)).channel == channel


def test_what_an_item_and_a_location_are_is_read_back(shop: Shop) -> None:
    sku = shop.item()
    value = types.Money(currency_code="EUR", units=12, nanos=500_000_000)
    for item in (
        catalog.Item(sku=sku, item_class="A"),
        catalog.Item(sku=sku, unit_value=value),
        catalog.Item(sku=sku, item_class="B", unit_value=value, display_name="Töpfchen"),
        catalog.Item(sku=sku),
    ):
        shop.call(methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=shop.context(), items=[item]))
        assert shop.call(methods.GET_ITEM, catalog.GetItemRequest(sku=sku)).item == item, "a put replaces all of it"
    for number in types.LocationType.values():
        place = catalog.Location(location=shop.here, type=number)
        shop.call(methods.UPSERT_LOCATIONS, catalog.UpsertLocationsRequest(context=shop.context(), locations=[place]))
        assert shop.call(methods.GET_LOCATION, catalog.GetLocationRequest(location=shop.here)).location == place


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("96385074", "00000096385074"),
        ("036000291452", "00036000291452"),
        ("4006381333931", "04006381333931"),
        ("10012345678902", "10012345678902"),
    ],
)
def test_a_gtin_is_kept_with_fourteen_digits(shop: Shop, given: str, kept: str) -> None:
    sku = shop.item()
    request = catalog.UpsertItemsRequest(context=shop.context(), items=[catalog.Item(sku=sku, gtin=given)])
    shop.call(methods.UPSERT_ITEMS, request)
    assert shop.call(methods.GET_ITEM, catalog.GetItemRequest(sku=sku)).item.gtin == kept
    request.items[0].gtin = kept
    assert shop.call(methods.UPSERT_ITEMS, request).receipt.replayed, "it is the same number"


LISTS: dict[str, tuple[Method[Any, Any], str, str]] = {
    "items": (methods.LIST_ITEMS, "items", "sku"),
    "locations": (methods.LIST_LOCATIONS, "locations", "location"),
    "channels": (methods.LIST_CHANNELS, "channels", "channel"),
    "location_groups": (methods.LIST_LOCATION_GROUPS, "location_groups", "group"),
    "stock_transfers": (methods.LIST_STOCK_TRANSFERS, "stock_transfers", "transfer"),
    "consumers": (methods.LIST_CONSUMERS, "consumers", "consumer"),
    "source_profiles": (methods.LIST_SOURCE_PROFILES, "source_profiles", "source_id"),
    "authority_rules": (methods.LIST_AUTHORITY_RULES, "authority_rules", "rule"),
    "sources": (methods.LIST_SOURCES, "sources", "source_id"),
}


@pytest.mark.parametrize("kind", list(LISTS))
@pytest.mark.parametrize("page_size", [0, 37, 1000])
def test_the_catalogue_in_pages(shop: Shop, kind: str, page_size: int) -> None:
    method, field, name = LISTS[kind]
    made = {
        "items": lambda: shop.items(45, on_hand=1),
        "locations": lambda: [shop.here, shop.there],
        "channels": lambda: [shop.channel() for _ in range(3)],
        "location_groups": lambda: [shop.group(shop.here) for _ in range(3)],
        "stock_transfers": lambda: [shop.stock_transfer(sku, 1) for sku in shop.items(3, on_hand=1)],
        "consumers": lambda: [shop.consumer() for _ in range(3)],
        "source_profiles": lambda: [shop.profile() for _ in range(3)],
        "authority_rules": lambda: [shop.rule() for _ in range(3)],
        "sources": lambda: [shop.source().source_id for _ in range(3)],
    }[kind]()
    request = method.request(page_size=page_size)
    found: list[str] = []
    while True:
        answer = shop.call(method, request)
        page = getattr(answer, field)
        assert len(page) <= (page_size or 100)
        found += [getattr(entry, name) for entry in page]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert [entry for entry in found if entry in made] == made
    assert len(found) == len(set(found))


def test_replacing_keeps_the_place_in_the_list(shop: Shop) -> None:
    skus = shop.items(3, on_hand=1)
    item = catalog.Item(sku=skus[0], display_name="again")
    shop.call(methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=shop.context(), items=[item]))
    assert figures(shop.level(skus[0])) == (1, 0, 0, 1)
    request, found = catalog.ListItemsRequest(page_size=1000), []
    while True:
        answer = shop.call(methods.LIST_ITEMS, request)
        found += [entry.sku for entry in answer.items]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert [sku for sku in found if sku in skus] == skus


EVERY_LIST: dict[str, tuple[Method[Any, Any], str]] = {
    "reservations": (methods.LIST_RESERVATIONS, "reservations"),
    "levels": (methods.LIST_LEVELS, "levels"),
    "items": (methods.LIST_ITEMS, "items"),
    "locations": (methods.LIST_LOCATIONS, "locations"),
    "channels": (methods.LIST_CHANNELS, "channels"),
    "location_groups": (methods.LIST_LOCATION_GROUPS, "location_groups"),
    "stock_transfers": (methods.LIST_STOCK_TRANSFERS, "stock_transfers"),
    "consumers": (methods.LIST_CONSUMERS, "consumers"),
    "source_profiles": (methods.LIST_SOURCE_PROFILES, "source_profiles"),
    "authority_rules": (methods.LIST_AUTHORITY_RULES, "authority_rules"),
    "sources": (methods.LIST_SOURCES, "sources"),
    "claims": (methods.LIST_CLAIMS, "claims"),
    "parked": (methods.LIST_PARKED, "parked"),
    "waiting": (methods.LIST_WAITING, "waiting"),
    "dead_letters": (methods.LIST_DEAD_LETTERS, "dead_letters"),
}
# Lists of one thing, which each question names.
OF_A_SOURCE = ("parked", "waiting", "dead_letters")


def first_page(shop: Shop, name: str) -> Any:
    """The first page of a list, of which there is another one."""
    shop.hold((shop.item(5, there=3), shop.here, 1))
    shop.hold((shop.item(5), shop.here, 1))
    for _ in range(2):
        shop.channel()
        shop.group(shop.here)
        shop.stock_transfer(shop.item(1), 1)
        shop.consumer()
        shop.rule()
        shop.claim()
    method, _ = EVERY_LIST[name]
    answer = shop.call(method, method.request(page_size=1, **of(shop, name)))
    assert answer.next_page_token
    return answer


def of(shop: Shop, name: str) -> dict[str, str]:
    """What a list is of: for messages that are kept a source with two of each kind."""
    if name not in OF_A_SOURCE:
        return {}
    if shop not in KEPT:
        KEPT[shop] = inbox = Inbox(shop)
        unknown = shop.name("transfer")
        inbox.record(*(inbox.goods(n, sku="nobody-knows-this") for n in (1, 2)))
        inbox.record(*(inbox.arrival(n, unknown) for n in (3, 4)), *(inbox.goods(n) for n in (7, 6)))
    return {"source_id": KEPT[shop].name}


KEPT: WeakKeyDictionary[Shop, Inbox] = WeakKeyDictionary()


def refused_token(shop: Shop, method: Method[Any, Any], **fields: Any) -> None:
    with pytest.raises(Refused) as refused:
        shop.target.call(method, method.request(page_size=1, **fields))
    assert (refused.value.reason, refused.value.fields) == ("INVALID_FIELD", ["page_token"])


@pytest.mark.parametrize("name", EVERY_LIST)
def test_a_page_token_that_was_cut_or_altered_answers_no_page(shop: Shop, name: str) -> None:
    token = first_page(shop, name).next_page_token
    method, _ = EVERY_LIST[name]
    given = of(shop, name)
    cuts = [token[:1], token[: len(token) // 2], token[:-2], token[:-1], token[1:], token + "0", token[:-1] + "g"]
    swapped = [token[:at] + ("1" if token[at] == "0" else "0") + token[at + 1 :] for at in range(0, len(token), 5)]
    for bad in (*cuts, *swapped, token.upper()):
        if bad != token:
            refused_token(shop, method, page_token=bad, **given)
    assert shop.call(method, method.request(page_size=1, page_token=token, **given))


@pytest.mark.parametrize("name", EVERY_LIST)
def test_a_page_token_answers_its_own_question_only(shop: Shop, name: str) -> None:
    token = first_page(shop, name).next_page_token
    for other, (method, _) in EVERY_LIST.items():
        if other != name:
            refused_token(shop, method, page_token=token, **of(shop, other))
    if name in OF_A_SOURCE:
        refused_token(shop, EVERY_LIST[name][0], page_token=token, source_id=shop.source().source_id)
    if name == "reservations":
        for fields in ({"include_ended": True}, {"holder": "somebody"}, {"order_ref": "order-1"}):
            refused_token(shop, methods.LIST_RESERVATIONS, page_token=token, **fields)
    if name == "claims":
        for only in ({"location": shop.there}, {"sku": shop.item()}, {"source_id": shop.source().source_id}):
            refused_token(shop, methods.LIST_CLAIMS, page_token=token, **only)
    if name == "levels":
        for place in ({"location": shop.here}, {"sku": shop.item()}):
            refused_token(shop, methods.LIST_LEVELS, page_token=token, **place)


@pytest.mark.parametrize("name", EVERY_LIST)
def test_the_size_of_a_page_may_change_from_page_to_page(shop: Shop, name: str) -> None:
    answer = first_page(shop, name)
    method, field = EVERY_LIST[name]
    given = of(shop, name)
    more = shop.call(method, method.request(page_size=1000, page_token=answer.next_page_token, **given))
    whole = shop.call(method, method.request(page_size=1000, **given))
    # A hold may end between two questions, and then only one of them shows it.
    joined = [*getattr(answer, field), *getattr(more, field)][: len(getattr(whole, field))]
    assert name == "reservations" or joined == list(getattr(whole, field))


def test_one_unknown_name_does_not_fail_the_questions_beside_it(shop: Shop) -> None:
    sku, typo = shop.item(5), shop.name("typo")
    query = methods.GET_AVAILABILITY.request(allow_unknown=True)
    for item, location in ((sku, shop.here), (typo, shop.here), (sku, typo), (typo, "")):
        query.queries.add(sku=item, location=location)
    answer = shop.call(methods.GET_AVAILABILITY, query)
    found = [(each.available, each.unknown_sku, each.unknown_location) for each in answer.availabilities]
    assert found == [(5, False, False), (0, True, False), (0, False, True), (0, True, False)]
    assert 0 < answer.durable_sequence <= answer.sequence
    query.allow_unknown = False
    shop.refused(methods.GET_AVAILABILITY, query, "UNKNOWN_SKU", sku=typo)


def test_the_server_says_what_it_is(shop: Shop) -> None:
    shop.item(1)
    info = shop.call(methods.GET_SERVER_INFO, methods.GET_SERVER_INFO.request())
    assert info.door == shop.target.name
    assert info.journal == ("file" if shop.target.name == "native" else "memory")
    assert (info.ledger, info.time_scale) == ("main", 1.0)
    assert info.version.count(".") == 2
    assert info.writer_epoch >= 1
    assert info.loss_window
    assert 0 < info.durable_sequence <= info.sequence
    assert (info.command_bytes_max, info.submit_bytes_max) == (1 << 20, 4 << 20)
    assert (info.submit_commands_max, info.lines_max) == (1000, 1000)
    assert (info.answer_bytes_max, info.command_answer_bytes_max) == (4 << 20, 2 << 20)
    assert info.reservation_lines_max == 2000
    assert info.effective_dedupe_window.ToSeconds() == 24 * 3600
    assert info.HasField("recovery_time")
    assert info.recovered_events == 0


def test_engine_time_never_goes_back(shop: Shop) -> None:
    times = [shop.target.engine_time_ms() for _ in range(50)]
    assert times == sorted(times)
    assert times[0] > 1_700_000_000_000
