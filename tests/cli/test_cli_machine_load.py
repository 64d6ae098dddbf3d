"""The use of the machine by other programs is measured, and own work does not count as theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from invengine.cli import machine_load
from invengine.cli.machine_load import Load, Watch, verdict

BURN = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def stat(path: Path, busy_s: float, steal_s: float) -> None:
    """Writes /proc/stat as the kernel does, with so much CPU used and stolen since the start."""
    ticks = [round(busy_s * TICKS_PER_S), 0, 0, 10**6, 0, 0, 0, round(steal_s * TICKS_PER_S), 0, 0]
    path.write_text("cpu  " + " ".join(map(str, ticks)) + "\ncpu0 1 2 3\n", encoding="ascii")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with two cores whose counters the test sets; ten seconds pass between two measurements."""
    times = iter(range(0, 1000, 10))
    monkeypatch.setattr(machine_load, "_PROC_STAT", tmp_path / "stat")
    monkeypatch.setattr(machine_load, "_clock", lambda: float(next(times)))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "times", lambda: (0.0,) * 5)
    return tmp_path / "stat"


@pytest.mark.parametrize(
    ("busy_s", "steal_s", "others", "steal"),
    [(0.0, 0.0, 0.0, 0.0), (5.0, 0.0, 0.25, 0.0), (2.0, 4.0, 0.1, 0.2), (20.0, 0.0, 1.0, 0.0)],
)
def test_others_and_host_are_shares_of_all_cores(
    clock: Path, busy_s: float, steal_s: float, others: float, steal: float
) -> None:
    stat(clock, 100.0, 7.0)
    watch = Watch()
    stat(clock, 100.0 + busy_s, 7.0 + steal_s)
    found = watch.load()
    assert found is not None
    assert found.cores == 2
    assert found.others_share == pytest.approx(others)
    assert found.steal_share == pytest.approx(steal)


def test_own_programs_are_not_others(clock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat(clock, 0.0, 0.0)
    watch = Watch()
    stat(clock, 15.0, 0.0)
    monkeypatch.setattr(os, "times", lambda: (1.0, 2.0, 8.0, 3.0, 0.0))
    found = watch.load()
    assert found is not None
    assert found.others_share == pytest.approx(0.05)
    assert found.quiet
    watch = Watch()
    stat(clock, 30.0, 0.0)
    without = watch.load(own=False)
    assert without is not None
    assert without.others_share == pytest.approx(0.75)


def test_a_program_that_was_started_and_has_ended_counts_as_own() -> None:
    watch = Watch()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    mine, all_of_it = watch.load(), watch.load(own=False)
    assert mine is not None
    assert all_of_it is not None
    cores_s = 0.5 / (all_of_it.cores * 60)
    assert all_of_it.others_share - mine.others_share > cores_s


def test_a_machine_without_counters_does_not_count_as_quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine_load, "_PROC_STAT", tmp_path / "absent")
    assert Watch().load() is None
    assert "cannot be measured" in verdict(None)
    assert verdict(Load(2, 0.1, 0.02)) == ""
    assert "too busy" in verdict(Load(2, 0.1, 0.12))
