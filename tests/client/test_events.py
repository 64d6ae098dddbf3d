"""Does a reader of the journal see every event once, across lost connections?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc
import pytest
from scripted_peer import Peer, Refusal

from invengine import errors
from invengine.client import AsyncClient, Client, Event
from invengine.v1 import journal_service_pb2 as journal


def answer(*sequences: int) -> bytes:
    events = [
        journal.Event(sequence=each, writer_epoch=1, item_upserted=journal.ItemUpserted(sku=f"sku-{each}"))
        for each in sequences
    ]
    return journal.ReadEventsResponse(events=events, durable_sequence=max(sequences)).SerializeToString()


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


def test_reading_goes_on_at_the_next_event(flaky: Peer) -> None:
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


def test_following_goes_on_when_the_server_ends_the_stream(peer: Peer) -> None:
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


def test_patience_ends() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(errors.Unreachable):
        list(client.read_events(patience_s=0.2))
    with Client("127.0.0.1:1") as client, pytest.raises(ValueError, match="0 or more"):
        next(client.read_events(-1))
