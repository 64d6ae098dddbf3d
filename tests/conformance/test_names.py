"""Nothing is created by being mentioned: each unknown name is refused by its own reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from invengine.v1 import types_pb2 as types

from . import methods, requests
from .commands import BY_LINE, BY_ORDER, COMMANDS, AnyMethod
from .shop import Shop

NOBODY = "nobody-knows-this"

STOCK: dict[str, tuple[AnyMethod, Callable[..., Any]]] = {
    "receive": (methods.RECEIVE, requests.receive),
    "return": (methods.RETURN, requests.give_back),
    "adjust": (methods.ADJUST, requests.adjust),
    "set": (methods.SET_QUANTITY, requests.set_quantity),
    "count": (methods.COUNT, requests.count),
    "move": (methods.MOVE_QUANTITY, requests.move_quantity),
    "reserve": (methods.RESERVE, requests.reserve),
}


@pytest.mark.parametrize("command", list(STOCK))
def test_an_unknown_sku(shop: Shop, command: str) -> None:
    method, make = STOCK[command]
    shop.refused(method, make(shop.context(), (NOBODY, shop.here, 1)), "UNKNOWN_SKU", sku=NOBODY)


@pytest.mark.parametrize("command", list(STOCK))
def test_an_unknown_location(shop: Shop, command: str) -> None:
    method, make = STOCK[command]
    request = make(shop.context(), (shop.item(), NOBODY, 1))
    shop.refused(method, request, "UNKNOWN_LOCATION", location=NOBODY)


@pytest.mark.parametrize("command", list(STOCK))
def test_an_unknown_channel(shop: Shop, command: str) -> None:
    method, make = STOCK[command]
    request = make(shop.context(channel=NOBODY), (shop.item(5), shop.here, 1))
    shop.refused(method, request, "UNKNOWN_CHANNEL", channel=NOBODY)


@pytest.mark.parametrize("command", list(STOCK))
def test_an_unknown_source(shop: Shop, command: str) -> None:
    method, make = STOCK[command]
    request = make(requests.NO_CONTEXT, (shop.item(5), shop.here, 1))
    request.context.source.CopyFrom(types.SourcePosition(source_id=NOBODY, epoch=1, sequence=1))
    shop.refused(method, request, "UNKNOWN_SOURCE", source=NOBODY)


def test_one_unknown_line_refuses_all(shop: Shop) -> None:
    sku = shop.item(5)
    request = requests.reserve(shop.context(), (sku, shop.here, 1), (NOBODY, shop.here, 1), allow_partial=True)
    shop.refused(methods.RESERVE, request, "UNKNOWN_SKU", sku=NOBODY)
    assert shop.level(sku).reserved == 0


def test_names_are_checked_before_stock(shop: Shop) -> None:
    request = requests.reserve(shop.context(), (shop.item(), shop.here, 9), (shop.item(), NOBODY, 1))
    shop.refused(methods.RESERVE, request, "UNKNOWN_LOCATION", location=NOBODY)


def test_transfer_to_an_unknown_location(shop: Shop) -> None:
    request = requests.transfer(shop.context(), shop.hold((shop.item(1), shop.here, 1)), NOBODY)
    shop.refused(methods.TRANSFER, request, "UNKNOWN_LOCATION", location=NOBODY)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_an_unknown_reservation_by_id(shop: Shop, command: str) -> None:
    method, make = COMMANDS[command]
    shop.refused(method, make(shop, requests.by_id(NOBODY), shop.item()), "RESERVATION_NOT_FOUND")


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_token_that_was_tampered_with(shop: Shop, command: str) -> None:
    token = shop.hold((shop.item(1), shop.here, 1)).reservation_id
    method, make = COMMANDS[command]
    tampered = requests.by_id(token[:-1] + chr(ord(token[-1]) ^ 1))
    shop.refused(method, make(shop, tampered, shop.item()), "RESERVATION_NOT_FOUND")


# Release by an unknown key is accepted: it cancels the key.
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "release"])
def test_an_unknown_reservation_by_key(shop: Shop, command: str) -> None:
    method, make = COMMANDS[command]
    shop.refused(method, make(shop, requests.by_key(shop.name("never")), shop.item()), "RESERVATION_NOT_FOUND")


@pytest.mark.parametrize("command", BY_ORDER)
def test_an_unknown_order(shop: Shop, command: str) -> None:
    method, make = COMMANDS[command]
    shop.refused(method, make(shop, requests.by_order(shop.name("never")), shop.item()), "RESERVATION_NOT_FOUND")


@pytest.mark.parametrize("command", BY_LINE)
def test_a_line_that_the_reservation_does_not_have(shop: Shop, command: str) -> None:
    sku, other = shop.item(5), shop.item(5)
    token = shop.hold((sku, shop.here, 1)).reservation_id
    method, make = COMMANDS[command]
    request = make(shop, requests.by_id(token, (other, shop.here, 1)), sku)
    shop.refused(method, request, "EXCEEDS_OUTSTANDING", sku=other, location=shop.here, outstanding=0)
    assert shop.reservation(requests.by_id(token)).version == 1


READS: dict[str, tuple[AnyMethod, Any, str]] = {
    "item": (methods.GET_ITEM, methods.GET_ITEM.request(sku=NOBODY), "UNKNOWN_SKU"),
    "location": (methods.GET_LOCATION, methods.GET_LOCATION.request(location=NOBODY), "UNKNOWN_LOCATION"),
    "channel": (methods.GET_CHANNEL, methods.GET_CHANNEL.request(channel=NOBODY), "UNKNOWN_CHANNEL"),
    "location group": (methods.GET_LOCATION_GROUP, methods.GET_LOCATION_GROUP.request(group=NOBODY), "UNKNOWN_GROUP"),
    "stock transfer": (
        methods.GET_STOCK_TRANSFER,
        methods.GET_STOCK_TRANSFER.request(transfer=NOBODY),
        "ENTITY_NOT_FOUND",
    ),
    "source profile": (
        methods.GET_SOURCE_PROFILE,
        methods.GET_SOURCE_PROFILE.request(source_id=NOBODY),
        "ENTITY_NOT_FOUND",
    ),
    "authority rule": (methods.GET_AUTHORITY_RULE, methods.GET_AUTHORITY_RULE.request(rule=NOBODY), "ENTITY_NOT_FOUND"),
    "claims of a source": (methods.LIST_CLAIMS, methods.LIST_CLAIMS.request(source_id=NOBODY), "UNKNOWN_SOURCE"),
    "claims about an item": (methods.LIST_CLAIMS, methods.LIST_CLAIMS.request(sku=NOBODY), "UNKNOWN_SKU"),
    "claims at a location": (methods.LIST_CLAIMS, methods.LIST_CLAIMS.request(location=NOBODY), "UNKNOWN_LOCATION"),
    "parked messages": (methods.LIST_PARKED, methods.LIST_PARKED.request(source_id=NOBODY), "UNKNOWN_SOURCE"),
    "waiting messages": (methods.LIST_WAITING, methods.LIST_WAITING.request(source_id=NOBODY), "UNKNOWN_SOURCE"),
    "dead letters": (methods.LIST_DEAD_LETTERS, methods.LIST_DEAD_LETTERS.request(source_id=NOBODY), "UNKNOWN_SOURCE"),
    "consumer": (methods.GET_CONSUMER, methods.GET_CONSUMER.request(consumer=NOBODY), "ENTITY_NOT_FOUND"),
    "reservation by id": (
        methods.GET_RESERVATION,
        methods.GET_RESERVATION.request(reservation_id=NOBODY),
        "RESERVATION_NOT_FOUND",
    ),
    "reservation by key": (
        methods.GET_RESERVATION,
        methods.GET_RESERVATION.request(reservation_key=NOBODY),
        "RESERVATION_NOT_FOUND",
    ),
    "level": (methods.GET_LEVEL, methods.GET_LEVEL.request(sku=NOBODY, location=NOBODY), "UNKNOWN_SKU"),
}


@pytest.mark.parametrize("name", list(READS))
def test_a_read_of_an_unknown_name(shop: Shop, name: str) -> None:
    method, request, reason = READS[name]
    shop.refused(method, request, reason)


def test_a_level_at_an_unknown_location(shop: Shop) -> None:
    request = methods.GET_LEVEL.request(sku=shop.item(), location=NOBODY)
    shop.refused(methods.GET_LEVEL, request, "UNKNOWN_LOCATION", location=NOBODY)


def test_availability_for_an_unknown_channel(shop: Shop) -> None:
    query = methods.GET_AVAILABILITY.request(channel=NOBODY)
    query.queries.add(sku=shop.item(), location=shop.here)
    shop.refused(methods.GET_AVAILABILITY, query, "UNKNOWN_CHANNEL", channel=NOBODY)


def test_a_known_item_without_a_level_is_zero(shop: Shop) -> None:
    sku = shop.item()
    assert shop.level(sku) == types.InventoryLevel(sku=sku, location=shop.here)
    assert shop.available(sku) == 0
