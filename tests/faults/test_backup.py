"""A backup taken under load, restored elsewhere when the original is lost; no id is then issued twice."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from invengine.cli.exits import ExitCode
from invengine.simulate.audit import Auditor, name_of
from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import source_service_pb2 as sources
from invengine.v1 import types_pb2 as types

from ..conformance import methods
from ..conformance.redis_server import redis_server
from ..conformance.server import server_environment
from .caller_process import reason_of
from .history_checker import KINDS
from .kills import await_events, repeat_commands
from .record import ACCEPTED, REFUSED, Call
from .redis_server import programs
from .server_fixture import LOCATIONS, SKUS, ServerFixture, server_fixture
from .workers import audit, workers

THREADS = 8
SOURCE = "erp"


def cli(*arguments: str, code: int = 0) -> dict[str, Any]:
    """Runs a command and returns the object that it printed."""
    command = [sys.executable, "-m", "invengine.cli", *arguments, "--json"]
    ran = subprocess.run(command, env=server_environment({}), capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran
    found: dict[str, Any] = json.loads((ran.stdout if code == 0 else ran.stderr).splitlines()[-1])
    return found


def register(server: ServerFixture, key: str) -> int:
    """The next epoch of the source."""
    context = types.CommandContext(idempotency_key=key)
    return server.call(methods.REGISTER_SOURCE, sources.RegisterSourceRequest(context=context, source_id=SOURCE)).epoch


def message(server: ServerFixture, epoch: int, number: int) -> reservations.ReserveResponse:
    """One message of the source: a hold of one unit."""
    position = types.SourcePosition(source_id=SOURCE, epoch=epoch, sequence=number)
    lines = [types.LineRequest(sku=SKUS[0], location=LOCATIONS[0], quantity=1)]
    request = reservations.ReserveRequest(context=types.CommandContext(source=position), lines=lines)
    return server.call(methods.RESERVE, request)


def refusal(server: ServerFixture, epoch: int, number: int) -> tuple[str, dict[str, str]]:
    """Why a message is refused, with its facts."""
    with pytest.raises(grpc.RpcError) as caught:
        message(server, epoch, number)
    from google.rpc import error_details_pb2, status_pb2

    reason, details = reason_of(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status_pb2.Status.FromString(details).details)
    return reason, dict(info.metadata)


def answer_of(call: Call) -> Any:
    """The answer of a call."""
    return KINDS[call.path][1].FromString(call.answer)


def ids_of(calls: list[Call]) -> set[str]:
    """Every reservation id in an answer."""
    made = [call for call in calls if call.path == "Reserve" and call.outcome == ACCEPTED]
    return {answer_of(call).hold.reservation_id for call in made}


def known_of(calls: list[Call], sequence: int, began_ns: int, auditor: Auditor) -> list[Call]:
    """The calls that a backup at this position must know: all that were answered before it began, and those of which it
    holds the effect."""

    def is_kept(call: Call) -> bool:
        if call.end_ns < began_ns:
            return True
        if call.outcome == ACCEPTED:
            return bool(answer_of(call).receipt.sequence <= sequence)
        # A source's message may be refused and consume its number all the same.
        if call.outcome != REFUSED:
            return False
        return bool(auditor.effects.get(name_of(KINDS[call.path][0].FromString(call.body).context)))

    return [call for call in calls if is_kept(call)]


@dataclass(frozen=True)
class JournalFlags:
    """The flags that name a journal, for the commands that serve, copy and verify it."""

    serve: tuple[str, ...]
    copy: tuple[str, ...]
    verify: tuple[str, ...]


@contextmanager
def journal_flags(kind: str, workspace: Path) -> Iterator[JournalFlags]:
    """Yields the flags of a new journal: files, or a Redis of its own."""
    if kind == "file":
        yield JournalFlags(
            ("--journal", "file"), ("--directory", str(workspace / "journal")), (str(workspace / "journal"),)
        )
        return
    with redis_server(programs()[kind], workspace / "redis") as redis:
        flags = ("--journal", "redis", "--redis-url", redis.url)
        yield JournalFlags(flags, flags, flags)


JOURNALS = (
    ("file", "file"),
    *(
        pytest.param(*pair, marks=pytest.mark.needs_tool("redis-server"))
        for pair in (("redis", "redis"), ("valkey", "file"), ("file", "valkey"))
        if set(pair) <= {"file", *programs()}
    ),
)


@pytest.mark.case("I03")
@pytest.mark.parametrize(("old", "new"), JOURNALS)
def test_a_backup_taken_under_load_is_restored_elsewhere(tmp_path: Path, old: str, new: str) -> None:
    backup = tmp_path / "backup"
    with (
        journal_flags(old, tmp_path / "old") as source,
        journal_flags(new, tmp_path / "new") as target,
        server_fixture(tmp_path / "old", *source.serve) as lost,
        server_fixture(tmp_path / "new", *target.serve) as found,
    ):
        lost.start()
        lost.add_stock()
        epoch = register(lost, "register-1")
        for number in (1, 2, 3):
            message(lost, epoch, number)
        with workers([lost.caller_config(seed, THREADS) for seed in (1, 2)]) as callers:
            await_events(lost, 300)
            began_ns = time.monotonic_ns()
            made = cli("backup", "create", str(backup), *source.copy)
            await_events(lost, 300)
            # Beside a server, verify sees what is durable when it begins.
            assert cli("verify", *source.verify)["sequence"] > made["sequence"]
            for number in (4, 5, 6):
                message(lost, epoch, number)
            later_epoch = register(lost, "register-2")
            calls = callers.stop()
        lost.kill()
        position = made["sequence"]
        verified = cli("verify", *source.verify, "--at", str(position))
        assert (verified["digest"], verified["sequence"]) == (made["digest"], position)

        restored = cli("backup", "restore", str(backup), *target.copy)
        assert (restored["sequence"], restored["digest"]) == (position, made["digest"])
        source_state = next(each for each in restored["sources"] if each["source"] == SOURCE)
        assert source_state == {"source": SOURCE, "epoch": epoch, "last_sequence": 3, "expected_sequence": 4}
        found.start()
        found.incarnations[:0] = lost.incarnations
        assert found.running.ready["writer_epoch"] > restored["restored_epoch"] > made["writer_epoch"]
        books = Auditor()
        books.take_all(found.events())
        known = known_of(calls, position, began_ns, books)
        assert 0 < len(known) < len(calls)
        # What this test asked by itself is not among the calls.
        for name in [name for name in books.effects if name[0] == f"source:{SOURCE}"]:
            assert len(books.effects.pop(name)) == 1
        audit(found, known, books)
        repeat_commands(found, known, random.Random(3))
        forgotten_keys_run_once(found, calls, known)

        # The source continues where the backup ends, whatever was acknowledged since.
        assert refusal(found, epoch, 7) == ("SEQUENCE_GAP", {"source": SOURCE, "expected": "4", "got": "7"})
        for number in (4, 5, 6, 7):
            assert not message(found, epoch, number).receipt.replayed
        # An epoch that was issued after the backup, and is lost, is never issued again.
        assert refusal(found, later_epoch, 1)[0] == "STALE_EPOCH"
        assert register(found, "register-3") > later_epoch


def forgotten_keys_run_once(found: ServerFixture, calls: list[Call], known: list[Call]) -> None:
    """Repeats what the backup does not have: executed once more, under ids that were never issued before."""
    reported = ids_of(calls)
    lost = [call for call in calls if call.path == "Reserve" and call.outcome == ACCEPTED and call not in known]
    keyed = [call for call in lost if not reservations.ReserveRequest.FromString(call.body).context.HasField("source")]
    assert keyed
    refused: list[str] = []
    for call in keyed[:50]:
        request = reservations.ReserveRequest.FromString(call.body)
        try:
            first = found.call(methods.RESERVE, request)
        except grpc.RpcError as error:
            refused.append(reason_of(error)[0])
            continue
        again = found.call(methods.RESERVE, request)
        assert (first.receipt.replayed, again.receipt.replayed) == (False, True)
        assert first.hold.reservation_id == again.hold.reservation_id
        assert first.hold.reservation_id not in reported
    # Others may have taken the stock in the meantime.
    assert set(refused) <= {"INSUFFICIENT_STOCK"}
    assert len(refused) < len(keyed[:50])


@pytest.mark.case("I03")
def test_an_unfinished_restore_is_not_a_ledger(tmp_path: Path) -> None:
    with server_fixture(tmp_path, "--journal", "file") as server:
        server.start()
        server.add_stock()
        server.running.stop()
        cli("backup", "create", str(tmp_path / "backup"), "--directory", str(tmp_path / "journal"))
        half = tmp_path / "half"
        cli("backup", "restore", str(tmp_path / "backup"), "--directory", str(half))
        # The marker is what a restore that was killed leaves.
        (half / "restore.unfinished").touch()
        for arguments in (("serve", "--address", "127.0.0.1:0"), ("backup", "create", str(tmp_path / "again"))):
            reported = cli(*arguments, "--directory", str(half), code=ExitCode.USAGE)
            assert "backup restore" in reported["error"]["message"]
        cli("backup", "restore", str(tmp_path / "backup"), "--directory", str(half))
        assert cli("verify", str(half))["sequence"] == place_sequence(tmp_path / "journal")
        # Half a backup, and a backup where a journal should be.
        (tmp_path / "backup" / "backup.json").rename(tmp_path / "backup" / "backup.unfinished")
        target = str(tmp_path / "other")
        cli("backup", "restore", str(tmp_path / "backup"), "--directory", target, code=ExitCode.CORRUPT)
        assert not Path(target).exists()
        cli("serve", "--directory", str(tmp_path / "backup"), "--address", "127.0.0.1:0", code=ExitCode.USAGE)
        shutil.rmtree(tmp_path / "backup")


def place_sequence(directory: Path) -> int:
    """Where the journal of a directory ends."""
    sequence: int = cli("verify", str(directory))["sequence"]
    return sequence
