"""What an embedded engine promises beside the contract: one owner, durability across processes, forks, Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from invengine import _core
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import journal_service_pb2 as journal

from ..conformance.redis_server import redis_server
from ..conformance.refused import from_status

RECEIVE = "/invengine.v1.InventoryService/Receive"
DIGEST = "/invengine.v1.JournalService/GetDigest"
WAIT_S = 20.0


def settings(directory: Path, **more: object) -> str:
    return json.dumps({"journal": "file", "directory": str(directory), "auto_create": True, **more})


def delivery(units: int) -> bytes:
    line = inventory.StockLine(sku="LAMP", location="vienna", quantity=units)
    return inventory.ReceiveRequest(lines=[line]).SerializeToString()


def receive(engine: _core.Engine, key: str, units: int = 1) -> inventory.ReceiveResponse:
    return inventory.ReceiveResponse.FromString(engine.call(RECEIVE, delivery(units), idempotency_key=key))


def digest(engine: _core.Engine) -> journal.GetDigestResponse:
    return journal.GetDigestResponse.FromString(engine.call(DIGEST, b""))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[_core.Engine]:
    """An engine on a file journal."""
    engine = _core.Engine.open(settings(tmp_path / "stock"))
    yield engine
    engine.close()


def test_an_answer_survives_the_end_of_the_engine(tmp_path: Path) -> None:
    first = _core.Engine.open(settings(tmp_path))
    answer = receive(first, "k1", 5)
    before = digest(first)
    first.close()
    second = _core.Engine.open(settings(tmp_path))
    assert digest(second) == before
    again = receive(second, "k1", 5)
    assert again.receipt.replayed
    assert again.levels == answer.levels
    assert json.loads(second.stats())["writer_epoch"] == 2
    second.close()
    report = json.loads(_core.verify(str(tmp_path), None))
    assert (report["digest"], report["sequence"]) == (before.digest, before.sequence)


def test_a_dropped_engine_releases_its_directory(tmp_path: Path) -> None:
    receive(_core.Engine.open(settings(tmp_path)), "k1")
    second = _core.Engine.open(settings(tmp_path))
    assert receive(second, "k1").receipt.replayed
    second.close()


def test_a_directory_has_one_owner(engine: _core.Engine, tmp_path: Path) -> None:
    with pytest.raises(_core.EngineFault, match="in use"):
        _core.Engine.open(settings(tmp_path / "stock"))
    program = f"from invengine import _core; _core.Engine.open({settings(tmp_path / 'stock')!r})"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 1
    assert "in use" in ran.stderr
    assert receive(engine, "k1").receipt.sequence > 0


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({"time_scale": 0}, "time_scale"),
        ({"ledger": ""}, "ledger"),
        ({"tape": True}, "tape"),
        ({"journal": "tape"}, "tape"),
        ({"journal_file_bytes": 17}, "journal_file_bytes"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, more: dict[str, object], part: str) -> None:
    with pytest.raises(_core.EngineFault, match=part):
        _core.Engine.open(settings(tmp_path / "none", **more))


def test_a_journal_of_another_ledger_is_refused(tmp_path: Path) -> None:
    _core.Engine.open(settings(tmp_path)).close()
    with pytest.raises(_core.EngineFault, match='belongs to ledger "main", not "other"'):
        _core.Engine.open(settings(tmp_path, ledger="other"))


def test_a_closed_engine_raises_engine_closed(engine: _core.Engine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(_core.EngineClosed, match="closed"):
        receive(engine, "k1")
    for use in (engine.stats, engine.drain, lambda: engine.read_events(1, 1, 0)):
        with pytest.raises(_core.EngineClosed):
            use()


def test_a_draining_engine_refuses_commands_and_answers_reads(engine: _core.Engine) -> None:
    receive(engine, "k1")
    engine.drain()
    with pytest.raises(_core.CallError) as refused:
        receive(engine, "k2")
    assert b"DRAINING" in refused.value.args[1]
    assert digest(engine).sequence > 0


@pytest.mark.needs_tool("redis-server")
def test_a_deadline_that_passes_while_the_journal_waits_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    with redis_server("redis-server", tmp_path) as redis:
        engine = _core.Engine.open(json.dumps({"journal": "redis", "redis_url": redis.url, "auto_create": True}))
        receive(engine, "k1")
        redis.signal(signal.SIGSTOP)
        with pytest.raises(_core.CallError) as unknown:
            engine.call(RECEIVE, delivery(7), idempotency_key="k2", timeout_ms=100)
        with pytest.raises(_core.CallError) as late:
            engine.call(DIGEST, b"", timeout_ms=100)
        redis.signal(signal.SIGCONT)
        found = from_status(*unknown.value.args)
        assert (found.reason, "the deadline passed" in found.message) == ("OUTCOME_UNKNOWN", True)
        assert from_status(*late.value.args).reason == "DEADLINE"
        assert receive(engine, "k2", 7).levels[0].on_hand == 8
        engine.close()


def test_a_fork_may_not_use_the_engine_of_its_parent(engine: _core.Engine) -> None:
    receive(engine, "k1")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            engine.close()
            receive(engine, "k2")
            reported = "it answered"
        except _core.EngineClosed as error:
            reported = str(error)
        except BaseException as error:
            reported = repr(error)
        os.write(write_end, reported.encode())
        os._exit(0)
    os.close(write_end)
    reported = os.read(read_end, 1000).decode()
    os.close(read_end)
    assert os.waitpid(child, 0)[1] == 0
    assert "fork" in reported
    # The parent continues as if nothing had happened.
    assert receive(engine, "k2").receipt.sequence > 0


WAITING = """
import signal, sys
from invengine import _core
signal.signal(signal.SIGINT, signal.default_int_handler)
engine = _core.Engine.open(sys.argv[1])
try:
    print("waiting", flush=True)
    engine.read_events(1, 1, 60_000)
except KeyboardInterrupt:
    engine.close()
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_wait(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITING, settings(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "interrupted\n"
        assert process.wait(WAIT_S) == 0


def test_other_threads_run_while_one_waits(engine: _core.Engine) -> None:
    started = threading.Event()
    answers: list[bytes] = []

    def wait() -> None:
        started.set()
        answers.append(engine.read_events(1, 10, int(WAIT_S * 1000)))

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert started.wait(WAIT_S)
    receive(engine, "k1")
    waiter.join(WAIT_S)
    events = journal.ReadEventsResponse.FromString(answers[0]).events
    assert events[0].sequence == 1


def test_started_calls_are_answered_once_and_a_failing_callback_is_isolated(engine: _core.Engine) -> None:
    reported: list[int] = []
    done = threading.Event()

    def on_done(code: int, answer: bytes) -> None:
        reported.append(code)
        assert inventory.ReceiveResponse.FromString(answer).receipt.durable_sequence > 0
        if len(reported) == 100:
            done.set()

    def on_done_badly(code: int, answer: bytes) -> None:
        raise RuntimeError("a caller's mistake")

    raised: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, raised.append
    try:
        engine.start_call(RECEIVE, delivery(1), on_done_badly, idempotency_key="bad")
        for number in range(100):
            engine.start_call(RECEIVE, delivery(1), on_done, idempotency_key=f"k{number}")
        assert done.wait(WAIT_S)
    finally:
        sys.unraisablehook = before
    assert reported == [0] * 100
    assert len(raised) == 1


@pytest.mark.case("G06")
def test_a_caller_that_stops_waiting_leaves_nothing_behind(engine: _core.Engine) -> None:
    count = 50
    keys = [f"k{number}" for number in range(count)]

    async def ask(key: str) -> None:
        done = asyncio.get_running_loop().create_future()
        engine.start_call(RECEIVE, delivery(1), lambda code, answer: None, idempotency_key=key)
        await done

    async def abandon() -> None:
        tasks = [asyncio.create_task(ask(key)) for key in keys]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)

    asyncio.run(abandon())
    # Accepted calls are still executed, once; the call after them is answered after them.
    receive(engine, "last")
    assert all(receive(engine, key).receipt.replayed for key in keys)
    assert json.loads(engine.stats())["in_flight"] == 0
    assert digest(engine).sequence > count


YEAR_MS = 365 * 24 * 3_600_000


@pytest.mark.parametrize(
    "timeout_ms", [-1, YEAR_MS + 1, 2**63, 2**64, 1.5, 2.0, float("nan"), float("inf"), True, "1", None]
)
def test_a_timeout_that_is_none_is_refused_before_anything_is_executed(engine: _core.Engine, timeout_ms: Any) -> None:
    before = digest(engine)
    ways: list[Callable[[], object]] = [
        lambda: engine.call(RECEIVE, delivery(1), idempotency_key="k", timeout_ms=timeout_ms),
        lambda: engine.start_call(RECEIVE, delivery(1), lambda *_: None, idempotency_key="k", timeout_ms=timeout_ms),
        lambda: engine.read_events(1, 10, timeout_ms),
        lambda: engine.wait_open(timeout_ms),
    ]
    for way in ways:
        with pytest.raises((TypeError, ValueError), match=f"0 to {YEAR_MS}"):
            way()
    assert digest(engine) == before


def test_the_longest_timeout_is_accepted(engine: _core.Engine) -> None:
    engine.call(RECEIVE, delivery(1), idempotency_key="k", timeout_ms=YEAR_MS)
    assert engine.wait_open(YEAR_MS)
    assert engine.read_events(1, 10, YEAR_MS)
