"""`invengine serve`: runs a server until it is stopped."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from invengine.cli import flags
from invengine.cli.exits import ExitCode, InUseError, UsageProblemError
from invengine.cli.options import Json, journal_settings_of
from invengine.cli.output import print_json, print_line
from invengine.cli.streams import standard_output
from invengine.settings import LogFormat, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invengine.service.lifetime import Core, Ready


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("serve")(serve)


def serve(
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
    force_empty: flags.ForceEmpty = False,
    accept_clock: flags.AcceptClock = False,
    ready_file: flags.ReadyFile = None,
    as_json: Json = False,
) -> int:
    """Serve a ledger until SIGTERM or Ctrl-C; accepted calls are answered before it ends.

    Prints one line when it accepts calls. A second signal ends it at once.
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
        force_empty=force_empty or None,
        accept_clock=accept_clock or None,
    )

    def announce(ready: Ready) -> None:
        note(ready)
        if as_json:
            print_json({"ready": True, "pid": os.getpid(), **dataclasses.asdict(ready)})
        else:
            print_line(ready_line(ready))
        ignore_lost_output()

    with ready_note(ready_file) as note:
        return run_server(loaded.settings, announce, as_json=as_json)


def ready_line(ready: Ready) -> str:
    """Returns the ready line."""
    metrics = f", metrics on {ready.metrics_address}" if ready.metrics_address else ""
    return (
        f"invengine ready on {ready.address} (ledger {ready.ledger}, {ready.journal} journal at sequence "
        f"{ready.sequence}, {ready.door} door{metrics})"
    )


def run_server(
    settings: Settings, announce: Callable[[Ready], None], *, as_json: bool = False, core: Core | None = None
) -> int:
    """Serves until the end and returns the exit code."""
    from invengine.service import lifetime
    from invengine.telemetry import configure_logging

    log_format = LogFormat.JSON if as_json else settings.log_format
    configure_logging(log_format.value, settings.log_level.value, sys.stderr)
    try:
        end = asyncio.run(lifetime.run(settings, announce, core))
    except OSError as error:
        # An error of a listener about its address has no errno; other errors are not about other processes.
        if error.errno not in (None, errno.EADDRINUSE):
            raise
        raise InUseError(str(error)) from None
    return ExitCode.FAULT if end is lifetime.EndReason.POISONED else ExitCode.OK


def ignore_lost_output() -> None:
    """Continues to serve if the output cannot be written; the exit code reports how the server ended."""
    out = standard_output()
    failure = "" if out is None else out.take_failure()
    if failure:
        print(f"invengine: serving, but the ready line could not be written ({failure})", file=sys.stderr)


@contextmanager
def ready_note(path: Path | None) -> Iterator[Callable[[Ready], None]]:
    """Yields a function that writes the ready file atomically; the file is removed when the server has ended."""

    def note(ready: Ready) -> None:
        if path is None:
            return
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_text(json.dumps({"pid": os.getpid(), **dataclasses.asdict(ready)}) + "\n", encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise UsageProblemError(f"cannot write --ready-file {path}: {error.strerror}") from None

    try:
        yield note
    finally:
        if path is not None:
            path.unlink(missing_ok=True)
