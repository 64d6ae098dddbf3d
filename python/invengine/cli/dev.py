"""`invengine dev`: a throw-away server with a sample catalogue and stock."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from invengine.cli import flags
from invengine.cli.exits import UsageProblemError, line_of
from invengine.cli.options import Json, journal_settings_of
from invengine.cli.output import print_json, print_line
from invengine.cli.serve import ignore_lost_output, ready_line, run_server
from invengine.client import Channel, Client, Item, Location
from invengine.errors import InvengineError
from invengine.settings import JournalKind

if TYPE_CHECKING:
    from invengine.service.lifetime import Ready

ITEMS = (Item("MUG", "Mug, white"), Item("TEE-M", "T-shirt, medium"), Item("LAMP", "Desk lamp"))
LOCATIONS = (Location("berlin", "Warehouse Berlin"), Location("lyon", "Store Lyon"))
CHANNELS = (Channel("web", "Web shop"), Channel("app", "App"), Channel("store", "Stores"))
STOCK = (("MUG", "berlin", 100), ("MUG", "lyon", 12), ("TEE-M", "berlin", 40), ("LAMP", "berlin", 5))


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("dev")(dev)


def dev(
    context: typer.Context,
    address: flags.Address = None,
    journal: flags.DevJournal = JournalKind.MEMORY,
    door: flags.Door = None,
    time_scale: flags.TimeScale = None,
    metrics_address: flags.DevMetricsAddress = "",
    as_json: Json = False,
) -> int:
    """Serve a throw-away ledger with a sample catalogue; names are created by mention.

    With --journal file the journal is in a temporary directory that is removed at the end.
    """
    if journal is JournalKind.REDIS:
        raise UsageProblemError("dev keeps nothing: to keep a ledger in Redis, run `invengine serve --journal redis`")
    directory = Path(tempfile.mkdtemp(prefix="invengine-dev-")) if journal is JournalKind.FILE else None
    settings = journal_settings_of(
        context,
        address=address,
        journal=journal,
        directory=directory,
        door=door,
        time_scale=time_scale,
        auto_create=True,
        metrics_address=metrics_address,
    ).settings

    def announce(ready: Ready) -> None:
        # The server's own event loop answers these calls, so another thread must make them.
        threading.Thread(target=_fill_and_announce, args=(ready, as_json), daemon=True).start()

    try:
        return run_server(settings, announce, as_json=as_json)
    finally:
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)


def fill(target: str) -> None:
    """Creates the sample catalogue and stock; doing it twice changes nothing."""
    with Client(target, actor="dev") as client:
        client.upsert_items(ITEMS, key="dev-items")
        client.upsert_locations(LOCATIONS, key="dev-locations")
        client.upsert_channels(CHANNELS, key="dev-channels")
        client.receive(STOCK, key="dev-stock", reference="sample")


def _fill_and_announce(ready: Ready, as_json: bool) -> None:
    try:
        fill(ready.address)
    except InvengineError as error:
        print(line_of(error, as_json=as_json), file=sys.stderr)
        return
    if as_json:
        print_json({"ready": True, "address": ready.address, "sample": [item.sku for item in ITEMS]})
    else:
        print_line(ready_line(ready))
        print_line(how_to_call(ready.address))
    ignore_lost_output()


def how_to_call(address: str) -> str:
    """Returns a few lines that a new user can paste."""
    target = "" if address == "127.0.0.1:7411" else f" --target {address}"
    return "\n".join(
        [
            "Try, in another terminal:",
            f"  invengine availability MUG{target}",
            f"  invengine reserve MUG@berlin=2 --channel web{target}",
            f"  invengine stock show MUG@berlin{target}",
            f"  invengine events tail --follow{target}",
            "or in Python:",
            "  from invengine.client import Client",
            f'  with Client("{address}", channel="web") as client:',
            '      hold = client.reserve([("MUG", "berlin", 2)])',
            "Ctrl-C ends it; nothing is kept.",
        ]
    )
