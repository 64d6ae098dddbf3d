"""`invengine events`: prints the events of the journal, and names who reads them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer

from invengine.cli.entities import EntityKind, add_one, entity_app
from invengine.cli.exits import UsageProblemError
from invengine.cli.options import Json, Key, PutVersion, Target, TimeoutMs, connected
from invengine.cli.output import plain, print_json, print_line
from invengine.cli.streams import unread
from invengine.client import Client, CommandOrigins, Consumer, Event, EventFilter, JournalPosition, ServerDescription
from invengine.v1 import journal_service_pb2

SHOWN = 10
"""The number of events that are printed by default."""
KINDS = tuple(field.name for field in journal_service_pb2.Event.DESCRIPTOR.oneofs_by_name["fact"].fields)

app = typer.Typer(help="Events of the journal.", no_args_is_help=True, add_completion=False)

CONSUMERS = EntityKind(
    "consumers",
    Consumer,
    ("consumer", "version", "position"),
    Client.upsert_consumers,
    Client.list_consumers,
    Client.delete_consumers,
    Client.get_consumer,
)


class Format(StrEnum):
    """How events are printed."""

    TEXT = "text"
    JSON = "json"
    CLOUDEVENTS = "cloudevents"


@app.callback()
def root() -> None:
    """Events of the journal."""


def _some(flag: str, text: str) -> Any:
    return typer.Option(flag, help=f"{text}; may be repeated.")


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
    sku: Annotated[list[str] | None, _some("--sku", "Only events of this item")] = None,
    location: Annotated[list[str] | None, _some("--location", "Only events at this location")] = None,
    kind: Annotated[list[str] | None, _some("--kind", "Only of this kind")] = None,
    channel: Annotated[list[str] | None, _some("--channel", "Only of commands of this channel")] = None,
    source: Annotated[list[str] | None, _some("--source", "Only of commands of this source")] = None,
    order: Annotated[list[str] | None, _some("--order", "Only of commands that name this order")] = None,
    key: Annotated[list[str] | None, _some("--key", "Only of the command with this key")] = None,
    not_channel: Annotated[list[str] | None, _some("--not-channel", "Nothing that this channel caused")] = None,
    not_source: Annotated[list[str] | None, _some("--not-source", "Nothing that this source caused")] = None,
    not_actor: Annotated[list[str] | None, _some("--not-actor", "Nothing that this actor caused")] = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="text, json (as --json), or cloudevents: one CloudEvent 1.0 per line."),
    ] = None,
) -> None:
    """Print durable events: with --after or --from from there on, otherwise the newest.

    With --sku, --location, --kind, --channel, --source, --order or --key only events that match each of them; with
    --not-channel, --not-source or --not-actor only what others caused. The server filters; without --after or --from it
    reads the whole stored history for that.
    """
    if as_json and format_ not in (None, Format.JSON):
        raise UsageProblemError(f"--json and --format {format_} are two formats: give one of them")
    show = _SHOW[Format.JSON if as_json else format_ or Format.TEXT]
    for each in kind or ():
        if each not in KINDS:
            raise UsageProblemError(f"there is no kind of event {each!r}: name one of {', '.join(KINDS)}")
    others = CommandOrigins(channels=not_channel or None, source_ids=not_source or None, actors=not_actor or None)
    only = EventFilter(
        types=kind or None,
        skus=sku or None,
        locations=location or None,
        channels=channel or None,
        source_ids=source or None,
        order_refs=order or None,
        keys=key or None,
        not_caused_by=None if others == CommandOrigins() else others,
    )
    if after is not None and from_sequence is not None:
        raise UsageProblemError("give --after or --from, not both")
    position = None if after is None else parse_position(after, "--after")
    with connected(context, target, timeout_ms) as client:
        # A reader waits long for a server that went away; one that was never there is reported within the timeout.
        server = client.server_info()
        if position is None and from_sequence is None:
            events = _newest(client, server, None if only == EventFilter() else only, follow, limit)
        else:
            events = client.read_events(from_sequence, after=position, follow=follow, limit=limit, only=only)
        for event in events:
            show(event)
            if unread():
                return


def _newest(
    client: Client, server: ServerDescription, only: EventFilter | None, follow: bool, limit: int | None
) -> Iterable[Event]:
    """Returns the newest matching events; with `follow` also new ones, and with a limit only that many of these."""
    if follow and limit is not None:
        return client.read_events(server.durable_sequence + 1, follow=True, limit=limit, only=only)
    if only is None:
        return client.read_events(
            max(1, server.durable_sequence - (SHOWN if limit is None else limit) + 1), follow=follow
        )
    found = client.read_events(max(1, server.first_sequence), follow=follow, only=only)
    return found if limit is None else deque(found, limit)


consumers = entity_app(app, CONSUMERS, "Readers whose position the ledger keeps.")


@consumers.command("add")
def add_consumer(
    context: typer.Context,
    consumer: str,
    position: Annotated[str, typer.Argument(help="The last event that it has handled, as --json prints it.")],
    expected_version: PutVersion = None,
    key: Key = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Create one consumer, or have it continue after another position."""
    value = Consumer(consumer, parse_position(position, "POSITION"), expected_version)
    add_one(context, CONSUMERS, value, key, target, timeout_ms, as_json)


def parse_position(text: str, flag: str) -> JournalPosition:
    """Reads the position that a flag names."""
    try:
        return JournalPosition.parse(text)
    except ValueError as error:
        raise UsageProblemError(f"{flag}: {error}") from None


def _print_json(event: Event) -> None:
    print_json(plain(event) | ({"position": str(event.position)} if event.ledger else {}))


def _print_cloud_event(event: Event) -> None:
    from invengine.client.cloudevents import cloud_event

    print_json(cloud_event(event))


_SHOW: dict[Format, Callable[[Event], None]] = {
    Format.TEXT: lambda event: print_line(line_of(event)),
    Format.JSON: _print_json,
    Format.CLOUDEVENTS: _print_cloud_event,
}


_OF_COMMANDS = (("channel", "channel"), ("order_ref", "order_ref"), ("key", "idempotency_key"))
"""Fields of the command in a line. Its key is named like the flag: a fact may have the idempotency_key of another."""


def line_of(event: Event) -> str:
    """Returns one event as one line."""
    context: Any = event.context
    fields = plain(event.fact) if event.fact is not None else {}
    if event.kind == "entity_put":
        # As in `entity_removed`, its kind is a field; its version and the others follow. A source has a kind itself.
        ((kind, entity),) = fields.items()
        fields = {"kind": kind, **{"source_kind" if name == "kind" else name: each for name, each in entity.items()}}
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
