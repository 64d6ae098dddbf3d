"""`invengine events`: prints the events of the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from invengine.cli.event_filters import EventFilter
from invengine.cli.exits import UsageProblemError
from invengine.cli.options import Json, Target, TimeoutMs, connected
from invengine.cli.output import plain, print_json, print_line
from invengine.cli.streams import unread
from invengine.client import Client, Event, JournalPosition, ServerDescription

SHOWN = 10
"""The number of events that are printed by default."""

app = typer.Typer(help="Events of the journal.", no_args_is_help=True, add_completion=False)


@app.callback()
def root() -> None:
    """Events of the journal."""


@app.command("tail")
def tail(
    context: typer.Context,
    after: Annotated[
        str | None, typer.Option("--after", help="Position of the last event that was handled, as --json prints it.")
    ] = None,
    from_sequence: Annotated[
        int | None, typer.Option("--from", min=1, help="First sequence; otherwise the last ten events.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait and print new events, until Ctrl-C.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="The newest N events; with --follow the next N new ones; with --after or --from the first N.",
        ),
    ] = None,
    sku: Annotated[str | None, typer.Option("--sku", help="Only events of this item.")] = None,
    location: Annotated[str | None, typer.Option("--location", help="Only events at this location.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only of this kind; may be repeated.")] = None,
    order: Annotated[str | None, typer.Option("--order", help="Only events that name this order.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only events of the command with this key.")] = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Print durable events: with --after or --from from there on, otherwise the newest.

    With --sku, --location, --kind, --order or --key only events that match all of them. The server does not filter:
    every event from the start position on is read and filtered here, without one the whole stored history.
    """
    wanted = EventFilter(sku, location, tuple(kind or ()), order, key)
    if after is not None and from_sequence is not None:
        raise UsageProblemError("give --after or --from, not both")
    position = None if after is None else _position(after)
    with connected(context, target, timeout_ms) as client:
        # A reader waits long for a server that went away; one that was never there is reported within the timeout.
        server = client.server_info()
        if position is None and from_sequence is None:
            events = _newest(client, server, wanted, follow, limit)
        else:
            events = wanted.chosen(client.read_events(from_sequence, after=position, follow=follow), limit)
        for event in events:
            if as_json:
                print_json(plain(event) | ({"position": str(event.position)} if event.ledger else {}))
            else:
                print_line(line_of(event))
            if unread():
                return


def _newest(
    client: Client, server: ServerDescription, wanted: EventFilter, follow: bool, limit: int | None
) -> Iterable[Event]:
    """Returns the newest matching events; with `follow` also new ones, and with a limit only that many of these."""
    if follow and limit is not None:
        return wanted.chosen(client.read_events(server.durable_sequence + 1, follow=True), limit)
    if not wanted.given:
        return client.read_events(
            max(1, server.durable_sequence - (SHOWN if limit is None else limit) + 1), follow=follow
        )
    found = wanted.chosen(client.read_events(max(1, server.first_sequence), follow=follow), None)
    return found if limit is None else deque(found, limit)


def _position(text: str) -> JournalPosition:
    try:
        return JournalPosition.parse(text)
    except ValueError as error:
        raise UsageProblemError(f"--after: {error}") from None


_OF_COMMANDS = (("channel", "channel"), ("order_ref", "order_ref"), ("key", "idempotency_key"))
"""Fields of the command in a line. Its key is named like the flag: a fact may have the idempotency_key of another."""


def line_of(event: Event) -> str:
    """Returns one event as one line."""
    context: Any = event.context
    fields = plain(event.fact) if event.fact is not None else {}
    if event.kind == "entity_put":
        # As in `entity_removed`, its kind is a field; its version and the others follow.
        fields = {name: each for kind, entity in fields.items() for name, each in {"kind": kind, **entity}.items()}
    names = [] if context is None else [(name, getattr(context, field)) for name, field in _OF_COMMANDS]
    # An order that the fact names is not repeated.
    facts = [*fields.items(), *((name, value) for name, value in names if value and fields.get(name) != value)]
    text = " ".join(f"{name}={_short(value)}" for name, value in facts)
    return f"{event.sequence:>8}  {event.time:%F %T}Z  {event.kind:<18} {text}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_short(each) for each in value[:5]) + (",..." if len(value) > 5 else "")
    if isinstance(value, dict):
        if {"sku", "location"} <= value.keys() <= {"sku", "location", "quantity"}:
            return f"{value['sku']}@{value['location']}={value.get('quantity', 0)}"
        return "{" + " ".join(f"{name}={_short(each)}" for name, each in value.items()) + "}"
    return "".join(char if char.isprintable() else "?" for char in str(value))
