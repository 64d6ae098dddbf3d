"""Does a source give each of its messages one number for ever, whatever becomes of it and whatever breaks?"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from scripted_peer import Peer, Refusal, record_all

from invengine import errors
from invengine.client import (
    AsyncClient,
    AsyncSource,
    Client,
    Draft,
    MessageOutcome,
    OrderedSource,
    Position,
    commands,
    messages,
)
from invengine.errors import InvalidArgument
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import source_service_pb2 as source
from invengine.v1 import types_pb2 as types

RECORD = "/invengine.v1.InventoryService/RecordMessages"
SOURCE = "/invengine.v1.SourceService/"
LINES = [("mug", "wh-1", 2)]


class Inbox:
    """The rules for messages of the ledger, for one source: parked ahead of their turn, `full` for these ids."""

    def __init__(self, peer: Peer) -> None:
        self.epoch, self.last = 1, 0
        self.ids: dict[int, str] = {}
        self.full: set[str] = set()
        self.dead: set[str] = set()
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        peer.behaviours[RECORD] = self._record
        peer.behaviours[SOURCE + "RegisterSource"] = lambda _: source.RegisterSourceResponse(
            epoch=1
        ).SerializeToString()

    def _record(self, body: bytes) -> bytes:
        self.before()
        with self._lock:
            asked = inventory.RecordMessagesRequest.FromString(body).messages
            found = [self._one(each.goods_received.context) for each in asked]
        self.after()
        return inventory.RecordMessagesResponse(outcomes=found).SerializeToString()

    def _one(self, context: types.CommandContext) -> inventory.MessageOutcome:
        refused = inventory.MessageOutcome(disposition=inventory.MESSAGE_DISPOSITION_REFUSED)
        number, key = context.source.sequence, context.idempotency_key
        if context.source.epoch != self.epoch:
            refused.rejection.code, refused.rejection.reason = 9, "STALE_EPOCH"
            return refused
        if self.ids.get(number, key) != key:
            refused.rejection.code, refused.rejection.reason = 9, "SEQUENCE_CONFLICT"
            return refused
        if key in self.full:
            refused.rejection.code, refused.rejection.reason = 8, "OVERLOADED"
            refused.rejection.metadata["limit"] = "dead letters"
            return refused
        self.ids[number] = key
        while self.last + 1 in self.ids:
            self.last += 1
        found = inventory.MessageOutcome(disposition=inventory.MESSAGE_DISPOSITION_APPLIED)
        if number > self.last:
            found.disposition = inventory.MESSAGE_DISPOSITION_PARKED
        elif key in self.dead:
            found.disposition = inventory.MESSAGE_DISPOSITION_DEAD_LETTER
            found.rejection.code, found.rejection.reason = 5, "UNKNOWN_SKU"
        found.receipt.sequence = number
        return found


@pytest.fixture
def inbox(peer: Peer) -> Inbox:
    return Inbox(peer)


def some(*ids: str) -> list[Draft[Any]]:
    return [messages.goods_received(LINES, key=each) for each in ids]


def shown(outcomes: list[MessageOutcome]) -> str:
    """The dispositions by their first letters."""
    return "".join(each.disposition.name[0] for each in outcomes)


def drive(peer: Peer, asynchronous: bool, work: Callable[[Callable[..., Any], Any], None]) -> None:
    """Runs `work` with `record` and the source, in either flavour."""
    if not asynchronous:
        with Client(peer.target, timeout_s=5) as client:
            blocking = client.source("erp")
            work(blocking.record, blocking)
        return
    loop = asyncio.new_event_loop()

    async def opened() -> AsyncSource:
        return await AsyncClient(peer.target, timeout_s=5).source("erp")

    of_loop = loop.run_until_complete(opened())
    try:
        work(lambda *given, **more: loop.run_until_complete(of_loop.record(*given, **more)), of_loop)
    finally:
        loop.run_until_complete(of_loop._client.close())
        loop.close()


@pytest.mark.parametrize("asynchronous", [False, True])
class TestSource:
    """A source of either client."""

    def test_it_numbers_its_messages_and_a_dead_letter_moves_on(
        self, peer: Peer, inbox: Inbox, asynchronous: bool
    ) -> None:
        def work(record: Callable[..., Any], at: Any) -> None:
            inbox.dead = {"b"}
            assert shown(record(some("a", "b", "c"))) == "ADA"
            assert record([]) == []
            assert shown(record(iter(some("d")))) == "A"
            assert at.position == Position("erp", 1, 4)

        drive(peer, asynchronous, work)
        assert inbox.ids == {1: "a", 2: "b", 3: "c", 4: "d"}

    def test_refused_ones_at_the_end_give_their_numbers_back(
        self, peer: Peer, inbox: Inbox, asynchronous: bool
    ) -> None:
        def work(record: Callable[..., Any], at: Any) -> None:
            inbox.full = {"b", "c"}
            assert shown(record(some("a", "b", "c"))) == "ARR"
            assert at.position.sequence == 1
            inbox.full = set()
            assert shown(record(some("d"))) == "A"

        drive(peer, asynchronous, work)
        assert inbox.ids == {1: "a", 2: "d"}

    def test_a_refused_one_before_a_kept_one_is_sent_again_first(
        self, peer: Peer, inbox: Inbox, asynchronous: bool
    ) -> None:
        def work(record: Callable[..., Any], at: Any) -> None:
            inbox.full = {"b"}
            drafts = some("a", "b", "c")
            assert shown(record(drafts)) == "ARP"
            assert at.position.sequence == 1
            with pytest.raises(errors.DeadlineExceeded, match="earlier message"):
                record(some("d"))
            inbox.full = set()
            # The caller may send the very same draft again: it has its id.
            assert shown(record([drafts[1], *some("d")])) == "AA"
            assert at.position.sequence == 5

        drive(peer, asynchronous, work)
        assert inbox.ids == {1: "a", 2: "b", 3: "c", 4: "b", 5: "d"}

    def test_messages_without_an_answer_are_settled_before_the_next(
        self, peer: Peer, inbox: Inbox, asynchronous: bool
    ) -> None:
        def lose() -> None:
            raise Refusal(grpc.StatusCode.UNAVAILABLE)

        def work(record: Callable[..., Any], at: Any) -> None:
            inbox.after = lose
            with pytest.raises(errors.OutcomeUnknown):
                record(some("a", "b"), timeout_s=0.3)
            assert at.position.sequence == 0
            inbox.after = lambda: None
            assert shown(record(some("c"))) == "A"
            assert at.position.sequence == 3

        drive(peer, asynchronous, work)
        assert inbox.ids == {1: "a", 2: "b", 3: "c"}

    def test_what_was_not_sent_uses_no_number(self, peer: Peer, inbox: Inbox, asynchronous: bool) -> None:
        def refuse() -> None:
            inbox.before = lambda: None
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")

        def work(record: Callable[..., Any], at: Any) -> None:
            inbox.before = refuse
            with pytest.raises(errors.MessageTooLarge):
                record(some("a", "b"))
            with pytest.raises(InvalidArgument):
                record([commands.receive(LINES)])
            assert shown(record(some("c"))) == "A"

        drive(peer, asynchronous, work)
        assert inbox.ids == {1: "c"}

    def test_another_incarnation_is_told(self, peer: Peer, inbox: Inbox, asynchronous: bool) -> None:
        def work(record: Callable[..., Any], at: Any) -> None:
            inbox.epoch = 2
            outcomes = record(some("a", "b"))
            assert shown(outcomes) == "RR"
            assert isinstance(outcomes[0].rejection, errors.StaleEpoch)
            assert at.position.sequence == 0

        drive(peer, asynchronous, work)

    def test_2500_messages_are_three_calls(self, peer: Peer, inbox: Inbox, asynchronous: bool) -> None:
        def work(record: Callable[..., Any], at: Any) -> None:
            assert shown(record(some(*(f"m-{n}" for n in range(2500))))) == "A" * 2500
            assert at.position.sequence == 2500

        drive(peer, asynchronous, work)
        assert len([path for path, _ in peer.requests if path == RECORD]) == 3


def test_messages_and_commands_of_one_loop_take_turns(peer: Peer, inbox: Inbox) -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def answer(body: bytes) -> bytes:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        found = record_all(body) if inventory.RecordMessagesRequest.FromString(body).messages else b""
        with lock:
            running[0] -= 1
        return found

    peer.behaviours[RECORD] = answer
    peer.behaviours["/invengine.v1.InventoryService/Receive"] = lambda _: (
        inventory.ReceiveResponse().SerializeToString()
    )

    async def main() -> Position:
        async with AsyncClient(peer.target) as client:
            erp = await client.source("erp")
            calls: list[Awaitable[Any]] = []
            for n in range(20):
                calls += [erp.record(some(f"a-{n}", f"b-{n}")), erp.receive(LINES)]
            await asyncio.gather(*calls)
            return erp.position

    assert asyncio.run(main()).sequence == 60
    assert most[0] == 1
    numbers = [
        each.goods_received.context.source.sequence
        for path, body in peer.requests
        if path == RECORD
        for each in inventory.RecordMessagesRequest.FromString(body).messages
    ]
    assert len(set(numbers)) == 40


def test_both_sources_offer_the_same() -> None:
    assert list(inspect.signature(OrderedSource.record).parameters) == ["self", "messages", "timeout_s"]
    assert list(inspect.signature(AsyncSource.record).parameters) == ["self", "messages", "timeout_s"]
