"""Backups of a journal in Redis and back, by the command line: what it prints, what it refuses, and with which code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from invengine import _core
from invengine.cli.exits import ExitCode
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import types_pb2 as types

from ..conformance.redis_server import RedisServer, free_port, redis_server
from ..faults.redis_server import programs
from .environment import all_of, ask, begin_journal, begin_redis_journal
from .scripted import CommandLine, Ran
from .test_cli_doctor import checks

pytestmark = pytest.mark.needs_tool("redis-server")

PASSWORD = "s3cr-t"
FRAMES = "invengine:{main}:frames"
RECEIVE = "/invengine.v1.InventoryService/Receive"
SNAPSHOT = "/invengine.v1.AdminService/CreateSnapshot"


@pytest.fixture(params=programs())
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis, then a Valkey."""
    with redis_server(programs()[request.param], tmp_path / "redis") as server:
        yield server


def work(settings: dict[str, Any], receipts: int, *, from_number: int = 0) -> None:
    """Runs an engine that receives goods, with a snapshot half way."""
    engine = _core.Engine.open(json.dumps({"auto_create": True, **settings}))
    for number in range(from_number, from_number + receipts):
        lines = [inventory.StockLine(sku="MUG", location="berlin", quantity=1)]
        context = types.CommandContext(idempotency_key=f"k{number}")
        engine.call(RECEIVE, inventory.ReceiveRequest(context=context, lines=lines).SerializeToString())
        if number == from_number + receipts // 2:
            engine.call(SNAPSHOT, b"")
    engine.close()


def in_redis(server: RedisServer) -> tuple[str, ...]:
    """Flags that name the journal there."""
    return ("--journal", "redis", "--redis-url", server.url)


def facts(ran: Ran) -> dict[str, Any]:
    """The object of a command that has ended well."""
    assert ran.code == ExitCode.OK, ran
    (found,) = ran.objects
    return found


def test_a_journal_moves_from_files_to_redis_and_back(line: CommandLine, server: RedisServer, tmp_path: Path) -> None:
    there, first, second = tmp_path / "journal", tmp_path / "first", tmp_path / "second"
    work({"directory": str(there)}, 20)
    made = facts(line.run("backup", "create", str(first), "--directory", str(there), "--json"))
    restored = facts(line.run("backup", "restore", str(first), *in_redis(server), "--json"))
    assert (restored["digest"], restored["sequence"]) == (made["digest"], made["sequence"])
    assert restored["restored_epoch"] > made["writer_epoch"]
    assert (restored["journal"], restored["sources"]) == ("redis", [])
    settings = {"journal": "redis", "redis_url": server.url}
    work(settings, 20, from_number=15)
    before = all_of(server)
    verified = facts(line.run("verify", *in_redis(server), "--json"))
    # Five of the twenty were repeats.
    assert verified["sequence"] > made["sequence"]
    assert [each["bad"] for each in verified["snapshots"]] == [None, None]
    made = facts(line.run("backup", "create", str(second), *in_redis(server), "--archive", "--json"))
    assert all_of(server) == before
    assert (made["digest"], made["sequence"]) == (verified["digest"], verified["sequence"])
    reported = line.run("backup", "restore", str(second), "--directory", str(tmp_path / "back"))
    assert reported.code == ExitCode.OK
    assert "start a server on this directory and never on the lost one again" in reported.out
    work({"directory": str(tmp_path / "back")}, 1, from_number=30)
    back = facts(line.run("verify", str(tmp_path / "back"), "--at", str(made["sequence"]), "--json"))
    assert back["digest"] == made["digest"]


def test_what_is_there_is_never_written_over(line: CommandLine, server: RedisServer, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    begin_redis_journal(server)
    facts(line.run("backup", "create", str(backup), *in_redis(server), "--json"))
    before = all_of(server)
    for arguments, code, words in (
        (("restore", str(backup), *in_redis(server)), ExitCode.USAGE, "is not empty: it holds a journal"),
        (("create", str(backup), *in_redis(server)), ExitCode.USAGE, "is not empty: it holds"),
        (("restore", str(backup), *in_redis(server), "--ledger", "eu"), ExitCode.USAGE, "belongs to ledger"),
        (("restore", str(tmp_path / "none"), *in_redis(server)), ExitCode.CORRUPT, "no backup was finished here"),
    ):
        ran = line.run("backup", *arguments)
        assert (ran.code, words in ran.err, ran.out) == (code, True, ""), ran
        assert len(ran.err.splitlines()) == 1
    assert all_of(server) == before


def test_an_unfinished_restore_is_not_a_ledger(line: CommandLine, server: RedisServer, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    begin_journal(tmp_path / "journal")
    made = facts(line.run("backup", "create", str(backup), "--directory", str(tmp_path / "journal"), "--json"))
    # What a restore that was killed leaves.
    ask(server, "HSET invengine:{main}:state restoring 123", f"XADD {FRAMES} 9-0 frame x")
    for arguments in (("serve", "--address", "127.0.0.1:0"), ("verify",), ("backup", "create", str(tmp_path / "x"))):
        ran = line.run(*arguments, *in_redis(server))
        assert ran.code == ExitCode.USAGE, ran
        assert "a restore that was not finished: run `invengine backup restore` into it again" in ran.err
    found = checks(line.run("doctor", *in_redis(server), "--json"))["keys"]
    assert (found["level"], "backup restore" in found["found"] + found["remedy"]) == ("error", True)
    restored = facts(line.run("backup", "restore", str(backup), *in_redis(server), "--json"))
    assert restored["digest"] == made["digest"]
    assert checks(line.run("doctor", *in_redis(server), "--json"))["keys"]["level"] == "ok"


@pytest.mark.parametrize("command", ["create", "verify"])
def test_bad_addresses_are_refused_in_one_line(
    line: CommandLine, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    backup = tmp_path / "backup"
    run = ("verify",) if command == "verify" else ("backup", "create", str(backup))

    def check(code: ExitCode, *words: str, flags: tuple[str, ...] = in_redis(server)) -> None:
        before = all_of(server)
        ran = line.run(*run, *flags)
        assert ran.code == code, ran
        assert [word for word in words if word not in ran.err] == []
        assert PASSWORD not in ran.out + ran.err
        assert len(ran.err.splitlines()) == 1
        assert not backup.exists()
        assert all_of(server) == before

    check(ExitCode.USAGE, "no journal is there", "--ledger")
    nowhere = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}"
    check(ExitCode.FAULT, "cannot reach Redis", flags=("--journal", "redis", "--redis-url", nowhere))
    check(ExitCode.USAGE, "redis_url must be", flags=("--journal", "redis", "--redis-url", f"http://:{PASSWORD}@h"))
    check(ExitCode.USAGE, "nothing is kept", flags=("--journal", "memory"))
    check(ExitCode.USAGE, "--ledger names a ledger in Redis", flags=("--journal", "file", "--ledger", "eu"))
    begin_redis_journal(server)
    monkeypatch.setenv("INVENGINE_REDIS_USERNAME", "app")
    monkeypatch.setenv("INVENGINE_REDIS_PASSWORD", PASSWORD)
    check(ExitCode.USAGE, "WRONGPASS", "INVENGINE_REDIS_PASSWORD")
    ask(server, f"ACL SETUSER app reset on >{PASSWORD} +ping")
    check(ExitCode.FAULT, "NOPERM", "docs/operations.md")
    monkeypatch.delenv("INVENGINE_REDIS_USERNAME")
    monkeypatch.delenv("INVENGINE_REDIS_PASSWORD")
    ask(server, "HSET invengine:{main}:state format 9")
    check(ExitCode.USAGE, "journal format 9", "start the newer version")


def test_a_directory_and_redis_exclude_each_other(line: CommandLine, server: RedisServer, tmp_path: Path) -> None:
    ran = line.run("verify", str(tmp_path), *in_redis(server))
    assert (ran.code, "name either the directory" in ran.err) == (ExitCode.USAGE, True)


def test_damage_is_reported_with_its_entry(line: CommandLine, server: RedisServer, tmp_path: Path) -> None:
    work({"journal": "redis", "redis_url": server.url, "snapshot_interval_ms": 0}, 12)
    with redis_client.Redis(port=server.port) as connection:
        client: Any = connection
        entries = client.xrange(FRAMES)
        client.delete(FRAMES)
        for number, (entry, fields) in enumerate(entries):
            frame = fields[b"frame"]
            client.xadd(FRAMES, {"frame": frame[:-1] + b"!" if number == 9 else frame}, id=entry)
    damaged = entries[9][0].decode()
    ran = line.run("verify", *in_redis(server))
    assert ran.code == ExitCode.CORRUPT
    assert f"corrupt: entry {damaged} of {FRAMES} of Redis" in ran.err
    for start in ("damage: entry", "whole: every frame to sequence", "behind: whole frames (", "start: ", "remedy: "):
        assert start in ran.out
    ran = line.run("backup", "create", str(tmp_path / "backup"), *in_redis(server))
    assert (ran.code, damaged in ran.err) == (ExitCode.CORRUPT, True)
    assert line.run("backup", "restore", str(tmp_path / "backup"), "--directory", "x").code == ExitCode.CORRUPT
