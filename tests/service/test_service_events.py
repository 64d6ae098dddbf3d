"""ReadEvents over the Python service: ends where it should, follows when asked, and is bounded."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from invengine.service import events, methods
from invengine.v1 import journal_service_pb2, types_pb2

from .fake_engine import CallError, FakeEngine, refusal
from .service_loopback import WAIT_S, Raw, error_info, serving


async def read(channel: Raw, **fields: int) -> list[int]:
    request = journal_service_pb2.ReadEventsRequest(**fields)  # type: ignore[arg-type]
    call = channel.unary_stream(methods.READ_EVENTS)(request.SerializeToString())
    sequences: list[int] = []
    async for payload in call:
        answer = journal_service_pb2.ReadEventsResponse.FromString(payload)
        sequences += [event.sequence for event in answer.events]
    return sequences


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (1, 1200)),
        ({"from_sequence": 1}, (1, 1200)),
        ({"from_sequence": 700}, (700, 1200)),
        ({"from_sequence": 1201}, None),
        ({"from_sequence": 3, "limit": 2}, (3, 4)),
        ({"limit": 900}, (1, 900)),
        ({"follow": True, "limit": 1200}, (1, 1200)),
    ],
)
def test_what_is_read(fields: dict[str, int], expected: tuple[int, int] | None) -> None:
    async def body() -> None:
        async with serving(FakeEngine(events=1200)) as (_, channel):
            got = await read(channel, **fields)
            assert got == (list(range(expected[0], expected[1] + 1)) if expected else [])

    asyncio.run(body())


def test_follow_streams_new_events_and_ends_with_draining() -> None:
    engine = FakeEngine(events=1)

    async def body() -> None:
        async with serving(engine) as (service, channel):
            request = journal_service_pb2.ReadEventsRequest(follow=True).SerializeToString()
            call = channel.unary_stream(methods.READ_EVENTS)(request)
            assert journal_service_pb2.ReadEventsResponse.FromString(await call.read()).events[0].sequence == 1
            engine.events = 2
            assert journal_service_pb2.ReadEventsResponse.FromString(await call.read()).events[0].sequence == 2
            stopping = asyncio.create_task(service.stop(3_000))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert error_info(caught.value).reason == "DRAINING"
            await stopping

    asyncio.run(body())


def test_where_it_begins_is_for_the_engine_to_say() -> None:
    """Both doors have the same rules about positions, because neither has any of its own."""

    class Refusing(FakeEngine):
        def begin_events(self, payload: bytes, ledger: str = "") -> tuple[int, int | None, bool]:
            super().begin_events(payload, ledger)
            raise CallError(*refusal("POSITION_NOT_IN_HISTORY", grpc.StatusCode.OUT_OF_RANGE))

    engine = Refusing(events=3)
    after = types_pb2.JournalPosition(ledger="main", writer_epoch=1, sequence=31)
    request = journal_service_pb2.ReadEventsRequest(after=after).SerializeToString()

    async def body() -> None:
        async with serving(engine) as (_, channel):
            call = channel.unary_stream(methods.READ_EVENTS)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(request, metadata=(("invengine-ledger", "other"),)).read()
            assert error_info(caught.value).reason == "POSITION_NOT_IN_HISTORY"

    asyncio.run(body())
    (begun,) = engine.calls
    assert (begun.payload, begun.metadata) == (request, {"ledger": "other"})


async def read_once_there_is_room(channel: Raw, request: bytes) -> bytes:
    """What a reader gets who comes again while there are too many."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                answer: bytes = await channel.unary_stream(methods.READ_EVENTS)(request).read()
            except grpc.aio.AioRpcError as error:
                if error_info(error).reason != "OVERLOADED":
                    raise
                await asyncio.sleep(0.02)
            else:
                return answer


def test_too_many_readers_are_refused_until_others_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "READERS_MAX", 2)
    request = journal_service_pb2.ReadEventsRequest(follow=True).SerializeToString()

    async def body() -> None:
        async with serving(FakeEngine(events=1)) as (_, channel):
            readers = [channel.unary_stream(methods.READ_EVENTS)(request) for _ in range(2)]
            for reader in readers:
                await reader.read()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_stream(methods.READ_EVENTS)(request).read()
            assert error_info(caught.value).reason == "OVERLOADED"
            readers[0].cancel()
            assert await read_once_there_is_room(channel, request)

    asyncio.run(body())


def test_an_engine_that_returns_fewer_events_than_requested_is_read_again() -> None:
    class Brief(FakeEngine):
        def read_events(self, from_sequence: int, limit: int, wait_ms: int, only: bytes = b"") -> bytes:
            return super().read_events(from_sequence, min(limit, 7), wait_ms, only)

    async def body() -> None:
        async with serving(Brief(events=300)) as (_, channel):
            assert await read(channel) == list(range(1, 301))
            assert await read(channel, limit=20) == list(range(1, 21))

    asyncio.run(body())
