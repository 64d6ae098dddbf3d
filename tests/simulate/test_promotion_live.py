"""A small promotion for real: a server, its client processes, SIGKILL in the middle, and every check after it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from invengine.simulate.promotion import run, wording
from invengine.simulate.promotion.coordinator import Plan, direct
from invengine.simulate.promotion.marketplaces import OVERTAKEN
from invengine.simulate.promotion.weekend import stream_of
from invengine.simulate.refold import refold

from .spans import small_habits, span

pytestmark = pytest.mark.timeout(240)

SCALE = 2_400.0


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("promotion")


@pytest.fixture(scope="module")
def printed(directory: Path) -> Path:
    return directory / "printed"


@pytest.fixture(scope="module")
def report(directory: Path, printed: Path) -> dict[str, Any]:
    # So few baskets have a cancellation that overtakes its order only if many customers cancel.
    habits = small_habits(callers=2_000, units=60)
    shopping, messages = (
        replace(habits.shopping, cancel_chance=0.15),
        replace(habits.messages, cancel_overtakes_chance=0.9),
    )
    assumptions = replace(habits, shopping=shopping, messages=messages)
    stream = stream_of(span(), assumptions, 1)
    plan = Plan(stream, assumptions, SCALE, directory, kill_at_s=stream.seconds * run.KILL_AT)
    with to_file(printed):
        return run.write(direct(plan, lambda _: None, no_bar))


@contextmanager
def to_file(path: Path) -> Iterator[None]:
    """Writes what this process and its children print to a file."""
    kept = os.dup(2)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def no_bar(what: str, total: int) -> AbstractContextManager[Any]:
    """Progress without output."""

    @contextmanager
    def bar() -> Iterator[Any]:
        yield lambda _: None

    return bar()


def test_every_check_passes(report: dict[str, Any]) -> None:
    assert [check for check in report["checks"] if not check["holds"]] == []
    assert report["passed"] is True


def test_what_is_meant_alarms_nobody(report: dict[str, Any], printed: Path) -> None:
    """Cancellations that overtake their orders release nothing; the client would warn of each."""
    assert report["engine"]["orders"][OVERTAKEN] > 0
    assert printed.read_text(encoding="utf-8") == ""
    assert wording.overtaken(1_015).startswith("1,015 cancellations of marketplaces came before their orders")


def test_the_kill_lost_nothing(report: dict[str, Any]) -> None:
    engine = report["engine"]
    assert engine["lost_acknowledged"] == 0
    assert engine["looked_up_after_kill"] > 100
    assert engine["digest_live"] == engine["digest_refolded"]
    assert 0 < engine["digest_at"] < engine["digest_end"]["at"]
    assert engine["recovery_ms"] >= 0
    assert report["server"]["writer_epoch_after_kill"] >= 2


def test_every_kind_of_customer_was_there(report: dict[str, Any]) -> None:
    engine = report["engine"]
    assert engine["accepted"] > 200
    assert engine["refused"]["INSUFFICIENT_STOCK"] > 500
    for what in ("expired", "reacquired", "replayed", "units_sold", "flash_sold"):
        assert engine[what] > 0, what
    assert engine["accepted_by_command"].keys() >= {"reserve", "allocate", "fulfill", "release", "return", "adjust"}


def test_the_fragmented_way_oversells_and_the_engine_does_not(report: dict[str, Any]) -> None:
    assert report["engine"]["oversold_units"] == 0
    assert report["fragmented"]["oversold_units"] > 0
    assert report["fragmented"]["cancelled_orders"] > 0


def test_the_journal_left_behind_folds_again(report: dict[str, Any], directory: Path) -> None:
    again = refold(directory / "journal", report["engine"]["digest_at"])
    assert (again.digest, again.broken) == (report["engine"]["digest_live"], ())
    assert json.loads((directory / "report.json").read_text(encoding="utf-8")) == json.loads(json.dumps(report))
    assert (directory / "report.html").stat().st_size > 20_000
