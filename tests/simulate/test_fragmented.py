"""The fragmented way: it oversells where two copies of the same stock are sold, and only there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from invengine.simulate.promotion.assumptions import APP, ECOMMERCE, STORES, Copies
from invengine.simulate.promotion.fragmented import play
from invengine.simulate.promotion.sales import Adjusted, Behaviour, Line, Returned, Sale, Stream
from invengine.simulate.promotion.weekend import stream_of

from .spans import small_habits, span

PLACE = ("MUG", "warehouse-east")
LATER_S = 3600.0


def sale(order: str, channel: str, at_s: float, units: int = 1, behaviour: Behaviour = Behaviour.PAYS) -> Sale:
    """One customer who pays immediately."""
    return Sale(order, channel, at_s, (Line(*PLACE, units),), 900.0, behaviour, 0.0, 600.0)


def stream(*sales: Sale, units: int, **more: tuple[object, ...]) -> Stream:
    """A stream of one level."""
    ordered = tuple(sorted(sales, key=lambda each: each.at_s))
    base = Stream("one level", 7200.0, ordered, (), (), {PLACE: units}, {}, PLACE, 1)
    return replace(base, **more)  # type: ignore[arg-type]


def test_two_channels_sell_the_last_unit_before_they_hear_of_each_other() -> None:
    found = play(stream(sale("a", ECOMMERCE, 10.0), sale("b", APP, 11.0), units=1), Copies())
    assert (found.units_sold, found.oversold_units, found.cancelled_orders, found.oversold_levels) == (1, 1, 1, 1)
    assert found.oversold_by_channel[APP] == 1
    assert found.series == [(11.0, 1)]


def test_one_channel_alone_never_oversells_its_copy() -> None:
    found = play(stream(*(sale(f"o{at}", ECOMMERCE, float(at)) for at in range(10)), units=3), Copies())
    assert (found.units_sold, found.oversold_units, found.refused_orders) == (3, 0, 7)


def test_a_synchronised_copy_does_not_sell_what_is_gone() -> None:
    found = play(stream(sale("a", ECOMMERCE, 10.0), sale("b", APP, LATER_S), units=1), Copies())
    assert (found.oversold_units, found.refused_orders, found.false_sold_outs) == (0, 1, 0)


def test_returned_goods_are_refused_until_the_copy_is_updated() -> None:
    came = (Returned("rma", 20.0, (Line(*PLACE, 1),), damaged=False),)
    early = play(stream(sale("a", ECOMMERCE, 10.0), sale("b", ECOMMERCE, 30.0), units=1, returns=came), Copies())
    assert (early.false_sold_outs, early.false_sold_out_units, early.units_sold) == (1, 1, 1)
    late = play(stream(sale("a", ECOMMERCE, 10.0), sale("b", ECOMMERCE, LATER_S), units=1, returns=came), Copies())
    assert (late.false_sold_outs, late.units_sold) == (0, 2)


def test_a_marketplace_shows_less_than_the_available_stock() -> None:
    found = play(stream(sale("a", "marketplace-a", 10.0), units=1), Copies(marketplace_buffer_units=1))
    assert (found.refused_orders, found.false_sold_outs, found.units_sold) == (1, 1, 0)


def test_carts_that_are_not_paid_take_nothing() -> None:
    idle = [sale("a", APP, 10.0, behaviour=Behaviour.ABANDONS), sale("b", APP, 11.0, behaviour=Behaviour.CANCELS)]
    assert play(stream(*idle, units=5), Copies()).units_sold == 0


def test_units_lost_in_the_warehouse_are_never_sold() -> None:
    lost = (Adjusted("lost", 5.0, (Line(*PLACE, -9),)),)
    found = play(stream(sale("a", STORES, LATER_S), units=3, adjustments=lost), Copies())
    assert (found.units_sold, found.oversold_units) == (0, 0)


def test_it_never_sells_more_than_there_was() -> None:
    weekend = stream_of(span(), small_habits(), 1)
    found = play(weekend, Copies())
    back = sum(line.quantity for came in weekend.returns for line in came.lines if not came.damaged)
    more = sum(line.quantity for fact in weekend.adjustments for line in fact.lines if line.quantity > 0)
    assert 0 < found.units_sold <= sum(weekend.opening.values()) + back + more
    assert found.oversold_units > 0
    assert sum(found.oversold_by_channel.values()) == found.oversold_units


def test_synchronising_more_often_oversells_less() -> None:
    weekend = stream_of(span(), small_habits(), 1)
    often, seldom = play(weekend, Copies(), 0.05), play(weekend, Copies(), 2.0)
    assert often.oversold_units < seldom.oversold_units


def test_batches_that_would_overtake_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="at most half"):
        play(stream(units=1), Copies(delay_s=dict.fromkeys(Copies().delay_s, 4000.0)))
