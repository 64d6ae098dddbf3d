"""Counters that drift from the rows they summarise, until stock is negative or exists that nobody can sell."""

from __future__ import annotations

import pytest

from invengine.simulate.audit import Auditor
from invengine.v1 import types_pb2 as types

from ..conformance import methods
from ..conformance.shop import Shop
from .random_commands import RandomCommands

ROUNDS = 25
COMMANDS = 20


@pytest.mark.case("C11")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_sum_of_open_holds_is_what_is_reserved_at_every_sequence(shop: Shop, seed: int) -> None:
    """medusajs/medusa#12401, odoo/odoo#62139: counters drift from the rows they summarise, and go negative."""
    start = shop.target.digest()[1]
    skus = [shop.item(30, there=20) for _ in range(3)]
    commands, auditor, compared = RandomCommands(shop, skus, seed), Auditor(sequence=start, skus=frozenset(skus)), 0
    for _ in range(ROUNDS):
        commands.send(COMMANDS)
        compared += sum(_compare(shop, auditor, sku, place) for sku in skus for place in (shop.here, shop.there))
    assert commands.accepted > ROUNDS * COMMANDS / 4
    assert compared > ROUNDS * 3
    auditor.recount()
    assert auditor.findings == []


def _compare(shop: Shop, auditor: Auditor, sku: str, place: str) -> bool:
    """Compares a level with the auditor's at its sequence; false if a hold fell due while it was read."""
    before_ms = shop.target.engine_time_ms()
    answer = shop.call(methods.GET_LEVEL, methods.GET_LEVEL.request(sku=sku, location=place))
    after_ms = shop.target.engine_time_ms()
    # The read may be ahead of what is durable, so it waits for the events.
    for event in shop.target.follow_events(auditor.sequence + 1, answer.sequence - auditor.sequence):
        auditor.take(event)
    if auditor.expires_between(before_ms, after_ms):
        return False
    level, expected = answer.level, auditor.level_at((sku, place), after_ms)
    assert (level.on_hand, level.reserved, level.allocated) == (
        expected.on_hand, expected.reserved, expected.allocated
    )  # fmt: skip
    assert (level.available, level.oversold) == (max(expected.room, 0), max(-expected.room, 0))
    _check_signs(level)
    return True


def _check_signs(level: types.InventoryLevel) -> None:
    for field, value in level.ListFields():
        if field.name not in ("sku", "location"):
            assert value >= 0, field.name
