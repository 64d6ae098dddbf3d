"""Chance depends on names only."""

from __future__ import annotations

import statistics
import subprocess
import sys

import pytest

from invengine.simulate.promotion.chance import dice, lognormal, number, pick, share


def test_the_same_name_gives_the_same_numbers_in_another_process() -> None:
    code = "from invengine.simulate.promotion.chance import number; print(number(3, 'sale', 'basket-1'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(other) == number(3, "sale", "basket-1")
    assert number(3, "sale", "basket-1") != number(4, "sale", "basket-1") != number(3, "sale", "basket-2")


def test_shares_are_even() -> None:
    shares = [share(1, "x", str(at)) for at in range(4_000)]
    assert min(shares) >= 0
    assert max(shares) < 1
    assert statistics.fmean(shares) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("at", "name"), [(0.0, "a"), (0.24, "a"), (0.26, "b"), (0.999999, "b")])
def test_pick_follows_the_weights(at: float, name: str) -> None:
    assert pick({"a": 1.0, "b": 3.0}, at) == name


def test_people_take_their_time_around_a_median() -> None:
    roll = dice(1, "times")
    times = sorted(lognormal(roll, 240.0) for _ in range(4_001))
    assert times[2_000] == pytest.approx(240.0, rel=0.1)
    assert times[0] > 0
    assert times[-1] > 4 * 240
