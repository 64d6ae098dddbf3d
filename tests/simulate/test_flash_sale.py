"""The flash sale: the specs for the load generator, and the evaluation of its reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from invengine.cli.machine_load import Load
from invengine.client import Level
from invengine.simulate.flash_sale import sale as flash_sale
from invengine.simulate.flash_sale.sale import FlashSaleResult, FlashSaleSettings, adds_up, goodput_per_s, judged_on
from invengine.simulate.flash_sale.view import LiveView, bars
from invengine.simulate.report.checks import Check

SETTINGS = FlashSaleSettings(target="127.0.0.1:1")


def step(at_ms: int, **counts: int) -> dict[str, int]:
    """A step of the timeline."""
    names = ("arrived", "gave_up", "accepted", "refused", "failed", "late", "allocated", "released")
    return {"at_ms": at_ms, **dict.fromkeys(names, 0), "latency_us_p50": 1, "latency_us_p99": 2, **counts}


def test_goodput_counts_answers_in_time_inside_the_rush() -> None:
    timeline = [
        step(0, accepted=100),
        step(100, accepted=10, refused=20, allocated=5, released=5),
        step(200, refused=40, late=10, failed=7),
        step(300, refused=99),
    ]
    assert goodput_per_s(timeline, 100, 100, 300) == pytest.approx((40 + 30) / 0.2)
    assert goodput_per_s(timeline, 100, 1_000, 2_000) == 0.0


def test_ten_times_the_capacity_arrives_within_a_second() -> None:
    sale = flash_sale._Sale(SETTINGS, "tag")
    spec = sale.rush_spec(1_000.0, stock=900)
    base, rise, rush, *_ = spec["pace"]["phases"]
    assert base["to_per_s"] < 1_000.0
    assert (rise["ms"], rise["to_per_s"], rush["from_per_s"], rush["to_per_s"]) == (1_000, 10_000.0, 10_000.0, 10_000.0)
    assert spec["pace"]["poisson"] is True
    assert spec["skus"]["hot_share"] == 0.9
    buyers = spec["buyers"]
    assert (buyers["abandon_share"], buyers["release_share"], buyers["abandon_until"]) == (0.3, 0.5, 900)
    assert buyers["after_ms_max"] < spec["ttl_ms"]
    assert sale.capacity_spec().get("pace") is None
    assert sale.capacity_spec()["key_prefix"] != spec["key_prefix"]


RIGHT = Level("S", "L", 10, 1, 2, 0, 0, 0, 0, 7, 0)


def test_a_level_that_does_not_add_up_is_reported() -> None:
    assert adds_up(RIGHT)
    assert not adds_up(replace(RIGHT, available=8))
    assert not adds_up(replace(RIGHT, allocated=10, available=0, on_hand=10, oversold=1))


@pytest.mark.parametrize(
    ("load", "judged", "passed"),
    [(Load(2, 0.1, 0.02), True, False), (Load(2, 0.1, 0.06), False, True), (None, False, True)],
)
def test_speed_is_judged_on_a_quiet_machine_only(load: Load | None, judged: bool, passed: bool) -> None:
    """What was sold is judged on any machine; how fast it went means nothing if others took the cores."""
    slow, sold = Check("goodput ÷ peak ≥ 0.9", False, "0.50"), Check("sold ÷ stock = 1.000", True, "1.000")
    result = FlashSaleResult(1.0, 1.0, 10.0, 0.5, 9, 9, 0, {}, {}, (0, 1, 2, 3), (slow, sold))
    found = judged_on(result, load)
    assert [check.judged for check in found.checks] == [judged, True]
    assert found.passed is passed
    oversold = replace(result, checks=(sold._replace(holds=False),))
    assert judged_on(oversold, load).passed is False


def test_bars_show_the_highest_full() -> None:
    assert bars([0.0, 5.0, 10.0]) == " ▄█"
    assert bars([0.0]) == " "


def test_the_view_starts_afresh_with_each_stage() -> None:
    view = LiveView(100)
    view.add("capacity", step(0, accepted=5))
    view.add("sale", step(0, arrived=7))
    shown: Any = view.render()
    assert len(view._steps) == 1
    assert "the sale" in shown.renderables[0].plain
