"""The journal of a command that reads or restores one without a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from invengine.cli.exits import UsageProblemError
from invengine.cli.options import journal_settings_of
from invengine.service.lifetime import engine_settings
from invengine.settings import JournalKind


@dataclass(frozen=True)
class OfflineJournal:
    """A durable journal."""

    settings: str
    """The engine's part of the settings, as JSON; it may hold a password."""
    name: str
    """Its name in messages."""
    directory: Path | None
    """Where its files are; None for Redis."""


def offline_journal(context: typer.Context, **flags: Any) -> OfflineJournal:
    """Returns the journal that flags and settings name; flags that are None were not given."""
    settings = journal_settings_of(context, **flags).settings
    if settings.journal is JournalKind.MEMORY:
        raise UsageProblemError("the journal is memory, of which nothing is kept: name --journal file or redis")
    if settings.journal is JournalKind.REDIS:
        if flags.get("directory") is not None:
            raise UsageProblemError("--directory names a journal in files: name either it or --journal redis")
        return OfflineJournal(engine_settings(settings), f"ledger {settings.ledger!r} in Redis", None)
    if flags.get("ledger") is not None:
        raise UsageProblemError("--ledger names a ledger in Redis: a directory holds only one")
    return OfflineJournal(engine_settings(settings), str(settings.directory), settings.directory)
