"""A new name is written so that people see it whole: one rule for every kind of name and every door."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import policy_service_pb2 as policy
from invengine.v1 import source_service_pb2 as sources
from invengine.v1 import types_pb2 as types

from . import methods, requests
from .commands import AnyMethod
from .shop import Shop

# How a name of the shop is spoilt, and what the rejection says about it.
SPOILT: dict[str, tuple[Callable[[str], str], str]] = {
    "a space at the end": (lambda name: name + " ", "a space at its end"),
    "a space at the beginning": (lambda name: " " + name, "U+0020 at character 1"),
    "a zero width space": (lambda name: name + "\u200b", "U+200B"),
    "a byte order mark": (lambda name: "\ufeff" + name, "U+FEFF at character 1"),
    "a turn of the direction": (lambda name: "a\u202e" + name, "U+202E at character 2"),
    "a hard space": (lambda name: "a\u00a0" + name, "U+00A0 at character 2, white space"),
    "a line separator": (lambda name: "a\u2028" + name, "U+2028 at character 2, a line break"),
    "private use": (lambda name: "a\ue000" + name, "U+E000 at character 2"),
    "an unassigned code point": (lambda name: "a\u0378" + name, "U+0378 at character 2"),
    "the decomposed form": (lambda name: "e\u0301" + name, "has U+00E9; send the composed form"),
}


def _item(shop: Shop, name: str) -> Any:
    return catalog.UpsertItemsRequest(context=shop.context(), items=[catalog.Item(sku=name)])


def _location(shop: Shop, name: str) -> Any:
    return catalog.UpsertLocationsRequest(context=shop.context(), locations=[catalog.Location(location=name)])


def _channel(shop: Shop, name: str) -> Any:
    return catalog.UpsertChannelsRequest(context=shop.context(), channels=[catalog.Channel(channel=name)])


def _location_group(shop: Shop, name: str) -> Any:
    groups = [policy.LocationGroup(group=name, locations=[shop.here])]
    return policy.UpsertLocationGroupsRequest(context=shop.context(), location_groups=groups)


def _stock_transfer(shop: Shop, name: str) -> Any:
    lines = [inventory.ShipmentLine(sku=shop.item(1), quantity=1)]
    places = {"from_location": shop.here, "to_location": shop.there}
    return inventory.ShipTransferRequest(context=shop.context(), transfer=name, lines=lines, **places)


def _consumer(shop: Shop, name: str) -> Any:
    consumers = [types.Consumer(consumer=name, position=types.JournalPosition(ledger="main"))]
    return journal.UpsertConsumersRequest(context=shop.context(), consumers=consumers)


def _source_profile(shop: Shop, name: str) -> Any:
    profiles = [sources.SourceProfile(source_id=name, kind=types.SOURCE_KIND_ERP)]
    return sources.UpsertSourceProfilesRequest(context=shop.context(), source_profiles=profiles)


def _authority_rule(shop: Shop, name: str) -> Any:
    # No command needs this right.
    rules = [policy.AuthorityRule(rule=name, operator=True, rights=[types.AUTHORITY_RIGHT_ORDER])]
    return policy.UpsertAuthorityRulesRequest(context=shop.context(), authority_rules=rules)


def _source(shop: Shop, name: str) -> Any:
    return sources.RegisterSourceRequest(context=shop.context(), source_id=name)


KINDS: dict[str, tuple[AnyMethod, Callable[[Shop, str], Any], str]] = {
    "item": (methods.UPSERT_ITEMS, _item, "items[0].sku"),
    "location": (methods.UPSERT_LOCATIONS, _location, "locations[0].location"),
    "channel": (methods.UPSERT_CHANNELS, _channel, "channels[0].channel"),
    "location group": (methods.UPSERT_LOCATION_GROUPS, _location_group, "location_groups[0].group"),
    "stock transfer": (methods.SHIP_TRANSFER, _stock_transfer, "transfer"),
    "consumer": (methods.UPSERT_CONSUMERS, _consumer, "consumers[0].consumer"),
    "source profile": (methods.UPSERT_SOURCE_PROFILES, _source_profile, "source_profiles[0].source_id"),
    "authority rule": (methods.UPSERT_AUTHORITY_RULES, _authority_rule, "authority_rules[0].rule"),
    "source": (methods.REGISTER_SOURCE, _source, "source_id"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_name_with_invisible_characters_is_not_created(shop: Shop, kind: str, spoilt: str) -> None:
    (method, make, field), (spoil, words) = KINDS[kind], SPOILT[spoilt]
    refused = shop.refused(method, make(shop, spoil(shop.name("new"))), "INVALID_FIELD")
    assert refused.fields == [field]
    assert words in refused.message
    assert refused.message.isprintable(), "what cannot be seen is not repeated"


@pytest.mark.parametrize("kind", KINDS)
def test_letters_of_every_script_are_names(shop: Shop, kind: str) -> None:
    method, make, _ = KINDS[kind]
    for start in ("a b ", "Größe 42/", "漢字-", "مرحبا-", "😀", "~"):
        assert not shop.call(method, make(shop, unicodedata.normalize("NFC", shop.name(start)))).look_alikes


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_looks_like_an_older_one_is_created_and_reported(shop: Shop, kind: str) -> None:
    method, make, _ = KINDS[kind]
    old = shop.name("oil")
    first = make(shop, old)
    assert not shop.call(method, first).look_alikes
    for new in (old.upper(), old.replace("o", "0", 1), old.replace("i", "1", 1), old.replace("o", "\u043e", 1)):
        request = make(shop, new)
        (reported,) = shop.call(method, request).look_alikes
        assert (reported.name, reported.older_name) == (new, old)
        again = shop.call(method, request)
        assert again.receipt.replayed
        assert list(again.look_alikes) == [reported], "a repeat is told the same"
    assert not shop.call(method, first).look_alikes, "the oldest looks like nothing before it, now as then"


def test_every_bad_name_of_a_request_is_reported_and_none_is_created(shop: Shop) -> None:
    good = shop.name("new")
    items = [catalog.Item(sku=sku) for sku in (good, good + " ", shop.item(), good + "\u200b")]
    request = catalog.UpsertItemsRequest(context=shop.context(), items=items)
    assert shop.refused(methods.UPSERT_ITEMS, request, "INVALID_FIELD").fields == ["items[1].sku", "items[3].sku"]
    shop.refused(methods.GET_ITEM, catalog.GetItemRequest(sku=good), "UNKNOWN_SKU", sku=good)


def test_a_key_of_a_refused_name_is_not_used_up(shop: Shop) -> None:
    request = _item(shop, shop.name("new") + " ")
    shop.refused(methods.UPSERT_ITEMS, request, "INVALID_FIELD")
    request.items[0].sku = request.items[0].sku.strip()
    assert not shop.call(methods.UPSERT_ITEMS, request).receipt.replayed


def test_a_name_with_an_extra_space_is_unknown_and_shown_in_quotes(shop: Shop) -> None:
    sku = shop.item(5)
    request = requests.reserve(shop.context(), (sku + " ", shop.here, 1))
    refused = shop.refused(methods.RESERVE, request, "UNKNOWN_SKU", sku=sku + " ")
    assert f'"{sku} " has U+0020 at character {len(sku) + 1}, a space at its end' in refused.message
    refused = shop.refused(methods.RESERVE, requests.reserve(shop.context(), (sku + "x", shop.here, 1)), "UNKNOWN_SKU")
    assert f"no such item: {sku}x; create it first" in refused.message


def test_an_order_with_an_extra_space_is_shown_in_quotes(shop: Shop) -> None:
    order = shop.name("order")
    shop.hold((shop.item(1), shop.here, 1), order_ref=order)
    request = requests.allocate(shop.context(), requests.by_order(order + " "))
    refused = shop.refused(methods.ALLOCATE, request, "RESERVATION_NOT_FOUND", order=order + " ")
    assert f'"{order} "' in refused.message
