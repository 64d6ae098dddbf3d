"""What happens on the weekend, as plain values: the same stream for the engine and for the fragmented way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from invengine.simulate.audit import LevelKey


class Line(NamedTuple):
    """Units of one item at one location."""

    sku: str
    location: str
    quantity: int


class Behaviour(StrEnum):
    """What a customer does once the units are held."""

    PAYS = "pays"
    PAYS_LATE = "pays late"
    ABANDONS = "abandons"
    CANCELS = "cancels"


@dataclass(frozen=True, slots=True)
class Sale:
    """One customer's order. Times are seconds of engine time: `at_s` since the start, the others since the hold."""

    order: str
    channel: str
    at_s: float
    lines: tuple[Line, ...]
    hold_s: float
    behaviour: Behaviour
    ends_after_s: float
    """When the customer pays or cancels."""
    fulfils_after_s: float
    takes_rest: bool = False
    flash: bool = False
    double_click: bool = False
    comes_back_after_s: float = 0.0
    """When a customer who was refused tries once more; 0 means never."""
    seed: int = 0
    """Seed for how a connector handles this sale's messages."""


@dataclass(frozen=True, slots=True)
class Returned:
    """Goods of an earlier sale come back."""

    reference: str
    at_s: float
    lines: tuple[Line, ...]
    damaged: bool


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A warehouse found units or lost some. Quantities of the lines are differences."""

    reference: str
    at_s: float
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """Everything that happens, each kind in order of time, with the opening stock."""

    title: str
    seconds: float
    sales: tuple[Sale, ...]
    returns: tuple[Returned, ...]
    adjustments: tuple[Adjusted, ...]
    opening: dict[LevelKey, int]
    names: dict[str, str]
    flash_place: LevelKey
    seed: int

    @property
    def locations(self) -> list[str]:
        """Every location that has stock, by name."""
        return sorted({location for _, location in self.opening})

    @property
    def skus(self) -> list[str]:
        """Every item that has stock, by name."""
        return sorted({sku for sku, _ in self.opening})

    @property
    def units_asked(self) -> int:
        """Units that customers ask for, counting each customer once."""
        return sum(line.quantity for sale in self.sales for line in sale.lines)
