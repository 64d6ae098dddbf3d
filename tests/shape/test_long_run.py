"""The long run adds up what it did, loses nothing that it wrote down, and reads what the programs say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tools import soak
from tools.long_run import report, stages
from tools.long_run import totals as totals_file
from tools.long_run.programs import simulated
from tools.long_run.stages import STAGES, Stage
from tools.long_run.totals import FoundError
from tools.long_run.units import UnitContext, UnitResult

CLOSING = """simulated hours: 5.05
commands: 381899 (486632 calls decided)
crash-recoveries: 356 (287 crashes, 94 failed journals)
full checks: 2670, rot detected: 4
faults: message_lost 78556, disk_full 167
digest: 094d12effad32d81
FAILED: these never happened: clock_jump, process_paused
"""
FAILED = CLOSING + "FAILED seed 77: durable: sequence 5 is lost\n"
JSON = '{"hours": 2.5, "recoveries": 12, "faults": {"disk_full": 3, "clock_jump": 0}, "marks": {"late": 1}}\n'


def test_the_closing_lines_of_the_simulator_are_read() -> None:
    found = simulated(CLOSING)
    assert (found.hours, found.recoveries, found.failed_seed) == (5.05, 356, None)
    assert dict(found.faults) == {"message_lost": 78556, "disk_full": 167, "clock_jump": 0, "process_paused": 0}
    assert simulated(FAILED)[3:] == (77, "durable: sequence 5 is lost")


def test_the_json_of_the_simulator_is_read() -> None:
    found = simulated(f"something before\n{JSON}")
    assert (found.hours, found.recoveries, dict(found.faults)) == (
        2.5,
        12,
        {"disk_full": 3, "clock_jump": 0, "late": 1},
    )


def test_a_simulator_that_did_not_finish_is_a_failure() -> None:
    with pytest.raises(FoundError, match="did not finish"):
        simulated("thread panicked")


def _stage(**of: object) -> Stage:
    settings: dict[str, object] = {"name": "work", "what": "some work", "goal": 10, "share": 1, "unit": _four, **of}
    return Stage(**settings)  # type: ignore[arg-type]


def _four(context: UnitContext) -> UnitResult:
    return UnitResult({"work": 4, "other": 1.5}, Counter(odd=context.seed % 2, never=0))


def _breaks(context: UnitContext) -> UnitResult:
    (context.directory / "clue").write_text("why", encoding="ascii")
    raise FoundError("a level is negative")


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of a real run is touched."""
    monkeypatch.setattr(soak, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(totals_file, "commit", lambda: "abc")


def test_units_are_added_up_over_runs(tmp_path: Path) -> None:
    for _ in range(3):
        totals = totals_file.load(tmp_path / "soak.json")
        assert soak.play(_stage(), totals, 7)
        totals.save()
    again = totals_file.load(tmp_path / "soak.json")
    assert (again.line("work").done, again.line("other").done, again.line("work").units) == (12, 4.5, 3)
    assert again.line("work").facts == {"odd": 3, "never": 0}
    assert again.commits == {"abc": 3}


def test_totals_of_another_version_are_none(tmp_path: Path) -> None:
    (tmp_path / "soak.json").write_text('{"SIGKILLs": {"done": 25}}', encoding="ascii")
    assert totals_file.load(tmp_path / "soak.json").lines == {}


def test_a_failure_is_stored_with_its_seed_and_its_files(tmp_path: Path) -> None:
    totals = totals_file.load(tmp_path / "soak.json")
    assert not soak.play(_stage(unit=_breaks), totals, 7)
    totals.save()
    (failure,) = totals_file.load(tmp_path / "soak.json").line("work").failures
    assert failure.reproduce == "make soak ARGS='--stage work --seed 7'"
    assert (failure.seed, failure.why, failure.commit) == (7, "a level is negative", "abc")
    assert (Path(failure.kept) / "clue").read_text(encoding="ascii") == "why"


def test_a_run_ends_at_the_goal_and_an_interrupted_one_keeps_its_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    totals = totals_file.load(tmp_path / "soak.json")
    monkeypatch.setattr(soak, "STAGES", (_stage(),))
    assert soak.work([], 1.0, totals)
    assert totals.line("work").done == 12

    def stop(_: UnitContext) -> UnitResult:
        raise soak.Interrupted

    monkeypatch.setattr(soak, "STAGES", (_stage(goal=100, unit=stop),))
    with pytest.raises(soak.Interrupted):
        soak.work([], 1.0, totals)
    assert totals_file.load(tmp_path / "soak.json").line("work").done == 12


def test_what_fails_repeatedly_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    totals = totals_file.load(tmp_path / "soak.json")
    monkeypatch.setattr(soak, "STAGES", (_stage(unit=_breaks),))
    assert not soak.work([], 1.0, totals)
    assert totals.line("work").failed == soak.FAILURES_MAX


def test_the_document_says_what_was_done(tmp_path: Path) -> None:
    totals = totals_file.load(tmp_path / "soak.json")
    totals.add("work", 60.0, {"work": 4}, {"odd": 1, "never": 0})
    document = tmp_path / "document.md"
    document.write_text(f"before\n{report.FIRST}\nold\n{report.LAST}\nafter\n", encoding="utf-8")
    report.write(document, totals, [_stage()])
    text = document.read_text(encoding="utf-8")
    assert "| `work` | some work | 4 | 10 | 1.0 | 0 |" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "4 of 10, 1.5 min more" in report.closing_lines(totals, [_stage()])


def test_a_fault_that_never_happened_fails_a_run_that_reached_its_goals(tmp_path: Path) -> None:
    totals = totals_file.load(tmp_path / "soak.json")
    stages = [_stage(), _stage(name="other", goal=1)]
    totals.add("work", 60.0, {"work": 9}, {"odd": 1, "never": 0})
    assert not report.never(totals, stages), "there is time left for it to happen"
    totals.add("work", 60.0, {"work": 1}, {"odd": 0, "never": 0})
    assert report.never(totals, stages) == ["never"]
    assert "FAILED: these never happened: never" in report.closing_lines(totals, stages)
    totals.add("other", 60.0, {"other": 1}, {"never": 1})
    assert not report.never(totals, stages), "another stage met it"


def test_totals_name_no_place_of_this_machine(tmp_path: Path) -> None:
    totals = totals_file.load(tmp_path / "soak.json")

    def breaks(_: UnitContext) -> UnitResult:
        raise FoundError(f"{soak.ROOT}/target/x is bad", f"KEY={soak.ROOT}/bin/y make it")

    assert not soak.play(_stage(unit=breaks), totals, 7)
    (failure,) = totals.line("work").failures
    assert (failure.why, failure.reproduce) == ("target/x is bad", "KEY=bin/y make it")


def test_every_figure_of_the_long_run_has_its_stage() -> None:
    goals = {stage.name: stage.goal for stage in STAGES}
    wanted = {
        "hours": 5_000,
        "recoveries": 500_000,
        "kills": 2_000,
        "drains": 100,
        "closings": 1_000,
        "fences": 10_000,
        "messages": 1_000_000,
        "errors": 1_000,
        "fuzz": 100_000_000,
    }
    assert {name: goals[name] for name in wanted} == wanted
    assert {"sleepers", "disks", "exhaustion", "planted"} <= goals.keys()


@pytest.mark.parametrize("arguments", [stages.ERRORS, stages.FENCES])
def test_the_rust_tests_of_a_stage_exist(arguments: tuple[str, ...]) -> None:
    program, name = arguments[3], arguments[4]
    sources = (Path(__file__).parents[2] / "rust" / "node" / "tests" / program).glob("*.rs")
    assert any(f"fn {name}" in source.read_text() for source in sources), f"no test of {program} is named {name}"
