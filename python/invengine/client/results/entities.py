"""Entities: items, locations, channels, and what is decided about them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Channel", "Item", "Location", "LocationGroup"]


@dataclass(frozen=True, slots=True)
class Item:
    """An item for sale. `display_name` and `gtin` (14 digits) are optional."""

    sku: str
    display_name: str = ""
    gtin: str = ""


@dataclass(frozen=True, slots=True)
class Location:
    """A place with stock. `display_name` and `gln` (13 digits) are optional."""

    location: str
    display_name: str = ""
    gln: str = ""


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
