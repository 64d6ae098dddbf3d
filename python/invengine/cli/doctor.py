"""`invengine doctor`: checks what a server would depend on, before it starts."""

from __future__ import annotations

import json
from typing import Any

import typer

from invengine.cli import flags
from invengine.cli.doctor_rules import Finding, Level, judge
from invengine.cli.exits import UnfitError
from invengine.cli.machine import machine_facts
from invengine.cli.options import Json, journal_settings_of
from invengine.cli.output import print_json, print_line
from invengine.cli.streams import GREEN, RED, YELLOW, styled
from invengine.service.address import AddressError, check_address, why_not_free
from invengine.service.lifetime import engine_settings
from invengine.settings import Settings

_STYLES = {Level.OK: GREEN, Level.WARNING: YELLOW, Level.ERROR: RED}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor")(doctor)


def doctor(
    context: typer.Context,
    address: flags.Address = None,
    journal: flags.Journal = None,
    directory: flags.Directory = None,
    redis_url: flags.RedisUrl = None,
    redis_ack: flags.RedisAckFlag = None,
    ledger: flags.Ledger = None,
    door: flags.Door = None,
    threads: flags.Threads = None,
    time_scale: flags.TimeScale = None,
    auto_create: flags.AutoCreate = None,
    metrics_address: flags.MetricsAddress = None,
    drain_timeout_ms: flags.DrainTimeoutMs = None,
    insecure: flags.Insecure = None,
    accept_clock: flags.AcceptClock = False,
    ready_file: flags.ReadyFile = None,
    as_json: Json = False,
) -> None:
    """Check what `invengine serve` with the same flags would depend on: ok, warning or error, and what to do.

    Starts nothing. It reads the journal as a start does, unless a server has it open. It writes one scratch file in the
    directory of a file journal and removes it, and nothing in Redis.
    """
    loaded = journal_settings_of(
        context,
        address=address,
        journal=journal,
        directory=directory,
        redis_url=redis_url,
        redis_ack=redis_ack,
        ledger=ledger,
        door=door,
        threads=threads,
        time_scale=time_scale,
        auto_create=auto_create,
        metrics_address=metrics_address,
        drain_timeout_ms=drain_timeout_ms,
        insecure=insecure or None,
        accept_clock=accept_clock or None,
    )
    findings = list(judge(facts_of(loaded.settings)))
    for finding in findings:
        print_json(finding) if as_json else print_line(line_of(finding))
    errors = [finding.check for finding in findings if finding.level is Level.ERROR]
    if errors:
        raise UnfitError(f"a server could not run on this: fix {', '.join(errors)}")


def facts_of(settings: Settings) -> dict[str, Any]:
    """Returns all facts for the checks."""
    from invengine import _core

    facts: dict[str, Any] = json.loads(_core.examine(engine_settings(settings)))
    facts |= machine_facts()
    for name in ("address", "metrics_address"):
        facts[name] = getattr(settings, name)
        refused = _address_refused(name, facts[name], settings)
        facts[f"{name}_refused"] = refused
        facts[f"{name}_taken"] = None if refused or not facts[name] else why_not_free(facts[name])
    return facts


def line_of(finding: Finding) -> str:
    """Returns a finding as a line for people."""
    text = f"{finding.found}. {finding.remedy}" if finding.remedy else finding.found
    # Texts of a server must not contain control characters for the terminal.
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return f"{styled(f'{finding.level:<8}', _STYLES[finding.level])} {finding.check:<16}  {shown}"


def _address_refused(name: str, address: str, settings: Settings) -> str | None:
    try:
        if address:
            check_address(f"--{name.replace('_', '-')}", address, insecure=settings.insecure)
    except AddressError as error:
        return str(error)
    return None
