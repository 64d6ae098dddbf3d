"""The fold of the client beside the real ledger, event by event: the same levels at every sequence, never a dip."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from invengine.client import Event, JournalPosition, Level, StockFold, StockState, decode
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import types_pb2 as types

from ..conformance import methods, requests
from ..conformance.refused import Refused
from ..conformance.targets import EmbeddedTarget

SKUS = ("tea", "mug", "cup")
PLACES = ("here", "there")
UNSELLABLE = (types.STOCK_STATE_DAMAGED, types.STOCK_STATE_RETURNED, types.STOCK_STATE_QUALITY_CONTROL)
SCALE = 400.0
"""Engine seconds of one second: holds of a few seconds expire between the commands."""
COMMANDS = 700


class Shop:
    """Commands drawn by chance; each answer about stock is a level of the real ledger at one sequence."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.target = EmbeddedTarget(auto_create=True, time_scale=SCALE)
        self.reported: dict[int, list[Level]] = {}
        self._holds: list[str] = []
        self._transfers: list[str] = []
        self._number = 0
        for sku in SKUS:
            for place in PLACES:
                self._stock(methods.RECEIVE, requests.receive(self._context(), (sku, place, 40)))
        self._stock(methods.RECEIVE, requests.receive(self._context(), (SKUS[0], "elsewhere", 1)))
        # A source that may speak of another place only: its numbers are claims.
        request = methods.REGISTER_SOURCE.request(context=self._context(), source_id="erp")
        self._place = types.SourcePosition(
            source_id="erp", epoch=self.target.call(methods.REGISTER_SOURCE, request).epoch
        )
        profile = methods.UPSERT_SOURCE_PROFILES.request(context=self._context())
        profile.source_profiles.add(source_id="erp", kind=types.SOURCE_KIND_ERP, locations=["elsewhere"])
        self.target.call(methods.UPSERT_SOURCE_PROFILES, profile)

    def run(self) -> None:
        for _ in range(COMMANDS):
            with suppress(Refused):
                self._act()
            self._look()

    def events(self) -> Iterator[Event]:
        """Every event, as a client reads it."""
        next_sequence = 1
        while True:
            answer = journal.ReadEventsResponse.FromString(self.target.engine.read_events(next_sequence, 500, 0))
            if not answer.events:
                return
            yield from (decode.event_of(event, answer.ledger) for event in answer.events)
            next_sequence = answer.events[-1].sequence + 1

    def levels(self) -> tuple[int, list[Level]]:
        answer = self.target.call(methods.LIST_LEVELS, methods.LIST_LEVELS.request())
        return answer.sequence, [decode.level_of(level) for level in answer.levels]

    def _context(self) -> types.CommandContext:
        self._number += 1
        return requests.keyed(f"k{self._number}")

    def _stock(self, method: methods.Method[Any, Any], request: Any) -> None:
        answer = self.target.call(method, request)
        self.reported[answer.receipt.sequence] = [decode.level_of(level) for level in answer.levels]

    def _look(self) -> None:
        """A command that returns the levels, at a sequence of its own."""
        lines = [(sku, place, self._chance.choice((1, 1, 2))) for sku in SKUS for place in PLACES]
        self._stock(methods.RECEIVE, requests.receive(self._context(), *self._chance.sample(lines, 2)))

    def _line(self, most: int = 6) -> requests.Line:
        return self._chance.choice(SKUS), self._chance.choice(PLACES), self._chance.randint(1, most)

    def _act(self) -> None:
        chance, context = self._chance, self._context()
        kind = chance.choice(
            ["reserve"] * 5
            + ["allocate"] * 3
            + ["extend", "amend", "release", "fulfill", "transfer", "stock"]
            + ["stock_transfer"] * 2
        )
        if kind == "reserve" or not self._holds:
            first, second = self._line(40), self._line(9)
            lines = [first] if first[:2] == second[:2] else [first, second]
            ttl_s = chance.choice((1, 2, 5, 20, 600))
            request = requests.reserve(context, *lines, ttl_s=ttl_s, allow_partial=chance.random() < 0.7)
            self._holds.append(self.target.call(methods.RESERVE, request).hold.reservation_id)
            return
        if kind == "stock":
            self._change_stock(context)
            return
        if kind == "stock_transfer":
            self._transfer_stock(context)
            return
        part = [self._line(3)] if chance.random() < 0.4 else []
        target = requests.by_id(chance.choice(self._holds[-12:]), *part)
        if kind == "allocate":
            self.target.call(methods.ALLOCATE, requests.allocate(context, target))
        elif kind == "extend":
            whole = requests.by_id(target.reservation_id)
            self.target.call(methods.EXTEND, requests.extend(context, whole, chance.choice((1, 30))))
        elif kind == "amend":
            whole = requests.by_id(target.reservation_id)
            self.target.call(methods.AMEND, requests.amend(context, whole, self._line(9)))
        elif kind == "release":
            self.target.call(methods.RELEASE, requests.release(context, target))
        elif kind == "fulfill":
            self.target.call(methods.FULFILL, requests.fulfill(context, target))
        else:
            self.target.call(methods.TRANSFER, requests.transfer(context, target, chance.choice(PLACES)))

    def _transfer_stock(self, context: types.CommandContext) -> None:
        """Ships a transfer, or one of the last few arrives or is closed, as often as not after it was."""
        chance = self._chance
        if chance.random() < 0.4 or not self._transfers:
            here, there = chance.sample(PLACES, 2)
            name = f"tr{self._number}"
            ship = methods.SHIP_TRANSFER.request(context=context, transfer=name, from_location=here, to_location=there)
            ship.lines.add(sku=chance.choice(SKUS), quantity=chance.randint(1, 6))
            self.target.call(methods.SHIP_TRANSFER, ship)
            self._transfers.append(name)
            return
        name = chance.choice(self._transfers[-4:])
        if chance.random() < 0.4:
            remainder = chance.choice((types.TRANSFER_REMAINDER_LOST, types.TRANSFER_REMAINDER_SENT_BACK))
            request = methods.CLOSE_TRANSFER.request(context=context, transfer=name, remainder=remainder)
            self.target.call(methods.CLOSE_TRANSFER, request)
            return
        arrive = methods.RECEIVE_TRANSFER.request(context=context, transfer=name)
        state = chance.choice((types.STOCK_STATE_ON_HAND, *UNSELLABLE))
        arrive.lines.add(sku=chance.choice(SKUS), quantity=chance.randint(1, 4), state=state)
        self.target.call(methods.RECEIVE_TRANSFER, arrive)

    def _change_stock(self, context: types.CommandContext) -> None:
        sku, place, units = self._line(5)
        state = self._chance.choice(UNSELLABLE)
        kind = self._chance.randrange(5)
        if kind == 0:
            # Perhaps below what is held: the rest is oversold.
            self._stock(methods.COUNT, requests.count(context, (sku, place, units)))
        elif kind == 3:
            self._place.sequence += 1
            context.source.CopyFrom(self._place)
            self._stock(methods.COUNT, requests.count(context, (sku, place, units)))
        elif kind == 4 and self._place.sequence:
            context.origin.CopyFrom(self._place)
            self._stock(methods.RECEIVE, requests.receive(context, (sku, place, units)))
        elif kind == 1:
            self._stock(methods.RETURN, requests.give_back(context, (sku, place, units), state=state))
        else:
            self._stock(methods.ADJUST, requests.adjust(context, (sku, place, -1), state=state))


@pytest.mark.parametrize("seed", range(4))
def test_the_fold_has_the_levels_of_the_ledger_at_every_sequence(seed: int) -> None:
    shop = Shop(seed)
    try:
        shop.run()
        fold, kinds, compared, shortages = StockFold(), set(), 0, 0
        for event in shop.events():
            fold.take(event)
            kinds.add(event.kind)
            levels = list(fold.levels())
            assert all(min(_quantities(level)) >= 0 for level in levels), f"a dip at {event.sequence}"
            assert all(_balanced(level) for level in levels), f"at {event.sequence}"
            for reported in shop.reported.get(event.sequence, ()):
                assert fold.level(reported.sku, reported.location) == reported, f"at {event.sequence}"
                compared += 1
                shortages += reported.oversold > 0
        assert compared > COMMANDS
        assert shortages > 10
        assert {
            "reserved",
            "allocated",
            "expired",
            "released",
            "fulfilled",
            "transferred",
            "amended",
            "extended",
            "transfer_shipped",
            "transfer_received",
            "transfer_closed",
            "claim_made",
            "echoed",
        } <= kinds
        _same_in_the_end(shop, fold)
    finally:
        shop.target.close()


def _quantities(level: Level) -> list[int]:
    return [number for number in dataclasses.astuple(level) if isinstance(number, int)]


def _balanced(level: Level) -> bool:
    parts = level.damaged + level.returned + level.quality_control
    return level.on_hand + level.oversold == level.available + level.reserved + level.allocated + parts


def _same_in_the_end(shop: Shop, fold: StockFold) -> None:
    """The ledger and the fold report the same for now, though time passes between the two reads."""
    for _ in range(200):
        before_ms = shop.target.engine_time_ms()
        sequence, levels = shop.levels()
        after_ms = shop.target.engine_time_ms()
        for event in shop.events():
            if event.sequence > fold.sequence:
                fold.take(event)
        if fold.sequence != sequence:
            continue
        early, late = (
            list(fold.levels(at=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)))
            for ms in (before_ms, after_ms)
        )
        if early == late:
            assert {(level.sku, level.location): level for level in levels} == {
                (level.sku, level.location): level for level in early
            }
            return
    pytest.fail("there was never a quiet moment")


def test_the_answer_to_a_key_with_two_events_is_the_last_one() -> None:
    """An allocate after expiry may write the Expired event too, with its own key: its receipt names the other one."""
    target = EmbeddedTarget(auto_create=True, time_scale=SCALE)
    try:
        target.call(methods.RECEIVE, requests.receive(requests.keyed("r"), ("tea", "here", 5000)))
        pairs = 0
        for number in range(300):
            hold = target.call(
                methods.RESERVE, requests.reserve(requests.keyed(f"h{number}"), ("tea", "here", 1), ttl_s=1)
            ).hold.reservation_id
            until = target.engine_time_ms() + 1_000
            while target.engine_time_ms() < until:
                pass
            key = f"a{number}"
            receipt = target.call(
                methods.ALLOCATE, requests.allocate(requests.keyed(key), requests.by_id(hold))
            ).receipt
            mine = [
                event for event in target.read_events(receipt.sequence - 1, 2) if event.context.idempotency_key == key
            ]
            assert (mine[-1].sequence, mine[-1].WhichOneof("fact")) == (receipt.sequence, "allocated")
            pairs += [event.WhichOneof("fact") for event in mine] == ["expired", "allocated"]
            if pairs >= 3:
                break
        assert pairs >= 3, "no allocate came before the sweep"
    finally:
        target.close()


def _event(sequence: int, at_s: float, kind: str = "", **fact: object) -> Event:
    message = journal.Event(sequence=sequence, writer_epoch=1)
    message.time.FromNanoseconds(round(at_s * 1e9))
    if kind:
        getattr(message, kind).SetInParent()
        field = getattr(message, kind)
        for name, value in fact.items():
            if name == "lines":
                field.lines.extend(requests.selections(value))  # type: ignore[arg-type]
            elif name == "expire_s":
                field.expire_time.FromSeconds(value)
            else:
                setattr(field, name, value)
    return decode.event_of(message, "main")


def _moment(at_s: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)


def _folded() -> StockFold:
    fold = StockFold()
    fold.take(_event(1, 1, "stock_changed", sku="tea", location="here", delta=10))
    fold.take(_event(2, 2, "reserved", reservation_id="h", expire_s=60, lines=(("tea", "here", 4),)))
    return fold


def test_units_are_free_before_their_expired_event() -> None:
    """A naive fold is wrong here: a Reserved event precedes the Expired one whose units it took."""
    fold = _folded()
    reported = [fold.available("tea", "here")]
    for event in (
        _event(3, 60, "reserved", reservation_id="i", expire_s=99, lines=(("tea", "here", 10),)),
        _event(4, 61, "expired", reservation_id="h", lines=(("tea", "here", 4),)),
        _event(5, 99, "expired", reservation_id="i", lines=(("tea", "here", 10),)),
    ):
        fold.take(event)
        reported.append(fold.available("tea", "here"))
        assert fold.level("tea", "here").oversold == 0
    assert reported == [6, 0, 0, 10]


def test_expired_units_are_held_again_before_or_after_their_event() -> None:
    fold = _folded()
    fold.take(_event(3, 60, "allocated", reservation_id="h", lines=(("tea", "here", 3),), reacquired=True))
    assert (fold.level("tea", "here").reserved, fold.level("tea", "here").allocated) == (0, 3)
    fold.take(_event(4, 61, "fulfilled", reservation_id="h", lines=(("tea", "here", 3),)))
    assert (fold.level("tea", "here").on_hand, fold.available("tea", "here")) == (7, 7)


def test_a_fold_answers_for_any_moment_from_its_last_event_on() -> None:
    fold = _folded()
    assert (fold.sequence, fold.time, fold.position) == (2, _moment(2), JournalPosition("main", 1, 2))
    assert [fold.available("tea", "here", at) for at in (None, _moment(59), _moment(60), _moment(99))] == [6, 6, 10, 10]
    assert fold.available("tea", "here") == 6, "a look ahead changes nothing"
    with pytest.raises(ValueError, match="does not go back"):
        fold.available("tea", "here", _moment(1))
    fold.take(_event(3, 58, "extended", reservation_id="h", expire_s=100))
    assert [fold.available("tea", "here", at) for at in (_moment(60), _moment(100))] == [6, 10]


def test_a_fold_takes_every_event_once_and_in_order() -> None:
    fold = _folded()
    for bad in (_event(2, 3), _event(4, 3), _event(3, 1)):
        with pytest.raises(ValueError, match="event"):
            fold.take(bad)
    fold.take(_event(3, 3, "item_upserted", sku="cup"))
    fold.take(_event(4, 3, "entity_put"))
    fold.take(_event(5, 3, "entity_removed", name="cup", version=2))
    assert fold.available("tea", "here") == 6


def test_a_hold_that_is_amended_from_one_line_to_another_keeps_its_end() -> None:
    fold = _folded()
    fold.take(_event(3, 3, "stock_changed", sku="mug", location="here", delta=10))
    fold.take(_event(4, 4, "amended", reservation_id="h", lines=(("tea", "here", 0), ("mug", "here", 3))))
    assert (fold.available("tea", "here"), fold.available("mug", "here")) == (10, 7)
    assert fold.available("mug", "here", _moment(60)) == 10


def test_an_impossible_history_is_refused() -> None:
    fold = _folded()
    with pytest.raises(ValueError, match="than it has"):
        fold.take(_event(3, 3, "released", reservation_id="h", lines=(("tea", "here", 5),)))
    fold = _folded()
    with pytest.raises(ValueError, match="less than nothing"):
        fold.take(_event(3, 3, "stock_changed", sku="tea", location="here", delta=-11))
    fold = _folded()
    with pytest.raises(ValueError, match="than is in that state"):
        fold.take(
            _event(
                3, 3, "stock_moved", sku="tea", location="here", from_state=StockState.DAMAGED, to_state=1, quantity=1
            )
        )
    line = journal.ItemUnits(sku="tea", quantity=11)
    fact = journal.TransferShipped(from_location="here", to_location="there", lines=[line])
    fold = _folded()
    with pytest.raises(ValueError, match="than there is"):
        fold.take(Event(3, _moment(3), 1, "transfer_shipped", fact, None, "main"))
