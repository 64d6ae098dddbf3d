"""GetStateAt and ListInventoryHistory: the past is what the events say, at every position and at every time."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from typing import Any, ClassVar

import pytest

from invengine.client import Event as FoldedEvent
from invengine.client import StockFold
from invengine.client.decode import event_of
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import types_pb2 as types
from invengine.v1.journal_service_pb2 import Event

from . import methods, requests
from .refused import Refused
from .shop import Shop, adds_up

LEDGER = "main"
FIGURES = ("on_hand", "reserved", "allocated", "damaged", "returned", "quality_control")
ALL = (*FIGURES, "available", "oversold")


def state(
    shop: Shop, sku: str, location: str, *, sequence: int | None = None, time_ms: int | None = None
) -> journal.GetStateAtResponse:
    """One level at a moment."""
    request = methods.GET_STATE_AT.request(level=journal.LevelName(sku=sku, location=location))
    if sequence is not None:
        request.sequence = sequence
    if time_ms is not None:
        request.time.FromMilliseconds(time_ms)
    return shop.call(methods.GET_STATE_AT, request)


def pages(shop: Shop, request: journal.GetStateAtRequest) -> Iterator[journal.GetStateAtResponse]:
    """Pages of a state."""
    while True:
        answer = shop.call(methods.GET_STATE_AT, request)
        yield answer
        if not answer.next_page_token:
            return
        request.levels.page_token = answer.next_page_token


def history(shop: Shop, sku: str, location: str, page_size: int = 0) -> list[journal.InventoryHistoryLine]:
    """All lines of a level, page after page."""
    request = methods.LIST_HISTORY.request(sku=sku, location=location, page_size=page_size)
    lines: list[journal.InventoryHistoryLine] = []
    while True:
        answer = shop.call(methods.LIST_HISTORY, request)
        assert len(answer.lines) <= (page_size or 100)
        assert answer.ledger == LEDGER
        lines += answer.lines
        if not answer.next_page_token:
            assert answer.first_sequence == 1
            return lines
        request.page_token = answer.next_page_token


def figures(level: Any, names: Sequence[str] = ALL) -> dict[str, int]:
    """The quantities of a level of either kind."""
    return {name: getattr(level, name) for name in names}


class Trade:
    """Random commands on two levels of one item, some of which are refused."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop = shop
        self.random = random.Random(seed)
        self.sku = shop.item(60, there=40)
        self.first = shop.target.digest()[1]
        self.holds: list[types.HoldTarget] = []

    def place(self) -> str:
        """One of the two locations."""
        return self.random.choice([self.shop.here, self.shop.there])

    def units(self) -> int:
        """A few units."""
        return self.random.randint(1, 9)

    def run(self, count: int) -> None:
        """Sends commands."""
        for _ in range(count):
            act = self.random.choice([self.reserve, self.reserve, self.reserve, self.on_hold, self.on_hold, self.stock])
            try:
                act()
            except Refused as refused:
                if refused.reason in ("INVALID_FIELD", "INTERNAL"):
                    raise

    def reserve(self) -> None:
        """A hold on one or both levels, sometimes in a batch with another and its end."""
        places = [self.place()] if self.random.random() < 0.6 else [self.shop.here, self.shop.there]
        lines = [(self.sku, place, self.units()) for place in places]
        ttl_s = self.random.choice([None, None, 1])
        context = self.shop.context(holder=self.random.choice(["", "ann"]), order_ref=self.random.choice(["", "o-1"]))
        replaces = bool(context.holder) and self.random.random() < 0.5
        hold = self.shop.reserve(*lines, context=context, ttl_s=ttl_s, replace_own=replaces).hold
        self.holds.append(requests.by_id(hold.reservation_id))

    def on_hold(self) -> None:
        """A command on a hold, or on a part of it."""
        if not self.holds:
            return
        target = self.random.choice(self.holds[-6:])
        kind = self.random.randrange(6)
        if kind == 0:
            self.shop.allocate(target)
        elif kind == 1:
            self.shop.release(target)
        elif kind == 2:
            self.shop.fulfill(target)
        elif kind == 3:
            line = (self.sku, self.place(), self.random.randint(0, 9))
            self.shop.call(methods.AMEND, requests.amend(self.shop.context(), target, line))
        elif kind == 4:
            self.shop.call(methods.TRANSFER, requests.transfer(self.shop.context(), target, self.place()))
        else:
            part = requests.by_id(target.reservation_id, (self.sku, self.place(), 1))
            self.shop.release(part)

    def stock(self) -> None:
        """A command on the stock."""
        line = (self.sku, self.place(), self.random.randint(0, 9))
        kind = self.random.randrange(5)
        if kind == 0:
            self.shop.call(methods.RECEIVE, requests.receive(self.shop.context(), (*line[:2], self.units())))
        elif kind == 1:
            self.shop.call(methods.COUNT, requests.count(self.shop.context(), (*line[:2], 20 + line[2])))
        elif kind == 2:
            damaged = types.STOCK_STATE_DAMAGED
            self.shop.call(methods.ADJUST, requests.adjust(self.shop.context(), (*line[:2], 1), state=damaged))
        elif kind == 3:
            request = methods.MOVE_QUANTITY.request(context=self.shop.context())
            request.lines.add(
                sku=line[0], location=line[1], quantity=self.units(), to_state=types.STOCK_STATE_QUALITY_CONTROL
            )
            self.shop.call(methods.MOVE_QUANTITY, request)
        else:
            self.shop.call(methods.ADJUST, requests.adjust(self.shop.context(), (*line[:2], -1)))

    def events(self) -> list[Event]:
        """Every event of the ledger so far."""
        return self.shop.target.read_events(1)


def folded(events: Sequence[Event]) -> Iterator[tuple[FoldedEvent, StockFold]]:
    """The fold after each event."""
    fold = StockFold()
    for event in events:
        found = event_of(event, LEDGER)
        fold.take(found)
        yield found, fold


@pytest.fixture(params=[1, 2])
def trade(shop: Shop, request: pytest.FixtureRequest) -> Trade:
    """A level with a past."""
    trade = Trade(shop, request.param)
    trade.run(120)
    return trade


def test_the_state_at_any_position_is_the_fold_of_the_events(trade: Trade) -> None:
    shop, events = trade.shop, trade.events()
    wanted = trade.random.sample(range(trade.first, len(events) + 1), 25)
    asked = {sequence: state(shop, trade.sku, trade.place(), sequence=sequence) for sequence in wanted}
    reached: dict[int, list[journal.GetStateAtResponse]] = {}
    for sequence, answer in asked.items():
        end = answer.position.sequence
        # Of a command all events or none: its later ones come with the one that was named.
        contexts = [event.context for event in events[sequence - 1 : end]]
        assert contexts
        assert all(context == contexts[0] for context in contexts)
        assert answer.position == types.JournalPosition(
            ledger=LEDGER, writer_epoch=events[end - 1].writer_epoch, sequence=end
        )
        assert answer.time == events[end - 1].time
        reached.setdefault(end, []).append(answer)
    compared = 0
    for event, fold in folded(events):
        for answer in reached.get(event.sequence, ()):
            (level,) = answer.levels
            adds_up(level)
            assert figures(level) == figures(fold.level(level.sku, level.location)), event.sequence
            compared += 1
    assert compared == len(wanted)


def test_the_state_at_any_time_is_that_after_the_last_event_before_it(trade: Trade) -> None:
    shop, events = trade.shop, trade.events()
    first_ms = events[trade.first - 1].time.ToMilliseconds()
    shop.wait_until(events[-1].time)
    times = sorted(trade.random.randint(first_ms, events[-1].time.ToMilliseconds() - 1) for _ in range(15))
    answers = [(ms, state(shop, trade.sku, shop.here, time_ms=ms)) for ms in times]
    for ms, answer in answers:
        last = max(event.sequence for event in events if event.time.ToMilliseconds() <= ms)
        assert answer.position.sequence == last
        assert answer.time.ToMilliseconds() == ms
    for event, fold in folded(events):
        for ms, answer in answers:
            if answer.position.sequence == event.sequence:
                moment = answer.time.ToDatetime(UTC)
                assert figures(answer.levels[0]) == figures(fold.level(trade.sku, shop.here, at=moment)), ms


def test_expired_units_are_free_at_a_time_before_their_event(shop: Shop) -> None:
    sku = shop.item(10)
    hold = shop.reserve((sku, shop.here, 4), ttl_s=1)
    expire_ms = hold.hold.expire_time.ToMilliseconds()
    shop.end_of(hold.hold, hold.receipt.sequence)
    for ms, reserved in ((expire_ms - 1, 4), (expire_ms, 0)):
        answer = state(shop, sku, shop.here, time_ms=ms)
        assert (answer.levels[0].reserved, answer.levels[0].available) == (reserved, 10 - reserved)


def test_a_page_of_a_state_is_the_fold_of_all_its_levels(shop: Shop) -> None:
    skus = [shop.item(number, there=number + 1) for number in range(1, 6)]
    sequence = shop.target.digest()[1]
    shop.call(methods.RECEIVE, requests.receive(shop.context(), *((sku, shop.here, 7) for sku in skus)))
    for page_size in (1, 3, 1000):
        request = methods.GET_STATE_AT.request(
            sequence=sequence, levels=journal.LevelPage(location=shop.here, page_size=page_size)
        )
        answers = list(pages(shop, request))
        levels = [level for answer in answers for level in answer.levels]
        assert [(level.sku, level.on_hand) for level in levels] == [(sku, on) for on, sku in enumerate(skus, 1)]
        assert {answer.position.sequence for answer in answers} == {answers[0].position.sequence}
    request = methods.GET_STATE_AT.request(sequence=sequence, levels=journal.LevelPage(sku=skus[0]))
    (answer,) = pages(shop, request)
    assert [(level.sku, level.location) for level in answer.levels] == [(skus[0], shop.here), (skus[0], shop.there)]


def test_a_page_token_belongs_to_one_state(shop: Shop) -> None:
    for _ in range(3):
        shop.item(1)
    sequence = shop.target.digest()[1]
    page = journal.LevelPage(location=shop.here, page_size=1)
    token = shop.call(
        methods.GET_STATE_AT, methods.GET_STATE_AT.request(sequence=sequence, levels=page)
    ).next_page_token
    page.page_token = token
    again = methods.GET_STATE_AT.request(sequence=sequence, levels=page)
    assert len(shop.call(methods.GET_STATE_AT, again).levels) == 1
    other = methods.GET_STATE_AT.request(sequence=sequence - 1, levels=page)
    assert shop.refused(methods.GET_STATE_AT, other, "INVALID_FIELD").fields == ["page_token"]
    there = methods.GET_STATE_AT.request(
        sequence=sequence, levels=journal.LevelPage(location=shop.there, page_size=1, page_token=token)
    )
    assert shop.refused(methods.GET_STATE_AT, there, "INVALID_FIELD").fields == ["page_token"]


def test_before_the_first_event_there_is_nothing(shop: Shop) -> None:
    answer = shop.call(methods.GET_STATE_AT, methods.GET_STATE_AT.request(sequence=0, levels=journal.LevelPage()))
    assert answer == journal.GetStateAtResponse(position=types.JournalPosition(ledger=LEDGER))
    start = methods.GET_STATE_AT.request(position=types.JournalPosition(ledger=LEDGER), levels=journal.LevelPage())
    assert shop.call(methods.GET_STATE_AT, start) == answer


def test_a_name_that_did_not_exist_then_is_unknown(shop: Shop) -> None:
    before = shop.target.digest()[1]
    sku = shop.item()
    after = shop.target.digest()[1]
    level = journal.LevelName(sku=sku, location=shop.here)
    refused = methods.GET_STATE_AT.request(sequence=before, level=level)
    shop.refused(methods.GET_STATE_AT, refused, "UNKNOWN_SKU", sku=sku)
    # It exists, and nothing was ever recorded there.
    answer = shop.call(methods.GET_STATE_AT, methods.GET_STATE_AT.request(sequence=after, level=level))
    assert list(answer.levels) == [types.InventoryLevel(sku=sku, location=shop.here)]


def test_a_position_of_another_history_is_refused(shop: Shop) -> None:
    sku = shop.item(1)
    end = shop.target.digest()[1]
    (event,) = shop.target.read_events(end, 1)
    level = journal.LevelName(sku=sku, location=shop.here)
    good = types.JournalPosition(ledger=LEDGER, writer_epoch=event.writer_epoch, sequence=end)
    assert shop.call(methods.GET_STATE_AT, methods.GET_STATE_AT.request(position=good, level=level)).position == good
    for change in ({"writer_epoch": event.writer_epoch + 1}, {"sequence": end + 1_000_000}, {"ledger": "other"}):
        position = types.JournalPosition()
        position.CopyFrom(good)
        for name, value in change.items():
            setattr(position, name, value)
        request = methods.GET_STATE_AT.request(position=position, level=level)
        shop.refused(methods.GET_STATE_AT, request, "POSITION_NOT_IN_HISTORY")
    ahead = methods.GET_STATE_AT.request(sequence=end + 1_000_000, level=level)
    shop.refused(methods.GET_STATE_AT, ahead, "POSITION_NOT_IN_HISTORY")


def test_every_bad_field_of_a_state_is_named(shop: Shop) -> None:
    level = journal.LevelName(sku="mug", location="berlin")
    later = methods.GET_STATE_AT.request(level=level)
    later.time.FromMilliseconds(shop.target.engine_time_ms() + 3_600_000)
    other = types.JournalPosition(ledger=LEDGER, writer_epoch=1, sequence=-1)
    for request, field in (
        (methods.GET_STATE_AT.request(level=level), "at"),
        (methods.GET_STATE_AT.request(sequence=1), "wanted"),
        (methods.GET_STATE_AT.request(sequence=-1, level=level), "sequence"),
        (methods.GET_STATE_AT.request(position=types.JournalPosition(), level=level), "position.ledger"),
        (methods.GET_STATE_AT.request(position=other, level=level), "position.sequence"),
        (later, "time"),
        (methods.GET_STATE_AT.request(sequence=1, level=journal.LevelName(location="berlin")), "level.sku"),
        (methods.GET_STATE_AT.request(sequence=1, level=journal.LevelName(sku="mug")), "level.location"),
        (methods.GET_STATE_AT.request(sequence=1, levels=journal.LevelPage(page_size=1001)), "page_size"),
        (methods.GET_STATE_AT.request(sequence=1, levels=journal.LevelPage(page_token="x")), "page_token"),
    ):
        assert shop.refused(methods.GET_STATE_AT, request, "INVALID_FIELD").fields == [field]


# What changed a level


class ByEvents:
    """The quantities of one item by events alone, as plainly as they can be computed."""

    STATES: ClassVar[dict[int, str]] = {
        types.STOCK_STATE_DAMAGED: "damaged",
        types.STOCK_STATE_RETURNED: "returned",
        types.STOCK_STATE_QUALITY_CONTROL: "quality_control",
    }

    def __init__(self, sku: str) -> None:
        self.sku = sku
        self.units: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(FIGURES, 0))
        self.held: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        self.named: set[str] = set()

    def take(self, event: Event) -> set[str]:
        """Applies an event; returns the locations that it changes."""
        self.named = set()
        kind = str(event.WhichOneof("fact"))
        fact = getattr(event, kind)
        if kind == "stock_changed" and fact.sku == self.sku:
            self._add(fact.location, "on_hand", fact.delta)
            self._add(fact.location, self.STATES.get(fact.state), fact.delta)
        elif kind == "stock_moved" and fact.sku == self.sku:
            self._add(fact.location, self.STATES.get(fact.from_state), -fact.quantity)
            self._add(fact.location, self.STATES.get(fact.to_state), fact.quantity)
        for line in getattr(fact, "lines", ()):
            if line.sku == self.sku:
                self._line(kind, fact, line)
        return self.named

    def _add(self, location: str, name: str | None, units: int) -> None:
        self.named.add(location)
        if name is not None:
            self.units[location][name] += units

    def _move(self, hold: str, location: str, reserved: int, allocated: int) -> None:
        for at, (name, units) in enumerate((("reserved", reserved), ("allocated", allocated))):
            self.held[hold, location][at] += units
            self._add(location, name, units)

    def _line(self, kind: str, fact: Any, line: Any) -> None:
        hold, location, units = fact.reservation_id, line.location, line.quantity
        reserved, allocated = self.held[hold, location]
        if kind == "reserved":
            self._move(hold, location, units, 0)
        elif kind == "amended":
            self._move(hold, location, units - reserved, 0)
        elif kind == "allocated":
            self._move(hold, location, 0 if fact.reacquired else -units, units)
        elif kind == "expired":
            self._move(hold, location, -units, 0)
        elif kind == "released":
            first = min(units, reserved)
            self._move(hold, location, -first, first - units)
        elif kind == "fulfilled":
            first = min(units, allocated)
            self._move(hold, location, first - units, -first)
            self._add(location, "on_hand", -units)
        elif kind == "transferred":
            first = min(units, reserved)
            self._move(hold, location, -first, first - units)
            self._move(hold, fact.to_location, first, units - first)


def told_by_events(trade: Trade, location: str) -> list[tuple[Event, dict[str, int], dict[str, int]]]:
    """The events that change a level, with its quantities before and after, the oldest first."""
    levels, found = ByEvents(trade.sku), []
    for event in trade.events():
        before = dict(levels.units[location])
        if location in levels.take(event):
            found.append((event, before, dict(levels.units[location])))
    return found


def test_every_change_of_a_level_is_listed_with_what_it_did(trade: Trade) -> None:
    shop = trade.shop
    for location in (shop.here, shop.there):
        expected = told_by_events(trade, location)[::-1]
        lines = history(shop, trade.sku, location)
        # A hold may have expired since.
        lines = [line for line in lines if line.event.sequence <= expected[0][0].sequence]
        assert [line.event.sequence for line in lines] == [event.sequence for event, _, _ in expected]
        for line, (event, before, after) in zip(lines, expected, strict=True):
            assert line.event.context == event.context
            assert (line.event.time, line.event.writer_epoch) == (event.time, event.writer_epoch)
            assert line.event.WhichOneof("fact") == event.WhichOneof("fact")
            assert figures(line.before, FIGURES) == before, event
            assert figures(line.after, FIGURES) == after, event
            adds_up(line.before)
            adds_up(line.after)


def test_pages_of_a_history_join_without_a_gap(trade: Trade) -> None:
    shop = trade.shop
    whole = history(shop, trade.sku, shop.here, 1000)
    assert len(whole) > 20
    for page_size in (1, 7):
        lines = history(shop, trade.sku, shop.here, page_size)
        assert lines[len(lines) - len(whole) :] == whole


def test_a_line_names_its_cause_and_only_the_lines_of_its_level(shop: Shop) -> None:
    sku, other = shop.item(9), shop.item(9)
    source = shop.source()
    source.sequence = 1
    context = types.CommandContext(
        source=source,
        order_ref="o-7",
        holder="ann",
        actor="jo",
        reason_code="web",
        reference="cart-7",
        causation="click-3",
    )
    context.event_time.FromMilliseconds(1_700_000_000_000)
    answer = shop.reserve((other, shop.here, 3), (sku, shop.here, 2), context=context)
    line = history(shop, sku, shop.here)[0]
    assert line.event.sequence == answer.receipt.sequence
    given = {name: getattr(context, name) for name in ("source", "order_ref", "holder", "actor", "event_time")}
    given |= {name: getattr(context, name) for name in ("reason_code", "reference", "causation")}
    assert {name: getattr(line.event.context, name) for name in given} == given
    assert [(each.sku, each.quantity) for each in line.event.reserved.lines] == [(sku, 2)]
    assert (line.before.available, line.after.available) == (9, 7)


def test_a_level_without_a_past_has_no_lines(shop: Shop) -> None:
    sku = shop.item()
    assert history(shop, sku, shop.here) == []
    shop.refused(
        methods.LIST_HISTORY, methods.LIST_HISTORY.request(sku=shop.name("no"), location=shop.here), "UNKNOWN_SKU"
    )
    nowhere = methods.LIST_HISTORY.request(sku=sku, location=shop.name("no"))
    shop.refused(methods.LIST_HISTORY, nowhere, "UNKNOWN_LOCATION")


def test_every_bad_field_of_a_history_is_named(shop: Shop) -> None:
    ask: Callable[..., Any] = methods.LIST_HISTORY.request
    for request, field in (
        (ask(location="berlin"), "sku"),
        (ask(sku="mug"), "location"),
        (ask(sku="mug", location="berlin", page_size=-1), "page_size"),
        (ask(sku="mug", location="berlin", page_token="0" * 64), "page_token"),
    ):
        assert shop.refused(methods.LIST_HISTORY, request, "INVALID_FIELD").fields == [field]


def test_a_page_token_belongs_to_one_level(shop: Shop) -> None:
    sku = shop.item(3, there=3)
    shop.hold((sku, shop.here, 1))
    request = methods.LIST_HISTORY.request(sku=sku, location=shop.here, page_size=1)
    request.page_token = shop.call(methods.LIST_HISTORY, request).next_page_token
    assert shop.call(methods.LIST_HISTORY, request).lines[0].after.available == 3
    request.location = shop.there
    assert shop.refused(methods.LIST_HISTORY, request, "INVALID_FIELD").fields == ["page_token"]
