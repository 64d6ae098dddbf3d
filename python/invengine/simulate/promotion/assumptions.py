"""Everything that is assumed rather than read from the baskets. The report prints these numbers.

Times are engine time. Chances are of one basket or one caller.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MINUTE_S = 60.0
HOUR_S = 3600.0

ECOMMERCE = "ecommerce"
APP = "app"
STORES = "stores"
MARKETPLACES = ("marketplace-a", "marketplace-b")
CHANNELS = (ECOMMERCE, APP, STORES, *MARKETPLACES)
WAREHOUSES = ("warehouse-east", "warehouse-west")


@dataclass(frozen=True, slots=True)
class Shopping:
    """What shoppers do with a basket."""

    share: dict[str, float] = field(
        default_factory=lambda: {ECOMMERCE: 0.28, APP: 0.22, STORES: 0.30, "marketplace-a": 0.12, "marketplace-b": 0.08}
    )
    pickup_chance: float = 0.3
    """An app order that is picked up in a store, and so sells that store's stock."""
    hold_s: float = 15 * MINUTE_S
    marketplace_hold_s: float = 2 * HOUR_S
    payment_median_s: float = 4 * MINUTE_S
    abandon_chance: float = 0.12
    cancel_chance: float = 0.04
    late_chance: float = 0.04
    late_s: tuple[float, float] = (20 * MINUTE_S, 90 * MINUTE_S)
    takes_rest_chance: float = 0.7
    """A shopper who takes what is available if the whole basket is refused."""
    fulfil_s: tuple[float, float] = (0.5 * HOUR_S, 6 * HOUR_S)
    return_share: float = 0.05
    """Share of basket lines that are returned on the weekend, from a sale before it."""
    adjustments_an_hour: float = 6.0


@dataclass(frozen=True, slots=True)
class Messages:
    """How connectors delay, duplicate and reorder messages."""

    upload_every_s: float = 15 * MINUTE_S
    confirm_s: tuple[float, float] = (2 * MINUTE_S, 30 * MINUTE_S)
    order_delay_s: tuple[float, float] = (0.0, 3 * MINUTE_S)
    duplicate_chance: float = 0.25
    duplicate_s: tuple[float, float] = (5.0, 10 * MINUTE_S)
    cancel_overtakes_chance: float = 0.3
    """A marketplace's cancellation that arrives before its order."""
    confirm_overtakes_chance: float = 0.02


@dataclass(frozen=True, slots=True)
class FlashSale:
    """The flash sale during the weekend: one item, one warehouse."""

    callers: int = 100_000
    units: int = 2_000
    starts_s: float = 20 * HOUR_S
    lasts_s: float = 4 * HOUR_S
    mean_arrival_s: float = 75 * MINUTE_S
    hold_s: float = 10 * MINUTE_S
    payment_median_s: float = 2 * MINUTE_S
    abandon_chance: float = 0.2
    cancel_chance: float = 0.1
    late_chance: float = 0.05
    double_click_chance: float = 0.04
    comes_back_chance: float = 0.1
    comes_back_s: tuple[float, float] = (11 * MINUTE_S, 60 * MINUTE_S)


@dataclass(frozen=True, slots=True)
class OpeningStock:
    """How much stock there is at the start."""

    stores: int = 20
    cover: float = 1.3
    """Opening stock as a share of what a usual weekend, at the same volume, would sell there."""


@dataclass(frozen=True, slots=True)
class Copies:
    """How the fragmented model works: every channel sells from its own copy of the stock."""

    sync_s: dict[str, float] = field(
        default_factory=lambda: {
            ECOMMERCE: 5 * MINUTE_S,
            APP: 5 * MINUTE_S,
            STORES: 15 * MINUTE_S,
            "marketplace-a": 15 * MINUTE_S,
            "marketplace-b": 30 * MINUTE_S,
        }
    )
    delay_s: dict[str, float] = field(
        default_factory=lambda: {
            ECOMMERCE: 30.0,
            APP: 30.0,
            STORES: MINUTE_S,
            "marketplace-a": 5 * MINUTE_S,
            "marketplace-b": 10 * MINUTE_S,
        }
    )
    """From the end of a batch until it counts on the other side, each way."""
    marketplace_buffer_units: int = 1
    """Units that are withheld from a marketplace as a safety buffer; they cost false sold-outs."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """All assumptions together."""

    volume: float = 3.0
    shopping: Shopping = field(default_factory=Shopping)
    messages: Messages = field(default_factory=Messages)
    flash: FlashSale = field(default_factory=FlashSale)
    shelves: OpeningStock = field(default_factory=OpeningStock)
    copies: Copies = field(default_factory=Copies)

    def listed(self) -> dict[str, Any]:
        """As JSON, for the report."""
        return asdict(self)
