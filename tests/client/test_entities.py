"""Entities of every kind have the same four operations: what is sent for each, and what comes back."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, assert_type

import grpc
import pytest
from scripted_peer import Peer, Refusal

from invengine.client import (
    Channel,
    Client,
    Consumer,
    Item,
    JournalPosition,
    Location,
    LocationGroup,
    LocationType,
    Money,
    Receipt,
    Upserted,
    commands,
)
from invengine.client.entities import _ITEMS, _LOCATIONS, Reference
from invengine.errors import EntityInUse, InvalidArgument, StaleVersion
from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import policy_service_pb2 as policy
from invengine.v1 import types_pb2 as types

RECEIPT = types.Receipt(sequence=7, durable_sequence=7)
WEST, EAST = LocationGroup("west", ("wh-1", "wh-2")), LocationGroup("east", ("wh-3",), version=4)
GROUPS = "/invengine.v1.PolicyService/"
CATALOG = "/invengine.v1.CatalogService/"
JOURNAL = "/invengine.v1.JournalService/"


def always(answer: Any) -> Callable[[bytes], bytes]:
    return lambda body: bytes(answer.SerializeToString())


def test_an_upsert_sends_every_field_and_only_the_versions_that_were_given() -> None:
    zero = LocationGroup("new", ("wh-1",), version=0)
    west, east, new = commands.upsert_location_groups([WEST, EAST, zero]).request.location_groups
    assert (west.group, list(west.locations), west.HasField("version")) == ("west", ["wh-1", "wh-2"], False)
    assert (east.group, list(east.locations), east.version) == ("east", ["wh-3"], 4)
    assert (new.HasField("version"), new.version) == (True, 0)
    item = commands.upsert_items([Item("mug", "A mug", "04012345678901")])
    assert item.kind.method == CATALOG + "UpsertItems"
    assert item.request == catalog.UpsertItemsRequest(
        items=[catalog.Item(sku="mug", display_name="A mug", gtin="04012345678901")]
    )


def test_a_list_of_locations_works_like_a_tuple() -> None:
    locations: Any = ["wh-1", "wh-2"]
    draft = commands.upsert_location_groups([LocationGroup("west", locations)])
    assert draft.request == commands.upsert_location_groups([WEST]).request


def test_an_upsert_returns_versions_and_look_alikes_and_remains_a_receipt(peer: Peer) -> None:
    alike = types.LookAlike(name="WEST", older_name="west")
    answer = policy.UpsertLocationGroupsResponse(receipt=RECEIPT, versions=[1, 5], look_alikes=[alike])
    peer.behaviours[GROUPS + "UpsertLocationGroups"] = always(answer)
    peer.behaviours[CATALOG + "UpsertItems"] = always(catalog.UpsertItemsResponse(receipt=RECEIPT))
    with Client(peer.target) as client:
        stored = assert_type(client.upsert_location_groups([WEST, EAST]), Upserted)
        of_items = client.upsert_items([Item("mug")])
    assert (stored.versions, tuple(stored.look_alikes[0])) == ((1, 5), ("WEST", "west"))
    assert stored == Receipt(7, 7, False)
    copy = pickle.loads(pickle.dumps(stored))
    assert (copy, copy.versions, copy.look_alikes) == (stored, stored.versions, stored.look_alikes)
    assert (of_items.versions, of_items.look_alikes) == ((), ())


def test_a_read_has_the_version_and_can_be_sent_back(peer: Peer) -> None:
    message = policy.LocationGroup(group="east", locations=["wh-3"], version=4)
    peer.behaviours[GROUPS + "GetLocationGroup"] = always(policy.GetLocationGroupResponse(location_group=message))
    with Client(peer.target) as client:
        found = assert_type(client.get_location_group("east"), LocationGroup)
    assert found == EAST
    assert commands.upsert_location_groups([found]).request.location_groups[0] == message
    assert len({found, EAST}) == 1


def test_a_list_is_fetched_page_after_page(peer: Peer) -> None:
    def page(body: bytes) -> bytes:
        last = policy.ListLocationGroupsRequest.FromString(body).page_token == "more"
        group = policy.LocationGroup(group="east" if last else "west", locations=["wh-3"], version=4)
        token = "" if last else "more"
        return policy.ListLocationGroupsResponse(location_groups=[group], next_page_token=token).SerializeToString()

    peer.behaviours[GROUPS + "ListLocationGroups"] = page
    with Client(peer.target) as client:
        found = assert_type(client.list_location_groups(page_size=1), Iterator[LocationGroup])
        assert [each.group for each in found] == ["west", "east"]


@pytest.mark.parametrize(
    ("reference", "version"),
    [("west", None), (("west", 3), 3), (("west", None), None), (WEST, None), (EAST, 4)],
)
def test_a_deletion_names_a_group_in_any_way(reference: Reference[LocationGroup], version: int | None) -> None:
    (sent,) = commands.delete_location_groups([reference]).request.location_groups
    assert sent.name == ("east" if reference is EAST else "west")
    assert (sent.version if sent.HasField("version") else None) == version


def test_items_and_locations_are_deleted_by_name(peer: Peer) -> None:
    assert list(commands.delete_items(["mug", "cup"]).request.skus) == ["mug", "cup"]
    assert list(commands.delete_locations(iter(["wh-1"])).request.locations) == ["wh-1"]
    peer.behaviours[CATALOG + "DeleteItems"] = always(catalog.DeleteItemsResponse(receipt=RECEIPT))
    with Client(peer.target) as client:
        assert assert_type(client.delete_items(["mug"]), Receipt) == Receipt(7, 7, False)


def test_a_consumer_is_read_as_it_is_put(peer: Peer) -> None:
    position = types.JournalPosition(ledger="main", writer_epoch=3, sequence=31)
    message = types.Consumer(consumer="feed", position=position, version=2)
    peer.behaviours[JOURNAL + "GetConsumer"] = always(journal.GetConsumerResponse(consumer=message))
    with Client(peer.target) as client:
        found = assert_type(client.get_consumer("feed"), Consumer)
    assert found == Consumer("feed", JournalPosition("main", 3, 31), 2)
    assert commands.upsert_consumers([found]).request.consumers[0] == message
    (sent,) = commands.delete_consumers([found]).request.consumers
    assert (sent.name, sent.version) == ("feed", 2)


BAD: list[tuple[Callable[..., Any], Any, str]] = [
    (commands.upsert_items, "mug", "items"),
    (commands.upsert_items, [], "items"),
    (commands.upsert_items, [Item("mug"), "cup"], "items[1]"),
    (commands.upsert_items, [Item("mug", gtin=7)], "items[0].gtin"),  # type: ignore[arg-type]
    (commands.upsert_locations, [Item("mug")], "locations[0]"),
    (commands.upsert_channels, [Channel("app", None)], "channels[0].display_name"),  # type: ignore[arg-type]
    (commands.upsert_location_groups, [Location("wh-1")], "groups[0]"),
    (commands.upsert_location_groups, [WEST, LocationGroup("east", "wh-1")], "groups[1].locations"),  # type: ignore[arg-type]
    (commands.upsert_location_groups, [LocationGroup("east", ("wh-1", None))], "groups[0].locations[1]"),  # type: ignore[arg-type]
    (commands.upsert_location_groups, [LocationGroup("east", ("wh-1",), True)], "groups[0].version"),
    (commands.upsert_location_groups, [LocationGroup("east", ("wh-1",), "1")], "groups[0].version"),  # type: ignore[arg-type]
    (commands.upsert_consumers, [Consumer("feed", "main@1:7")], "consumers[0].position"),  # type: ignore[arg-type]
    (commands.upsert_consumers, [Consumer("feed", None)], "consumers[0].position"),  # type: ignore[arg-type]
    (commands.delete_items, ["mug", ""], "skus[1]"),
    (commands.delete_items, [Item("mug")], "skus[0]"),
    (commands.delete_locations, [("wh-1", 1)], "locations[0]"),
    (commands.delete_location_groups, ["west", ""], "groups[1].name"),
    (commands.delete_location_groups, [("west", 1.5)], "groups[0].version"),
    (commands.delete_location_groups, [("west", 0)], "groups[0].version"),
    (commands.delete_location_groups, [("west", 1, 2)], "groups[0]"),
    (commands.delete_location_groups, [Location("west")], "groups[0]"),
    (commands.delete_location_groups, "west", "groups"),
]


@pytest.mark.parametrize(("make", "given", "field"), BAD, ids=[f"{row[2]} {number}" for number, row in enumerate(BAD)])
def test_a_bad_entry_is_named_and_nothing_is_sent(make: Callable[..., Any], given: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make(given)
    assert caught.value.violations[0].field == field


def test_refusals_say_what_they_are_about(peer: Peer) -> None:
    def refused(reason: str, code: str, **facts: str) -> Callable[[bytes], bytes]:
        def behaviour(body: bytes) -> bytes:
            raise Refusal(grpc.StatusCode[code], reason, metadata=facts)

        return behaviour

    in_use = {"kind": "location", "name": "wh-1", "used_by": "location_group west"}
    peer.behaviours[CATALOG + "DeleteLocations"] = refused("ENTITY_IN_USE", "FAILED_PRECONDITION", **in_use)
    stale = {"kind": "location_group", "name": "west", "expected": "2", "actual": "3"}
    peer.behaviours[GROUPS + "UpsertLocationGroups"] = refused("STALE_VERSION", "ABORTED", **stale)
    with Client(peer.target) as client:
        with pytest.raises(EntityInUse, match="kind location, name wh-1, used_by location_group west"):
            client.delete_locations(["wh-1"])
        with pytest.raises(StaleVersion, match="kind location_group, name west, expected 2, actual 3"):
            client.upsert_location_groups([LocationGroup("west", ("wh-1",), 2)])


MONEY = Money(Decimal("12.5"), "EUR")
MESSAGE = types.Money(currency_code="EUR", units=12, nanos=500_000_000)


def test_the_value_of_an_item_and_the_type_of_a_location_are_sent_and_read() -> None:
    item = Item("mug", item_class="A", unit_value=MONEY)
    (sent,) = commands.upsert_items([item]).request.items
    assert (sent.item_class, sent.unit_value) == ("A", MESSAGE)
    assert not commands.upsert_items([Item("mug")]).request.items[0].HasField("unit_value")
    (place,) = commands.upsert_locations([Location("shop", type=LocationType.STORE)]).request.locations
    assert place.type == types.LOCATION_TYPE_STORE
    for message, value in ((sent, item), (catalog.Item(sku="mug"), Item("mug"))):
        assert _ITEMS.value_of(message) == value
    for number, kind in ((0, None), (2, LocationType.STORE), (99, None)):
        message = catalog.Location(location="shop")
        message.type = types.LocationType.ValueType(number)
        assert _LOCATIONS.value_of(message) == Location("shop", type=kind)


@pytest.mark.parametrize(
    ("amount", "units", "nanos"),
    [("0", 0, 0), ("12", 12, 0), ("0.000000001", 0, 1), ("99999999.99", 99999999, 990_000_000), ("1E+3", 1000, 0)],
)
def test_an_amount_is_exact(amount: str, units: int, nanos: int) -> None:
    item = Item("mug", unit_value=Money(Decimal(amount), "EUR"))
    (sent,) = commands.upsert_items([item]).request.items
    assert (sent.unit_value.units, sent.unit_value.nanos) == (units, nanos)
    read = _ITEMS.value_of(sent).unit_value
    assert read is not None
    assert read.amount == Decimal(amount)


@pytest.mark.parametrize(
    "amount", [Decimal(-1), Decimal("0.0000000001"), Decimal("NaN"), Decimal("1E+30"), 1.5, 12, "12", None]
)
def test_an_amount_that_no_message_can_carry_is_refused(amount: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"items\[0\]\.unit_value\.amount"):
        commands.upsert_items([Item("mug", unit_value=Money(amount, "EUR"))])


@pytest.mark.parametrize("value", ["12.50 EUR", 12, (Decimal(12), "EUR")])
def test_a_value_is_money(value: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"items\[0\]\.unit_value"):
        commands.upsert_items([Item("mug", unit_value=value)])
    with pytest.raises(InvalidArgument, match=r"locations\[0\]\.type"):
        commands.upsert_locations([Location("shop", type=value)])
