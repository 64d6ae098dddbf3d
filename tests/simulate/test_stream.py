"""The stream: deterministic, pooled, and with less stock than is wanted."""

from __future__ import annotations

from collections import Counter

import pytest

from invengine.simulate.promotion.assumptions import APP, CHANNELS, STORES, WAREHOUSES, Assumptions
from invengine.simulate.promotion.baskets import UNITS_MAX, Span, strong_weekend
from invengine.simulate.promotion.roles import roles_of
from invengine.simulate.promotion.sales import Behaviour, Stream
from invengine.simulate.promotion.weekend import Placement, stream_of

from .spans import small_habits, span


@pytest.fixture(scope="module")
def stream() -> Stream:
    return stream_of(span(), small_habits(), 1)


@pytest.fixture(scope="module")
def weekend() -> Span:
    return strong_weekend(3.0)


def test_the_same_seed_gives_the_same_stream(stream: Stream) -> None:
    assert stream_of(span(), small_habits(), 1) == stream
    assert stream_of(span(), small_habits(), 2).sales != stream.sales


def test_sales_are_in_order_of_time_and_each_order_once(stream: Stream) -> None:
    times = [sale.at_s for sale in stream.sales]
    assert times == sorted(times)
    assert max(Counter(sale.order for sale in stream.sales).values()) == 1
    assert sum(sale.flash for sale in stream.sales) == 400


def test_every_line_has_a_level_and_every_channel_a_customer(stream: Stream) -> None:
    assert {(line.sku, line.location) for sale in stream.sales for line in sale.lines} <= stream.opening.keys()
    assert {sale.channel for sale in stream.sales} == set(CHANNELS)
    assert min(stream.opening.values()) >= 0


def test_stock_is_pooled_in_two_warehouses_and_twenty_stores(stream: Stream) -> None:
    stores = [place for place in stream.locations if place not in WAREHOUSES]
    assert set(WAREHOUSES) <= set(stream.locations)
    assert 1 < len(stores) <= 20
    for sale in stream.sales:
        locations = {line.location for line in sale.lines}
        assert len(locations) == 1
        if sale.channel == STORES:
            assert locations <= set(stores)
        elif sale.channel != APP:
            assert locations <= set(WAREHOUSES)


def test_a_small_store_is_pooled_into_a_large_one() -> None:
    lines = {str(store): 1_000 - store for store in range(50)}
    places = Placement(lines, Assumptions(), 1)
    assert places.store("0") == "store-0"
    assert places.store("49") in places.stores
    assert len(places.stores) == 20
    assert sum(places.shares().values()) == pytest.approx(1.0)


def test_customers_show_every_behaviour(stream: Stream) -> None:
    assert {sale.behaviour for sale in stream.sales} == set(Behaviour)
    assert all(sale.behaviour is Behaviour.PAYS for sale in stream.sales if sale.channel == STORES)
    late = [sale for sale in stream.sales if sale.behaviour is Behaviour.PAYS_LATE and sale.flash]
    assert late
    assert all(sale.ends_after_s > sale.hold_s for sale in late)
    assert all(sale.ends_after_s < sale.hold_s for sale in stream.sales if sale.behaviour is Behaviour.PAYS)


def test_adjustments_never_take_what_may_be_promised(stream: Stream) -> None:
    asked: Counter[tuple[str, str]] = Counter()
    for sale in stream.sales:
        for line in sale.lines:
            asked[line.sku, line.location] += line.quantity
    for adjusted in stream.adjustments:
        for sku, location, delta in adjusted.lines:
            assert location in WAREHOUSES
            assert delta > 0 or stream.opening[sku, location] + delta >= asked[sku, location]


def test_every_sale_and_fact_is_played_by_exactly_one_role(stream: Stream) -> None:
    roles = roles_of(stream)
    played = [sale.order for role in roles for sale in role.sales]
    assert sorted(played) == sorted(sale.order for sale in stream.sales)
    assert sum(len(role.facts) for role in roles) == len(stream.returns) + len(stream.adjustments)
    assert len({role.name for role in roles}) == len(roles) > 5
    assert all({sale.channel for sale in role.sales} <= {role.channel} for role in roles)


def test_the_real_weekend_is_three_times_a_strong_one(weekend: Span) -> None:
    assert 2_500 < len(weekend.baskets) < 4_500
    assert len({basket.basket for basket in weekend.baskets}) == len(weekend.baskets)
    assert sum(len(basket.lines) for basket in weekend.baskets) > 25_000
    assert all(0 <= basket.at_s < weekend.seconds for basket in weekend.baskets)


def test_real_quantities_are_what_people_carry(weekend: Span) -> None:
    quantities = [line.quantity for basket in weekend.baskets for line in basket.lines]
    assert min(quantities) >= 1
    assert max(quantities) <= UNITS_MAX
    names = {weekend.assortment.names[line.sku].upper() for basket in weekend.baskets for line in basket.lines}
    assert not any("GASOLINE" in name for name in names)


def test_the_real_weekend_sells_out_in_places(weekend: Span) -> None:
    stream = stream_of(weekend, Assumptions(), 1)
    asked: Counter[tuple[str, str]] = Counter()
    for sale in stream.sales:
        for line in sale.lines:
            asked[line.sku, line.location] += line.quantity
    short = [place for place, units in asked.items() if units > stream.opening[place]]
    assert 0.01 < len(short) / len(stream.opening) < 0.5
    assert sum(sale.flash for sale in stream.sales) >= 100_000
    assert stream.opening[stream.flash_place] < 100_000 / 20
