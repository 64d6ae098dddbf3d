"""Contenders take turns, and each side is loaded as suits it best."""

from __future__ import annotations

from pathlib import Path

import pytest

from invengine.bench.benchmarks import BENCHMARKS, chosen, wanted
from invengine.bench.figures import Figure
from invengine.bench.machine import Cores
from invengine.bench.rounds import Plan, Sample, best, interleaved, values


def test_rounds_go_a_b_a_b() -> None:
    order: list[str] = []
    steps: list[str] = []

    def run(name: str) -> Sample:
        order.append(name)
        return Sample(float(len(order)))

    plan = Plan(Path(), Cores(0, 1), rounds=2, step=steps.append)
    found = interleaved(plan, {"a": lambda: run("a"), "b": lambda: run("b")})
    assert order == ["a", "b", "a", "b"]
    assert {name: values(samples) for name, samples in found.items()} == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert steps == ["round 1 of 2: a", "round 1 of 2: b", "round 2 of 2: a", "round 2 of 2: b"]


def test_the_best_candidate_is_the_fastest() -> None:
    assert best([1, 2, 3], {1: 10.0, 2: 30.0, 3: 20.0}.__getitem__) == 2


def test_what_is_left_out_is_known_by_name() -> None:
    plan = Plan(Path(), Cores(0, 1))
    plan.leave_out(["P2.redis", "P2.ratio_redis"], "redis-server")
    assert plan.not_run == [("P2.redis", "redis-server"), ("P2.ratio_redis", "redis-server")]


def test_ids_choose_benchmarks_with_or_without_a_suffix() -> None:
    assert [each.id for each in chosen(["P6", "P2.ratio_bare", "P2"])] == ["P2", "P6"]
    with pytest.raises(KeyError, match="P99"):
        chosen(["P2", "P99.x"])


def test_a_suffix_chooses_one_figure() -> None:
    figures = [Figure(name, 1.0, "ratio", 1.0, 1.0, 1) for name in ("P2.saturated", "P2.ratio_bare", "P6.sync_us")]
    assert [each.id for each in wanted(figures, ["P2.ratio_bare", "P6"])] == ["P2.ratio_bare", "P6.sync_us"]
    assert [each.id for each in wanted(figures, ["P2"])] == ["P2.saturated", "P2.ratio_bare"]


def test_the_benchmarks_of_this_version_are_there() -> None:
    assert (
        " ".join(each.id for each in BENCHMARKS)
        == "P1 P2 P3 P4 P5 P6 P7 P8 P9 J1 P12 P13 C1 D1 E1 P10 P11 P15 P16 P17 P19 P20"
    )
