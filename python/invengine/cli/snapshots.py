"""`invengine snapshot`: snapshots of the ledger, which shorten a restart."""

from __future__ import annotations

import typer

from invengine.cli.keys import changes_something
from invengine.cli.options import Json, Target, TimeoutMs, connected
from invengine.cli.output import print_facts


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("snapshot")(snapshot)


def snapshot(
    context: typer.Context, target: Target = None, timeout_ms: TimeoutMs = None, as_json: Json = False
) -> None:
    """Have the server write a snapshot of what is durable now, and wait until it is valid.

    The next start reads it instead of the whole journal. Prints its position.
    """
    with connected(context, target, timeout_ms) as client:
        changes_something()
        sequence = client.create_snapshot()
    print_facts({"snapshot_sequence": sequence}, as_json=as_json)
