"""`invengine bench`: figures on stdout, everything else on stderr, and no figure where a check failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from invengine.bench import benchmarks, figures
from invengine.bench.benchmarks import Benchmark
from invengine.bench.checks import require
from invengine.bench.figures import Figure, Goal, figure
from invengine.bench.rounds import Plan
from invengine.cli.app import run
from invengine.cli.exits import ExitCode
from invengine.cli.machine_load import Load, Watch


def good(plan: Plan) -> list[Figure]:
    """A benchmark whose checks pass."""
    (plan.directory / "journal").write_text("x", encoding="utf-8")
    plan.leave_out(["T2.ratio_redis"], "redis-server")
    return [figure("T2.rate", "reservations/s", [float(plan.rounds), plan.seconds]), figure("T2.sync_us", "us", [1.0])]


def bad(_: Plan) -> list[Figure]:
    """A benchmark whose run has a fast figure and a broken level."""
    found = [figure("T1.rate", "reservations/s", [1e9])]
    require("T1", ["a level does not add up"])
    return found


def of_machine(monkeypatch: pytest.MonkeyPatch, load: Load | None) -> None:
    """A machine of which others take so much, before and meanwhile."""
    monkeypatch.setattr("invengine.bench.cli.load_before", lambda: load)
    monkeypatch.setattr(Watch, "load", lambda _: load)


@pytest.fixture(autouse=True)
def _two_benchmarks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    both = (Benchmark("T1", "goes wrong", bad), Benchmark("T2", "goes well", good))
    monkeypatch.setattr(benchmarks, "BENCHMARKS", both)
    monkeypatch.setattr("invengine.bench.cli.BENCHMARKS", both)
    of_machine(monkeypatch, Load(2, 0.0, 0.0))
    monkeypatch.chdir(tmp_path)


def test_a_figure_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "T2", "--json", "--rounds", "3", "--seconds", "2"]) == ExitCode.OK
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["id"] for line in lines] == ["T2.rate", "T2.sync_us"]
    assert lines[0] == {
        "id": "T2.rate",
        "figure": 2.5,
        "unit": "reservations/s",
        "min": 2.0,
        "max": 3.0,
        "rounds": 2,
        "checks": "passed",
        "machine": {"quiet": True, "others_share": 0.0, "steal_share": 0.0, "cores": 2},
    }
    assert json.loads(err) == {"not_run": "T2.ratio_redis", "needs": "redis-server"}


def test_a_failed_check_prints_no_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "T1", "--json"]) == ExitCode.CORRUPT
    out, err = capsys.readouterr()
    assert out == ""
    blamed = json.loads(err)
    assert blamed["id"] == "T1"
    assert "a level does not add up" in blamed["error"]["message"]


def test_the_others_still_run_and_the_exit_code_tells(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--all", "--json"]) == ExitCode.CORRUPT
    out, _ = capsys.readouterr()
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["T2.rate", "T2.sync_us"]


def test_a_suffix_prints_one_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "T2.sync_us", "--json"]) == ExitCode.OK
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["T2.sync_us"]


def test_without_json_there_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--all"]) == ExitCode.CORRUPT
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "T2: goes well"
    assert out.splitlines()[1].split() == ["id", "figure", "unit", "min", "max", "rounds", "must"]
    assert "1e+09" not in out
    assert "T1: invengine: T1 has no figure" in err
    assert "not run: T2.ratio_redis (needs redis-server)" in err


def test_journals_go_at_the_end(tmp_path: Path) -> None:
    assert run(["bench", "T2", "--json", "--room", "here"]) == ExitCode.OK
    assert list((tmp_path / "here").iterdir()) == []


def test_a_busy_machine_is_reported_and_its_figures_are_not_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A goal that is missed beside other programs proves nothing about the engine."""
    monkeypatch.setitem(figures.GOALS, "T2.sync_us", Goal(at_most=0.5))
    assert run(["bench", "T2"]) == ExitCode.OK
    assert "MISSED" in capsys.readouterr().out
    of_machine(monkeypatch, Load(2, 0.4, 0.1))
    assert run(["bench", "T2"]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert "MISSED" not in out
    assert "not judged" in out
    assert "too busy to judge speed: other programs took 40% of its 2 cores, its host 10%" in out
    assert "too busy to judge speed" in err
    assert run(["bench", "T2", "--json"]) == ExitCode.OK
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["machine"]["quiet"] for line in lines} == {False}


def test_what_was_sold_is_judged_on_any_machine() -> None:
    oversold = figures.row(figure("P10.oversold_units", "units", [1.0]), judged=False)
    assert oversold[-1].endswith("MISSED")
    assert figures.row(figure("P10.goodput_ratio", "ratio", [0.1]), judged=False)[-1].endswith("not judged")


@pytest.mark.parametrize("arguments", [[], ["T3"], ["T1.rate", "nothing"]])
def test_what_does_not_exist_is_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", *arguments]) == ExitCode.USAGE
    assert "--list" in capsys.readouterr().err


def test_the_list_has_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--list", "--json"]) == ExitCode.OK
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"id": "T1", "title": "goes wrong"}, {"id": "T2", "title": "goes well"}]
