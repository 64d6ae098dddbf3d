"""Does a reader of the journal see every event once, across lost connections?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from scripted_peer import Peer, Refusal

from invengine import errors
from invengine.client import AsyncClient, Client, CommandOrigins, Event, EventFilter, JournalPosition
from invengine.v1 import admin_service_pb2 as admin
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import types_pb2 as types


def answer(*sequences: int, ledger: str = "") -> bytes:
    events = [
        journal.Event(sequence=each, writer_epoch=1, item_upserted=journal.ItemUpserted(sku=f"sku-{each}"))
        for each in sequences
    ]
    return journal.ReadEventsResponse(events=events, durable_sequence=max(sequences), ledger=ledger).SerializeToString()


def breaking_after(*sizes: int, last: int = 10) -> Iterator[int]:
    yield from sizes
    while True:
        yield last


@pytest.fixture
def flaky(peer: Peer) -> Peer:
    """Ten events; the connection breaks after three, and again after two more. Batches overlap by one event."""
    sizes = breaking_after(3, 2)

    def read(body: bytes) -> Iterator[bytes]:
        request = journal.ReadEventsRequest.FromString(body)
        size, start = next(sizes), request.from_sequence
        end = min(start + min(size, request.limit or 10), 11)
        for sequence in range(start, end):
            yield answer(*[each for each in (sequence - 1, sequence) if each >= 1])
        if size < 10:
            raise Refusal(grpc.StatusCode.UNAVAILABLE)

    peer.reading = read
    return peer


def asked(peer: Peer) -> list[tuple[int, int]]:
    requests = [journal.ReadEventsRequest.FromString(body) for _, body in peer.requests]
    return [(each.from_sequence, each.limit) for each in requests]


def test_reading_continues_at_the_next_event(flaky: Peer) -> None:
    with Client(flaky.target) as client:
        found = list(client.read_events())
    assert [event.sequence for event in found] == list(range(1, 11))
    assert (found[0].kind, found[0].fact.sku, found[0].context) == ("item_upserted", "sku-1", None)
    assert [start for start, _ in asked(flaky)] == [1, 4, 6]


def test_a_limit_counts_across_connections(flaky: Peer) -> None:
    with Client(flaky.target) as client:
        assert [event.sequence for event in client.read_events(2, limit=6)] == [2, 3, 4, 5, 6, 7]
    assert asked(flaky) == [(2, 6), (5, 3), (7, 1)]


def test_asyncio_reads_the_same(flaky: Peer) -> None:
    async def main() -> list[Event]:
        async with AsyncClient(flaky.target) as client:
            return [event async for event in client.read_events()]

    assert [event.sequence for event in asyncio.run(main())] == list(range(1, 11))


def test_following_continues_when_the_server_ends_the_stream(peer: Peer) -> None:
    def read(body: bytes) -> Iterator[bytes]:
        start = journal.ReadEventsRequest.FromString(body).from_sequence
        yield answer(start, start + 1)

    peer.reading = read
    with Client(peer.target) as client:
        assert [event.sequence for event in client.read_events(follow=True, limit=5)] == [1, 2, 3, 4, 5]


def test_a_refusal_is_raised(peer: Peer) -> None:
    def read(body: bytes) -> Iterator[bytes]:
        start = journal.ReadEventsRequest.FromString(body).from_sequence
        if start < 100:
            raise Refusal(grpc.StatusCode.OUT_OF_RANGE, "HISTORY_TRIMMED", metadata={"limit": "100"})
        yield answer(start)

    peer.reading = read
    with Client(peer.target) as client:
        assert len(list(client.read_events(100))) == 1
        with pytest.raises(errors.HistoryTrimmed):
            list(client.read_events(99))


@pytest.fixture
def named(peer: Peer) -> Peer:
    """Ten events of ledger `main`, three a connection, each of which breaks."""

    def read(body: bytes) -> Iterator[bytes]:
        request = journal.ReadEventsRequest.FromString(body)
        start = max(request.from_sequence, request.after.sequence + 1)
        end = min(start + 3, 11)
        for sequence in range(start, end):
            yield answer(sequence, ledger="main")
        if end < 11:
            raise Refusal(grpc.StatusCode.UNAVAILABLE)

    peer.reading = read
    return peer


def went_on(peer: Peer) -> list[tuple[int, tuple[str, int, int]]]:
    requests = [journal.ReadEventsRequest.FromString(body) for _, body in peer.requests]
    return [
        (each.from_sequence, (each.after.ledger, each.after.writer_epoch, each.after.sequence)) for each in requests
    ]


NONE = ("", 0, 0)


def test_a_reader_continues_by_complete_positions_however_it_started(named: Peer) -> None:
    with Client(named.target) as client:
        found = list(client.read_events())
        assert [event.position for event in found] == [JournalPosition("main", 1, each) for each in range(1, 11)]
        assert [event.sequence for event in client.read_events(after=found[4].position)] == [6, 7, 8, 9, 10]
        start = JournalPosition.start("main")
        assert len(list(client.read_events(after=start))) == 10
    assert went_on(named) == [
        (1, NONE),
        *((0, ("main", 1, sequence)) for sequence in (3, 6, 9)),
        *((0, ("main", 1, sequence)) for sequence in (5, 8)),
        *((0, ("main", min(sequence, 1), sequence)) for sequence in (0, 3, 6, 9)),
    ]


def test_asyncio_continues_by_complete_positions(named: Peer) -> None:
    async def main() -> list[Event]:
        async with AsyncClient(named.target) as client:
            return [event async for event in client.read_events(after=JournalPosition("main", 1, 4))]

    assert [event.sequence for event in asyncio.run(main())] == [5, 6, 7, 8, 9, 10]
    assert went_on(named) == [(0, ("main", 1, sequence)) for sequence in (4, 7)]


def test_a_history_that_was_replaced_while_disconnected_is_reported(peer: Peer) -> None:
    facts = {
        "ledger": "main",
        "head_sequence": "2",
        "head_epoch": "1",
        "last_common_sequence": "2",
        "last_common_epoch": "1",
    }

    def read(body: bytes) -> Iterator[bytes]:
        if journal.ReadEventsRequest.FromString(body).HasField("after"):
            raise Refusal(grpc.StatusCode.OUT_OF_RANGE, "POSITION_NOT_IN_HISTORY", metadata=facts)
        yield answer(1, 2, 3, ledger="main")
        raise Refusal(grpc.StatusCode.UNAVAILABLE)

    peer.reading = read
    with Client(peer.target) as client, pytest.raises(errors.PositionNotInHistory) as refused:
        list(client.read_events(follow=True))
    assert refused.value.last_common == refused.value.head == JournalPosition("main", 1, 2)


def test_the_last_common_position_is_never_invented() -> None:
    facts = {"ledger": "main", "head_sequence": "2", "head_epoch": "1"}
    refused = errors.PositionNotInHistory("no", metadata=facts)
    assert (refused.head, refused.last_common) == (JournalPosition("main", 1, 2), None)
    nothing = errors.PositionNotInHistory(
        "no", metadata=facts | {"last_common_sequence": "0", "last_common_epoch": "0"}
    )
    assert nothing.last_common == JournalPosition.start("main")


def test_a_reader_has_only_one_start_position(peer: Peer) -> None:
    position: Any = JournalPosition("main", 1, 4)
    with Client(peer.target) as client:
        with pytest.raises(TypeError, match="not both"):
            next(client.read_events(4, after=position))
        with pytest.raises(TypeError, match="parse"):
            next(client.read_events(after=str(position)))  # type: ignore[arg-type]
    assert peer.requests == []


@pytest.mark.parametrize("ledger", ["main", "a@1:2~0", "Lager Köln", "~", "x" * 128])
def test_the_text_of_a_position_is_read_again(ledger: str) -> None:
    for position in (
        JournalPosition.start(ledger),
        JournalPosition(ledger, 1, 31),
        JournalPosition(ledger, 7, 2**63 - 1),
    ):
        assert JournalPosition.parse(str(position)) == position


def test_the_text_of_a_position_never_changes() -> None:
    assert str(JournalPosition("main", 1, 31)) == "main@1:31~e79977a5"


def test_a_position_that_was_cut_or_altered_is_refused() -> None:
    whole = str(JournalPosition("main", 12, 345))
    bad = [whole[:end] for end in range(len(whole))] + [whole[start:] for start in range(1, len(whole))]
    bad += [
        whole[:at] + other + whole[at + 1 :] for at in range(len(whole)) for other in "0a@:~ \n" if whole[at] != other
    ]
    bad += [whole + " ", whole + "\n", whole.upper(), "main@12:345"]
    for text in bad:
        with pytest.raises(ValueError, match=r"cut or altered|ledger is|both 0"):
            JournalPosition.parse(text)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (("", 1, 1), ValueError),
        (("x" * 129, 1, 1), ValueError),
        (("a\nb", 1, 1), ValueError),
        (("main", 0, 1), ValueError),
        (("main", 1, 0), ValueError),
        (("main", -1, 1), ValueError),
        (("main", 1, 2**63), ValueError),
        (("main", True, 1), TypeError),
        (("main", "1", 1), TypeError),
        ((None, 1, 1), TypeError),
    ],
)
def test_a_position_is_whole(fields: tuple[Any, Any, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        JournalPosition(*fields)


def test_the_reconnect_timeout_ends() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(errors.Unreachable):
        list(client.read_events(patience_s=1.0))
    with Client("127.0.0.1:1") as client, pytest.raises(ValueError, match="0 or more"):
        next(client.read_events(-1))


def response(*sequences: int, through: int) -> bytes:
    """An answer that read further than its last event."""
    message = journal.ReadEventsResponse.FromString(answer(*sequences, ledger="main") if sequences else b"")
    message.read_through.ledger, message.read_through.writer_epoch, message.read_through.sequence = "main", 1, through
    return message.SerializeToString()


def test_a_filter_is_sent_with_each_request_and_continues_behind_what_was_read(peer: Peer) -> None:
    answers = iter([[response(2, through=5), response(through=9)], [response(12, through=12)]])

    def read(body: bytes) -> Iterator[bytes]:
        yield from next(answers)
        raise Refusal(grpc.StatusCode.UNAVAILABLE)

    peer.reading = read
    only = EventFilter(skus=["mug"], keys=("k",), not_caused_by=CommandOrigins(actors=["me"]), without_consumers=True)
    with Client(peer.target) as client:
        assert [event.sequence for event in client.read_events(only=only, limit=2)] == [2, 12]
    requests = [journal.ReadEventsRequest.FromString(body) for _, body in peer.requests]
    assert [(each.after.sequence, each.limit) for each in requests] == [(0, 2), (9, 1)]
    expected = journal.EventFilter(skus=["mug"], idempotency_keys=["k"], without_consumers=True)
    expected.not_caused_by.actors.append("me")
    assert [each.filter for each in requests] == [expected, expected]


@pytest.mark.parametrize(
    ("only", "field"),
    [
        ({"skus": ["mug"]}, "only"),
        (EventFilter(skus="mug"), "only.skus"),
        (EventFilter(skus=[]), "only.skus"),
        (EventFilter(types=["reserved", ""]), "only.types[1]"),
        (EventFilter(locations=[None]), "only.locations[0]"),  # type: ignore[list-item]
        (EventFilter(without_consumers=1), "only.without_consumers"),  # type: ignore[arg-type]
        (EventFilter(not_caused_by="me"), "only.not_caused_by"),  # type: ignore[arg-type]
        (EventFilter(not_caused_by=CommandOrigins()), "only.not_caused_by"),
        (EventFilter(not_caused_by=CommandOrigins(actors=[""])), "only.not_caused_by.actors[0]"),
    ],
)
def test_a_bad_filter_is_refused_before_anything_is_sent(peer: Peer, only: Any, field: str) -> None:
    with Client(peer.target) as client, pytest.raises(errors.InvalidArgument) as caught:
        list(client.read_events(only=only))
    assert caught.value.violations[0].field == field
    assert peer.requests == []


class Ledger:
    """Ten events, every third of which matches, and one consumer."""

    def __init__(self, peer: Peer, known: types.Consumer | None = None) -> None:
        self.known = known
        self.puts: list[types.Consumer] = []
        peer.reading = self.read
        path = "/invengine.v1.JournalService/"
        peer.behaviours[path + "GetConsumer"] = self.get
        peer.behaviours[path + "UpsertConsumers"] = self.put
        info = admin.GetServerInfoResponse(ledger="main")
        peer.behaviours["/invengine.v1.AdminService/GetServerInfo"] = lambda _: info.SerializeToString()

    def read(self, body: bytes) -> Iterator[bytes]:
        request = journal.ReadEventsRequest.FromString(body)
        assert request.filter.without_consumers
        found = [each for each in range(request.after.sequence + 1, 11) if each % 3 == 0]
        for sequence in found[: request.limit or None]:
            yield response(sequence, through=sequence)
        if not request.limit:
            yield response(through=10)

    def get(self, body: bytes) -> bytes:
        if self.known is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "ENTITY_NOT_FOUND", metadata={"kind": "consumer", "name": "feed"})
        return journal.GetConsumerResponse(consumer=self.known).SerializeToString()

    def put(self, body: bytes) -> bytes:
        (put,) = journal.UpsertConsumersRequest.FromString(body).consumers
        if put.version != (self.known.version if self.known else 0):
            raise Refusal(grpc.StatusCode.ABORTED, "STALE_VERSION")
        self.puts.append(put)
        self.known = types.Consumer(consumer=put.consumer, position=put.position, version=put.version + 1)
        return journal.UpsertConsumersResponse(versions=[put.version + 1]).SerializeToString()

    def stored(self) -> list[int]:
        return [each.position.sequence for each in self.puts]


def consumed(target: str, asynchronous: bool, **given: Any) -> list[int]:
    """The sequences that a consumer gets that never waits."""
    if not asynchronous:
        with Client(target) as client:
            return [event.sequence for event in client.consume("feed", follow=False, **given)]

    async def main() -> list[int]:
        async with AsyncClient(target) as client:
            return [event.sequence async for event in client.consume("feed", follow=False, **given)]

    return asyncio.run(main())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_consumer_continues_where_it_was(peer: Peer, asynchronous: bool) -> None:
    ledger = Ledger(peer)
    assert consumed(peer.target, asynchronous, limit=1) == [3]
    assert consumed(peer.target, asynchronous) == [6, 9]
    assert consumed(peer.target, asynchronous) == []
    # At a regular end; the last one is behind what did not match. Where nothing was handled, nothing is stored.
    assert ledger.stored() == [3, 10]
    assert [each.version for each in ledger.puts] == [0, 1]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_new_consumer_may_begin_later(peer: Peer, asynchronous: bool) -> None:
    ledger = Ledger(peer)
    start = JournalPosition("main", 1, 4)
    assert consumed(peer.target, asynchronous, start=start) == [6, 9]
    assert consumed(peer.target, asynchronous, start=start) == [], "it is known by now"
    assert ledger.stored() == [10]


def test_an_event_is_handled_when_the_next_one_is_asked_for(peer: Peer) -> None:
    ledger = Ledger(peer)
    with Client(peer.target) as client:
        reader = client.consume("feed", follow=False, store_interval_s=0)
        assert next(reader).sequence == 3
        assert ledger.stored() == []
        assert next(reader).sequence == 6
        assert ledger.stored() == [3]
        reader.close()  # type: ignore[attr-defined]
    assert ledger.stored() == [3], "the second one may not have been handled"
    assert consumed(peer.target, False) == [6, 9]


def test_positions_are_not_stored_more_often_than_asked_for(peer: Peer) -> None:
    ledger = Ledger(peer)
    assert consumed(peer.target, False, store_interval_s=3600) == [3, 6, 9]
    assert ledger.stored() == [10]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_second_consumer_of_the_name_is_noticed(peer: Peer, asynchronous: bool) -> None:
    ledger = Ledger(peer, types.Consumer(consumer="feed", position=types.JournalPosition(ledger="main"), version=4))
    with Client(peer.target) as client:
        other = client.consume("feed", follow=False)
        next(other)
        assert consumed(peer.target, asynchronous) == [3, 6, 9]
        with pytest.raises(errors.StaleVersion):
            list(other)
    assert ledger.stored() == [10]


def test_what_did_not_match_is_stored_only_when_it_is_much(peer: Peer) -> None:
    """Otherwise idle consumers would answer each other's stored positions for ever."""
    ledger = Ledger(peer)
    for through, stored in ((999, []), (1_000, [1_000])):
        peer.reading = lambda _, through=through: iter([response(through=through)])  # type: ignore[misc]
        assert consumed(peer.target, False, store_interval_s=0) == []
        assert ledger.stored() == stored
