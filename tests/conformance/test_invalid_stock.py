"""INVALID_FIELD on the physical commands, the catalogue, sources and reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import types_pb2 as types

from . import methods, requests
from .methods import Method
from .shop import Shop

AnyMethod = Method[Any, Any]
UNITS_MAX = 2**53 - 1
UNKNOWN_STATE = 99

STOCK: dict[str, tuple[AnyMethod, Callable[..., Any]]] = {
    "receive": (methods.RECEIVE, requests.receive),
    "return": (methods.RETURN, requests.give_back),
    "adjust": (methods.ADJUST, requests.adjust),
    "set": (methods.SET_QUANTITY, requests.set_quantity),
    "count": (methods.COUNT, requests.count),
    "move": (methods.MOVE_QUANTITY, requests.move_quantity),
}
ALL = tuple(STOCK)
ABSOLUTE = ("set", "count")


@dataclass(frozen=True, slots=True)
class Case:
    """What is wrong, for which commands, and the fields that are named."""

    name: str
    spoil: Callable[[Any], object]
    fields: tuple[str, ...]
    commands: tuple[str, ...] = ALL


def _line(field: str, value: object) -> Callable[[Any], object]:
    return lambda request: setattr(request.lines[0], field, value)


def _cases() -> Iterator[Case]:
    yield Case("no lines", lambda request: request.ClearField("lines"), ("lines",))
    yield Case("1,001 lines", lambda request: request.lines.extend([request.lines[0]] * 1000), ("lines",))
    yield Case("no sku", _line("sku", ""), ("lines[0].sku",))
    yield Case("a sku of 129 characters", _line("sku", "s" * 129), ("lines[0].sku",))
    yield Case("no location", _line("location", ""), ("lines[0].location",))
    yield Case("a location with a newline", _line("location", "a\n"), ("lines[0].location",))
    of_one_state = tuple(command for command in ALL if command != "move")
    yield Case("an unknown state", _line("state", UNKNOWN_STATE), ("lines[0].state",), of_one_state)
    for field in ("from_state", "to_state"):
        yield Case(f"an unknown {field}", _line(field, UNKNOWN_STATE), (f"lines[0].{field}",), ("move",))
    yield Case("a move to where it is", _line("to_state", 0), ("lines[0].to_state",), ("move",))
    yield Case("the same by its name", _line("to_state", 1), ("lines[0].to_state",), ("move",))
    key = ("context.idempotency_key",)
    yield Case("no key", lambda request: request.context.ClearField("idempotency_key"), key)
    yield Case("a long reference", lambda r: setattr(r.context, "reference", "r" * 129), ("context.reference",))
    for units in (0, -1, UNITS_MAX + 1, 2**63 - 1):
        yield Case(f"quantity {units}", _line("quantity", units), ("lines[0].quantity",), ("receive", "return", "move"))
    for units in (-1, UNITS_MAX + 1, 2**63 - 1):
        yield Case(f"quantity {units}", _line("quantity", units), ("lines[0].quantity",), ABSOLUTE)
    for units in (0, UNITS_MAX + 1, -UNITS_MAX - 1, 2**63 - 1, -(2**63)):
        yield Case(f"delta {units}", _line("delta", units), ("lines[0].delta",), ("adjust",))
    yield Case("a level twice", lambda request: request.lines.extend([request.lines[0]]), ("lines[1]",), ABSOLUTE)
    yield Case("an expectation below zero", _line("expected_quantity", -1), ("lines[0].expected_quantity",), ABSOLUTE)


ROWS = [(case, command) for case in _cases() for command in case.commands]


@pytest.mark.parametrize(("case", "command"), ROWS, ids=[f"{case.name}-{command}" for case, command in ROWS])
def test_a_bad_field_is_named_and_nothing_changes(shop: Shop, case: Case, command: str) -> None:
    method, make = STOCK[command]
    request = make(shop.context(), (shop.item(5), shop.here, 1))
    case.spoil(request)
    refused = shop.refused(method, request, "INVALID_FIELD")
    assert len(refused.fields) == len(case.fields)
    assert all(found.startswith(wanted) for found, wanted in zip(refused.fields, case.fields, strict=True))


@pytest.mark.case("C15")
@pytest.mark.parametrize("command", ["receive", "return", "adjust"])
def test_stock_never_grows_over_its_limit(shop: Shop, command: str) -> None:
    sku = shop.item(5)
    method, make = STOCK[command]
    shop.refused(method, make(shop.context(), (sku, shop.here, UNITS_MAX)), "INVALID_FIELD")
    assert shop.level(sku).on_hand == 5


def test_stock_fills_to_its_limit(shop: Shop) -> None:
    sku = shop.item(5)
    shop.call(methods.RECEIVE, requests.receive(shop.context(), (sku, shop.here, UNITS_MAX - 5)))
    assert shop.level(sku).on_hand == UNITS_MAX
    shop.call(methods.SET_QUANTITY, requests.set_quantity(shop.context(), (sku, shop.here, 0)))


@pytest.mark.case("C15")
def test_lines_that_together_are_over_the_limit(shop: Shop) -> None:
    sku = shop.item()
    request = requests.receive(shop.context(), (sku, shop.here, UNITS_MAX), (sku, shop.here, UNITS_MAX))
    shop.refused(methods.RECEIVE, request, "INVALID_FIELD")


def _items(*items: catalog.Item) -> Callable[[Shop], tuple[AnyMethod, Any]]:
    return lambda shop: (methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=shop.context(), items=items))


def _locations(*locations: catalog.Location) -> Callable[[Shop], tuple[AnyMethod, Any]]:
    return lambda shop: (
        methods.UPSERT_LOCATIONS,
        catalog.UpsertLocationsRequest(context=shop.context(), locations=locations),
    )


def _valued(**value: Any) -> catalog.Item:
    return catalog.Item(sku="s", unit_value=types.Money(**value))


def _of_type(number: int) -> catalog.Location:
    found = catalog.Location(location="l")
    found.type = types.LocationType.ValueType(number)
    return found


def _channels(*channels: catalog.Channel) -> Callable[[Shop], tuple[AnyMethod, Any]]:
    return lambda shop: (
        methods.UPSERT_CHANNELS,
        catalog.UpsertChannelsRequest(context=shop.context(), channels=channels),
    )


CATALOGUE: dict[str, tuple[Callable[[Shop], tuple[AnyMethod, Any]], str]] = {
    "no items": (_items(), "items"),
    "1,001 items": (_items(*(catalog.Item(sku=f"s{n}") for n in range(1001))), "items"),
    "an item without a name": (_items(catalog.Item()), "items[0].sku"),
    "an item's long name": (_items(catalog.Item(sku="s" * 129)), "items[0].sku"),
    "an item with NUL": (_items(catalog.Item(sku="s\0")), "items[0].sku"),
    "an item twice": (_items(catalog.Item(sku="s"), catalog.Item(sku="s")), "items[1].sku"),
    "a long display name": (_items(catalog.Item(sku="s", display_name="d" * 129)), "items[0].display_name"),
    "a GTIN of 11 digits": (_items(catalog.Item(sku="s", gtin="4" * 11)), "items[0].gtin"),
    "a GTIN with a wrong check digit": (_items(catalog.Item(sku="s", gtin="4" * 12 + "5")), "items[0].gtin"),
    "a value without a currency": (_items(_valued(units=1)), "items[0].unit_value.currency_code"),
    "a currency in small letters": (_items(_valued(currency_code="eur")), "items[0].unit_value.currency_code"),
    "a value below zero": (_items(_valued(currency_code="EUR", units=-1)), "items[0].unit_value.units"),
    "a whole unit in nanos": (_items(_valued(currency_code="EUR", nanos=10**9)), "items[0].unit_value.nanos"),
    "a class of 129 characters": (_items(catalog.Item(sku="s", item_class="x" * 129)), "items[0].item_class"),
    "a GLN with a wrong check digit": (
        _locations(catalog.Location(location="l", gln="4" * 12 + "5")),
        "locations[0].gln",
    ),
    "a type that is none": (_locations(_of_type(99)), "locations[0].type"),
    "a GTIN with a letter": (_items(catalog.Item(sku="s", gtin="4" * 13 + "x")), "items[0].gtin"),
    "no locations": (_locations(), "locations"),
    "a location without a name": (_locations(catalog.Location()), "locations[0].location"),
    "a GLN of 14 digits": (_locations(catalog.Location(location="l", gln="4" * 14)), "locations[0].gln"),
    "no channels": (_channels(), "channels"),
    "a channel without a name": (_channels(catalog.Channel()), "channels[0].channel"),
    "a channel with DEL": (_channels(catalog.Channel(channel="c\x7f")), "channels[0].channel"),
}


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_a_bad_entry_of_the_catalogue(shop: Shop, name: str) -> None:
    make, field = CATALOGUE[name]
    method, request = make(shop)
    assert shop.refused(method, request, "INVALID_FIELD").fields == [field]


@pytest.mark.parametrize("source_id", ["", "s" * 129, "a\nb"], ids=["none", "129 characters", "newline"])
def test_a_bad_name_of_a_source(shop: Shop, source_id: str) -> None:
    request = methods.REGISTER_SOURCE.request(context=shop.context(), source_id=source_id)
    assert shop.refused(methods.REGISTER_SOURCE, request, "INVALID_FIELD").fields == ["source_id"]


def test_a_source_does_not_register_itself_by_a_message(shop: Shop) -> None:
    context = shop.context()
    context.source.CopyFrom(types.SourcePosition(source_id="erp", epoch=1, sequence=1))
    request = methods.REGISTER_SOURCE.request(context=context, source_id="erp")
    assert shop.refused(methods.REGISTER_SOURCE, request, "INVALID_FIELD").fields == ["context.source"]


def _queries(count: int) -> Any:
    query = methods.GET_AVAILABILITY.request()
    for _ in range(count):
        query.queries.add(sku="s", location="l")
    return query


READS: dict[str, tuple[AnyMethod, Any, str]] = {
    "no questions": (methods.GET_AVAILABILITY, _queries(0), "queries"),
    "1,001 questions": (methods.GET_AVAILABILITY, _queries(1001), "queries"),
    "a level without a sku": (methods.GET_LEVEL, methods.GET_LEVEL.request(location="l"), "sku"),
    "a level without a location": (methods.GET_LEVEL, methods.GET_LEVEL.request(sku="s"), "location"),
    "levels: page too large": (methods.LIST_LEVELS, methods.LIST_LEVELS.request(page_size=1001), "page_size"),
    "levels: page below zero": (methods.LIST_LEVELS, methods.LIST_LEVELS.request(page_size=-1), "page_size"),
    "levels: no token of ours": (methods.LIST_LEVELS, methods.LIST_LEVELS.request(page_token="?"), "page_token"),
    "holds: page too large": (
        methods.LIST_RESERVATIONS,
        methods.LIST_RESERVATIONS.request(page_size=1001),
        "page_size",
    ),
    "holds: no token of ours": (
        methods.LIST_RESERVATIONS,
        methods.LIST_RESERVATIONS.request(page_token="?"),
        "page_token",
    ),
    "items: page too large": (methods.LIST_ITEMS, methods.LIST_ITEMS.request(page_size=1001), "page_size"),
    "items: no token of ours": (methods.LIST_ITEMS, methods.LIST_ITEMS.request(page_token="?"), "page_token"),
    "an item without a name": (methods.GET_ITEM, methods.GET_ITEM.request(), "sku"),
    "an outcome of no key": (methods.GET_OUTCOME, methods.GET_OUTCOME.request(), "idempotency_key"),
    "an outcome of a long key": (
        methods.GET_OUTCOME,
        methods.GET_OUTCOME.request(idempotency_key="k" * 129),
        "idempotency_key",
    ),
    "a batch of nothing": (methods.SUBMIT, reservations.SubmitRequest(), "commands"),
    "a batch of 1,001": (
        methods.SUBMIT,
        reservations.SubmitRequest(commands=[reservations.Command()] * 1001),
        "commands",
    ),
}


@pytest.mark.parametrize("name", list(READS))
def test_a_bad_question(shop: Shop, name: str) -> None:
    method, request, field = READS[name]
    assert shop.refused(method, request, "INVALID_FIELD").fields == [field]


def test_a_read_that_names_no_hold(shop: Shop) -> None:
    refused = shop.refused(methods.GET_RESERVATION, methods.GET_RESERVATION.request(), "INVALID_FIELD")
    assert len(refused.fields) == 1


def test_a_question_about_a_group_comes_later(shop: Shop) -> None:
    query = methods.GET_AVAILABILITY.request()
    query.queries.add(sku=shop.item(), location_group="eu")
    shop.refused(methods.GET_AVAILABILITY, query, "UNIMPLEMENTED")
