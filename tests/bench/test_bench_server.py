"""Benchmarks against real servers: short ones, for their form and their checks, never for their speed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from invengine.bench import bare, batched, benchmarks, clients, history, ledger, machine, sizes, waits
from invengine.bench.checks import CallerRecords, check_and_end
from invengine.bench.figures import GOALS
from invengine.bench.generator import Shape, Target
from invengine.bench.machine import Program
from invengine.bench.rounds import Plan
from invengine.bench.server import Server, serving, sku
from invengine.cli.app import run
from invengine.cli.exits import CheckFailedError, ExitCode

SHORT_S = 0.5


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """One short round."""
    return Plan(tmp_path, machine.cores(), rounds=1, seconds=SHORT_S)


@pytest.fixture
def server(plan: Plan) -> Iterator[Server]:
    """A durable server with stock."""
    with serving(plan, "t") as found:
        yield found


def target(plan: Plan, server: Server) -> Target:
    """The server as the load generator sees it."""
    return Target(plan, "t", server.address, server.pid)


@pytest.mark.parametrize("shape", [Shape(2, 8), Shape(1, 2, "submit", 50), Shape(1, 2, "submit_stream", 50)], ids=str)
def test_the_callers_records_equal_the_servers_state(plan: Plan, server: Server, shape: Shape) -> None:
    loaded = target(plan, server)
    sample = loaded.saturate(shape)
    assert sample.value > 0
    assert sample.cpu_s_per_million > 0
    assert loaded.records.accepted[sku()] > 0
    check_and_end("T", server, loaded.records)
    assert server.program.process.returncode == 0


def test_a_unit_that_only_the_callers_know_invalidates_the_figure(plan: Plan, server: Server) -> None:
    loaded = target(plan, server)
    loaded.saturate(Shape(1, 4))
    loaded.records.accepted[sku()] += 1
    with pytest.raises(CheckFailedError, match="its callers"):
        check_and_end("T", server, loaded.records)


def test_a_key_that_the_server_does_not_know_invalidates_the_figure(server: Server) -> None:
    with pytest.raises(CheckFailedError, match="1 accepted reserves are unknown, such as never-sent"):
        check_and_end("T", server, CallerRecords(keys=["never-sent"]))


def test_a_journal_in_memory_has_no_recovery_to_check(plan: Plan) -> None:
    with serving(plan, "m", durable=False) as found:
        loaded = target(plan, found)
        loaded.saturate(Shape(1, 4))
        check_and_end("T", found, loaded.records)


def test_the_bare_listener_answers_like_an_engine(plan: Plan) -> None:
    with bare.listening(plan) as listener:
        yardstick = Target(plan, "bare", listener.address, listener.pid)
        assert yardstick.saturate(Shape(2, 8)).value > 0
        assert yardstick.records.findings == []


def test_the_records_of_python_callers_equal_the_servers_state(plan: Plan, server: Server) -> None:
    records = CallerRecords()
    rates = [
        clients._call_engine(plan, kind, server, records, 4, batch) for kind, batch in (("asyncio", 1), ("columns", 10))
    ]
    assert min(rate.value for rate in rates) > 0
    check_and_end("T", server, records)


def test_an_unknown_worker_lists_the_known_ones(plan: Plan) -> None:
    with pytest.raises(
        machine.ProgramError, match="unknown kind 'abacus': one of bare, attack, bystander, followers, load"
    ):
        machine.answer_of("abacus", machine.worker("abacus"), plan.cores.load, "{}", 60.0)


def test_a_benchmark_prints_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--json", "--rounds", "2", "--seconds", str(SHORT_S), "--room", str(tmp_path)]
    assert run(["bench", "P6", *options]) == ExitCode.OK
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["id"] for line in lines] == ["P6.unary_p50_us", "P6.sync_us", "P6.over_sync_us"]
    assert all(line["rounds"] == 2 and line["checks"] == "passed" for line in lines)
    assert all(line["min"] <= line["figure"] <= line["max"] for line in lines)


@pytest.mark.parametrize("name", ["P7", "P9", "P11", "P12", "P15", "P16", "P17", "P19", "P20"])
def test_a_short_run_gives_every_figure_that_has_a_goal(name: str, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "ITEMS", 50)
    monkeypatch.setattr(sizes, "ITEMS", 50)
    monkeypatch.setattr(ledger, "LEVELS_MANY", 2_000)
    monkeypatch.setattr(ledger, "LEVELS_MAX", 2_000)
    for constant, value in (("ITEMS", 50), ("EVENTS", 2_000_000), ("TAIL", 500)):
        monkeypatch.setattr(history, constant, value)
    monkeypatch.setattr(waits, "HOLDS", 60_000)
    monkeypatch.setattr(waits, "HOLDS_WITHIN_S", 12.0)
    (benchmark,) = benchmarks.chosen([name])
    found = {each.id for each in benchmark.run(plan)}
    assert {goal for goal in GOALS if goal.startswith(f"{name}.")} <= found


def test_a_server_that_dies_invalidates_the_figure(plan: Plan, server: Server) -> None:
    program: Program = server.program
    program.process.kill()
    program.process.wait()
    with pytest.raises(machine.ProgramError, match="load ended with"):
        target(plan, server).saturate(Shape(1, 1))
