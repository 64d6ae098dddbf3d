"""The doctor on Redis and Valkey: what it finds, what it thinks of it, and that it leaves everything as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from ..conformance.redis_server import RedisServer, free_port, redis_server, wait_until
from ..faults.redis_server import programs
from .environment import all_of, ask, begin_redis_journal, documented_rights, functions, functions_version
from .scripted import CommandLine
from .test_cli_doctor import checks

pytestmark = pytest.mark.needs_tool("redis-server")

PASSWORD = "s3cr-t"


@pytest.fixture(params=programs())
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis, then a Valkey, with a limit of memory."""
    with redis_server(programs()[request.param], tmp_path / "redis", "--maxmemory", "256mb") as server:
        yield server


def examined(line: CommandLine, server: RedisServer, *more: str) -> dict[str, dict[str, Any]]:
    """What the doctor finds there; everything in the server is as it was, and no password is shown."""
    before = all_of(server)
    ran = line.run("doctor", "--journal", "redis", "--redis-url", server.url, "--json", *more)
    assert PASSWORD not in ran.out + ran.err
    found = checks(ran)
    assert all_of(server) == before
    return found


def levels(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What is not ok of a server; this machine is not what these tests are about."""
    aside = ("clock", "open files", "memory")
    return {name: each["level"] for name, each in found.items() if each["level"] != "ok" and name not in aside}


def become(monkeypatch: pytest.MonkeyPatch, server: RedisServer, rules: str) -> None:
    """Makes a user with these rules, and the doctor that user."""
    ask(server, f"ACL SETUSER app reset on >{PASSWORD} {rules}")
    monkeypatch.setenv("INVENGINE_REDIS_USERNAME", "app")
    monkeypatch.setenv("INVENGINE_REDIS_PASSWORD", PASSWORD)


def test_a_healthy_server_with_the_documented_user(
    line: CommandLine, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(monkeypatch, server, documented_rights())
    found = examined(line, server)
    assert levels(found) == {}
    assert found["functions"]["found"].startswith("not loaded yet")
    assert found["keys"]["found"].startswith("free")
    assert "writes" not in found
    begin_redis_journal(server, redis_username="app", redis_password=PASSWORD)
    found = examined(line, server)
    assert levels(found) == {}
    assert found["functions"]["found"] == f"version {functions_version()}"
    assert (found["writes"]["found"], found["acknowledgement"]["found"]) == (
        "accepted",
        "fsync, with appendonly yes, appendfsync always",
    )
    assert "at sequence 0, writer epoch 1" in found["keys"]["found"]
    # An administrator has loaded the functions: the user need not be able to.
    become(monkeypatch, server, documented_rights().replace("+function|load ", ""))
    assert levels(examined(line, server)) == {}


def test_the_loss_window_is_that_of_the_server_itself(line: CommandLine, server: RedisServer) -> None:
    from invengine import Engine
    from invengine.v1 import admin_service_pb2 as admin

    ask(server, "CONFIG SET appendfsync everysec")
    reported = examined(line, server, "--redis-ack", "everysec")["loss window"]["found"]
    engine = Engine.open(f'{{"journal": "redis", "redis_url": "{server.url}", "redis_ack": "everysec"}}')
    answer = engine.call("/invengine.v1.AdminService/GetServerInfo", b"")
    engine.close()
    assert reported == admin.GetServerInfoResponse.FromString(answer).loss_window
    assert reported.startswith("up to 2 s of acknowledged commands when the server's machine stops")


@pytest.mark.parametrize(
    ("setting", "ack", "check", "level", "remedy"),
    [
        (
            "appendfsync everysec",
            "fsync",
            "acknowledgement",
            "error",
            "CONFIG SET appendfsync always, or",
        ),
        (
            "appendfsync no",
            "everysec",
            "acknowledgement",
            "error",
            "CONFIG SET appendfsync everysec, or",
        ),
        ("appendonly no", "fsync", "acknowledgement", "error", "CONFIG SET appendonly yes"),
        (
            "no-appendfsync-on-rewrite yes",
            "fsync",
            "acknowledgement",
            "error",
            "CONFIG SET no-appendfsync-on-rewrite",
        ),
        ("appendonly no", "memory", "acknowledgement", "warning", "Choose another redis_ack than memory"),
        ("maxmemory-policy allkeys-lru", "fsync", "maxmemory-policy", "error", "CONFIG SET maxmemory-policy noev"),
        ("maxmemory 0", "fsync", "maxmemory", "warning", "Set maxmemory below the memory of the machine"),
        ("maxmemory 1mb", "fsync", "maxmemory", "error", "Raise maxmemory"),
        ("min-replicas-to-write 1", "fsync", "replicas", "error", "lower min-replicas-to-write"),
    ],
)
def test_a_weak_setting_is_reported(
    line: CommandLine, server: RedisServer, setting: str, ack: str, check: str, level: str, remedy: str
) -> None:
    ask(server, f"CONFIG SET {setting}")
    found = examined(line, server, "--redis-ack", ack)
    # The user of these tests is the administrator.
    assert levels(found) == {"rights": "warning", check: level}
    assert remedy in found[check]["remedy"]


def test_a_server_that_accepts_no_write_is_reported(line: CommandLine, server: RedisServer) -> None:
    begin_redis_journal(server)
    ask(server, "CONFIG SET min-replicas-to-write 1")
    found = examined(line, server)
    assert levels(found) == {"rights": "warning", "replicas": "error", "writes": "error"}
    assert "NOREPLICAS" in found["writes"]["found"]
    assert "Connect its replicas" in found["writes"]["remedy"]


def test_replicas_are_counted(line: CommandLine, server: RedisServer, tmp_path: Path) -> None:
    found = examined(line, server, "--redis-ack", "replicated")
    assert found["acknowledgement"]["level"] == "error"
    assert found["acknowledgement"]["remedy"] == "Connect one, or choose fsync."
    with redis_server(server.program, tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}") as replica:
        wait_until("a replica that follows", lambda: b"master_link_status:up" in replica.ask("INFO", "replication"))
        found = examined(line, server)
        assert found["replicas"]["level"] == "warning"
        assert "redis_ack replicated" in found["replicas"]["remedy"]
        assert "a failover to one of its 1 replicas loses what that had not received" in found["loss window"]["found"]
        found = examined(line, server, "--redis-ack", "replicated")
        waits = "no WAITAOF" not in found["replicas"]["found"]
        assert found["replicas"]["level"] == ("ok" if waits else "warning")
        assert ("its append-only file" in found["loss window"]["found"]) == waits
        found = checks(line.run("doctor", "--journal", "redis", "--redis-url", replica.url, "--json"))
        assert found["role"]["level"] == "error"
        assert "name the master in redis_url" in found["role"]["remedy"]


def test_rights_are_compared_with_the_documented_ones(
    line: CommandLine, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = [word for word in documented_rights().split() if word.startswith("+")]
    for missing in commands:
        become(monkeypatch, server, documented_rights().replace(f"{missing} ", "").removesuffix(f" {missing}"))
        found = examined(line, server)["rights"]
        assert (found["level"], found["found"]) == ("error", f"its user may not run {missing[1:]}")
    become(monkeypatch, server, documented_rights().replace("~invengine:*", "~other:*"))
    assert examined(line, server)["rights"]["level"] == "error"
    for more, named in [
        ("+xtrim", "xtrim"),
        ("+xsetid +flushall +acl", "flushall, xsetid"),
        ("+@all", "flushall, del"),
    ]:
        become(monkeypatch, server, f"{documented_rights()} {more}")
        found = examined(line, server)["rights"]
        assert found["level"] == "warning"
        assert f"may also run {named}" in found["found"]


def test_denied_access_is_reported_with_the_remedy(
    line: CommandLine, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*more: str) -> dict[str, Any]:
        found = checks(line.run("doctor", "--journal", "redis", "--redis-url", server.url, "--json", *more))
        assert levels(found) == {"connection": "error"}
        return found["connection"]

    become(monkeypatch, server, documented_rights())
    monkeypatch.setenv("INVENGINE_REDIS_PASSWORD", "wr0ng")
    assert "WRONGPASS" in refused()["found"]
    monkeypatch.delenv("INVENGINE_REDIS_PASSWORD")
    ask(server, f"ACL SETUSER default resetpass >{PASSWORD}")
    found = refused()
    assert "NOAUTH" in found["found"]
    assert "INVENGINE_REDIS_PASSWORD" in found["remedy"]
    url = f"redis://default:{PASSWORD}@127.0.0.1:{server.port}"
    ran = line.run("doctor", "--journal", "redis", "--redis-url", url, "--json")
    assert levels(checks(ran)) == {"rights": "warning"}
    assert PASSWORD not in ran.out + ran.err


def test_keys_and_functions_of_others_are_reported(line: CommandLine, server: RedisServer) -> None:
    ask(server, "SET invengine:{main}:frames mine")
    found = examined(line, server)["keys"]
    assert (found["level"], found["remedy"]) == ("error", "Move it elsewhere or choose another place.")
    begin_redis_journal(server, "north")
    ask(server, *(f"COPY invengine:{{north}}:{name} invengine:{{south}}:{name}" for name in ("state", "frames")))
    assert 'belongs to ledger "north"' in examined(line, server, "--ledger", "south")["keys"]["found"]
    ask(server, "HSET invengine:{north}:state format 99")
    assert examined(line, server, "--ledger", "north")["keys"]["remedy"] == "Start the newer version."
    for step in (-1, 1):
        with redis_client.Redis(port=server.port) as connection:
            connection.execute_command("FUNCTION", "LOAD", "REPLACE", functions(functions_version() + step))
        found = examined(line, server, "--ledger", "new")
        assert levels(found) == {"rights": "warning", "functions": "error"}
        assert f"has version {functions_version() + step} of library" in found["functions"]["found"]


def test_a_server_that_does_not_exist(line: CommandLine) -> None:
    ran = line.run(
        "doctor", "--journal", "redis", "--redis-url", f"redis://:{PASSWORD}@127.0.0.1:{free_port()}", "--json"
    )
    found = checks(ran)
    assert levels(found) == {"connection": "error"}
    assert found["connection"]["remedy"] == "Start it, or correct its address."
    assert PASSWORD not in ran.out + ran.err
    ran = line.run("doctor", "--journal", "redis", "--redis-url", f"http://:{PASSWORD}@localhost", "--json")
    assert checks(ran)["connection"]["found"].startswith("redis_url must be redis://")
    assert PASSWORD not in ran.out + ran.err
