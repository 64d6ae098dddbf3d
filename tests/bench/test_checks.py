"""Whatever is wrong with a run is found, and takes its figure away."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest

from invengine.bench.checks import CallerRecords, digest_findings, level_findings, record_findings, require
from invengine.bench.generator import Shape, add_report, spec_of
from invengine.cli.exits import CheckFailedError
from invengine.client import Digest, Level

LEVEL = Level(
    sku="sku-0000000",
    location="dc-1",
    on_hand=10,
    reserved=3,
    allocated=2,
    damaged=1,
    returned=0,
    quality_control=0,
    in_transit=0,
    available=4,
    oversold=0,
)


def test_a_level_that_adds_up_is_fine() -> None:
    assert level_findings(LEVEL) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"available": 5}, "does not add up"),
        ({"reserved": 9, "available": 0, "oversold": 2}, "11 units are held of 10"),
    ],
)
def test_a_level_that_does_not_add_up_is_found(change: dict[str, Any], word: str) -> None:
    (finding,) = level_findings(dataclasses.replace(LEVEL, **change))
    assert word in finding


@pytest.mark.parametrize(
    ("accepted", "allocated", "released", "fine"),
    [(5, 2, 0, True), (7, 2, 2, True), (6, 2, 0, False), (4, 2, 0, False), (5, 1, 0, False), (5, 2, 1, False)],
)
def test_the_callers_ledger_must_be_the_servers(accepted: int, allocated: int, released: int, fine: bool) -> None:
    sku = LEVEL.sku
    records = CallerRecords(Counter({sku: accepted}), Counter({sku: released}), Counter({sku: allocated}))
    assert (record_findings([LEVEL], records) == []) is fine


def test_units_sold_without_a_level_are_found() -> None:
    records = CallerRecords(Counter({LEVEL.sku: 5, "sku-0000001": 1}), Counter(), Counter({LEVEL.sku: 2}))
    assert record_findings([LEVEL], records) == ["sku-0000001 is sold but has no level"]


def report_of(**changes: Any) -> dict[str, Any]:
    unit = {"sku": LEVEL.sku, "accepted": 5, "allocated": 2, "released": 1, "abandoned": 0}
    report = {"units": [unit], "accepted_keys": ["k"], "broken": 0, "unanswered": 0, "by_reason": {}}
    return report | changes


def test_the_reports_of_runs_are_added_up() -> None:
    records = CallerRecords()
    add_report(records, "first", report_of())
    add_report(records, "second", report_of())
    assert (records.accepted[LEVEL.sku], records.allocated[LEVEL.sku], records.released[LEVEL.sku]) == (10, 4, 2)
    assert (records.keys, records.findings) == (["k", "k"], [])


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"broken": 2}, "run: 2 answers violate the contract"),
        ({"unanswered": 1}, "run: 1 calls were never answered"),
        ({"by_reason": {"OVERLOADED": 7}}, "run: refused: 7 OVERLOADED"),
    ],
)
def test_answers_that_no_call_should_get_are_found(changes: dict[str, Any], finding: str) -> None:
    records = CallerRecords()
    add_report(records, "run", report_of(**changes))
    assert records.findings == [finding]


def test_recovery_must_give_the_same_digest_at_the_same_sequence() -> None:
    report = {"digest": "ab", "sequence": 7, "invariants": {"sums": True}, "oversold_units_by_reserve": 0, "broken": []}
    assert digest_findings(report, Digest("ab", 7)) == []
    assert len(digest_findings(report, Digest("ab", 8))) == 1
    assert len(digest_findings(report, Digest("cd", 7))) == 1
    assert len(digest_findings(report | {"oversold_units_by_reserve": 2}, Digest("ab", 7))) == 1


def test_findings_invalidate_the_figure() -> None:
    require("P2", [])
    with pytest.raises(CheckFailedError, match="P2 has no figure, since 2 checks failed: one; two"):
        require("P2", ["one", "two"])


def test_a_run_is_a_closed_loop_whose_beginning_is_not_measured() -> None:
    spec = spec_of(Shape(4, 256), 3.0)
    assert (spec["connections"], spec["streams"], spec["call"], spec["batch"]) == (4, 256, "reserve", 1)
    assert spec["duration_ms"] - spec["measure_from_ms"] == 3_000
    assert "pace" not in spec
