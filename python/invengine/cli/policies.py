"""`invengine policies`: rules that decide what may be promised to whom."""

from __future__ import annotations

from typing import Annotated

import typer

from invengine.cli.entities import EntityKind, add_one, entity_app
from invengine.cli.options import Json, Key, PutVersion, Target, TimeoutMs
from invengine.client import Client, LocationGroup

app = typer.Typer(help="Location groups: add, list, show, delete.", no_args_is_help=True, add_completion=False)

LOCATION_GROUPS = EntityKind(
    "location groups",
    LocationGroup,
    ("group", "version", "locations"),
    Client.upsert_location_groups,
    Client.list_location_groups,
    Client.delete_location_groups,
    Client.get_location_group,
)


@app.callback()
def root() -> None:
    """Location groups: add, list, show, delete."""


location_groups = entity_app(app, LOCATION_GROUPS, "Locations that are promised as one.")


@location_groups.command("add")
def add_location_group(
    context: typer.Context,
    group: str,
    locations: Annotated[list[str], typer.Argument(metavar="LOCATION...", help="In the order they are asked.")],
    expected_version: PutVersion = None,
    key: Key = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Create or replace one location group."""
    value = LocationGroup(group, tuple(locations), expected_version)
    add_one(context, LOCATION_GROUPS, value, key, target, timeout_ms, as_json)
