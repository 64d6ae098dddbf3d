"""Turns baskets into the stream of a promotion: who sells what from where, the opening stock, and the flash sale.

Pure and deterministic: each basket's channel, location and behaviour follow from a hash of its id and the seed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from invengine.simulate.audit import LevelKey
from invengine.simulate.promotion.assumptions import (
    APP,
    MARKETPLACES,
    STORES,
    WAREHOUSES,
    Assumptions,
    FlashSale,
    Shopping,
)
from invengine.simulate.promotion.baskets import WEEKEND_S, Basket, Span
from invengine.simulate.promotion.chance import dice, lognormal, number, pick, share
from invengine.simulate.promotion.sales import Adjusted, Behaviour, Line, Returned, Sale, Stream

HOUR_S = 3600.0


def stream_of(span: Span, assumptions: Assumptions, seed: int) -> Stream:
    """The whole weekend."""
    places = Placement(span.store_lines, assumptions, seed)
    sales = [_sale(basket, assumptions.shopping, places, seed) for basket in span.baskets]
    flash_sku = flash_item(span)
    flash_place = (flash_sku, WAREHOUSES[0])
    opening = opening_stock(span, sales, assumptions, places)
    opening[flash_place] = assumptions.flash.units
    callers = _callers(flash_place, assumptions.flash, seed)
    everything = sorted([*sales, *callers], key=lambda sale: (sale.at_s, sale.order))
    return Stream(
        title=span.title,
        seconds=span.seconds,
        sales=tuple(everything),
        returns=tuple(_returns(span.baskets, assumptions.shopping, places, opening, seed)),
        adjustments=_adjustments(sales, opening, assumptions.shopping, span.seconds, seed, flash_place),
        opening=opening,
        names={sku: span.assortment.names.get(sku, "") for sku, _ in opening},
        flash_place=flash_place,
        seed=seed,
    )


class Placement:
    """Which channel a basket goes through and which location it is sold from.

    The stores with the most lines keep their name; the others are pooled into them by hash.
    """

    def __init__(self, store_lines: Mapping[str, int], assumptions: Assumptions, seed: int) -> None:
        ranked = sorted(store_lines, key=lambda store: (-store_lines[store], store))[: assumptions.shelves.stores]
        self.stores = [f"store-{store}" for store in ranked] or ["store-1"]
        self._own = {store: f"store-{store}" for store in ranked}
        self._shopping = assumptions.shopping
        self._seed = seed

    def channel(self, basket: str) -> str:
        """By hash of the basket's id."""
        return pick(self._shopping.share, share(self._seed, "channel", basket))

    def store(self, name: str) -> str:
        """The store, or the one that it is pooled into."""
        return self._own.get(name) or self.stores[number(self._seed, "store", name) % len(self.stores)]

    def location(self, basket: Basket, channel: str) -> str:
        """Where the basket's goods come from."""
        picked_up = channel == APP and share(self._seed, "pickup", basket.basket) < self._shopping.pickup_chance
        if channel == STORES or picked_up:
            return self.store(basket.store)
        return WAREHOUSES[number(self._seed, "household", basket.household) % len(WAREHOUSES)]

    def shares(self) -> dict[str, float]:
        """The part of all demand that each location is expected to serve; stores share theirs equally."""
        of = self._shopping.share
        total = sum(of.values())
        in_stores = (of.get(STORES, 0.0) + of.get(APP, 0.0) * self._shopping.pickup_chance) / total
        found = dict.fromkeys(self.stores, in_stores / len(self.stores))
        found.update(dict.fromkeys(WAREHOUSES, (1 - in_stores) / len(WAREHOUSES)))
        return found


def flash_item(span: Span) -> str:
    """The best-selling gift of the span, otherwise its best-selling item."""
    units: Counter[str] = Counter()
    for basket in span.baskets:
        for line in basket.lines:
            units[line.sku] += line.quantity
    gifts = [sku for sku in units if sku in span.assortment.gifts]
    return max(gifts or units, key=lambda sku: (units[sku], sku))


def opening_stock(
    span: Span, sales: Iterable[Sale], assumptions: Assumptions, places: Placement
) -> dict[LevelKey, int]:
    """Units at the start of every level that the sales touch.

    A share of what a usual weekend at this volume sells there, and one customer's fill on top, as a shelf is filled
    by the case. Items that this weekend sells far better than usual therefore sell out.
    """
    shares = places.shares()
    weekends = assumptions.volume * span.seconds / WEEKEND_S
    opening: dict[LevelKey, int] = {}
    for sale in sales:
        for sku, location, _ in sale.lines:
            if (sku, location) not in opening:
                usual = span.assortment.weekend_units.get(sku, 0.0) * weekends * shares.get(location, 0.0)
                fill = span.assortment.line_units.get(sku, 1)
                opening[sku, location] = math.ceil(assumptions.shelves.cover * usual) + fill
    return opening


def _sale(basket: Basket, shopping: Shopping, places: Placement, seed: int) -> Sale:
    roll = dice(seed, "sale", basket.basket)
    channel = places.channel(basket.basket)
    location = places.location(basket, channel)
    behaviour = _behaviour(roll.random(), shopping.abandon_chance, shopping.cancel_chance, shopping.late_chance)
    if channel == STORES:
        behaviour = Behaviour.PAYS
    late = behaviour is Behaviour.PAYS_LATE
    paid = roll.uniform(*shopping.late_s) if late else lognormal(roll, shopping.payment_median_s)
    return Sale(
        order=f"basket-{basket.basket}",
        channel=channel,
        at_s=basket.at_s,
        lines=tuple(Line(sold.sku, location, sold.quantity) for sold in basket.lines),
        hold_s=shopping.marketplace_hold_s if channel in MARKETPLACES else shopping.hold_s,
        behaviour=behaviour,
        ends_after_s=paid if late else min(paid, 0.8 * shopping.hold_s),
        fulfils_after_s=roll.uniform(*shopping.fulfil_s),
        takes_rest=roll.random() < shopping.takes_rest_chance,
        seed=number(seed, "messages", basket.basket),
    )


def _behaviour(roll: float, abandon: float, cancel: float, late: float) -> Behaviour:
    for chance, behaviour in ((abandon, Behaviour.ABANDONS), (cancel, Behaviour.CANCELS), (late, Behaviour.PAYS_LATE)):
        if roll < chance:
            return behaviour
        roll -= chance
    return Behaviour.PAYS


def _callers(place: LevelKey, flash: FlashSale, seed: int) -> list[Sale]:
    roll = dice(seed, "flash sale")
    sku, location = place
    found = []
    for at in range(flash.callers):
        behaviour = _behaviour(roll.random(), flash.abandon_chance, flash.cancel_chance, flash.late_chance)
        late = behaviour is Behaviour.PAYS_LATE
        paid = flash.hold_s * roll.uniform(1.5, 4.0) if late else lognormal(roll, flash.payment_median_s)
        arrives = roll.expovariate(1 / flash.mean_arrival_s)
        again = roll.random() < flash.comes_back_chance
        sale = Sale(
            order=f"flash-{at}",
            channel=("ecommerce", "app")[at % 2],
            at_s=flash.starts_s + (arrives if arrives < flash.lasts_s else roll.uniform(0, flash.lasts_s)),
            lines=(Line(sku, location, 1),),
            hold_s=flash.hold_s,
            behaviour=behaviour,
            ends_after_s=paid if late else min(paid, 0.8 * flash.hold_s),
            fulfils_after_s=roll.uniform(HOUR_S, 4 * HOUR_S),
            flash=True,
            double_click=roll.random() < flash.double_click_chance,
            comes_back_after_s=roll.uniform(*flash.comes_back_s) if again else 0.0,
        )
        found.append(sale)
    return found


def _returns(
    baskets: Iterable[Basket], shopping: Shopping, places: Placement, opening: Mapping[LevelKey, int], seed: int
) -> Iterable[Returned]:
    """Returned lines of earlier sales, to the location that sells the item to the same household."""
    for basket in baskets:
        roll = dice(seed, "return", basket.basket)
        location = places.location(basket, places.channel(basket.basket))
        lines = tuple(
            Line(sold.sku, location, 1)
            for sold in basket.lines
            if roll.random() < shopping.return_share and (sold.sku, location) in opening
        )
        if lines:
            yield Returned(f"rma-{basket.basket}", basket.at_s, lines, damaged=roll.random() < 0.3)


def _adjustments(
    sales: Iterable[Sale],
    opening: Mapping[LevelKey, int],
    shopping: Shopping,
    seconds: float,
    seed: int,
    flash_place: LevelKey,
) -> tuple[Adjusted, ...]:
    """Units found anywhere in the warehouses, and units lost where there are more than the weekend asks for.

    A loss of units that are already promised is a shortage that nobody oversold; it is tested elsewhere and would only
    blur what this simulation is to show.
    """
    asked: Counter[LevelKey] = Counter()
    for sale in sales:
        for line in sale.lines:
            asked[line.sku, line.location] += line.quantity
    held = sorted(place for place in opening if place[1] in WAREHOUSES and place != flash_place)
    spare = [place for place in held if opening[place] > 3 + asked[place]]
    roll = dice(seed, "adjustments")
    found = []
    for at in range(round(shopping.adjustments_an_hour * seconds / HOUR_S) if held else 0):
        loss = bool(spare) and roll.random() < 0.6
        sku, location = spare.pop(roll.randrange(len(spare))) if loss else roll.choice(held)
        delta = -roll.randint(1, 3) if loss else roll.randint(1, 3)
        found.append(Adjusted(f"adjustment-{at}", roll.uniform(0, seconds), (Line(sku, location, delta),)))
    return tuple(sorted(found, key=lambda adjusted: adjusted.at_s))
