"""Programs run on their core, say what went wrong, and do not outlive their block."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from invengine.bench import machine
from invengine.bench.machine import ProgramError, answer_of, pinned, running
from invengine.cli.exits import UsageProblemError

PYTHON = [sys.executable, "-c"]


@pytest.fixture
def core() -> int:
    """A core that this process may use."""
    return min(os.sched_getaffinity(0))


def test_a_pinned_block_ends_where_it_began(core: int) -> None:
    before = os.sched_getaffinity(0)
    with pinned(core):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before


def test_one_core_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    with pytest.raises(UsageProblemError, match="two cores"):
        machine.cores()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 2, 3})
    assert machine.cores() == machine.Cores(server=2, load=5)


def test_a_program_answers_from_its_core(core: int) -> None:
    program = "import os, sys; print(sorted(os.sched_getaffinity(0)), sys.stdin.read())"
    assert answer_of("echo", [*PYTHON, program], core, "hello", 30.0) == f"[{core}] hello\n"


def test_a_failing_program_is_reported_with_its_output(core: int) -> None:
    with pytest.raises(ProgramError, match="fails ended with 3: no stock"):
        answer_of("fails", [*PYTHON, "import sys; print('no stock', file=sys.stderr); sys.exit(3)"], core, "", 30.0)


def test_a_program_that_hangs_is_killed(core: int) -> None:
    with pytest.raises(ProgramError, match="hangs did not end within 0 s"):
        answer_of("hangs", [*PYTHON, "import signal; signal.pause()"], core, "", 0.2)


def test_lines_are_read_one_by_one_however_they_arrive(core: int, tmp_path: Path) -> None:
    program = "import sys; print('a\\nb ready\\nc\\nd', flush=True); sys.stdin.read()"
    with running("lines", [*PYTHON, program], core, tmp_path) as found:
        assert found.line("ready") == "b ready"
        assert found.line() == "c"
        assert found.line() == "d"
    assert found.process.returncode is not None


def test_a_program_that_ends_before_it_is_ready_is_reported_with_its_output(core: int, tmp_path: Path) -> None:
    program = "import sys; print('hello'); sys.exit('the disk is full')"
    with (
        running("early", [*PYTHON, program], core, tmp_path) as found,
        pytest.raises(ProgramError, match="early was not ready: the disk is full"),
    ):
        found.line("ready")


def test_a_program_that_runs_on_is_killed_with_its_block(core: int, tmp_path: Path) -> None:
    with running("stays", [*PYTHON, "import signal; print('x', flush=True); signal.pause()"], core, tmp_path) as found:
        found.line()
    assert found.process.returncode == -9


def test_a_program_must_exit_with_code_0(core: int, tmp_path: Path) -> None:
    program = "import signal, sys; signal.signal(15, lambda *_: sys.exit(4)); print('x', flush=True); signal.pause()"
    with running("ends", [*PYTHON, program], core, tmp_path) as found:
        found.line()
        with pytest.raises(ProgramError, match="ends ended with 4"):
            found.end()


def test_settings_of_the_person_are_not_those_of_the_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVENGINE_TIME_SCALE", "60")
    own = machine.environment()
    assert "INVENGINE_TIME_SCALE" not in own
    assert Path(own["PYTHONPATH"].split(os.pathsep)[0], "invengine", "bench").is_dir()
