"""Every bound of the service that refuses something counts what it refused, as the documents list it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from invengine.service import events, methods, standard
from invengine.service.bounds import Bound
from invengine.v1 import journal_service_pb2

from .fake_engine import FakeEngine
from .service_loopback import Raw, error_info, serving

RESERVE = "/invengine.v1.ReservationService/Reserve"
CHECK = "/grpc.health.v1.Health/Check"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


async def too_long(channel: Raw) -> None:
    """A command, a command on a stream and a question of reflection that are too long."""
    await refused(channel.unary_unary(RESERVE)(bytes(methods.COMMAND_BYTES_MAX + 1)), "MESSAGE_TOO_LARGE")
    for path, size in ((methods.SUBMIT_STREAM, methods.SUBMIT_BYTES_MAX), (REFLECT, standard.REFLECTION_BYTES_MAX)):
        call = channel.stream_stream(path)()
        await call.write(bytes(size + 1))
        await refused(call.read(), "MESSAGE_TOO_LARGE")


async def too_much_metadata(channel: Raw) -> None:
    metadata = [(f"x-own-{number}", "x" * 4_000) for number in range(17)]
    for path in (RESERVE, CHECK, "/x.Y/Z"):
        await refused(channel.unary_unary(path)(b"", metadata=metadata), "INVALID_FIELD")


async def too_many_readers(channel: Raw) -> None:
    request = journal_service_pb2.ReadEventsRequest(follow=True).SerializeToString()
    first = channel.unary_stream(methods.READ_EVENTS)(request)
    await first.read()
    await refused(channel.unary_stream(methods.READ_EVENTS)(request).read(), "OVERLOADED")
    first.cancel()


async def too_many_reflections(channel: Raw) -> None:
    first, second = channel.stream_stream(REFLECT)(), channel.stream_stream(REFLECT)()
    found = [await reason_of(call.read()) for call in (first, second)]
    assert sorted(found) == ["DEADLINE", "OVERLOADED"]


async def refused(call: Awaitable[Any], reason: str) -> None:
    assert await reason_of(call) == reason


async def reason_of(call: Awaitable[Any]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_info(caught.value).reason


@pytest.mark.parametrize(
    ("abuse", "acted"),
    [
        (too_long, {Bound.MESSAGE_REFUSED: 3}),
        (too_much_metadata, {Bound.METADATA_REFUSED: 3}),
        (too_many_readers, {Bound.READER_REFUSED: 1}),
        (too_many_reflections, {Bound.REFLECTION_REFUSED: 1, Bound.REFLECTION_ENDED: 1}),
    ],
)
def test_a_bound_counts_what_it_refuses(
    monkeypatch: pytest.MonkeyPatch, abuse: Callable[[Raw], Awaitable[None]], acted: dict[Bound, int]
) -> None:
    monkeypatch.setattr(events, "READERS_MAX", 1)
    monkeypatch.setattr(standard, "REFLECTIONS_MAX", 1)
    monkeypatch.setattr(standard, "REFLECTION_S", 0.3)

    async def body() -> None:
        async with serving(FakeEngine(events=1)) as (service, channel):
            none = {bound.value: 0 for bound in Bound}
            assert json.loads(service.stats()) == {"bounds": none}
            await refused(channel.unary_unary("/x.Y/Z")(b""), "UNIMPLEMENTED")
            assert json.loads(service.stats()) == {"bounds": none}, "other refusals are not those of a bound"
            await abuse(channel)
            assert json.loads(service.stats()) == {
                "bounds": none | {bound.value: count for bound, count in acted.items()}
            }

    asyncio.run(body())


def test_the_documents_list_every_bound_of_the_service() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    table = text[text.index("| what | bound of the Python door |") :].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+_(?:refused|ended))` \|", table)) == {bound.value for bound in Bound}
