"""The doctor on directories: what it finds, what it thinks of it, and that it leaves everything as it was."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from invengine.cli.doctor_rules import GIB, MIB, Level, judge
from invengine.cli.exits import ExitCode
from invengine.cli.machine import machine_facts, memory_bytes

from .environment import begin_journal, files_in, make_newer, mounted, without_privileges
from .scripted import CommandLine, Ran
from .test_cli_server import process, ready, serve


def checks(ran: Ran) -> dict[str, dict[str, Any]]:
    """The findings by check; every line that is not ok must have a remedy."""
    found = {each["check"]: each for each in ran.objects}
    assert all((each["level"] == "ok") == (each["remedy"] == "") for each in found.values()), found
    errors = [name for name, each in found.items() if each["level"] == "error"]
    assert ran.code == (ExitCode.UNFIT if errors else ExitCode.OK), ran
    assert len(ran.err.splitlines()) == bool(errors), ran.err
    assert all(name in ran.err for name in errors)
    return found


def examined(line: CommandLine, directory: Path, *more: str) -> dict[str, dict[str, Any]]:
    """What the doctor finds of a directory, which is as it was afterwards."""
    before = files_in(directory)
    found = checks(line.run("doctor", "--directory", str(directory), "--json", *more))
    assert files_in(directory) == before
    return found


def test_a_healthy_directory(line: CommandLine, tmp_path: Path) -> None:
    begin_journal(tmp_path / "journal")
    found = examined(line, tmp_path / "journal")
    assert {found[name]["level"] for name in ("directory", "free space", "lock", "journal", "address")} == {"ok"}
    assert found["journal"]["found"].startswith("of ledger main: 1 file,")
    assert "of 50" in found["sync time"]["found"]
    assert found["loss window"]["found"].startswith("nothing that was acknowledged")
    assert {"file system", "clock", "memory"} <= set(found)


def test_people_get_a_line_for_each_check(line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    ran = line.run("doctor", "--directory", "journal", "--ledger", "eu")
    lines = ran.out.splitlines()
    assert ran.code == 0
    assert all(text.split()[0] in ("ok", "warning") for text in lines)
    assert "ok       journal           none yet; a server starts that of ledger eu" in lines


def test_a_directory_that_does_not_exist_is_not_created(line: CommandLine, tmp_path: Path) -> None:
    found = examined(line, tmp_path / "one" / "two")
    assert found["directory"]["level"] == "ok"
    assert "a server creates it" in found["directory"]["found"]
    assert found["sync time"]["level"] == "warning"
    assert "Create the directory" in found["sync time"]["remedy"]
    assert not (tmp_path / "one").exists()


def test_a_file_is_no_directory(line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("mine")
    for directory in (tmp_path / "journal", tmp_path / "journal" / "deeper"):
        found = examined(line, directory)["directory"]
        assert found["level"] == "error"
        assert "is not a directory" in found["found"]
        assert "--directory" in found["remedy"]


def test_a_backup_is_no_journal(line: CommandLine, tmp_path: Path) -> None:
    begin_journal(tmp_path / "journal")
    assert line.run("backup", "create", str(tmp_path / "copy"), "--directory", str(tmp_path / "journal")).code == 0
    found = examined(line, tmp_path / "copy")["journal"]
    assert found["level"] == "error"
    assert "backup.json" in found["found"]


@pytest.mark.needs_root
def test_a_read_only_directory(line: CommandLine, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ro"):
        for directory in (tmp_path / "disk", tmp_path / "disk" / "new"):
            found = examined(line, directory)
            assert found["directory"]["level"] == "error"
            assert "Read-only file system" in found["directory"]["found"]
            assert "Let this user write there" in found["directory"]["remedy"]


@pytest.mark.needs_tool("setpriv")
def test_a_directory_of_others(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    directory.mkdir(mode=0o555)
    command = [*without_privileges(), sys.executable, "-m", "invengine.cli", "doctor", "--directory", str(directory)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for place in (directory, directory / "new"):
        ran = subprocess.run([*command[:-1], str(place)], capture_output=True, text=True, env=environment, check=False)
        assert ran.returncode == ExitCode.UNFIT, ran
        (text,) = [text for text in ran.stdout.splitlines() if text.split()[1] == "directory"]
        assert text.startswith("error")
        assert "Permission denied" in text
    assert list(directory.iterdir()) == []


@pytest.mark.needs_root
def test_a_full_small_disk_in_memory(line: CommandLine, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m"):
        found = examined(line, tmp_path / "disk")
        assert (found["free space"]["level"], found["file system"]["level"]) == ("error", "warning")
        assert "tmpfs" in found["file system"]["found"]
        assert "1.0 MiB" in found["free space"]["found"]
        (tmp_path / "disk" / "fill").write_bytes(bytes(1 << 20))
        found = examined(line, tmp_path / "disk")
        assert (found["directory"]["level"], found["sync time"]["level"]) == ("ok", "warning")
        assert "0.0 MiB" in found["free space"]["found"]


def test_a_directory_with_a_server(line: CommandLine, tmp_path: Path) -> None:
    with process(*serve("python", tmp_path / "journal")) as server:
        ready(server)
        found = examined(line, tmp_path / "journal")
        assert found["lock"]["level"] == "warning"
        assert f"held by process {server.pid}" in found["lock"]["found"]
        assert "of 50" in found["sync time"]["found"]
        server.terminate()
        assert server.wait(30) == 0
    assert examined(line, tmp_path / "journal")["lock"]["level"] == "ok"


def test_journals_that_no_server_opens(line: CommandLine, tmp_path: Path) -> None:
    begin_journal(tmp_path / "north", "north")
    found = examined(line, tmp_path / "north", "--ledger", "south")["journal"]
    assert found["level"] == "error"
    assert 'belongs to ledger "north"' in found["found"]
    assert found["remedy"] == "Name the right ledger or another place."
    make_newer(tmp_path / "north")
    found = examined(line, tmp_path / "north", "--ledger", "north")["journal"]
    assert (found["level"], found["remedy"]) == ("error", "Start the newer version.")
    (file,) = (tmp_path / "north").glob("journal-*")
    file.write_bytes(b"mine")
    found = examined(line, tmp_path / "north", "--ledger", "north")["journal"]
    assert found["level"] == "error"
    assert "shorter than its header" in found["found"]
    assert "do not delete it" in found["remedy"]


def test_an_address_that_others_reach(line: CommandLine) -> None:
    found = checks(line.run("doctor", "--journal", "memory", "--address", "0.0.0.0:7411", "--json"))
    assert (found["address"]["level"], found["metrics address"]["level"]) == ("error", "ok")
    assert found["journal"]["level"] == "warning"
    assert found["loss window"]["found"] == "everything, when the process ends"
    ran = line.run("doctor", "--journal", "memory", "--address", "0.0.0.0:7411", "--insecure", "--json")
    assert checks(ran)["address"]["level"] == "ok"


GOOD: Mapping[str, Any] = {
    "kind": "file",
    "ledger": "main",
    "directory": "here",
    "exists": True,
    "unwritable": None,
    "file_system": "ext4",
    "free_bytes": 64 * GIB,
    "journal_file_bytes": 64 * MIB,
    "syncs": {"count": 50, "median_us": 200, "worst_us": 900},
    "owner": None,
    "journal": None,
    "refused": None,
    "loss_window": "nothing",
    "key_bytes_max": 2 * GIB,
    "connections_max": 4096,
    "now_ms": 1_000_000,
    "clock_synchronised": True,
    "clock_error_ms": 3,
    "files_max": 65536,
    "memory_bytes": 8 * GIB,
    "address": "127.0.0.1:1",
    "metrics_address": "",
}


def levels(**changed: Any) -> dict[str, Level]:
    """What is not ok of facts that are good but for these."""
    return {found.check: found.level for found in judge({**GOOD, **changed}) if found.level is not Level.OK}


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        ({"file_system": "overlay"}, "file system", "warning"),
        ({"file_system": "nfs"}, "file system", "warning"),
        ({"free_bytes": 127 * MIB}, "free space", "error"),
        ({"free_bytes": 1023 * MIB}, "free space", "warning"),
        ({"syncs": {"count": 50, "median_us": 5_001, "worst_us": 6_000}}, "sync time", "warning"),
        ({"syncs": {"count": 50, "median_us": 200, "worst_us": 50_001}}, "sync time", "warning"),
        ({"clock_synchronised": None, "clock_error_ms": None}, "clock", "warning"),
        ({"clock_synchronised": False}, "clock", "warning"),
        (
            {"journal": {"files": 1, "snapshots": 0, "last_file_sequence": 1, "time_ms": 1_001_001}},
            "clock",
            "warning",
        ),
        ({"files_max": 4351}, "open files", "warning"),
        ({"memory_bytes": 3 * GIB - 1}, "memory", "warning"),
        ({"kind": "memory"}, "journal", "warning"),
    ],
)
def test_every_threshold_is_reported(changed: dict[str, Any], check: str, level: str) -> None:
    assert levels(**changed) == {check: level}


def test_exactly_the_threshold_is_ok() -> None:
    syncs = {"count": 50, "median_us": 5_000, "worst_us": 50_000}
    assert levels(syncs=syncs, free_bytes=GIB, files_max=4352, memory_bytes=3 * GIB) == {}
    assert levels(file_system=None, free_bytes=None, files_max=None, memory_bytes=None) == {}


def test_the_control_group_limits_memory(tmp_path: Path) -> None:
    machine = memory_bytes(tmp_path)
    assert machine == machine_facts()["memory_bytes"] or machine is not None
    (tmp_path / "proc/self").mkdir(parents=True)
    for text, limits, expected in [
        ("0::/a/b\n", {"a/memory.max": "4096\n", "a/b/memory.max": "max\n"}, 4096),
        ("9:cpu:/x\n4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "8192\n"}, 8192),
        ("0::/c\n", {"c/memory.max": "max\n"}, machine),
    ]:
        (tmp_path / "proc/self/cgroup").write_text(text)
        for name, value in limits.items():
            file = tmp_path / "sys/fs/cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value)
        assert memory_bytes(tmp_path) == expected


def test_an_address_in_use_is_reported(line: CommandLine, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        both = ("--address", f"127.0.0.1:{port}", "--metrics-address", f"127.0.0.1:{port}")
        found = examined(line, tmp_path / "journal", *both)
    for name in ("address", "metrics address"):
        assert found[name]["level"] == "error"
        assert "in use" in found[name]["found"]
        assert f"--{name.replace(' ', '-')}" in found[name]["remedy"]
    found = examined(line, tmp_path / "journal", *both)
    assert {found[name]["level"] for name in ("address", "metrics address")} == {"ok"}


def test_a_socket_is_free_if_its_server_is_gone(line: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "door"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert examined(line, tmp_path / "journal", "--address", f"unix:{path}")["address"]["level"] == "error"
    assert examined(line, tmp_path / "journal", "--address", f"unix:{path}")["address"]["level"] == "ok"


@pytest.mark.parametrize("door", ["native", "python"])
def test_the_address_of_the_server_that_has_the_directory_is_a_warning(
    line: CommandLine, tmp_path: Path, door: str
) -> None:
    with process(*serve(door, tmp_path / "journal")) as server:
        address = ready(server)["address"]
        found = checks(line.run("doctor", "--directory", str(tmp_path / "journal"), "--address", address, "--json"))
        assert (found["lock"]["level"], found["address"]["level"]) == ("warning", "warning")


def test_damage_that_a_start_would_refuse_is_reported(line: CommandLine, tmp_path: Path) -> None:
    begin_journal(tmp_path / "journal")
    begin_journal(tmp_path / "journal")
    (file,) = (tmp_path / "journal").glob("journal-*")
    with file.open("r+b") as stream:
        # In the first frame: another one follows, so that it is no torn tail.
        stream.seek(4096 + 20)
        stream.write(b"\xff")
    found = examined(line, tmp_path / "journal")["journal"]
    assert (found["level"], "corrupt" in found["found"]) == ("error", True)
