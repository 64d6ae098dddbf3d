"""Entities: items, locations, channels, and what is decided about them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from invengine.positions import JournalPosition

if TYPE_CHECKING:
    from decimal import Decimal

    from invengine.client.results.stock import StockState

__all__ = [
    "AuthorityRight", "AuthorityRule", "Channel", "Consumer", "Item", "Location", "LocationGroup", "LocationType",
    "Money", "SourceKind", "SourceProfile",
]  # fmt: skip


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


class SourceKind(IntEnum):
    """The kind of an outside system. UNSPECIFIED stands for a kind that this version does not know."""

    UNSPECIFIED = 0
    ERP = 1
    WMS = 2
    POS = 3
    ORDER_MANAGEMENT = 4
    WEB_SHOP = 5
    APP = 6
    MARKETPLACE = 7
    THIRD_PARTY = 8
    DROP_SHIP_VENDOR = 9
    OTHER = 10


@dataclass(frozen=True, slots=True)
class SourceProfile:
    """What a source is, and what it may speak of: at most 1,000 channels and locations, all if there are none.

    The source need not be registered yet. `version` is as that of a `LocationGroup`.
    """

    source_id: str
    kind: SourceKind
    channels: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    version: int | None = None


class AuthorityRight(IntEnum):
    """What a rule of authority lets its holder do. UNSPECIFIED stands for a right that this version does not know.

    SET: set_quantity, count; who has it owns the state there. ADJUST: adjust, move_quantity. REPORT: receive, return_,
    fulfill and the commands on stock transfers. PROMISE: reserve, extend, amend, allocate, release, transfer. ORDER: no
    command of this version needs it.
    """

    UNSPECIFIED = 0
    SET = 1
    ADJUST = 2
    REPORT = 3
    PROMISE = 4
    ORDER = 5

    @property
    def is_of_stock(self) -> bool:
        """True for rights that are about states of stock: SET, ADJUST, REPORT."""
        return self in (AuthorityRight.SET, AuthorityRight.ADJUST, AuthorityRight.REPORT)


@dataclass(frozen=True, slots=True)
class AuthorityRule:
    """A rule of authority: who may do what, to which states, where.

    Its holder is exactly one of: the source `source_id`, all sources of the kind `source_kind`, or the `operator`, that
    is every command that comes from no source. `states` are those that SET, ADJUST and REPORT are about, all if there
    are none. It is for one `location`, for all of a `location_type`, or for all. `version` is as that of a
    `LocationGroup`.
    """

    rule: str
    _: KW_ONLY
    rights: tuple[AuthorityRight, ...]
    source_id: str = ""
    source_kind: SourceKind | None = None
    operator: bool = False
    states: tuple[StockState, ...] = ()
    location: str = ""
    location_type: LocationType | None = None
    version: int | None = None
