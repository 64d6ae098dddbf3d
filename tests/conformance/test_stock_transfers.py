"""Stock transfers: what each command does to the document and to the levels at both ends."""

from __future__ import annotations

from typing import Any

import pytest

from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import types_pb2 as types

from . import methods
from .shop import Shop, adds_up, figures

LOST, SENT_BACK = types.TRANSFER_REMAINDER_LOST, types.TRANSFER_REMAINDER_SENT_BACK
DAMAGED = types.STOCK_STATE_DAMAGED


def shipped(shop: Shop, units: int = 4, on_hand: int = 10) -> tuple[str, str]:
    """An item of which these units are on their way to the second location, and the name of the transfer."""
    sku = shop.item(on_hand)
    return sku, shop.stock_transfer(sku, units)


def ship(shop: Shop, name: str, *lines: tuple[str, int], **fields: Any) -> inventory.ShipTransferRequest:
    places = {"from_location": shop.here, "to_location": shop.there} | fields
    wanted = [inventory.ShipmentLine(sku=sku, quantity=units) for sku, units in lines]
    return inventory.ShipTransferRequest(context=shop.context(), transfer=name, lines=wanted, **places)


def arrive(shop: Shop, name: str, *lines: tuple[str, int, int], **fields: Any) -> inventory.ReceiveTransferRequest:
    wanted = [
        inventory.ArrivalLine(sku=sku, quantity=units, state=types.StockState.ValueType(state))
        for sku, units, state in lines
    ]
    return inventory.ReceiveTransferRequest(context=shop.context(), transfer=name, lines=wanted, **fields)


def close(shop: Shop, name: str, remainder: Any, **fields: Any) -> inventory.CloseTransferRequest:
    return inventory.CloseTransferRequest(context=shop.context(), transfer=name, remainder=remainder, **fields)


def known(shop: Shop, name: str) -> types.StockTransfer:
    return shop.call(methods.GET_STOCK_TRANSFER, methods.GET_STOCK_TRANSFER.request(transfer=name)).stock_transfer


def state_of(transfer: types.StockTransfer) -> str:
    return types.StockTransferState.Name(transfer.state).removeprefix("STOCK_TRANSFER_STATE_")


def units(transfer: types.StockTransfer, sku: str) -> tuple[int, int, int, int, int]:
    """(shipped, received, lost, sent back, in transit)."""
    (line,) = (line for line in transfer.lines if line.sku == sku)
    return line.shipped, line.received, line.lost, line.sent_back, line.in_transit


def on_hand_and_in_transit(shop: Shop, sku: str) -> list[tuple[int, int]]:
    """At both ends."""
    levels = [shop.level(sku, place) for place in (shop.here, shop.there)]
    for level in levels:
        adds_up(level)
    return [(level.on_hand, level.in_transit) for level in levels]


def test_goods_leave_and_are_in_transit(shop: Shop) -> None:
    sku = shop.item(10)
    name = shop.name("transfer")
    answer = shop.call(methods.SHIP_TRANSFER, ship(shop, name, (sku, 4)))
    assert (state_of(answer.transfer), units(answer.transfer, sku)) == ("SHIPPED", (4, 0, 0, 0, 4))
    assert (answer.transfer.from_location, answer.transfer.to_location) == (shop.here, shop.there)
    assert answer.transfer == known(shop, name)
    assert answer.transfer.version == 1
    assert on_hand_and_in_transit(shop, sku) == [(6, 0), (0, 4)]
    assert figures(shop.level(sku, shop.there)) == (0, 0, 0, 0), "what is in transit cannot be held"


def test_the_ship_time_is_the_event_time_if_there_is_one(shop: Shop) -> None:
    sku = shop.item(10)
    request = ship(shop, shop.name("transfer"), (sku, 1))
    request.context.event_time.FromJsonString("2026-11-01T08:30:00Z")
    assert shop.call(methods.SHIP_TRANSFER, request).transfer.ship_time == request.context.event_time


def test_it_arrives_in_parts_in_other_states_and_then_whole(shop: Shop) -> None:
    sku, name = shipped(shop)
    part = shop.call(methods.RECEIVE_TRANSFER, arrive(shop, name, (sku, 1, 0), (sku, 1, DAMAGED)))
    assert (state_of(part.transfer), units(part.transfer, sku)) == ("PARTLY_RECEIVED", (4, 2, 0, 0, 2))
    whole = shop.call(methods.RECEIVE_TRANSFER, arrive(shop, name, whole=True))
    assert (state_of(whole.transfer), units(whole.transfer, sku)) == ("RECEIVED", (4, 4, 0, 0, 0))
    assert on_hand_and_in_transit(shop, sku) == [(6, 0), (4, 0)]
    assert shop.level(sku, shop.there).damaged == 1


def test_a_surplus_and_an_item_that_nobody_shipped_are_accepted(shop: Shop) -> None:
    sku, name = shipped(shop)
    other = shop.item(1)
    answer = shop.call(methods.RECEIVE_TRANSFER, arrive(shop, name, (sku, 6, 0), (other, 2, 0)))
    assert (units(answer.transfer, sku), units(answer.transfer, other)) == ((4, 6, 0, 0, 0), (0, 2, 0, 0, 0))
    assert (state_of(answer.transfer), on_hand_and_in_transit(shop, sku)) == ("RECEIVED", [(6, 0), (6, 0)])
    assert on_hand_and_in_transit(shop, other) == [(1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("remainder", "nothing_arrived", "some_arrived", "at_the_origin"),
    [(LOST, "LOST", "CLOSED_SHORT", 6), (SENT_BACK, "CANCELLED", "CLOSED_SHORT", 9)],
    ids=["lost", "sent back"],
)
def test_closing_and_what_arrives_after_it(
    shop: Shop, remainder: Any, nothing_arrived: str, some_arrived: str, at_the_origin: int
) -> None:
    _, untouched = shipped(shop)
    assert state_of(shop.call(methods.CLOSE_TRANSFER, close(shop, untouched, remainder)).transfer) == nothing_arrived
    sku, name = shipped(shop)
    shop.call(methods.RECEIVE_TRANSFER, arrive(shop, name, (sku, 1, 0)))
    closed = shop.call(methods.CLOSE_TRANSFER, close(shop, name, remainder)).transfer
    assert state_of(closed) == some_arrived
    assert on_hand_and_in_transit(shop, sku) == [(at_the_origin, 0), (1, 0)]
    late = shop.call(methods.RECEIVE_TRANSFER, arrive(shop, name, (sku, 3, 0))).transfer
    assert (state_of(late), units(late, sku)) == ("RECEIVED", (4, 4, 0, 0, 0))
    assert on_hand_and_in_transit(shop, sku) == [(6, 0), (4, 0)], "the closing is reversed"


def test_what_is_not_there_cannot_leave(shop: Shop) -> None:
    sku, other = shop.item(3), shop.item(1)
    request = ship(shop, shop.name("transfer"), (other, 1), (sku, 4))
    shop.refused(
        methods.SHIP_TRANSFER, request, "INSUFFICIENT_STOCK", sku=sku, location=shop.here, requested=4, available=3
    )


def test_holds_do_not_keep_goods_from_leaving(shop: Shop) -> None:
    sku = shop.item(3)
    shop.allocate(shop.hold((sku, shop.here, 3)))
    shop.stock_transfer(sku, 3)
    assert (shop.level(sku).on_hand, shop.level(sku).oversold) == (0, 3)


def test_a_command_that_the_state_does_not_allow(shop: Shop) -> None:
    sku, name = shipped(shop)
    shop.refused(methods.SHIP_TRANSFER, ship(shop, name, (sku, 1)), "TRANSFER_STATE", transfer=name, state="SHIPPED")
    shop.call(methods.RECEIVE_TRANSFER, arrive(shop, name, whole=True))
    for method, request in (
        (methods.RECEIVE_TRANSFER, arrive(shop, name, whole=True)),
        (methods.CLOSE_TRANSFER, close(shop, name, LOST)),
    ):
        again: Any = method
        shop.refused(again, request, "TRANSFER_STATE", transfer=name, state="RECEIVED")


@pytest.mark.parametrize("command", ["receive", "close", "delete"])
def test_a_transfer_that_does_not_exist_or_has_another_version(shop: Shop, command: str) -> None:
    def refused(name: str, version: int | None, reason: str, **facts: str | int) -> None:
        method, message = request(name, version)
        named: dict[str, Any] = {"kind": "stock_transfer", "name": name, **facts}
        shop.refused(method, message, reason, **named)

    def request(name: str, version: int | None) -> Any:
        expected = {} if version is None else {"expected_version": version}
        if command == "receive":
            return methods.RECEIVE_TRANSFER, arrive(shop, name, whole=True, **expected)
        if command == "close":
            return methods.CLOSE_TRANSFER, close(shop, name, LOST, **expected)
        references = [types.EntityReference(name=name, version=version)]
        method = methods.DELETE_STOCK_TRANSFERS
        return method, method.request(context=shop.context(), stock_transfers=references)

    refused(shop.name("nobody"), None, "ENTITY_NOT_FOUND")
    _, name = shipped(shop)
    refused(name, 2, "STALE_VERSION", expected=2, actual=1)


def test_only_what_is_not_under_way_is_deleted(shop: Shop) -> None:
    sku, name = shipped(shop)
    method = methods.DELETE_STOCK_TRANSFERS

    def request() -> Any:
        return method.request(context=shop.context(), stock_transfers=[types.EntityReference(name=name)])

    shop.refused(method, request(), "ENTITY_IN_USE", kind="stock_transfer", name=name, used_by="units in transit")
    shop.call(methods.RECEIVE_TRANSFER, arrive(shop, name, whole=True))
    shop.call(method, request())
    get = methods.GET_STOCK_TRANSFER
    shop.refused(get, get.request(transfer=name), "ENTITY_NOT_FOUND", kind="stock_transfer", name=name)
    assert on_hand_and_in_transit(shop, sku) == [(6, 0), (4, 0)]
    assert shop.call(methods.SHIP_TRANSFER, ship(shop, name, (sku, 1))).transfer.version == 4, "its name can come back"


def test_a_repeat_gets_the_transfer_as_it_was(shop: Shop) -> None:
    sku = shop.item(10)
    request = ship(shop, shop.name("transfer"), (sku, 4))
    first = shop.call(methods.SHIP_TRANSFER, request)
    shop.call(methods.RECEIVE_TRANSFER, arrive(shop, request.transfer, whole=True))
    again = shop.call(methods.SHIP_TRANSFER, request)
    assert (again.transfer, again.receipt.replayed) == (first.transfer, True)
    outcome = shop.call(
        methods.GET_OUTCOME, methods.GET_OUTCOME.request(idempotency_key=request.context.idempotency_key)
    ).outcome
    assert outcome.transfer == first.transfer


def test_the_order_of_lines_means_nothing_and_everything_else_does(shop: Shop) -> None:
    one, two = shop.item(9), shop.item(9)
    name = shop.name("transfer")
    request = ship(shop, name, (one, 1), (two, 2))
    shop.call(methods.SHIP_TRANSFER, request)
    turned = ship(shop, name, (two, 2), (one, 1))
    turned.context.CopyFrom(request.context)
    assert shop.call(methods.SHIP_TRANSFER, turned).receipt.replayed
    changes: dict[str, dict[str, Any]] = {
        "transfer": {"transfer": shop.name("other")},
        "to_location": {"to_location": shop.name("elsewhere")},
        "lines": {"lines": [inventory.ShipmentLine(sku=one, quantity=7), request.lines[1]]},
    }
    for field, change in changes.items():
        given = {each.name: getattr(request, each.name) for each, _ in request.ListFields()}
        other = inventory.ShipTransferRequest(**(given | change))
        refused = shop.refused(methods.SHIP_TRANSFER, other, "IDEMPOTENCY_KEY_REUSED")
        assert refused.metadata["field"] == field
    request.context.reason_code = "another"
    refused = shop.refused(methods.SHIP_TRANSFER, request, "IDEMPOTENCY_KEY_REUSED")
    assert refused.metadata["field"] == "context.reason_code"


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no name": (ship, {"transfer": ""}, "transfer"),
    "no origin": (ship, {"from_location": ""}, "from_location"),
    "no destination": (ship, {"to_location": ""}, "to_location"),
    "nothing shipped": (ship, {"lines": []}, "lines"),
    "no units": (ship, {"lines": [{"sku": "s", "quantity": 0}]}, "lines[0].quantity"),
    "less than nothing": (ship, {"lines": [{"sku": "s", "quantity": -1}]}, "lines[0].quantity"),
    "too many units": (ship, {"lines": [{"sku": "s", "quantity": 2**53}]}, "lines[0].quantity"),
    "no item": (ship, {"lines": [{"sku": "", "quantity": 1}]}, "lines[0].sku"),
    "an item twice": (ship, {"lines": [{"sku": "s", "quantity": 1}] * 2}, "lines[1].sku"),
    "too many lines": (ship, {"lines": [{"sku": f"s{n}", "quantity": 1} for n in range(1001)]}, "lines"),
    "nothing arrives": (arrive, {"lines": []}, "lines"),
    "whole and lines": (arrive, {"lines": [{"sku": "s", "quantity": 1}], "whole": True}, "lines"),
    "no units arrive": (arrive, {"lines": [{"sku": "s", "quantity": 0}]}, "lines[0].quantity"),
    "a state that is none": (arrive, {"lines": [{"sku": "s", "quantity": 1, "state": 99}]}, "lines[0].state"),
    "an item and state twice": (arrive, {"lines": [{"sku": "s", "quantity": 1}] * 2}, "lines[1]"),
    "a version below zero": (
        arrive,
        {"lines": [{"sku": "s", "quantity": 1}], "expected_version": -1},
        "expected_version",
    ),
    "a remainder that is none": (close, {"remainder": 0}, "remainder"),
    "a remainder of later": (close, {"remainder": 9}, "remainder"),
}
METHOD_OF = {
    ship: methods.SHIP_TRANSFER,
    arrive: methods.RECEIVE_TRANSFER,
    close: methods.CLOSE_TRANSFER,
}


@pytest.mark.parametrize("name", BAD)
def test_bad_fields_are_named(shop: Shop, name: str) -> None:
    make, fields, field = BAD[name]
    method: Any = METHOD_OF[make]
    given: dict[str, Any] = {"transfer": "t"}
    if make is ship:
        given |= {"from_location": "a", "to_location": "b", "lines": [{"sku": "s", "quantity": 1}]}
    request = method.request(context=shop.context(), **(given | fields))
    assert shop.refused(method, request, "INVALID_FIELD").fields == [field]


def test_both_ends_must_differ(shop: Shop) -> None:
    request = ship(shop, shop.name("transfer"), (shop.item(1), 1), to_location=shop.here)
    assert shop.refused(methods.SHIP_TRANSFER, request, "INVALID_FIELD").fields == ["to_location"]


def test_a_transfer_has_at_most_two_thousand_items(shop: Shop) -> None:
    skus = shop.items(1000, on_hand=1)
    name = shop.stock_transfer(skus[0], 1)
    for lot in (skus, shop.items(1000, on_hand=1)[:999]):
        shop.call(methods.RECEIVE_TRANSFER, arrive(shop, name, *((sku, 1, 0) for sku in lot)))
    assert len(known(shop, name).lines) == 1999
    request = arrive(shop, name, *((sku, 1, 0) for sku in shop.items(2, on_hand=1)))
    assert shop.refused(methods.RECEIVE_TRANSFER, request, "INVALID_FIELD").fields == ["lines"]


def test_in_transit_is_no_state_that_a_command_may_name(shop: Shop) -> None:
    assert all("IN_TRANSIT" not in value.name for value in types.StockState.DESCRIPTOR.values)
    request = methods.ADJUST.request(context=shop.context())
    request.lines.add(sku=shop.item(1), location=shop.here, delta=1, state=5)
    assert shop.refused(methods.ADJUST, request, "INVALID_FIELD").fields == ["lines[0].state"]
