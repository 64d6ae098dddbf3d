"""`serve` on everything that it must refuse: one line with the remedy, the documented exit code, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from invengine.cli.exits import ExitCode

from ..conformance.redis_server import RedisServer, free_port, redis_server
from ..faults.redis_server import programs
from .environment import (
    all_of,
    ask,
    begin_journal,
    begin_redis_journal,
    files_in,
    functions,
    make_newer,
    mounted,
    without_privileges,
)
from .test_cli_server import process, ready, serve

PASSWORD = "s3cr-t"
WAIT_S = 60
NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Refused:
    """How a server ended."""

    code: int
    line: str


def refused(*more: str, before: Sequence[str] = (), settings: Mapping[str, str] = NONE) -> Refused:
    """Starts a server that must end by itself, with one line on stderr and nothing on stdout."""
    environment = os.environ | dict(settings) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = ("serve", "--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0", *more)
    command = [*before, sys.executable, "-m", "invengine.cli", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=WAIT_S, check=False)
    assert ran.stdout == ""
    lines = [line for line in ran.stderr.splitlines() if line.startswith("invengine: ")]
    assert lines[-1:] == ran.stderr.splitlines()[-1:], ran.stderr
    assert len(lines) == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    assert PASSWORD not in ran.stderr
    return Refused(ran.returncode, lines[0])


def check(found: Refused, code: ExitCode, *words: str) -> None:
    """The code, and what the line must say."""
    assert found.code == code, found
    for word in words:
        assert word in found.line, found


def kept_in(directory: Path) -> dict[str, str]:
    """All files except the lock, which has the last process that opened the directory."""
    return {name: content for name, content in files_in(directory).items() if name != "LOCK"}


def test_a_directory_of_another_ledger(tmp_path: Path) -> None:
    begin_journal(tmp_path / "journal", "eu")
    before = kept_in(tmp_path / "journal")
    found = refused("--directory", str(tmp_path / "journal"), "--ledger", "us")
    check(found, ExitCode.USAGE, '"eu"', "name the right ledger or another place")
    assert kept_in(tmp_path / "journal") == before


@pytest.mark.parametrize(
    ("ledger", "words"),
    [
        ("main ", 'a new ledger cannot be called "main ": it ends with a space; choose'),
        ("ma\u200bin", 'cannot be called "ma<U+200B>in": character 3 is U+200B'),
        ("\u00e4", "character 1 is U+00E4"),
        ("a\nb", '"a<U+000A>b"'),
        ("\u00e4" * 100, "1 to 128 bytes"),
        ("x" * 129, "128"),
    ],
)
@pytest.mark.parametrize("journal", ["file", "memory"])
def test_a_name_that_no_new_ledger_can_have(tmp_path: Path, journal: str, ledger: str, words: str) -> None:
    place = ("--directory", str(tmp_path / "journal")) if journal == "file" else ()
    check(refused("--journal", journal, *place, "--ledger", ledger), ExitCode.USAGE, "ledger", words)
    assert kept_in(tmp_path / "journal") == {}


@pytest.mark.needs_tool("redis-server")
def test_a_name_that_no_new_ledger_can_have_in_redis(server: RedisServer) -> None:
    check(refused_there(server, "--ledger", "main "), ExitCode.USAGE, '"main ": it ends with a space')
    keys, _ = all_of(server)
    assert keys == {}


def test_a_directory_of_a_newer_build(tmp_path: Path) -> None:
    begin_journal(tmp_path / "journal")
    make_newer(tmp_path / "journal")
    before = kept_in(tmp_path / "journal")
    check(
        refused("--directory", str(tmp_path / "journal")), ExitCode.USAGE, "journal format 2", "start the newer version"
    )
    assert kept_in(tmp_path / "journal") == before


def test_a_directory_of_a_running_server(tmp_path: Path) -> None:
    with process(*serve("native", tmp_path / "journal")) as server:
        ready(server)
        before = kept_in(tmp_path / "journal")
        found = refused("--directory", str(tmp_path / "journal"))
        check(
            found, ExitCode.IN_USE, f"in use by process {server.pid}", "stop that process or choose another directory"
        )
        assert kept_in(tmp_path / "journal") == before


def test_a_directory_without_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    found = refused("--directory", str(closed / "journal"), before=without_privileges())
    check(found, ExitCode.FAULT, "Permission denied", "fix the disk or its permissions")
    assert list(closed.iterdir()) == []


@pytest.mark.needs_root
def test_a_full_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m"):
        (tmp_path / "disk" / "fill").write_bytes(bytes((1 << 20) - (8 << 10)))
        found = refused("--directory", str(tmp_path / "disk" / "journal"))
        check(found, ExitCode.FAULT, "no space", "free some space")
        assert not list((tmp_path / "disk").rglob("journal-*"))


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("not a directory", encoding="utf-8")
    found = refused("--directory", str(tmp_path / "journal"))
    check(found, ExitCode.FAULT, str(tmp_path / "journal"))
    assert (tmp_path / "journal").read_text(encoding="utf-8") == "not a directory"


def test_no_redis_at_that_address() -> None:
    found = refused("--journal", "redis", "--redis-url", f"redis://127.0.0.1:{free_port()}")
    check(found, ExitCode.FAULT, "cannot reach Redis", "start it, or correct its address")


@pytest.fixture(params=programs())
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis, then a Valkey."""
    with redis_server(programs()[request.param], tmp_path / "redis") as server:
        yield server


def refused_there(server: RedisServer, *more: str, settings: Mapping[str, str] = NONE) -> Refused:
    """A server on this Redis that must end, and leave keys, functions and the working directory as they are."""
    before, here = all_of(server), files_in(Path("invengine-data"))
    found = refused("--journal", "redis", "--redis-url", server.url, *more, settings=settings)
    assert all_of(server) == before
    assert files_in(Path("invengine-data")) == here
    return found


@pytest.mark.needs_tool("redis-server")
def test_a_wrong_password_and_a_user_without_rights(server: RedisServer) -> None:
    user = {"INVENGINE_REDIS_USERNAME": "app", "INVENGINE_REDIS_PASSWORD": PASSWORD}
    check(refused_there(server, settings=user), ExitCode.USAGE, "WRONGPASS", "INVENGINE_REDIS_PASSWORD")
    ask(server, f"ACL SETUSER app reset on >{PASSWORD} +ping")
    check(refused_there(server, settings=user), ExitCode.FAULT, "NOPERM", "docs/operations.md")


@pytest.mark.needs_tool("redis-server")
def test_keys_of_others(server: RedisServer) -> None:
    ask(server, "SET invengine:{main}:state mine")
    check(refused_there(server), ExitCode.USAGE, "invengine:{main}:state", "it is a string", "choose another place")
    ask(server, "DEL invengine:{main}:state", "HSET invengine:{main}:state a b", "XADD invengine:{main}:frames 1-0 a b")
    check(refused_there(server), ExitCode.USAGE, "no journal wrote it", "choose another place")


@pytest.mark.needs_tool("redis-server")
def test_other_functions(server: RedisServer) -> None:
    ask_library(server, functions(1))
    check(refused_there(server), ExitCode.USAGE, "library invengine_journal", "version 1")


@pytest.mark.needs_tool("redis-server")
def test_a_journal_of_another_ledger_or_of_a_newer_build(server: RedisServer) -> None:
    begin_redis_journal(server)
    ask(server, "HSET invengine:{main}:state ledger eu")
    check(refused_there(server), ExitCode.USAGE, '"eu"', "name the right ledger")
    ask(server, "HSET invengine:{main}:state ledger main", "HSET invengine:{main}:state format 9")
    check(refused_there(server), ExitCode.USAGE, "journal format 9", "start the newer version")


@pytest.mark.needs_tool("redis-server")
def test_a_server_that_does_not_satisfy_the_mode(server: RedisServer) -> None:
    ask(server, "CONFIG SET appendfsync everysec")
    check(refused_there(server), ExitCode.USAGE, "redis_ack fsync", "appendfsync always")
    ask(server, "CONFIG SET appendfsync always", "CONFIG SET maxmemory-policy allkeys-lru")
    check(refused_there(server), ExitCode.USAGE, "allkeys-lru", "noeviction")
    ask(server, "CONFIG SET maxmemory-policy noeviction")
    check(refused_there(server, "--redis-ack", "replicated"), ExitCode.USAGE, "redis_ack replicated", "replica")


def ask_library(server: RedisServer, code: str) -> None:
    """Loads functions as an administrator does."""
    import redis

    with redis.Redis(port=server.port) as connection:
        connection.execute_command("FUNCTION", "LOAD", "REPLACE", code)
