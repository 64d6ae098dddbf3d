"""`invengine verify` says what is broken, and nothing else."""

from __future__ import annotations

from typing import Any

from invengine.cli.check import findings_of

REPORT: dict[str, Any] = {"invariants": {"levels_add_up": True}, "oversold_units_by_reserve": 0, "broken": []}


def test_a_sound_journal_has_no_findings() -> None:
    assert findings_of(REPORT) == []


def test_an_invariant_that_does_not_hold_is_a_finding() -> None:
    spoiled = {**REPORT, "invariants": {"levels_add_up": False, "keys": True}, "broken": ["at 3: MUG is short"]}
    assert findings_of(spoiled) == ["levels_add_up", "at 3: MUG is short"]


def test_oversold_units_are_a_finding() -> None:
    assert findings_of({**REPORT, "oversold_units_by_reserve": 2}) == ["oversold_units_by_reserve: 2"]
