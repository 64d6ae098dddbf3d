"""`invengine backup create | restore`: what is left when a disk or a Redis is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from invengine.cli import flags
from invengine.cli.exits import UsageProblemError
from invengine.cli.kept import KeptJournal, kept_journal
from invengine.cli.options import Json
from invengine.cli.output import print_facts, print_line, print_table
from invengine.cli.progress import progress

app = typer.Typer(
    help="Backups of a journal in files or in Redis, and their way back.", no_args_is_help=True, add_completion=False
)


@app.callback()
def root() -> None:
    """Backups of a journal in files or in Redis, and their way back."""


@app.command("create")
def create(
    context: typer.Context,
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="A new or empty directory.")],
    journal: flags.Journal = None,
    directory: flags.Directory = None,
    redis_url: flags.RedisUrl = None,
    ledger: flags.Ledger = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="Older journal too, for readers of the history; else what a start needs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy what is durable in a journal into BACKUP, beside a running server or without one, and check the copy.

    It holds the newest good snapshot and the journal behind it, as files whatever the journal is. Until this command
    has ended well, BACKUP counts for nothing. Prints the position that it holds.
    """
    source = kept_journal(context, journal=journal, directory=directory, redis_url=redis_url, ledger=ledger)
    if source.directory is not None and not source.directory.is_dir():
        raise UsageProblemError(f"{source.directory} is not a directory: name the --directory of the server")
    from invengine import _core

    with progress(f"backing up {source.name}", None):
        report = json.loads(_core.create_backup(source.settings, str(backup), archive))
    print_facts({"backup": backup, **facts_of(report)}, as_json=as_json)


@app.command("restore")
def restore(
    context: typer.Context,
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="What `invengine backup create` has made.")],
    journal: flags.Journal = None,
    directory: flags.Directory = None,
    redis_url: flags.RedisUrl = None,
    redis_ack: flags.RedisAckFlag = None,
    ledger: flags.Ledger = None,
    writer_epoch_min: Annotated[
        int | None,
        typer.Option(
            "--writer-epoch-min",
            min=1,
            help="Go on above this writer epoch; else above all that there can have been (the seconds since 1970).",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Restore BACKUP into a new or empty --directory, or into a ledger that Redis has no journal of.

    Says where every source and every follower of the events goes on. A backup of either journal can be restored into
    either. Everything is checked before it counts: what a crash leaves is refused by every server, and this command
    begins again. The lost ledger must not be served any more. The next server has a higher writer epoch, so that no
    reservation id is issued twice.
    """
    target = kept_journal(
        context, journal=journal, directory=directory, redis_url=redis_url, redis_ack=redis_ack, ledger=ledger
    )
    from invengine import _core

    with progress(f"restoring {backup} into {target.name}", None):
        report = json.loads(_core.restore_backup(str(backup), target.settings, writer_epoch_min or 0))
    sources = report.pop("sources")
    place = {"directory": target.directory} if target.directory is not None else {"journal": "redis"}
    facts = {**place, "restored_epoch": report.pop("restored_epoch"), **facts_of(report)}
    if as_json:
        print_facts({**facts, "sources": sources, "follower_sequence_max": facts["sequence"]}, as_json=True)
        return
    print_facts(facts, as_json=False)
    print_line(advice(len(sources), target))
    print_line(followers_advice(facts["sequence"]))
    if sources:
        columns = ("source", "epoch", "last_sequence", "expected_sequence")
        print_table(columns, ([place[column] for column in columns] for place in sources))


def facts_of(report: dict[str, Any]) -> dict[str, Any]:
    """The facts of a backup as they are printed: times as times, notes only if there are any."""
    facts = dict(report)
    facts["engine_time"] = time_of(facts.pop("time_ms"))
    facts["created"] = time_of(facts.pop("created_ms"))
    if not facts["notes"]:
        del facts["notes"]
    return facts


def time_of(time_ms: int) -> datetime:
    """A moment in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def followers_advice(sequence: int) -> str:
    """What who follows the events does next, in one line."""
    return (
        f"have every follower of the events whose position is above {sequence} go back to {sequence}: "
        "what it read beyond is not in this history, and other events will have those numbers"
    )


def advice(sources: int, target: KeptJournal) -> str:
    """What an operator does next, in one line."""
    told = "have every source send again from its expected sequence" if sources else "no source is known"
    place = "directory" if target.directory is not None else "Redis"
    return f"start a server on this {place} and never on the lost one again; {told}"
