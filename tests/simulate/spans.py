"""Small spans of made-up baskets, in the shape of the real ones."""

from __future__ import annotations

from dataclasses import replace

from invengine.simulate.promotion.assumptions import HOUR_S, Assumptions, FlashSale
from invengine.simulate.promotion.baskets import Assortment, Basket, Sold, Span
from invengine.simulate.promotion.chance import dice

HOURS = 6.0


def span(baskets: int = 300, skus: int = 40, stores: int = 30, seed: int = 7) -> Span:
    """Baskets of one to six items over six hours. Item P0 is a toy."""
    roll = dice(seed, "span")
    found = []
    for number in range(baskets):
        picked = roll.sample(range(skus), roll.randint(1, 6))
        found.append(
            Basket(
                basket=f"{number}",
                household=f"{roll.randrange(baskets)}",
                store=f"{roll.randrange(stores)}",
                at_s=roll.uniform(0, HOURS * HOUR_S),
                lines=tuple(Sold(f"P{sku}", roll.randint(1, 3)) for sku in picked),
            )
        )
    names = {f"P{sku}": f"Item {sku}" for sku in range(skus)}
    weekend = dict.fromkeys(names, 2.0 * baskets / skus * 8)
    assortment = Assortment(weekend, dict.fromkeys(names, 2), names, gifts=frozenset({"P0"}))
    lines = {f"{store}": 100 - store for store in range(stores)}
    ordered = tuple(sorted(found, key=lambda basket: basket.at_s))
    return Span("a few hours", HOURS * HOUR_S, ordered, assortment, lines)


def small_habits(callers: int = 400, units: int = 30) -> Assumptions:
    """The usual habits with a flash sale that fits into the small span."""
    flash = FlashSale(
        callers=callers, units=units, starts_s=2 * HOUR_S, lasts_s=2 * HOUR_S, mean_arrival_s=HOUR_S, hold_s=600.0
    )
    return replace(Assumptions(), flash=flash)
