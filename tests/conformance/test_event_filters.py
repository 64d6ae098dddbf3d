"""ReadEvents with a filter: what matches is sent, nothing that concerns the reader is missed, its position is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import types_pb2 as types
from invengine.v1.journal_service_pb2 import CommandOrigins, Event, EventFilter, ReadEventsRequest

from . import methods, requests
from .refused import Refused
from .shop import Shop
from .targets import ServerTarget

PROGRESS_S = 1.0


def matching(shop: Shop, start: int, **conditions: Any) -> list[Event]:
    """The events after a sequence that match, and checks that everything was read."""
    end = shop.target.digest()[1]
    request = ReadEventsRequest(from_sequence=start + 1, filter=EventFilter(**conditions))
    found, through = shop.target.matching(request)
    assert through.sequence >= end
    assert (through.ledger, through.writer_epoch > 0) == ("main", True)
    # An event of the engine's own, such as the expiry of an older hold, may come in between.
    return [event for event in found if event.sequence <= end and event.HasField("context")]


def kinds(events: list[Event]) -> list[str | None]:
    return [event.WhichOneof("fact") for event in events]


class Story:
    """Two items at two places, two channels and a source, and what was done with them."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.mug, self.cup = shop.item(20), shop.item(20, there=20)
        self.web, self.app = shop.channel(), shop.channel()
        self.erp = shop.source()
        self.start = shop.target.digest()[1]
        self.order = shop.name("order")
        self.mug_hold = shop.hold((self.mug, shop.here, 1), channel=self.web, actor="ann", order_ref=self.order)
        self.cup_hold = shop.hold((self.cup, shop.there, 1), channel=self.app)
        shop.call(methods.EXTEND, requests.extend(shop.context(channel=self.app), self.cup_hold, 900))
        shop.call(methods.TRANSFER, requests.transfer(shop.context(channel=self.app), self.cup_hold, shop.here))
        shop.allocate(self.mug_hold, channel=self.web)
        context = types.CommandContext(source=self.erp)
        context.source.sequence = 1
        shop.call(methods.RECEIVE, requests.receive(context, (self.mug, shop.here, 5)))
        self.group = shop.group(shop.there)
        self.key = shop.name("key")
        both = ((self.mug, shop.here, 1), (self.cup, shop.there, 1))
        shop.reserve(*both, context=shop.context(self.key, actor="bob"))

    def found(self, **conditions: Any) -> list[str | None]:
        return kinds(matching(self.shop, self.start, **conditions))


@pytest.fixture
def story(shop: Shop) -> Story:
    return Story(shop)


EXTENDED, PUT = "extended", "entity_put"
"""What matches every item and every location."""
EVERYTHING = [
    "reserved", "reserved", EXTENDED, "transferred", "allocated", "stock_changed", PUT, "reserved"
]  # fmt: skip


CASES: dict[str, tuple[Callable[[Story], dict[str, Any]], list[str]]] = {
    "no condition": (lambda story: {}, EVERYTHING),
    "a type": (lambda story: {"types": ["transferred"]}, ["transferred"]),
    "types": (lambda story: {"types": ["allocated", "stock_changed"]}, ["allocated", "stock_changed"]),
    "an item": (
        lambda story: {"skus": [story.mug]},
        ["reserved", EXTENDED, "allocated", "stock_changed", PUT, "reserved"],
    ),
    "a location, the old one of a transfer too": (
        lambda story: {"locations": [story.shop.there]},
        ["reserved", EXTENDED, "transferred", PUT, "reserved"],
    ),
    "an item at a location, in one line": (
        lambda story: {"skus": [story.cup], "locations": [story.shop.here]},
        [EXTENDED, "transferred", PUT],
    ),
    "either item": (lambda story: {"skus": [story.mug, story.cup]}, EVERYTHING),
    "a channel": (lambda story: {"channels": [story.web]}, ["reserved", "allocated"]),
    "a source": (lambda story: {"source_ids": [story.erp.source_id]}, ["stock_changed"]),
    "an order": (lambda story: {"order_refs": [story.order]}, ["reserved"]),
    "a key": (lambda story: {"idempotency_keys": [story.key]}, ["reserved"]),
    "each condition must hold": (lambda story: {"channels": [story.web], "types": ["allocated"]}, ["allocated"]),
    "a name that does not exist": (lambda story: {"skus": ["nobody-knows-this"]}, [EXTENDED, PUT]),
    "not a channel": (
        lambda story: {"not_caused_by": CommandOrigins(channels=[story.app, story.web])},
        ["stock_changed", PUT, "reserved"],
    ),
    "neither a source nor an actor": (
        lambda story: {"not_caused_by": CommandOrigins(source_ids=[story.erp.source_id], actors=["ann", "bob"])},
        ["reserved", EXTENDED, "transferred", "allocated", PUT],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_matches(story: Story, case: str) -> None:
    conditions, expected = CASES[case]
    assert story.found(**conditions(story)) == expected


def test_an_event_is_the_same_with_a_filter(story: Story) -> None:
    end = story.shop.target.digest()[1]
    everything = story.shop.target.read_events(story.start + 1, end - story.start)
    wanted = [event for event in everything if event.WhichOneof("fact") == "transferred"]
    assert wanted
    assert matching(story.shop, story.start, types=["transferred"]) == wanted


def test_time_is_no_echo(shop: Shop) -> None:
    """An allocate that comes too late records the expiry first, with its own context: the reader needs it."""
    sku, channel = shop.item(3), shop.channel()
    start = shop.target.digest()[1]
    hold = shop.expired((sku, shop.here, 1), channel=channel)
    shop.allocate(hold, channel=channel)
    request = ReadEventsRequest(from_sequence=start + 1)
    request.filter.skus.append(sku)
    assert "allocated" in kinds(shop.target.matching(request)[0])
    request.filter.not_caused_by.channels.append(channel)
    found, _ = shop.target.matching(request)
    assert [kind for kind in kinds(found) if kind not in (EXTENDED, PUT)] == ["expired"]


def test_a_refused_message_names_its_channel_even_if_that_does_not_exist(shop: Shop) -> None:
    start = shop.target.digest()[1]
    context = types.CommandContext(channel="no-such-channel", source=shop.source())
    context.source.sequence = 1
    with pytest.raises(Refused):
        shop.reserve((shop.item(1), shop.here, 1), context=context)
    assert kinds(matching(shop, start, channels=["no-such-channel"])) == ["message_rejected"]


def test_a_name_may_come_later(shop: Shop) -> None:
    """Names are compared when an event is read: a reader can wait for an item that is still to be created."""
    later, start = shop.name("later"), shop.target.digest()[1]
    for _ in range(2):
        items = [catalog.Item(sku=later)]
        shop.call(methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=shop.context(), items=items))
        shop.call(methods.RECEIVE, requests.receive(shop.context(), (later, shop.here, 1)))
    found = [kind for kind in kinds(matching(shop, start, skus=[later])) if kind not in (EXTENDED, PUT)]
    assert found == ["item_upserted", "stock_changed"] * 2


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_a_limit_counts_what_is_sent_and_the_position_is_behind_the_last_one(shop: Shop, limit: int) -> None:
    sku, other = shop.item(), shop.item()
    start = shop.target.digest()[1]
    for _ in range(7):
        for each in (sku, other, other):
            shop.call(methods.RECEIVE, requests.receive(shop.context(), (each, shop.here, 1)))
    request = ReadEventsRequest(from_sequence=start + 1, limit=limit)
    request.filter.skus.append(sku)
    request.filter.types.append("stock_changed")
    seen: list[int] = []
    while len(seen) < 7:
        found, through = shop.target.matching(request)
        assert len(found) == min(limit, 7 - len(seen))
        seen += [event.sequence for event in found]
        if len(found) == limit:
            assert (through.sequence, through.writer_epoch) == (found[-1].sequence, found[-1].writer_epoch)
        request = ReadEventsRequest(after=through, limit=limit, filter=request.filter)
    assert len(set(seen)) == 7
    assert seen == sorted(seen)


def test_more_than_one_read_can_look_at(shop: Shop) -> None:
    """The first match lies behind more events than the engine looks at in one go."""
    skus = shop.items(1_000, on_hand=1)
    start = shop.target.digest()[1]
    for _ in range(11):
        shop.call(methods.RECEIVE, requests.receive(shop.context(), *((sku, shop.here, 1) for sku in skus)))
    rare = shop.channel()
    found = matching(shop, start, types=["channel_upserted"])
    assert [event.channel_upserted.channel for event in found] == [rare]
    assert found[0].sequence > start + 10_000


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown type": ({"types": ["reserved", "sold"]}, "filter.types[1]"),
    "an empty name": ({"skus": [""]}, "filter.skus[0]"),
    "a name that none can be": ({"locations": ["a\nb"]}, "filter.locations[0]"),
    "too many": ({"channels": [f"c{number}" for number in range(101)]}, "filter.channels"),
    "a sender": ({"not_caused_by": CommandOrigins(actors=["x" * 129])}, "filter.not_caused_by.actors[0]"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_filter_is_refused(shop: Shop, case: str) -> None:
    conditions, field = BAD[case]
    with pytest.raises(Refused) as refused:
        shop.target.matching(ReadEventsRequest(filter=EventFilter(**conditions)))
    assert (refused.value.reason, refused.value.fields) == ("INVALID_FIELD", [field])


def follow(target: ServerTarget, start: int, **conditions: Any) -> Iterator[Any]:
    request = ReadEventsRequest(from_sequence=start + 1, follow=True, filter=EventFilter(**conditions))
    return target.event_messages(request)


def test_a_follower_is_told_how_far_it_was_read_to(server_shop: Shop) -> None:
    """A message without events, so that the reader can store a position although nothing matches."""
    shop = server_shop
    assert isinstance(shop.target, ServerTarget)
    start = shop.target.digest()[1]
    messages = follow(shop.target, start, channels=["nobody-knows-this"])
    receipt = shop.call(methods.RECEIVE, requests.receive(shop.context(), (shop.item(), shop.here, 1))).receipt
    while (told := next(messages)).read_through.sequence < receipt.sequence:
        assert not told.events
    assert not told.events
    messages.close()  # type: ignore[attr-defined]
    again, _ = shop.target.matching(ReadEventsRequest(after=told.read_through, limit=1))
    assert all(event.sequence == told.read_through.sequence + 1 for event in again)


def test_a_follower_gets_what_matches_at_once(server_shop: Shop) -> None:
    shop = server_shop
    assert isinstance(shop.target, ServerTarget)
    sku, other, count = shop.item(100), shop.item(100), 20
    start = shop.target.digest()[1]

    def read() -> list[str]:
        assert isinstance(shop.target, ServerTarget)
        messages, found = follow(shop.target, start, skus=[sku], types=["reserved"]), list[str]()
        while len(found) < count:
            found += [event.reserved.reservation_id for event in next(messages).events]
        messages.close()  # type: ignore[attr-defined]
        return found

    with ThreadPoolExecutor(1) as readers:
        reading = readers.submit(read)
        tokens = []
        for _ in range(count):
            shop.hold((other, shop.here, 1))
            tokens.append(shop.reserve((sku, shop.here, 1)).hold.reservation_id)
        assert reading.result() == tokens
