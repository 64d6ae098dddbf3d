"""The quantities of items at locations, and the results of commands on them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from invengine.client.results.receipts import Receipt


class StockState(IntEnum):
    """The part of the stock that a physical command changes. on_hand is everything, the others are parts of it."""

    ON_HAND = 1
    DAMAGED = 2
    RETURNED = 3
    QUALITY_CONTROL = 4

    @property
    def field(self) -> str:
        """The field of a level that holds its units."""
        return self.name.lower()

    @property
    def is_unsellable(self) -> bool:
        """True for a part of on_hand that cannot be sold."""
        return self is not StockState.ON_HAND


@dataclass(frozen=True, slots=True)
class Level:
    """The quantities of one item at one location.

    on_hand + oversold = available + reserved + allocated + unsellable; none is negative.
    """

    sku: str
    location: str
    on_hand: int
    reserved: int
    allocated: int
    damaged: int
    returned: int
    quality_control: int
    in_transit: int
    available: int
    oversold: int

    @property
    def unsellable(self) -> int:
        """Units on hand that cannot be sold: damaged, returned and in quality control."""
        return sum(getattr(self, state.field) for state in StockState if state.is_unsellable)


@dataclass(frozen=True, slots=True)
class StockChanges:
    """The levels that an accepted physical command changed, as they are after it."""

    receipt: Receipt
    levels: tuple[Level, ...]
    """In the order of the lines; empty for an echo."""
    claimed_lines: tuple[int, ...] = ()
    """Indexes, from 0, of the lines of a set or count that were only recorded as claims (`list_claims`)."""
