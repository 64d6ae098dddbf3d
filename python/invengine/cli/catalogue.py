"""`invengine catalogue`: items, locations and channels."""

from __future__ import annotations

import enum
import re
from typing import Annotated

import typer

from invengine.cli.catalogue_files import file_commands
from invengine.cli.entities import EntityKind, add_one, entity_app
from invengine.cli.exits import UsageProblemError
from invengine.cli.options import Json, Key, Target, TimeoutMs
from invengine.client import Channel, Client, Item, Location, LocationType, Money

app = typer.Typer(
    help="Items, locations and channels: list, add, import, export, delete.", no_args_is_help=True, add_completion=False
)


def _item(sku: str, display_name: str, gtin: str, item_class: str, unit_value: str) -> Item:
    return Item(sku, display_name, gtin, item_class, _money(unit_value))


def _location(location: str, display_name: str, gln: str, kind: str) -> Location:
    return Location(location, display_name, gln, _location_type(kind))


def _money(text: str) -> Money | None:
    """Reads `12.50 EUR`; nothing is none."""
    if not text:
        return None
    from decimal import Decimal

    written = re.fullmatch(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ([A-Z]{3})", text)
    if written is None:
        raise UsageProblemError(f"{text!r} is not a unit value: write an amount and a currency, such as '12.50 EUR'")
    return Money(Decimal(written[1]), written[2])


def _location_type(text: str) -> LocationType | None:
    known = {each.name.lower(): each for each in LocationType}
    if text and text not in known:
        raise UsageProblemError(f"{text!r} is not a type of location: one of {', '.join(known)}")
    return known.get(text)


ITEMS = EntityKind(
    "items",
    _item,
    ("sku", "display_name", "gtin", "item_class", "unit_value"),
    Client.upsert_items,
    Client.list_items,
    Client.delete_items,
)
LOCATIONS = EntityKind(
    "locations",
    _location,
    ("location", "display_name", "gln", "type"),
    Client.upsert_locations,
    Client.list_locations,
    Client.delete_locations,
)
CHANNELS = EntityKind("channels", Channel, ("channel", "display_name"), Client.upsert_channels, Client.list_channels)

LocationKind = enum.StrEnum("LocationKind", {each.name: each.name.lower() for each in LocationType})  # type: ignore[misc]
DisplayName = Annotated[str, typer.Option("--display-name", help="A name for people.")]


def _sub_app(kind: EntityKind) -> typer.Typer:
    """Adds the commands of one kind; `add` differs in its flags."""
    sub = entity_app(app, kind, f"{kind.noun.capitalize()} of the catalogue.")
    file_commands(sub, kind)
    return sub


items = _sub_app(ITEMS)
locations = _sub_app(LOCATIONS)
channels = _sub_app(CHANNELS)


@items.command("add")
def add_item(
    context: typer.Context,
    sku: str,
    display_name: DisplayName = "",
    gtin: Annotated[str, typer.Option("--gtin", help="GTIN of 8, 12, 13 or 14 digits.")] = "",
    item_class: Annotated[str, typer.Option("--item-class", help="A class of your own.")] = "",
    unit_value: Annotated[
        str | None, typer.Option("--unit-value", help="The value of one unit, such as '12.50 EUR'.")
    ] = None,
    key: Key = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Create or replace one item."""
    add_one(
        context, ITEMS, _item(sku, display_name, gtin, item_class, unit_value or ""), key, target, timeout_ms, as_json
    )


@locations.command("add")
def add_location(
    context: typer.Context,
    location: str,
    display_name: DisplayName = "",
    gln: Annotated[str, typer.Option("--gln", help="GLN, 13 digits.")] = "",
    kind: Annotated[LocationKind | None, typer.Option("--type", help="The kind of place.")] = None,
    key: Key = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Create or replace one location."""
    add_one(context, LOCATIONS, _location(location, display_name, gln, kind or ""), key, target, timeout_ms, as_json)


@channels.command("add")
def add_channel(
    context: typer.Context,
    channel: str,
    display_name: DisplayName = "",
    key: Key = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Create or replace one channel."""
    add_one(context, CHANNELS, Channel(channel, display_name), key, target, timeout_ms, as_json)
