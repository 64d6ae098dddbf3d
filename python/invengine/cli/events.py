"""`invengine events`: the journal as it grows."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from invengine.cli.event_filters import EventFilter
from invengine.cli.options import Json, Target, TimeoutMs, connected
from invengine.cli.output import plain, print_json, print_line
from invengine.cli.streams import unread
from invengine.client import Event

app = typer.Typer(help="Events of the journal.", no_args_is_help=True, add_completion=False)


@app.callback()
def root() -> None:
    """Events of the journal."""


@app.command("tail")
def tail(
    context: typer.Context,
    from_sequence: Annotated[
        int | None, typer.Option("--from", min=1, help="First sequence; else the last ten events.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay and print what comes, until Ctrl-C.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="End after this many events; 0 is no limit.")] = 0,
    sku: Annotated[str | None, typer.Option("--sku", help="Only events of this item.")] = None,
    location: Annotated[str | None, typer.Option("--location", help="Only events at this location.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only of this kind; may be repeated.")] = None,
    order: Annotated[str | None, typer.Option("--order", help="Only events that name this order.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only events of the command with this key.")] = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Print durable events: with --from from there on, else the last ten.

    With --sku, --location, --kind, --order or --key only events that fit all of them. The server knows no such
    choice: every event from --from on is read and chosen here, without --from the whole history that is kept.
    """
    wanted = EventFilter(sku, location, tuple(kind or ()), order, key)
    with connected(context, target, timeout_ms) as client:
        if wanted.given:
            start = from_sequence or max(1, client.server_info().first_sequence)
            events = wanted.chosen(client.read_events(start, follow=follow), limit)
        else:
            start = from_sequence or max(1, client.server_info().durable_sequence - 9)
            events = client.read_events(start, follow=follow, limit=limit or None)
        for event in events:
            if as_json:
                print_json(event)
            else:
                print_line(line_of(event))
            if unread():
                return


def line_of(event: Event) -> str:
    """One event on one line."""
    context: Any = event.context
    names = [] if context is None else [(n, getattr(context, n)) for n in ("channel", "order_ref", "idempotency_key")]
    fields = plain(event.fact) if event.fact is not None else {}
    facts = [*fields.items(), *((name, value) for name, value in names if value)]
    text = " ".join(f"{name}={_short(value)}" for name, value in facts)
    return f"{event.sequence:>8}  {event.time:%F %T}Z  {event.kind:<18} {text}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_short(each) for each in value[:5]) + (",..." if len(value) > 5 else "")
    if isinstance(value, dict):
        if {"sku", "location"} <= value.keys():
            return f"{value['sku']}@{value['location']}={value.get('quantity', 0)}"
        return "{" + " ".join(f"{name}={_short(each)}" for name, each in value.items()) + "}"
    return "".join(char if char.isprintable() else "?" for char in str(value))
