"""`invengine sources`: outside systems, what they are, their numbers that had no effect, and their messages."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import typer

from invengine.cli import source_messages
from invengine.cli.entities import EntityKind, add_one, entity_commands, print_stored
from invengine.cli.keys import command_key
from invengine.cli.options import Json, Key, PutVersion, Target, TimeoutMs, connected
from invengine.cli.output import print_rows, print_table
from invengine.client import Client, Source, SourceKind, SourceProfile

app = typer.Typer(
    help="Sources, systems outside: register, list, claims, profile, and their messages.",
    no_args_is_help=True,
    add_completion=False,
)

SOURCE_PROFILES = EntityKind(
    "source profiles",
    SourceProfile,
    ("source_id", "version", "kind", "channels", "locations"),
    Client.upsert_source_profiles,
    Client.list_source_profiles,
    Client.delete_source_profiles,
    Client.get_source_profile,
)
SOURCE_COLUMNS = (
    "source_id", "kind", "epoch", "sequence", "claims", "parked", "parked_for", "waiting", "waiting_for",
    "dead_letters",
)  # fmt: skip
CLAIM_COLUMNS = (
    "source_id", "sku", "location", "state", "quantity", "ledger_quantity", "difference", "reason", "sequence", "time",
    "event_time",
)  # fmt: skip

KindName = enum.StrEnum("KindName", {each.name: each.name.lower() for each in SourceKind if each})  # type: ignore[misc]
SourceId = Annotated[str, typer.Argument(metavar="SOURCE_ID", help="The name of the source.")]

profile = typer.Typer(
    help="What sources are, and what they may speak of: add, list, show, delete.",
    no_args_is_help=True,
    add_completion=False,
)
entity_commands(profile, SOURCE_PROFILES)
app.add_typer(profile, name="profile")
source_messages.register(app)


@app.callback()
def root() -> None:
    """Sources, systems outside: register, list, claims, profile, and their messages."""


@app.command("register")
def register_source(
    context: typer.Context,
    source_id: SourceId,
    key: Key = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Start the next epoch of a source. Whoever still sends messages of an older epoch is refused from then on."""
    key = command_key(key)
    with connected(context, target, timeout_ms) as client:
        found = client.register_source(source_id, key=key)
    facts = {
        "source_id": source_id,
        "epoch": found.epoch,
        "previous_epoch": found.previous_epoch,
        "previous_sequence": found.previous_sequence,
        "sequence": found.receipt.sequence,
        "replayed": found.receipt.replayed,
        "key": key,
    }
    print_stored(facts, found.look_alikes, as_json=as_json)


@app.command("list")
def list_sources(
    context: typer.Context, target: Target = None, timeout_ms: TimeoutMs = None, as_json: Json = False
) -> None:
    """List all sources that were registered, with the last number applied, and what is kept of each.

    Claims are numbers without an effect; for messages that are parked, wait, or were refused see `parked`, `waiting`
    and `dead-letters`. The ages are those of the oldest ones.
    """
    with connected(context, target, timeout_ms) as client:
        if as_json:
            print_rows(client.list_sources(), (), as_json=True)
            return
        found = list(client.list_sources())
        old = source_messages.ages(found, lambda: client.server_info().engine_time)
    print_table(SOURCE_COLUMNS, map(_row, found, old))


def _row(source: Source, age: tuple[str | None, str | None]) -> list[Any]:
    kind = None if source.profile is None else source.profile.kind
    numbers = [source.source_id, kind, source.epoch, source.sequence, source.claims]
    return [*numbers, source.parked, age[0], source.waiting, age[1], source.dead_letters]


@app.command("claims")
def list_claims(
    context: typer.Context,
    source: Annotated[str | None, typer.Option("--source", help="Only of this source.")] = None,
    sku: Annotated[str | None, typer.Option("--sku", help="Only about this item.")] = None,
    location: Annotated[str | None, typer.Option("--location", help="Only about this location.")] = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """List claims: numbers that had no effect, the newest of each writer about each state of a level.

    A claim of a command that came from no source has no source.
    """
    with connected(context, target, timeout_ms) as client:
        print_rows(client.list_claims(source_id=source, sku=sku, location=location), CLAIM_COLUMNS, as_json=as_json)


@profile.command("add")
def add_profile(
    context: typer.Context,
    source_id: SourceId,
    kind: Annotated[KindName, typer.Option("--kind", help="The kind of system.")],
    channels: Annotated[
        list[str] | None, typer.Option("--channel", help="A channel that it may name, once or more; all if none.")
    ] = None,
    locations: Annotated[
        list[str] | None, typer.Option("--location", help="A location that it may name, once or more; all if none.")
    ] = None,
    expected_version: PutVersion = None,
    key: Key = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Say what a source is, or say it anew. It need not be registered yet."""
    value = SourceProfile(
        source_id, SourceKind[kind.name], tuple(channels or ()), tuple(locations or ()), expected_version
    )
    add_one(context, SOURCE_PROFILES, value, key, target, timeout_ms, as_json)
