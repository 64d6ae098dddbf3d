"""INVALID_FIELD on the commands that act on holds: targets, versions, selections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from invengine.v1.types_pb2 import HoldTarget

from . import methods, requests
from .commands import BY_LINE, BY_ORDER, COMMANDS
from .shop import Shop


@dataclass(frozen=True, slots=True)
class Case:
    """One way to name no hold properly: what the target becomes, for which commands, and the field that is named."""

    name: str
    target: Callable[[HoldTarget, str, str], HoldTarget]
    field: str
    commands: tuple[str, ...] = tuple(COMMANDS)


def _with_line(target: HoldTarget, sku: str, location: str, units: int) -> HoldTarget:
    return requests.by_id(target.reservation_id, (sku, location, units))


def _cases() -> Iterator[Case]:
    yield Case("no target", lambda good, sku, here: HoldTarget(), "target")
    yield Case("an empty id", lambda good, sku, here: HoldTarget(reservation_id=""), "target.reservation_id")
    yield Case("an empty key", lambda good, sku, here: requests.by_key(""), "target.reservation_key")
    yield Case("a key of 129 bytes", lambda good, sku, here: requests.by_key("k" * 129), "target.reservation_key")
    yield Case(
        "an empty order",
        lambda good, sku, here: requests.by_order(""),
        "target.order_ref",
        BY_ORDER,
    )
    yield Case(
        "an order of 129 characters",
        lambda good, sku, here: requests.by_order("o" * 129),
        "target.order_ref",
        BY_ORDER,
    )
    yield Case(
        "a version below zero",
        lambda good, sku, here: requests.by_id(good.reservation_id, version=-1),
        "target.expected_version",
    )
    yield Case(
        "a selection below zero",
        lambda good, sku, here: _with_line(good, sku, here, -1),
        "target.lines[0].quantity",
        BY_LINE,
    )
    yield Case(
        "a selection over the limit",
        lambda good, sku, here: _with_line(good, sku, here, 2**53),
        "target.lines[0].quantity",
        BY_LINE,
    )
    yield Case(
        "a selection without a sku",
        lambda good, sku, here: _with_line(good, "", here, 1),
        "target.lines[0].sku",
        BY_LINE,
    )
    yield Case(
        "a selection without a location",
        lambda good, sku, here: _with_line(good, sku, "", 1),
        "target.lines[0].location",
        BY_LINE,
    )
    yield Case(
        "1,001 selections",
        lambda good, sku, here: requests.by_id(good.reservation_id, *[(sku, here, 1)] * 1001),
        "target.lines",
        BY_LINE,
    )
    yield Case(
        "lines of an order",
        lambda good, sku, here: HoldTarget(order_ref="o", lines=requests.selections(((sku, here, 1),))),
        "target.lines",
        ("allocate", "release", "fulfill"),
    )
    yield Case(
        "a version of an order",
        lambda good, sku, here: HoldTarget(order_ref="o", expected_version=1),
        "target.expected_version",
        BY_ORDER,
    )
    yield Case(
        "lines where the whole is meant",
        lambda good, sku, here: _with_line(good, sku, here, 1),
        "target.lines",
        ("extend", "amend"),
    )


ROWS = [(case, command) for case in _cases() for command in case.commands]


@pytest.mark.parametrize(("case", "command"), ROWS, ids=[f"{case.name}-{command}" for case, command in ROWS])
def test_a_bad_target_is_named_and_nothing_changes(shop: Shop, case: Case, command: str) -> None:
    sku = shop.item(5)
    good = shop.hold((sku, shop.here, 3))
    method, make = COMMANDS[command]
    refused = shop.refused(method, make(shop, case.target(good, sku, shop.here), sku), "INVALID_FIELD")
    assert refused.fields == [case.field]


@pytest.mark.parametrize("command", ["amend", "transfer"])
def test_one_hold_is_not_named_by_an_order(shop: Shop, command: str) -> None:
    method, make = COMMANDS[command]
    refused = shop.refused(method, make(shop, requests.by_order("o"), shop.item()), "INVALID_FIELD")
    assert all(field.startswith("target") for field in refused.fields)


@pytest.mark.case("A12")
@pytest.mark.parametrize("command", list(COMMANDS))
@pytest.mark.parametrize("key", ["", "k" * 129, "a\nb"], ids=["none", "129 bytes", "newline"])
def test_every_command_needs_a_key(shop: Shop, command: str, key: str) -> None:
    sku = shop.item(5)
    method, make = COMMANDS[command]
    request = make(shop, shop.hold((sku, shop.here, 3)), sku)
    request.context.idempotency_key = key
    refused = shop.refused(method, request, "INVALID_FIELD")
    assert refused.fields == ["context.idempotency_key"]


@pytest.mark.case("D08")
@pytest.mark.parametrize("ttl_s", [0, -1, 0.5, 30 * 86_400 + 1, 3_155_760_000])
def test_extend_has_the_limits_of_reserve(shop: Shop, ttl_s: float) -> None:
    request = requests.extend(shop.context(), shop.hold((shop.item(1), shop.here, 1)), ttl_s)
    assert shop.refused(methods.EXTEND, request, "INVALID_FIELD").fields == ["ttl"]


def test_amend_needs_lines(shop: Shop) -> None:
    request = requests.amend(shop.context(), shop.hold((shop.item(1), shop.here, 1)))
    assert shop.refused(methods.AMEND, request, "INVALID_FIELD").fields == ["lines"]


@pytest.mark.case("C15")
@pytest.mark.parametrize("units", [-1, 2**53, 2**63 - 1])
def test_amend_needs_a_quantity_in_range(shop: Shop, units: int) -> None:
    sku = shop.item(1)
    request = requests.amend(shop.context(), shop.hold((sku, shop.here, 1)), (sku, shop.here, units))
    assert shop.refused(methods.AMEND, request, "INVALID_FIELD").fields == ["lines[0].quantity"]


@pytest.mark.parametrize("location", ["", "l" * 129, "a\0"], ids=["none", "129 characters", "NUL"])
def test_transfer_needs_a_location(shop: Shop, location: str) -> None:
    request = requests.transfer(shop.context(), shop.hold((shop.item(1), shop.here, 1)), location)
    assert shop.refused(methods.TRANSFER, request, "INVALID_FIELD").fields == ["to_location"]
