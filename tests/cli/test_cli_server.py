"""The command line against real servers of both doors: a sale from catalogue to verify, and every way to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from invengine.cli.exits import ExitCode

from .scripted import CommandLine

WAIT_S = 30
DOORS = ("native", "python")


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Starts `invengine` as a process of its own and makes sure that it is gone afterwards."""
    started = subprocess.Popen(
        [sys.executable, "-m", "invengine.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate(timeout=WAIT_S)


def ready(server: subprocess.Popen[str]) -> dict[str, Any]:
    """The ready line of a server."""
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        raise AssertionError(server.communicate(timeout=WAIT_S)[1])
    found: dict[str, Any] = json.loads(line)
    return found


def serve(door: str, directory: Path, *more: str) -> tuple[str, ...]:
    addresses = ("--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0")
    return ("serve", "--door", door, "--directory", str(directory), *addresses, "--json", *more)


@pytest.mark.parametrize("door", DOORS)
def test_a_sale_from_catalogue_to_verify(line: CommandLine, tmp_path: Path, door: str) -> None:
    directory = tmp_path / "journal"
    with process(*serve(door, directory)) as server:
        reported = ready(server)

        def run(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
            ran = line.run(*arguments, "--target", reported["address"], "--json")
            assert ran.code == code, ran
            return ran.objects

        run("catalogue", "items", "add", "MUG")
        run("catalogue", "locations", "add", "berlin")
        run("catalogue", "channels", "add", "web")
        run("stock", "receive", "MUG@berlin=10", "--reference", "note-1")
        (held,) = run("reserve", "MUG@berlin=3", "--channel", "web", "--key", "k1")
        (again,) = run("reserve", "MUG@berlin=3", "--channel", "web", "--key", "k1")
        assert again["receipt"]["replayed"]
        assert again["holds"][0]["reservation_id"] == held["holds"][0]["reservation_id"]
        assert run("availability", "MUG@berlin")[0]["available"] == 7
        run("reserve", "MUG@berlin=8", code=ExitCode.REJECTED)
        reservation_id = held["holds"][0]["reservation_id"]
        run("allocate", reservation_id, "--order-ref", "o-1", "--channel", "web")
        run("fulfill", "--order", "o-1", "--channel", "web")
        (level,) = run("stock", "show", "MUG", "berlin")
        assert (level["on_hand"], level["available"], level["allocated"]) == (7, 7, 0)
        assert [each["kind"] for each in run("events", "tail", "--from", "1")][-1] == "fulfilled"
        (status,) = run("status", "--metrics-address", reported["metrics_address"])
        assert (status["door"], status["ledger"]) == (door, "main")
        assert status["commands_accepted"] > 0

        server.send_signal(signal.SIGTERM)
        assert server.wait(WAIT_S) == ExitCode.OK
    (report,) = line.run("verify", str(directory), "--at", str(status["digest_sequence"]), "--json").objects
    assert (report["digest"], report["sequence"]) == (status["digest"], status["digest_sequence"])


@pytest.mark.parametrize("door", DOORS)
def test_a_killed_server_remembers_what_it_acknowledged(line: CommandLine, tmp_path: Path, door: str) -> None:
    with process(*serve(door, tmp_path / "journal", "--auto-create")) as server:
        target = ready(server)["address"]
        assert line.run("stock", "receive", "MUG@berlin=5", "--key", "k1", "--target", target).code == 0
        server.kill()
        server.wait(WAIT_S)
    with process(*serve(door, tmp_path / "journal", "--auto-create")) as server:
        target = ready(server)["address"]
        assert line.run("availability", "MUG", "--target", target, "--json").objects[0]["available"] == 5
        (again,) = line.run("stock", "receive", "MUG@berlin=5", "--key", "k1", "--target", target, "--json").objects
        assert again["receipt"]["replayed"]


def test_a_second_server_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    with process(*serve("python", tmp_path / "journal")) as first:
        ready(first)
        with process(*serve("python", tmp_path / "journal")) as second:
            _, errors = second.communicate(timeout=WAIT_S)
            assert second.returncode == ExitCode.IN_USE, errors
            assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("door", DOORS)
def test_a_taken_address_is_refused(tmp_path: Path, door: str) -> None:
    with process(*serve(door, tmp_path / "one")) as first:
        address = ready(first)["address"]
        with process(*serve(door, tmp_path / "two"), "--address", address) as second:
            _, errors = second.communicate(timeout=WAIT_S)
            assert second.returncode == ExitCode.IN_USE, errors
            assert len(errors.splitlines()) == 1


def test_the_ready_file_comes_when_calls_are_taken_and_goes_at_the_end(tmp_path: Path) -> None:
    note = tmp_path / "ready.json"
    with process(*serve("python", tmp_path / "journal", "--ready-file", str(note))) as server:
        reported = ready(server)
        assert json.loads(note.read_text())["address"] == reported["address"]
        server.send_signal(signal.SIGINT)
        assert server.wait(WAIT_S) == ExitCode.OK
    assert not note.exists()


@pytest.mark.parametrize("door", DOORS)
def test_a_snapshot_shows_in_status_and_after_a_restart(line: CommandLine, tmp_path: Path, door: str) -> None:
    reported: dict[str, Any] = {}

    def run(*arguments: str) -> dict[str, Any]:
        ran = line.run(*arguments, "--target", reported["address"], "--json")
        assert ran.code == 0, ran
        return ran.objects[0]

    for start in range(2):
        with process(*serve(door, tmp_path / "journal", "--auto-create")) as server:
            reported = ready(server)
            if start == 0:
                before = run("status")
                assert (before["snapshot_sequence"], before["snapshot_time"]) == (0, None)
                run("stock", "receive", "MUG@berlin=5")
                taken = run("snapshot")["snapshot_sequence"]
            status = run("status")
            assert status["snapshot_sequence"] == taken == status["durable_sequence"]
            assert status["snapshot_time"] is not None
            assert run("availability", "MUG@berlin")["available"] == 5
            server.kill()
            server.wait(WAIT_S)


def test_a_journal_in_memory_has_no_snapshots(line: CommandLine) -> None:
    with process("dev", "--address", "127.0.0.1:0", "--journal", "memory", "--json") as server:
        ran = line.run("snapshot", "--target", ready(server)["address"])
        assert ran.code == ExitCode.REJECTED
        assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("journal", ["memory", "file"])
def test_dev_has_a_sample_catalogue(line: CommandLine, journal: str) -> None:
    with process("dev", "--address", "127.0.0.1:0", "--journal", journal, "--json") as server:
        target = ready(server)["address"]
        assert line.run("reserve", "MUG@berlin=2", "--channel", "web", "--target", target).code == 0
        assert line.run("stock", "show", "LAMP", "berlin", "--target", target, "--json").objects[0]["available"] == 5


@pytest.mark.case("E04")
def test_verify_of_a_damaged_journal_is_code_4(line: CommandLine, tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    with process(*serve("python", directory, "--auto-create")) as server:
        target = ready(server)["address"]
        for number in range(1, 4):
            ran = line.run("stock", "receive", f"MUG@berlin={number}", "--key", f"r-{number}", "--target", target)
            assert ran.code == 0
        server.send_signal(signal.SIGTERM)
        assert server.wait(WAIT_S) == ExitCode.OK
    assert line.run("verify", str(directory)).code == ExitCode.OK
    file = max((each for each in directory.iterdir() if each.is_file()), key=lambda each: each.stat().st_size)
    content = bytearray(file.read_bytes())
    content[content.index(b"r-2")] ^= 1
    file.write_bytes(content)
    ran = line.run("verify", str(directory))
    assert ran.code == ExitCode.CORRUPT
    assert len(ran.err.splitlines()) == 1
    for word in ("damage:", "whole: every frame to sequence", "behind:", "start: a server refuses", "remedy:"):
        assert word in ran.out
    (report,) = line.run("verify", str(directory), "--json").objects
    assert report["damage"]["file"] == str(file)
    assert 0 < report["damage"]["whole_sequence"] < report["damage"]["last_sequence_behind"]
    whole = line.run("verify", str(directory), "--at", str(report["damage"]["whole_sequence"]))
    assert whole.code == ExitCode.OK
    # Beyond the damage nothing is proved, and what is wrong is reported.
    assert line.run("verify", str(directory), "--at", "99999").code == ExitCode.CORRUPT


@pytest.mark.parametrize("door", DOORS)
def test_a_server_on_a_unix_socket_is_called_by_its_path(line: CommandLine, tmp_path: Path, door: str) -> None:
    address = f"unix:{tmp_path}/socket"
    flags = ("--address", address, "--metrics-address", "", "--directory", str(tmp_path / "journal"))
    with process("serve", "--door", door, *flags, "--json") as server:
        assert ready(server)["address"] == address
        assert line.run("catalogue", "items", "add", "MUG", "--target", address).code == ExitCode.OK
        assert line.run("catalogue", "items", "list", "--target", address, "--json").objects[0]["sku"] == "MUG"
