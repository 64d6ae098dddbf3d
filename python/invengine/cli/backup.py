"""`invengine backup create | restore`: copies of a journal, for the loss of a disk or a Redis."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from invengine.cli import flags
from invengine.cli.exits import UsageProblemError
from invengine.cli.keys import changes_something
from invengine.cli.offline_journal import OfflineJournal, offline_journal
from invengine.cli.options import Json
from invengine.cli.output import print_facts, print_line, print_table
from invengine.cli.progress import progress

app = typer.Typer(
    help="Backups of a journal in files or in Redis: create and restore.", no_args_is_help=True, add_completion=False
)


@app.callback()
def root() -> None:
    """Backups of a journal in files or in Redis: create and restore."""


@app.command("create")
def create(
    context: typer.Context,
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="A new or empty directory.")],
    journal: flags.Journal = None,
    directory: flags.Directory = None,
    redis_url: flags.RedisUrl = None,
    ledger: flags.Ledger = None,
    archive: Annotated[
        bool,
        typer.Option(
            "--archive", help="Include older journal for readers of the history; otherwise only what a start needs."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy what is durable in a journal into BACKUP, beside a running server or without one, and check the copy.

    It has the newest good snapshot and the journal after it, as files for either kind of journal. BACKUP is not valid
    until this command has succeeded. Prints its position.
    """
    source = offline_journal(context, journal=journal, directory=directory, redis_url=redis_url, ledger=ledger)
    if source.directory is not None and not source.directory.is_dir():
        raise UsageProblemError(f"{source.directory} is not a directory: name the --directory of the server")
    from invengine import _core

    changes_something()
    with progress(f"backing up {source.name}", None):
        report = json.loads(_core.create_backup(source.settings, str(backup), archive))
    print_facts({"backup": backup, **facts_of(report)}, as_json=as_json)


@app.command("restore")
def restore(
    context: typer.Context,
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="A backup that `invengine backup create` made.")],
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
            help="Continue above this writer epoch; otherwise above every possible one (the seconds since 1970).",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Restore BACKUP into a new or empty --directory, or into Redis, for a ledger without a journal there.

    Prints where every source and every follower of the events continues. A backup of either journal can be restored
    into either. Everything is checked before it is valid: every server refuses what a crash leaves, and this command
    starts over. The lost ledger must not be served any more. The next server has a higher writer epoch, so that no
    reservation id is issued twice.
    """
    target = offline_journal(
        context, journal=journal, directory=directory, redis_url=redis_url, redis_ack=redis_ack, ledger=ledger
    )
    from invengine import _core

    changes_something()
    with progress(f"restoring {backup} into {target.name}", None):
        report = json.loads(_core.restore_backup(str(backup), target.settings, writer_epoch_min or 0))
    sources = report.pop("sources")
    where = {"directory": target.directory} if target.directory is not None else {"journal": "redis"}
    facts = {**where, "restored_epoch": report.pop("restored_epoch"), **facts_of(report)}
    if as_json:
        print_facts({**facts, "sources": sources, "follower_sequence_max": facts["sequence"]}, as_json=True)
        return
    print_facts(facts, as_json=False)
    print_line(advice(len(sources), target))
    print_line(followers_advice(facts["sequence"]))
    if sources:
        columns = ("source", "epoch", "last_sequence", "expected_sequence")
        print_table(columns, ([source[column] for column in columns] for source in sources))


def facts_of(report: dict[str, Any]) -> dict[str, Any]:
    """Returns the facts of a backup for printing: times as datetimes, notes only if there are any."""
    facts = dict(report)
    facts["engine_time"] = time_of(facts.pop("time_ms"))
    facts["created"] = time_of(facts.pop("created_ms"))
    if not facts["notes"]:
        del facts["notes"]
    return facts


def time_of(time_ms: int) -> datetime:
    """Converts milliseconds since 1970 to a datetime in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def followers_advice(sequence: int) -> str:
    """Returns what followers of the events must do next, in one line."""
    return (
        f"have every follower of the events whose position is above {sequence} go back to {sequence}: "
        "what it read beyond is not in this history, and other events will have those numbers"
    )


def advice(sources: int, target: OfflineJournal) -> str:
    """Returns what the operator must do next, in one line."""
    next_step = "have every source send again from its expected sequence" if sources else "no source is known"
    place = "directory" if target.directory is not None else "Redis"
    return f"start a server on this {place} and never on the lost one again; {next_step}"
