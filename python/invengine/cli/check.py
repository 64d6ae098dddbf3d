"""`invengine verify`: replays a journal offline, checks the invariants, and explains damage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from invengine.cli import flags
from invengine.cli.exits import CheckFailedError, UsageProblemError
from invengine.cli.offline_journal import OfflineJournal, offline_journal
from invengine.cli.options import Json
from invengine.cli.output import print_facts, print_line
from invengine.cli.progress import progress
from invengine.settings import JournalKind

# Printed as sentences below the other facts.
_IN_WORDS = ("snapshots", "damage", "names")
# The maximum number of names in the output for people.
_NAMES_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("verify")(verify)


def verify(
    context: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            show_default=False,
            help="Directory of a file journal, or a backup; otherwise that of the settings.",
        ),
    ] = None,
    journal: flags.Journal = None,
    redis_url: flags.RedisUrl = None,
    ledger: flags.Ledger = None,
    at_sequence: Annotated[
        int | None, typer.Option("--at", min=0, help="Stop after this sequence of the journal; otherwise at the end.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay a journal, check every invariant at every sequence, and compare its snapshots with it.

    Exit code 4 if something is wrong; for damage it reports what is lost and what is not. It only reads, so it may run
    beside a server: it then sees what was durable when it started.
    """
    meant = journal_of(context, directory, journal=journal, redis_url=redis_url, ledger=ledger)
    if meant.directory is not None and not meant.directory.is_dir():
        raise UsageProblemError(f"{meant.directory} is not a directory: name the --directory of the server")
    from invengine import _core

    with progress(f"verifying {meant.name}", None):
        report: dict[str, Any] = json.loads(_core.verify_journal(meant.settings, at_sequence))
    findings = findings_of(report)
    if as_json:
        print_facts(report, as_json=True)
    else:
        facts = {name: value for name, value in report.items() if name not in _IN_WORDS}
        print_facts({name: value for name, value in facts.items() if value is not None}, as_json=False)
        for line in (*snapshot_lines(report), *name_lines(report), *damage_lines(report)):
            print_line(line)
    if findings:
        raise CheckFailedError(f"{meant.name} breaks {len(findings)} of its rules: {'; '.join(findings)[:400]}")


def journal_of(context: typer.Context, directory: Path | None, **given: Any) -> OfflineJournal:
    """Returns the journal to read: a given directory holds a file journal, whatever the settings are."""
    if directory is None:
        return offline_journal(context, **given)
    if given["journal"] not in (None, JournalKind.FILE) or given["redis_url"] is not None:
        raise UsageProblemError(f"name either the directory {directory} or a journal in Redis")
    return offline_journal(context, **{**given, "journal": JournalKind.FILE}, directory=directory)


def findings_of(report: Mapping[str, Any]) -> list[str]:
    """Returns everything that is wrong in a report: damage, snapshots, violated invariants, oversold units."""
    oversold = report["oversold_units_by_reserve"]
    return [*broken_of(report), *([f"oversold_units_by_reserve: {oversold}"] if oversold else [])]


def broken_of(report: Mapping[str, Any]) -> list[str]:
    """Returns damage, bad snapshots, violated invariants and the first positions where they are violated, as text."""
    names = [name for name, holds in report["invariants"].items() if holds is not True]
    snapshots = [f"{each['name']}: {each['bad']}" for each in report.get("snapshots", ()) if each["bad"]]
    backup = report.get("backup")
    spoiled = [backup] if backup not in (None, "whole") else []
    return [*_damage_summary(report.get("damage")), *snapshots, *spoiled, *names, *report["broken"]]


def _damage_summary(damage: Mapping[str, Any] | None) -> list[str]:
    return [f"corrupt: {_where(damage)}: {damage['why']}"] if damage else []


def _where(damage: Mapping[str, Any]) -> str:
    if damage.get("entry") is not None:
        return f"entry {damage['entry']} of {damage['file']}"
    return f"{damage['file']} at byte {damage['offset']}"


def snapshot_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each snapshot: whether it is usable."""
    for each in report.get("snapshots", ()):
        if each["bad"]:
            worth = f"cannot be used: {each['bad']}"
        elif each["compared"]:
            worth = "good, its digest is that of the journal there"
        else:
            worth = "good, not compared with the journal, which was not folded there"
        yield f"snapshot at sequence {each['sequence']} ({each['name']}, {each['bytes']} bytes): {worth}"


def name_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each name that breaks the rule for new names or looks like an older one, up to a maximum."""
    listed = report.get("names", ())
    for each in listed[:_NAMES_SHOWN]:
        yield f"name: {each['kind']} {each['finding']}"
    total = report["counts"]["names_against_the_rule"] + report["counts"]["look_alikes"] if listed else 0
    if total > _NAMES_SHOWN:
        yield f"names: {total - _NAMES_SHOWN} more; --json lists the first {len(listed)}"


def damage_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Describes damage in sentences: what is intact, what is lost, what a start does, and what to do."""
    damage = report.get("damage")
    if not damage:
        return
    whole = damage["whole_sequence"]
    yield f"damage: {_where(damage)}: {damage['why']}"
    alone = f"; `verify --at {whole}` proves that part alone" if whole else ", before the first event"
    yield f"whole: every frame to sequence {whole}{_time_of(damage)}{alone}"
    yield f"unreadable: {damage['unreadable_bytes']} bytes from there on"
    yield f"behind: {_after_damage(damage)}"
    yield f"snapshots: {_newest(report)}"
    yield f"start: {_start(damage)}"
    yield f"remedy: {_remedy(damage)}"


def _time_of(damage: Mapping[str, Any]) -> str:
    if not damage["whole_time_ms"]:
        return ""
    return f" (engine time {datetime.fromtimestamp(damage['whole_time_ms'] / 1000, UTC):%Y-%m-%d %H:%M:%SZ})"


def _after_damage(damage: Mapping[str, Any]) -> str:
    frames, whole = damage["frames_behind"], damage["whole_sequence"]
    first, last = damage["first_sequence_behind"], damage["last_sequence_behind"]
    if not frames:
        return f"no whole frame; how many events came after sequence {whole}, nobody can tell"
    if not first:
        return f"whole frames without events ({frames}), of later starts; events between may be lost"
    if first > whole + 1:
        gap = f"{_span(whole + 1, first - 1)} is lost, and each later event may rest on it"
    else:
        gap = "what they continue is not what is there"
    return f"whole frames ({frames}) hold {_span(first, last)} and cannot be trusted, because {gap}"


def _span(first: int, last: int) -> str:
    return f"sequence {first}" if first == last else f"sequence {first} to {last}"


def _newest(report: Mapping[str, Any]) -> str:
    good = [each["sequence"] for each in report["snapshots"] if not each["bad"]]
    return f"the newest good one holds sequence {max(good)}" if good else "none is good"


def _start(damage: Mapping[str, Any]) -> str:
    if damage["start_refused"] is not None:
        return f"a server refuses this journal: {damage['start_refused']}"
    begin = damage["start_snapshot"]
    origin = "the first frame" if begin is None else f"the snapshot at sequence {begin}"
    return f"a server begins with {origin} and comes to sequence {damage['start_sequence']}: no state is lost"


def _remedy(damage: Mapping[str, Any]) -> str:
    if damage["start_refused"] is None:
        return (
            "take a backup now; readers of the history meet the damage, so keep an earlier backup made with --archive"
        )
    if damage.get("entry") is not None:
        return (
            "keep these keys; put Redis back from a copy of it if there is one, else restore the newest backup into a "
            "directory or into another Redis (`invengine backup restore`); what that lacks can be read here up to the "
            "damage; without a backup begin an empty ledger of another name"
        )
    return (
        "keep this directory; put back the damaged file if there is a copy of it, else restore the newest backup "
        "elsewhere (`invengine backup restore`); what that lacks can be read here up to the damage; without a backup "
        "`serve --force-empty` sets everything aside and begins an empty ledger"
    )
