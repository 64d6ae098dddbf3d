"""`invengine catalogue`: items, locations and channels."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from invengine.cli.csvfile import Row, read_rows
from invengine.cli.entities import EntityKind, add_one, entity_app, print_stored
from invengine.cli.exits import PartlyDoneError, UsageProblemError
from invengine.cli.keys import changes_something
from invengine.cli.options import Json, Key, Target, TimeoutMs, connected
from invengine.cli.progress import progress
from invengine.client import Channel, Client, Item, Location, LocationType, LookAlike, Money
from invengine.errors import InvalidField, InvengineError, Violation

# The maximum number of entries of one Upsert.
BATCH = 1000

app = typer.Typer(
    help="Items, locations and channels: list, add, import, delete.", no_args_is_help=True, add_completion=False
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

    written = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ([A-Z]{3})", text)
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


def _import(
    context: typer.Context,
    kind: EntityKind,
    file: Path,
    delimiter: str,
    target: str | None,
    timeout_ms: int | None,
    as_json: bool,
) -> None:
    assert kind.upsert is not None
    rows = read_rows(file, kind.columns, delimiter)
    entries = [_made(kind, row, file) for row in rows]
    look_alikes: list[LookAlike] = []
    sequence = stored = 0
    with connected(context, target, timeout_ms) as client, progress(f"importing {kind.noun}", len(rows)) as advance:
        for batch in _batches(rows):
            changes_something()
            try:
                answer = kind.upsert(client, entries[stored : stored + len(batch)])
            except InvengineError as failure:
                error = _of_line(failure, file, batch) if isinstance(failure, InvalidField) else failure
                if not stored:
                    raise error from failure
                raise PartlyDoneError(
                    f"{stored:,} of {len(rows):,} {kind.noun} of {file} are stored, those after them are not or may "
                    f"not be: correct the cause and run it again ({error})"
                ) from error
            sequence = answer.sequence
            look_alikes += answer.look_alikes
            stored += len(batch)
            advance(len(batch))
    print_stored({kind.noun: len(rows), "sequence": sequence}, look_alikes, as_json=as_json)


def _made(kind: EntityKind, row: Row, file: Path) -> Any:
    try:
        return kind.make(*row.cells)
    except UsageProblemError as problem:
        raise UsageProblemError(f"{file}, line {row.line}: {problem}") from None


def _batches(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[at : at + BATCH] for at in range(0, len(rows), BATCH))


def _of_line(rejection: InvalidField, file: Path, batch: Sequence[Row]) -> InvalidField:
    """Returns the rejection of a batch with lines of the file instead of indexes of the request."""

    def of_line(bad: Violation) -> Violation:
        place = re.fullmatch(r"\w+\[(\d+)\]\.(\w+)", bad.field)
        if place is None or int(place[1]) >= len(batch):
            return bad
        return Violation(f"{file}, line {batch[int(place[1])].line}, {place[2]}", bad.description)

    bad = [of_line(each) for each in rejection.violations]
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    message = f"{bad[0].field}: {bad[0].description}{more}" if bad else rejection.message
    return InvalidField(message, metadata=rejection.metadata, violations=bad)


def _sub_app(kind: EntityKind) -> typer.Typer:
    """Adds the commands of one kind, and `import`; `add` differs in its flags."""
    sub = entity_app(app, kind, f"{kind.noun.capitalize()} of the catalogue.")

    @sub.command(
        "import",
        help=f"Create or replace {kind.noun} from a CSV file with the columns {', '.join(kind.columns)}. "
        f"Each batch of {BATCH} is atomic; run it again after a failure, doing it twice changes nothing.",
    )
    def bring(
        context: typer.Context,
        file: Annotated[Path, typer.Argument(help="CSV file with a header, UTF-8.")],
        delimiter: Annotated[
            str, typer.Option("--delimiter", help="What separates the columns, such as ';'; tab for a tab.")
        ] = ",",
        target: Target = None,
        timeout_ms: TimeoutMs = None,
        as_json: Json = False,
    ) -> None:
        _import(context, kind, file, delimiter, target, timeout_ms, as_json)

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
