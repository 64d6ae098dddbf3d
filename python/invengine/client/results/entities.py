"""Entities: items, locations, channels, and what is decided about them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from invengine.positions import JournalPosition

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["Channel", "Consumer", "Item", "Location", "LocationGroup", "LocationType", "Money"]


@dataclass(frozen=True, slots=True)
class Money:
    """A sum of money: a Decimal with up to nine decimals, and a code of three capital letters such as EUR."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


@dataclass(frozen=True, slots=True)
class Item:
    """An item for sale; all but the sku is optional.

    `gtin` has 8, 12, 13 or 14 digits with the check digit last, and is read back with 14. `item_class` is a class of
    your own. `unit_value` says how much a difference of one unit matters.
    """

    sku: str
    display_name: str = ""
    gtin: str = ""
    item_class: str = ""
    unit_value: Money | None = None


class LocationType(IntEnum):
    """The kind of place that a location is."""

    WAREHOUSE = 1
    STORE = 2
    THIRD_PARTY = 3
    DROP_SHIP_VENDOR = 4
    VIRTUAL = 5


@dataclass(frozen=True, slots=True)
class Location:
    """A place with stock; all but its name is optional. `gln` has 13 digits, of which the last is the check digit."""

    location: str
    display_name: str = ""
    gln: str = ""
    type: LocationType | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """A sales channel. `display_name` is optional."""

    channel: str
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class LocationGroup:
    """Locations that are promised as one, 1 to 1,000, in the order in which they are asked.

    `version` is 1 at first and one more with each put and deletion. In a put it is the version that the group must have
    (else StaleVersion): that of an earlier read, 0 if there must be none, None for any.
    """

    group: str
    locations: tuple[str, ...]
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Consumer:
    """A reader of events whose position the ledger keeps: the last event that it has handled.

    `version` is as that of a `LocationGroup`: by it two readers of one name notice each other.
    """

    consumer: str
    position: JournalPosition
    version: int | None = None
