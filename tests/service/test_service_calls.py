"""What a caller of the Python service sees: answers, refusals with one ErrorInfo, and never an internal text."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import DecodeError

from invengine.service import methods, serve_python
from invengine.v1 import admin_service_pb2, reservation_service_pb2

from .fake_engine import CallError, FakeEngine, refusal
from .service_loopback import Raw, error_info, serving, until

RESERVE = "/invengine.v1.ReservationService/Reserve"
Check = Callable[[Raw], Awaitable[None]]


def run(engine: FakeEngine, check: Check) -> None:
    async def body() -> None:
        async with serving(engine) as (_, channel):
            await check(channel)

    asyncio.run(body())


async def refused_call(channel: Raw, path: str, payload: bytes = b"") -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(path)(payload)
    return caught.value


def test_a_call_passes_bytes_key_ledger_and_deadline_through() -> None:
    engine = FakeEngine({RESERVE: lambda payload: b"answer to " + payload})

    async def check(channel: Raw) -> None:
        metadata = (("idempotency-key", "k1"), ("invengine-ledger", "eu"))
        answer = await channel.unary_unary(RESERVE)(b"question", metadata=metadata, timeout=5)
        assert answer == b"answer to question"

    run(engine, check)
    metadata = engine.calls[0].metadata
    assert (metadata["idempotency_key"], metadata["ledger"]) == ("k1", "eu")
    # gRPC rounds a deadline up to the unit that it sends it in: a little more than five seconds may arrive.
    assert 1 <= metadata["timeout_ms"] <= 6000


def test_a_call_without_deadline_has_timeout_0() -> None:
    engine = FakeEngine({RESERVE: lambda payload: payload})

    async def check(channel: Raw) -> None:
        await channel.unary_unary(RESERVE)(b"")

    run(engine, check)
    assert engine.calls[0].metadata["timeout_ms"] == 0


def test_every_unary_method_of_the_contract_reaches_the_engine() -> None:
    unary = [m.path for m in methods.method_table().values() if m.shape is methods.Shape.UNARY]
    engine = FakeEngine()

    async def check(channel: Raw) -> None:
        for path in unary:
            assert error_info(await refused_call(channel, path)).reason == "UNKNOWN_SKU"

    run(engine, check)
    assert [call.method for call in engine.calls] == unary


def test_an_engines_refusal_keeps_code_message_and_details() -> None:
    engine = FakeEngine()

    async def check(channel: Raw) -> None:
        error = await refused_call(channel, RESERVE)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert error.details() == "Do something else."

    run(engine, check)


@pytest.mark.parametrize(
    "raised",
    [
        RuntimeError("password=hunter2"),
        CallError(2, b""),
        CallError(9, b"\xff\xff"),
        CallError(*(5, refusal("UNKNOWN_SKU", grpc.StatusCode.ABORTED)[1])),
        CallError(99, b""),
    ],
    ids=["exception", "unknown", "garbage", "other code", "no such code"],
)
def test_a_broken_engine_answers_internal_with_only_an_incident(
    raised: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    class Broken(FakeEngine):
        def start_call(self, *args: object, **metadata: object) -> None:
            raise raised

    async def check(channel: Raw) -> None:
        error = await refused_call(channel, RESERVE)
        assert error.code() is grpc.StatusCode.INTERNAL
        info = error_info(error)
        assert info.reason == "INTERNAL"
        assert set(info.metadata) == {"incident"}
        assert "hunter2" not in repr(error)

    run(Broken(), check)


@pytest.mark.parametrize("path", ["/invengine.v1.ReservationService/Steal", "/other.Service/Do", "/nonsense"])
def test_an_unknown_method_is_unimplemented_with_details(path: str) -> None:
    async def check(channel: Raw) -> None:
        error = await refused_call(channel, path)
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert error_info(error).metadata["method"] == path

    run(FakeEngine(), check)


def test_a_streaming_method_of_a_later_version_is_unimplemented() -> None:
    async def check(channel: Raw) -> None:
        call = channel.unary_stream("/invengine.v1.AvailabilityService/WatchAvailability")(b"")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert error_info(caught.value).reason == "UNIMPLEMENTED"

    run(FakeEngine(), check)


@pytest.mark.parametrize(
    ("path", "limit"), [(RESERVE, methods.COMMAND_BYTES_MAX), (methods.SUBMIT, methods.SUBMIT_BYTES_MAX)]
)
def test_a_message_over_the_limit_never_reaches_the_engine(path: str, limit: int) -> None:
    engine = FakeEngine({path: lambda _: b"taken"})

    async def check(channel: Raw) -> None:
        error = await refused_call(channel, path, bytes(limit + 1))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        info = error_info(error)
        assert (info.reason, info.metadata["limit"]) == ("MESSAGE_TOO_LARGE", str(limit))
        assert await channel.unary_unary(path)(bytes(limit)) == b"taken"

    run(engine, check)
    assert len(engine.calls) == 1


def test_get_server_info_names_the_door_that_answered() -> None:
    info = admin_service_pb2.GetServerInfoResponse(version="1", door="embedded")
    engine = FakeEngine({methods.SERVER_INFO: lambda _: info.SerializeToString()})

    async def check(channel: Raw) -> None:
        answer = await channel.unary_unary(methods.SERVER_INFO)(b"")
        assert admin_service_pb2.GetServerInfoResponse.FromString(answer).door == "python"

    run(engine, check)


def test_a_slow_call_does_not_hold_up_another() -> None:
    engine = FakeEngine({RESERVE: lambda payload: payload}, delay_s=0.3)

    async def check(channel: Raw) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        calls = (channel.unary_unary(RESERVE)(str(number).encode()) for number in range(20))
        assert await asyncio.gather(*calls) == [str(number).encode() for number in range(20)]
        assert loop.time() - started < 5  # One after the other they take 6.

    run(engine, check)


@pytest.mark.parametrize(("stream", "unary"), methods.BATCH_STREAMS.items())
def test_a_stream_is_answered_in_order_with_several_in_flight(stream: str, unary: str) -> None:
    engine = FakeEngine({unary: lambda payload: payload}, delay_s=0.3)

    async def check(channel: Raw) -> None:
        call = channel.stream_stream(stream)()
        started = asyncio.get_running_loop().time()
        for number in range(12):
            await call.write(str(number).encode())
        await call.done_writing()
        assert [await call.read() for _ in range(12)] == [str(number).encode() for number in range(12)]
        assert not await call.read()
        assert await call.code() is grpc.StatusCode.OK
        assert asyncio.get_running_loop().time() - started < 3.0  # One after the other they take 3.6.

    run(engine, check)


@pytest.mark.parametrize(("stream", "unary"), methods.BATCH_STREAMS.items())
def test_a_refused_message_ends_its_stream_after_the_answers_before_it(stream: str, unary: str) -> None:
    def answer(payload: bytes) -> bytes:
        if payload == b"bad":
            raise CallError(*refusal("INVALID_FIELD", grpc.StatusCode.INVALID_ARGUMENT))
        return payload

    async def check(channel: Raw) -> None:
        call = channel.stream_stream(stream)()
        await call.write(b"good")
        await call.write(b"bad")
        assert await call.read() == b"good"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert error_info(caught.value).reason == "INVALID_FIELD"

    run(FakeEngine({unary: answer}), check)


@pytest.mark.parametrize("stream", methods.BATCH_STREAMS)
def test_an_oversized_message_of_a_stream_is_refused_with_details(stream: str) -> None:
    async def check(channel: Raw) -> None:
        call = channel.stream_stream(stream)()
        await call.write(bytes(methods.SUBMIT_BYTES_MAX + 1))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert error_info(caught.value).reason == "MESSAGE_TOO_LARGE"

    run(FakeEngine(), check)


def engine_tasks() -> list[str]:
    """What waits for the engine."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return [name for name in names if "EngineCalls" in name]


def test_a_cancelled_stream_leaves_nothing_behind() -> None:
    engine = FakeEngine({methods.SUBMIT: lambda payload: payload}, delay_s=1.0)

    async def body() -> None:
        async with serving(engine) as (_, channel):
            call = channel.stream_stream(methods.SUBMIT_STREAM)()
            for _ in range(3):
                await call.write(b"x")
            await until(lambda: len(engine.calls) == 3)
            assert engine_tasks()
            call.cancel()
            await until(lambda: not engine_tasks())

    asyncio.run(body())
    assert len(engine.calls) == 3


def test_it_serves_on_a_unix_socket(tmp_path: Path) -> None:
    async def body() -> None:
        socket = f"unix:{tmp_path}/service.sock"
        service = await serve_python(FakeEngine({RESERVE: lambda payload: payload}), socket)
        async with grpc.aio.insecure_channel(socket) as opened:
            channel: Raw = opened
            assert await channel.unary_unary(RESERVE)(b"x") == b"x"
        await service.stop(100)

    asyncio.run(body())


def test_a_taken_address_is_an_os_error_that_names_it() -> None:
    async def body() -> None:
        async with serving(FakeEngine()) as (service, _):
            with pytest.raises(OSError, match=service.address):
                await serve_python(FakeEngine(), service.address)

    asyncio.run(body())


def test_random_bytes_never_give_unknown() -> None:
    """Fact: grpc.aio alone answers UNKNOWN to bytes that it cannot parse."""

    def strict(payload: bytes) -> bytes:
        try:
            return reservation_service_pb2.ReserveRequest.FromString(payload).SerializeToString()
        except DecodeError:
            raise CallError(*refusal("INVALID_FIELD", grpc.StatusCode.INVALID_ARGUMENT)) from None

    paths = [RESERVE, methods.READ_EVENTS, "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]

    async def check(channel: Raw) -> None:
        for path in paths:
            for size in range(1, 40):
                call = channel.unary_unary(path)(b"\xff" + os.urandom(size), timeout=5)
                assert await call.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK), path

    run(FakeEngine({RESERVE: strict}), check)
