"""`invengine explain`, `stock at` and `stock history`: the quantities of the past, and what changed them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

import typer

from invengine.cli.events import parse_position
from invengine.cli.exits import UsageProblemError
from invengine.cli.options import Json, Target, TimeoutMs, connected, one_level, parse_level
from invengine.cli.output import plain, print_json, print_line, print_table
from invengine.cli.streams import unread
from invengine.client import Client, Event, HistoryLine, JournalPosition, Level, PastLevel, StockState
from invengine.v1 import journal_service_pb2

SHOWN = 20
"""The number of changes that are shown by default."""

Limit = Annotated[
    int, typer.Option("--limit", min=1, help="Show at most N changes, the newest.", metavar="N", show_default=True)
]
OneLevel = Annotated[
    list[str], typer.Argument(metavar="SKU@LOCATION", help="The level; SKU and LOCATION as two words work as well.")
]
_UNSELLABLE = tuple(state.field for state in StockState if state.is_unsellable)
_COLUMNS = (
    "sequence",
    "time",
    "event",
    "change",
    "on_hand",
    "reserved",
    "allocated",
    "unsellable",
    "available",
    "cause",
)


def register(app: typer.Typer) -> None:
    """Adds `explain`."""
    app.command("explain")(explain)


def register_stock(app: typer.Typer) -> None:
    """Adds the commands of the past to `stock`."""
    app.command("at")(stock_at)
    app.command("history")(stock_history)


def stock_at(
    context: typer.Context,
    level: Annotated[
        str | None, typer.Argument(metavar="[SKU@LOCATION]", help="The level; without one, many are listed.")
    ] = None,
    sequence: Annotated[
        int | None, typer.Option("--sequence", min=0, help="After the event with this sequence; 0: before the first.")
    ] = None,
    position: Annotated[
        str | None, typer.Option("--position", help="After the event at this position, as events --json prints it.")
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="After the last event up to this time: 2026-11-28T09:30:00Z.")
    ] = None,
    sku: Annotated[str | None, typer.Option("--sku", help="Only of this item.")] = None,
    location: Annotated[str | None, typer.Option("--location", help="Only at this location.")] = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Show levels as they were: after an event, or at a time. Exactly one of --sequence, --position and --time."""
    at = _moment(sequence, position, time)
    if level is not None and (sku is not None or location is not None):
        raise UsageProblemError("name one level, or filter the list with --sku and --location; not both")
    with connected(context, target, timeout_ms) as client:
        if level is None:
            found: Iterable[PastLevel] = client.list_levels_at(at, sku=sku, location=location)
        else:
            found = [client.get_level_at(*parse_level(level), at)]
        _print_past(found, as_json)


def stock_history(
    context: typer.Context,
    what: OneLevel,
    limit: Limit = SHOWN,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """List what changed one level, newest first: when, by whose command and why, and the quantities after it."""
    sku, location = one_level(what, "history")
    with connected(context, target, timeout_ms) as client:
        lines = _history(client, sku, location, limit)
        if not as_json:
            print_table(_COLUMNS, map(_row, lines))
            return
        for line in lines:
            print_json(_plain(line))
            if unread():
                return


def explain(
    context: typer.Context,
    what: OneLevel,
    limit: Limit = SHOWN,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Say why a level is what it is: in sentences, and with a table of its latest changes."""
    sku, location = one_level(what, "explain")
    with connected(context, target, timeout_ms) as client:
        level = client.get_level(sku, location)
        lines = list(_history(client, sku, location, limit))
    sentences = list(_sentences(level, lines, limit))
    if as_json:
        print_json({"level": level, "sentences": sentences, "changes": [_plain(line) for line in lines]})
        return
    print_line("\n".join(sentences))
    if lines:
        print_line("")
        print_table(_COLUMNS, map(_row, lines))


def _history(client: Client, sku: str, location: str, limit: int) -> Iterator[HistoryLine]:
    return islice(client.list_history(sku, location, page_size=min(limit, 1000)), limit)


def _moment(sequence: int | None, position: str | None, time: str | None) -> int | JournalPosition | datetime:
    if sum(each is not None for each in (sequence, position, time)) != 1:
        raise UsageProblemError("give exactly one of --sequence, --position and --time: the moment to look at")
    if position is not None:
        return parse_position(position, "--position")
    return parse_time(time) if time is not None else sequence or 0


def parse_time(text: str) -> datetime:
    """Reads a time with its time zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageProblemError(f"--time: {text!r} is not a time with a time zone, such as 2026-11-28T09:30:00Z")
    return found


def _print_past(found: Iterable[PastLevel], as_json: bool) -> None:
    from invengine.cli.stock import LEVEL_COLUMNS

    if as_json:
        for past in found:
            print_json({**plain(past.level), "position": str(past.position), "time": past.time})
            if unread():
                return
        return
    levels = list(found)
    print_table(LEVEL_COLUMNS, [[getattr(past.level, name) for name in LEVEL_COLUMNS] for past in levels])
    if levels:
        print_line(_said_of_moment(levels[0]))


def _said_of_moment(past: PastLevel) -> str:
    if past.time is None:
        return "before the first event"
    return f"at {past.time:%F %T.%f}"[:-3] + f"Z, after sequence {past.sequence} ({past.position})"


# One change as a row


def what_of(event: Event) -> str:
    """The kind of an event; of a change of stock, what it was."""
    if event.kind != "stock_changed":
        return event.kind
    name = journal_service_pb2.StockChangeKind.Name(event.fact.kind)
    return name.removeprefix("STOCK_CHANGE_KIND_").lower()


def _units_of(level: Level | None, name: str) -> Any:
    return None if level is None else getattr(level, name)


def _row(line: HistoryLine) -> Sequence[Any]:
    event, after = line.event, line.after
    quantities = [_units_of(after, name) for name in _COLUMNS[4:9]]
    change = ", ".join(f"{name.replace('_', ' ')} {units:+}" for name, units in _own_changes(line))
    return [
        event.sequence,
        f"{event.time:%F %T}Z",
        what_of(event),
        change or None,
        *quantities,
        ", ".join(_cause(event)),
    ]


def _own_changes(line: HistoryLine) -> Iterator[tuple[str, int]]:
    """The changes of quantities that events change; the others follow from them."""
    for name, units in line.changes.items():
        if name not in ("available", "oversold"):
            yield name, units


def _cause(event: Event) -> Iterator[str]:
    context: Any = event.context
    if context is None:
        yield "the engine"
        return
    if context.channel:
        yield f"channel {context.channel}"
    if context.HasField("source"):
        yield f"source {context.source.source_id} #{context.source.sequence}"
    for word, field in (
        ("by", "actor"),
        ("reason", "reason_code"),
        ("reference", "reference"),
        ("order", "order_ref"),
        ("because of", "causation"),
        ("key", "idempotency_key"),
    ):
        if value := getattr(context, field):
            yield f"{word} {value}"


def _plain(line: HistoryLine) -> dict[str, Any]:
    found: dict[str, Any] = plain(line)
    return {**found, "changes": line.changes, "position": str(line.event.position)}


# Sentences


def _sentences(level: Level, lines: Sequence[HistoryLine], limit: int) -> Iterator[str]:
    yield f"{level.sku} at {level.location}: {_units(level.available)} can be held now, of {level.on_hand} on hand."
    taken = [(level.reserved, "reserved by timed holds"), (level.allocated, "allocated to orders")]
    taken += [(getattr(level, name), name.replace("_", " ")) for name in _UNSELLABLE]
    parts = [f"{units} {'is' if units == 1 else 'are'} {word}" for units, word in taken if units]
    if parts:
        yield f"Not available: {', '.join(parts)}."
    if level.oversold:
        yield f"{_units(level.oversold)} more than is there {'is' if level.oversold == 1 else 'are'} held."
    if not lines:
        yield "No change of it is kept in the journal."
        return
    newest, oldest = lines[0], lines[-1]
    if newest.before is not None and newest.after is not None:
        yield (
            f"Its last change took available from {newest.before.available} to {newest.after.available}: "
            f"{_words(newest.event)} at {newest.event.time:%F %T}Z ({', '.join(_cause(newest.event))})."
        )
    if newest.after is not None and newest.after.available != level.available:
        yield (
            "Available differs from the newest line of the table: by holds that have expired and have no event yet, or "
            "by changes since then."
        )
    yield f"In {_count_of(lines, limit)}, since {oldest.event.time:%F %T}Z: {_totals(lines)}."


def _words(event: Event) -> str:
    return what_of(event).replace("_", " ")


def _units(units: int) -> str:
    return f"{units} unit{'' if units == 1 else 's'}"


def _count_of(lines: Sequence[HistoryLine], limit: int) -> str:
    count = f"{len(lines)} change{'' if len(lines) == 1 else 's'}"
    return f"its last {count}" if len(lines) == limit else f"all {count} that are kept" if len(lines) > 1 else count


def _totals(lines: Sequence[HistoryLine]) -> str:
    """What the changes did to each quantity together, kind by kind."""
    sums: dict[tuple[str, str], int] = {}
    for line in lines:
        for name, units in _own_changes(line):
            key = (name, _words(line.event))
            sums[key] = sums.get(key, 0) + units
    names = dict.fromkeys(name for name, _ in sums)
    return "; ".join(
        f"{name.replace('_', ' ')} "
        + ", ".join(f"{units:+} {what}" for (of, what), units in sums.items() if of == name)
        for name in names
    )
