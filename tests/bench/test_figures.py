"""A figure is the median of its rounds, a ratio is made round by round, and what is printed has one form."""

from __future__ import annotations

import json

import pytest

from invengine.bench import figures
from invengine.bench.benchmarks import BENCHMARKS
from invengine.bench.figures import GOALS, Figure, Goal, figure, ratio, row


def test_a_figure_is_the_median_with_the_least_and_the_most() -> None:
    found = figure("P2.saturated", figures.PER_S, [5.0, 1.0, 30.0])
    assert found == Figure("P2.saturated", 5.0, "reservations/s", 1.0, 30.0, 3)
    assert figure("P2.saturated", figures.PER_S, [1.0, 2.0]).figure == 1.5


def test_a_figure_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="was not measured"):
        figure("P2.saturated", figures.PER_S, [])


def test_a_ratio_compares_each_round_with_itself() -> None:
    # The second round ran in a slow minute: both sides halved, and the ratio did not notice.
    found = ratio("P2.ratio_bare", [90.0, 45.0, 60.0], [100.0, 50.0, 100.0])
    assert (found.figure, found.min, found.max, found.unit) == (0.9, 0.6, 0.9, "ratio")


def test_a_ratio_needs_both_sides_in_each_round() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio("P2.ratio_bare", [1.0, 2.0], [1.0])


def test_the_json_of_a_figure_has_exactly_these_fields() -> None:
    found = figure("P6.sync_us", figures.US, [123.456789])
    assert json.loads(json.dumps(found.as_json())) == {
        "id": "P6.sync_us",
        "figure": 123.46,
        "unit": "us",
        "min": 123.46,
        "max": 123.46,
        "rounds": 1,
        "checks": "passed",
    }


@pytest.mark.parametrize(
    ("goal", "value", "holds", "text"),
    [
        (Goal(at_least=0.6), 0.6, True, ">= 0.6"),
        (Goal(at_least=0.6), 0.599, False, ">= 0.6"),
        (Goal(at_most=250), 250.0, True, "<= 250"),
        (Goal(at_most=250), 251.0, False, "<= 250"),
        (Goal(at_least=0, at_most=0), 0.0, True, "= 0"),
        (Goal(at_least=0, at_most=0), 1.0, False, "= 0"),
        (Goal(at_least=500_000), 500_000.0, True, ">= 500,000"),
    ],
)
def test_a_goal_holds_up_to_its_limit(goal: Goal, value: float, holds: bool, text: str) -> None:
    assert (goal.holds(value), str(goal)) == (holds, text)


def test_a_missed_goal_is_shown_like_one_that_was_held() -> None:
    held = row(figure("P2.ratio_bare", figures.RATIO, [0.9]))
    missed = row(figure("P2.ratio_bare", figures.RATIO, [0.51234]))
    assert held == ["P2.ratio_bare", "0.9", "ratio", "0.9", "0.9", "1", ">= 0.85 held"]
    assert missed[-1] == ">= 0.85 MISSED"
    assert row(figure("P2.saturated", figures.PER_S, [41234.4]))[1:] == [
        "41,234",
        "reservations/s",
        "41,234",
        "41,234",
        "1",
        "",
    ]


def test_every_goal_belongs_to_a_benchmark() -> None:
    assert {name.partition(".")[0] for name in GOALS} <= {benchmark.id for benchmark in BENCHMARKS}
