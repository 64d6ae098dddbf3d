"""A start with a wrong clock: refused before anything is claimed, accepted by a person who knows, and the way out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from invengine import errors
from invengine.cli.exits import ExitCode
from invengine.client import Client, Item, Location
from invengine.client.draft import CommandFields

from ..conformance.clock import COMPILERS, WallClock
from ..conformance.server import server_environment, start_server
from .scripted import CommandLine
from .test_cli_bad_starts import kept_in
from .test_cli_doctor import checks

DOORS = ("native", "python")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WAIT_S = 60
has_compiler = pytest.mark.needs_tool(*COMPILERS)


def begin(workspace: Path, environment: Mapping[str, str], door: str = "native", ahead_ms: int = 0) -> Path:
    """Leaves a ledger in which a hold has expired under this clock, which its clients share."""
    fields = CommandFields(issue_time=datetime.now(UTC) + timedelta(milliseconds=ahead_ms))
    directory = workspace / "journal"
    server = start_server(workspace, "--door", door, "--directory", str(directory), environment=environment)
    with Client(server.address) as client:
        client.upsert_items([Item("MUG")], **fields)
        client.upsert_locations([Location("berlin")], **fields)
        client.receive([("MUG", "berlin", 9)], **fields)
        client.reserve([("MUG", "berlin", 1)], ttl_s=1, **fields)
        deadline = time.monotonic() + WAIT_S
        while not any(event.kind == "expired" for event in client.read_events()):
            assert time.monotonic() < deadline, "the hold does not expire"
            time.sleep(0.1)
    server.stop()
    return directory


def refused(directory: Path, environment: Mapping[str, str], *more: str) -> str:
    """The line of a server that does not start, for the documented code; nothing but the lock was written."""
    before = kept_in(directory)
    command = [sys.executable, "-m", "invengine.cli", "serve", "--address", "127.0.0.1:0", "--metrics-address", ""]
    ran = subprocess.run(
        [*command, "--directory", str(directory), *more],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env=server_environment(environment),
        check=False,
    )
    assert ran.returncode == ExitCode.UNFIT, ran.stderr
    assert kept_in(directory) == before
    return ran.stderr.splitlines()[-1]


@has_compiler
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("days", [2, 400])
def test_one_start_with_a_fast_clock_does_not_lock_the_ledger(
    line: CommandLine, tmp_path: Path, door: str, days: int
) -> None:
    clock = WallClock(tmp_path / "clock")
    clock.step(days * DAY_MS)
    directory = begin(tmp_path / "fast", clock.environment, door, days * DAY_MS)
    # The clock is right again: the start is refused, doctor reports it, and both lines have the remedy.
    line_of_serve = refused(directory, {}, "--door", door)
    assert "--accept-clock" in line_of_serve
    assert f"{days:.1f} days before the ledger's last event" in line_of_serve
    found = checks(line.run("doctor", "--directory", str(directory), "--address", "127.0.0.1:0", "--json"))["clock"]
    assert (found["level"], "--accept-clock" in found["remedy"]) == ("error", True)
    long_ago = datetime.now(UTC) - timedelta(seconds=5)
    for flags in (["--accept-clock"], []):
        server = start_server(tmp_path, "--door", door, "--directory", str(directory), *flags)
        with Client(server.address) as client:
            # A right clock is served again, by a random key and by one of the caller's.
            client.reserve([("MUG", "berlin", 1)])
            kept = client.reserve([("MUG", "berlin", 1)], key=f"mine-{len(flags)}")
            assert client.reserve([("MUG", "berlin", 1)], key=f"mine-{len(flags)}").receipt.replayed
            assert kept.expire_time - datetime.now(UTC) > timedelta(days=days), "times are engine time"
            with pytest.raises(errors.DedupeWindowExpired):
                client.reserve([("MUG", "berlin", 1)], key="before", issue_time=long_ago)
            corrected = [event for event in client.read_events() if event.kind == "clock_corrected"]
            assert len(corrected) == 1, "by the start that said so, and by no other"
        server.stop()
    report = line.run("verify", str(directory), "--json")
    assert report.code == ExitCode.OK, report
    assert report.objects[0]["events"]["clock_corrected"] == 1


@has_compiler
def test_an_unsynchronised_clock_is_refused_a_day_ahead_of_the_journal(line: CommandLine, tmp_path: Path) -> None:
    directory = begin(tmp_path / "right", {})
    clock = WallClock(tmp_path / "clock")
    clock.step(2 * DAY_MS)
    clock.synchronised(False)
    assert "nothing keeps it right" in refused(directory, clock.environment)
    clock.synchronised(True)
    start_server(tmp_path, "--directory", str(directory), environment=clock.environment).stop()
    clock.step(4 * DAY_MS)
    clock.synchronised(False)
    server = start_server(tmp_path, "--directory", str(directory), "--accept-clock", environment=clock.environment)
    with Client(server.address) as client:
        kinds = [event.kind for event in client.read_events()]
    server.stop()
    assert "clock_corrected" not in kinds, "a clock ahead of the journal needs no correction"


@has_compiler
def test_an_empty_ledger_and_a_faster_one_start_with_any_clock(tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    clock.synchronised(False)
    for step_ms in (10 * DAY_MS, -10 * DAY_MS):
        clock.step(step_ms)
        start_server(tmp_path, "--directory", str(tmp_path / "empty"), environment=clock.environment).stop()
    directory = begin(tmp_path / "right", {})
    for step_ms in (10 * DAY_MS, -10 * DAY_MS):
        clock.step(step_ms)
        flags = ("--directory", str(directory), "--time-scale", "2")
        start_server(tmp_path, *flags, environment=clock.environment).stop()


def test_accept_clock_is_a_flag_for_one_start(
    line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "INVENGINE_ACCEPT_CLOCK", "1")
    ran = line.run("doctor", "--directory", str(tmp_path / "journal"))
    assert ran.code == ExitCode.USAGE
    assert "--accept-clock for one start" in ran.err
