"""The Python callers count their answers, within their time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import pytest

from invengine.bench import callers
from invengine.bench.callers import CallCounts, Spec

SPEC = Spec("127.0.0.1:1", "t", callers=2, seconds=2.0, warm_up_s=1.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock of the callers."""
    now = [0.0]
    monkeypatch.setattr("invengine.bench.callers.time.monotonic", lambda: now[0])
    return lambda at: now.__setitem__(0, at)


def test_the_warm_up_is_not_measured(clock: Callable[[float], None]) -> None:
    counts = CallCounts.starting(SPEC)
    for at, is_running in ((0.5, True), (1.5, True), (2.9, True), (3.0, False)):
        clock(at)
        assert counts.is_running() is is_running
        counts.add_accepted(10)
    assert (counts.accepted, counts.measured) == (40, 20)


def test_tallies_of_threads_add_up() -> None:
    first, second = CallCounts(0.0, 1.0, 5, 3, Counter("A")), CallCounts(0.0, 1.0, 2, 1, Counter("ABBBB"))
    first.add(second)
    assert (first.accepted, first.measured, first.refused) == (7, 4, {"A": 2, "B": 4})


def test_every_thread_connects_for_itself_and_calls_until_the_time_is_up() -> None:
    connections = itertools.count()

    def connect() -> Callable[[CallCounts, int], None]:
        next(connections)
        return lambda counts, _: counts.add_accepted(1)

    spec = Spec("127.0.0.1:1", "t", callers=3, seconds=0.05, warm_up_s=0.0)
    total = callers._in_threads(spec, connect)
    assert next(connections) == 3
    assert total.accepted >= total.measured > 3


def test_the_error_of_a_thread_ends_the_run() -> None:
    def connect() -> Callable[[CallCounts, int], None]:
        raise ConnectionError("nobody listens")

    with pytest.raises(ConnectionError, match="nobody listens"):
        callers._in_threads(SPEC, connect)
