"""The auditor finds what it is there to find, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from invengine.client import Level
from invengine.simulate.answers import Answer
from invengine.simulate.audit import Auditor, StockQuery
from invengine.v1 import types_pb2 as types

from .facts import PLACE, START, Journal


def audited(journal: Journal, **more: object) -> Auditor:
    """An auditor that has seen everything."""
    auditor = Auditor(PLACE, **more)  # type: ignore[arg-type]
    auditor.take_all(journal.events)
    auditor.close()
    return auditor


def weekend() -> Journal:
    """Every way a hold can go, all of it right."""
    journal = Journal()
    journal.stock(10)
    journal.reserved("a", 4, at_s=1, ends_s=100)
    journal.reserved("b", 6, at_s=2, ends_s=10)
    journal.allocated("a", 4, at_s=3)
    journal.reserved("c", 3, at_s=10, ends_s=60)  # In the room of b, which is over but not yet written off.
    journal.expired("b", 6, at_s=11)
    journal.allocated("b", 3, at_s=12, reacquired=True)
    journal.fulfilled("a", 4, at_s=13)
    journal.released("c", 3, at_s=14)
    journal.stock(2, at_s=15, state=types.STOCK_STATE_DAMAGED)
    return journal


def test_a_right_history_has_no_violation() -> None:
    auditor = audited(weekend())
    assert (auditor.violations, auditor.oversold_units) == ([], 0)
    state = auditor.states[PLACE]
    assert (state.on_hand, state.reserved, state.allocated, state.damaged, state.free) == (8, 0, 3, 2, 3)
    assert (auditor.expired_holds, auditor.reacquired_holds) == ({"b"}, {"b"})
    assert auditor.fulfilled_units[PLACE] == 4
    assert auditor.watched_reserved_units == 13


def test_units_that_were_not_there_are_oversold() -> None:
    journal = Journal()
    journal.stock(5)
    journal.reserved("a", 4, at_s=1, ends_s=100)
    journal.reserved("b", 3, at_s=2, ends_s=100)
    auditor = audited(journal)
    assert (auditor.oversold_units, auditor.violation_count) == (2, 1)


def test_a_reacquired_hold_needs_free_units_too() -> None:
    journal = Journal()
    journal.stock(2)
    journal.reserved("a", 2, at_s=1, ends_s=10)
    journal.expired("a", 2, at_s=10)
    journal.reserved("b", 1, at_s=11, ends_s=100)
    journal.allocated("a", 2, at_s=12, reacquired=True)
    assert audited(journal).oversold_units == 1


def test_an_expiry_before_its_time_is_found() -> None:
    journal = Journal()
    journal.stock(2)
    journal.reserved("a", 2, at_s=1, ends_s=10)
    journal.expired("a", 2, at_s=9)
    assert any("were due" in text for text in audited(journal).violations)


def test_more_than_a_line_holds_cannot_leave_it() -> None:
    journal = Journal()
    journal.stock(5)
    journal.reserved("a", 1, at_s=1, ends_s=10)
    journal.fulfilled("a", 2, at_s=2)
    assert any("more units left" in text for text in audited(journal).violations)


def test_a_missing_event_and_time_that_goes_back_are_found() -> None:
    journal = Journal()
    journal.stock(5, at_s=5)
    journal.stock(5, at_s=4)
    del journal.events[0]
    assert any("the event before it" in text for text in audited(journal).violations)
    whole = Journal()
    whole.stock(5, at_s=5)
    whole.stock(5, at_s=4)
    assert any("time went back" in text for text in audited(whole).violations)


def test_an_acknowledged_answer_is_held_against_the_journal() -> None:
    auditor = audited(weekend())
    decision = Answer("reserve", "a/reserve", "web", 2, "a")
    assert auditor.contradiction(decision) == ""
    assert "no event" in auditor.contradiction(decision._replace(key="z/reserve"))
    assert "no event" in auditor.contradiction(decision._replace(scope="app"))
    assert "the journal has" in auditor.contradiction(decision._replace(sequence=3))
    assert "the journal has" in auditor.contradiction(decision._replace(reservation_id="b"))


def test_levels_of_the_server_are_compared() -> None:
    auditor = audited(weekend())
    right = Level(*PLACE, 8, 0, 3, 2, 0, 0, 0, 3, 0)
    assert auditor.differences([right]) == []
    assert len(auditor.differences([replace(right, available=4)])) == 1


@pytest.mark.parametrize(("at_s", "free"), [(0.5, 10), (2.5, 0), (10.5, 3), (99.0, 3)])
def test_it_answers_how_many_units_were_free(at_s: float, free: int) -> None:
    query = StockQuery(START.timestamp() * 1000 + at_s * 1000, PLACE)
    assert audited(weekend(), queries=[query]).free_units == {query: free}
