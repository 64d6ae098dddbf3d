"""The auditor finds what it is there to find, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from invengine.client import Level
from invengine.simulate.audit import Auditor
from invengine.simulate.promotion.answers import Answer, denied
from invengine.simulate.promotion.event_counts import EventCounts
from invengine.v1 import types_pb2 as types
from invengine.v1.journal_service_pb2 import (
    ArrivedUnits,
    EntityRemoved,
    ItemUnits,
    TransferClosed,
    TransferReceived,
    TransferShipped,
)
from invengine.v1.policy_service_pb2 import EntityPut, LocationGroup

from .facts import PLACE, START, Journal


def audited(journal: Journal) -> Auditor:
    """An auditor that has seen everything."""
    auditor = Auditor()
    auditor.take_all(journal.events)
    auditor.recount()
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


def test_a_correct_history_has_no_findings() -> None:
    auditor = audited(weekend())
    assert (auditor.findings, auditor.oversold_units) == ([], 0)
    level = auditor.levels[PLACE]
    assert (level.on_hand, level.reserved, level.allocated, level.room) == (8, 0, 3, 3)
    assert level.unsellable == {"damaged": 2}


def test_entities_are_no_stock() -> None:
    history = weekend()
    west = LocationGroup(group="west", locations=["berlin"], version=1)
    for version, key in ((1, "put"), (2, "put-again")):
        west.version = version
        history.add("entity_put", 16, EntityPut(location_group=west), key=key)
    history.add("entity_removed", 17, EntityRemoved(kind="location_group", name="west", version=3), key="removed")
    assert audited(history).findings == []


def transfers(journal: Journal, surplus: int = 1) -> Journal:
    """Six units leave for lyon: four arrive, with one that nobody shipped, and of two lost ones one comes late."""
    ends = {"transfer": "tr-1", "from_location": PLACE[1], "to_location": "lyon"}
    sku = PLACE[0]
    arrived = ArrivedUnits(sku=sku, quantity=4 + surplus, in_transit=4, surplus=surplus)
    late = ArrivedUnits(sku=sku, quantity=1, lost=1, state=types.STOCK_STATE_DAMAGED)
    journal.add("transfer_shipped", 20, TransferShipped(**ends, lines=[ItemUnits(sku=sku, quantity=6)]), key="ship")
    journal.add("transfer_received", 21, TransferReceived(**ends, lines=[arrived]), key="arrive")
    closed = TransferClosed(**ends, remainder=types.TRANSFER_REMAINDER_LOST, lines=[ItemUnits(sku=sku, quantity=2)])
    journal.add("transfer_closed", 22, closed, key="close")
    journal.add("transfer_received", 23, TransferReceived(**ends, lines=[late]), key="late")
    return journal


def test_units_of_a_stock_transfer_are_conserved() -> None:
    auditor = audited(transfers(weekend()))
    assert auditor.findings == []
    level = auditor.levels[PLACE[0], "lyon"]
    assert (level.on_hand, level.in_transit, level.unsellable) == (6, 0, {"damaged": 1})
    assert auditor.flows[PLACE[0]] == {"adjusted": 13, "fulfilled": 4, "lost": 1}


def test_units_that_appear_on_the_way_are_found() -> None:
    journal = transfers(weekend())
    journal.events[-3].fact.lines[0].surplus = 0
    assert any("does not add up" in text for text in audited(journal).findings)
    journal = transfers(weekend())
    journal.events[-2].fact.lines[0].quantity = 3
    assert any("is negative" in text for text in audited(journal).findings)


def test_a_history_has_the_expected_figures() -> None:
    counts = EventCounts(PLACE)
    for event in weekend().events:
        counts.take(event)
    assert (counts.expired_holds, counts.reacquired_holds) == ({"b"}, {"b"})
    assert (counts.events, counts.kinds["allocated"], counts.watched_reserved_units) == (10, 2, 13)


def test_units_that_were_not_there_are_oversold() -> None:
    journal = Journal()
    journal.stock(5)
    journal.reserved("a", 4, at_s=1, ends_s=100)
    journal.reserved("b", 3, at_s=2, ends_s=100)
    auditor = audited(journal)
    assert (auditor.oversold_units, auditor.finding_count) == (2, 1)


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
    assert any("leave due" in text for text in audited(journal).findings)


def test_more_than_a_line_holds_cannot_leave_it() -> None:
    journal = Journal()
    journal.stock(5)
    journal.reserved("a", 1, at_s=1, ends_s=10)
    journal.fulfilled("a", 2, at_s=2)
    assert any("more leave allocated" in text for text in audited(journal).findings)


def test_a_missing_event_and_time_that_goes_back_are_found() -> None:
    journal = Journal()
    journal.stock(5, at_s=5)
    journal.stock(5, at_s=4)
    del journal.events[0]
    assert any("the next event is" in text for text in audited(journal).findings)
    whole = Journal()
    whole.stock(5, at_s=5)
    whole.stock(5, at_s=4)
    assert any("time goes back" in text for text in audited(whole).findings)


def test_an_acknowledged_answer_is_held_against_the_journal() -> None:
    effects = audited(weekend()).effects
    reported = Answer("reserve", "a/reserve", "web", 2, "a")
    assert denied(reported, effects) == ""
    assert "no event" in denied(reported._replace(key="z/reserve"), effects)
    assert "no event" in denied(reported._replace(scope="app"), effects)
    assert "the journal has" in denied(reported._replace(sequence=3), effects)
    assert "the journal has" in denied(reported._replace(reservation_id="b"), effects)


def test_levels_of_the_server_are_compared() -> None:
    auditor = audited(weekend())
    right = Level(*PLACE, 8, 0, 3, 2, 0, 0, 0, 3, 0)
    assert auditor.differences([right]) == []
    assert len(auditor.differences([replace(right, available=4)])) == 1


@pytest.mark.parametrize(("at_s", "room"), [(0.5, 10), (2.5, 0), (10.5, 3), (99.0, 3)])
def test_it_computes_what_was_available(at_s: float, room: int) -> None:
    assert audited(weekend()).room_at(PLACE, START.timestamp() * 1000 + at_s * 1000) == room
