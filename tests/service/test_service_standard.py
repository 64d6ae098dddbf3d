"""Health and reflection, guarded like the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from invengine.service import standard
from invengine.service.methods import service_names

from .fake_engine import FakeEngine
from .service_loopback import Raw, error_info, serving

CHECK = "/grpc.health.v1.Health/Check"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(channel: Raw, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    answer = await channel.unary_unary(CHECK)(request)
    return int(health_pb2.HealthCheckResponse.FromString(answer).status)


def test_every_service_is_serving_until_the_server_stops() -> None:
    async def body() -> None:
        async with serving(FakeEngine()) as (service, channel):
            for name in ("", "grpc.health.v1.Health", *service_names()):
                assert await health(channel, name) == SERVING
            await service.not_serving()
            for name in ("", *service_names()):
                assert await health(channel, name) == NOT_SERVING

    asyncio.run(body())


def test_a_watcher_of_health_sees_the_change() -> None:
    async def body() -> None:
        async with serving(FakeEngine()) as (service, channel):
            call = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
            assert health_pb2.HealthCheckResponse.FromString(await call.read()).status == SERVING
            await service.not_serving()
            assert health_pb2.HealthCheckResponse.FromString(await call.read()).status == NOT_SERVING

    asyncio.run(body())


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (
            health_pb2.HealthCheckRequest(service="nobody").SerializeToString(),
            grpc.StatusCode.NOT_FOUND,
            "UNKNOWN_SERVICE",
        ),
        (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
)
def test_a_bad_health_check_is_refused_with_details(payload: bytes, code: grpc.StatusCode, reason: str) -> None:
    async def body() -> None:
        async with serving(FakeEngine()) as (_, channel):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(CHECK)(payload)
            assert caught.value.code() is code
            assert error_info(caught.value).reason == reason

    asyncio.run(body())


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_every_service_and_finds_symbols(version: str) -> None:
    async def body() -> None:
        async with serving(FakeEngine()) as (_, channel):
            call = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")()
            await call.write(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString())
            answer = reflection_pb2.ServerReflectionResponse.FromString(await call.read())
            names = {service.name for service in answer.list_services_response.service}
            assert names >= {*service_names(), "grpc.health.v1.Health"}
            symbol = reflection_pb2.ServerReflectionRequest(file_containing_symbol="invengine.v1.ReserveRequest")
            await call.write(symbol.SerializeToString())
            answer = reflection_pb2.ServerReflectionResponse.FromString(await call.read())
            assert answer.file_descriptor_response.file_descriptor_proto
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK

    asyncio.run(body())


def reflect(channel: Raw) -> Any:
    """Opens a stream of reflection."""
    return channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")()


def symbols() -> Iterator[tuple[str, str]]:
    """Everything that invengine.v1 declares, with the file that does."""
    pool = descriptor_pool.Default()
    files = {pool.FindFileContainingSymbol(name) for name in service_names()}
    for file in files:
        for service in file.services_by_name.values():
            yield service.full_name, file.name
            yield from ((method.full_name, file.name) for method in service.methods)
        yield from ((symbol, file.name) for symbol in _of_messages(file.message_types_by_name.values()))
        for enum in file.enum_types_by_name.values():
            yield enum.full_name, file.name


def _of_messages(messages: Iterable[Any]) -> Iterator[str]:
    for message in messages:
        yield message.full_name
        yield from (f"{message.full_name}.{name}" for name in (*message.fields_by_name, *message.oneofs_by_name))
        yield from (enum.full_name for enum in message.enum_types)
        yield from _of_messages(message.nested_types)


def test_reflection_finds_every_symbol_methods_and_fields_too() -> None:
    async def body() -> None:
        async with serving(FakeEngine()) as (_, channel):
            call = reflect(channel)
            found = dict(symbols())
            assert "invengine.v1.ReservationService.Reserve" in found
            for symbol, file in found.items():
                asked = reflection_pb2.ServerReflectionRequest(host="shop", file_containing_symbol=symbol)
                await call.write(asked.SerializeToString())
                answer = reflection_pb2.ServerReflectionResponse.FromString(await call.read())
                assert answer.original_request == asked
                files = answer.file_descriptor_response.file_descriptor_proto
                assert files, symbol
                assert descriptor_pb2.FileDescriptorProto.FromString(files[0]).name == file, symbol
            for nothing in ("invengine.v1.ReservationService.Sell", "invengine.v1.ReserveRequest.sold", "x", ""):
                asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=nothing)
                await call.write(asked.SerializeToString())
                answer = reflection_pb2.ServerReflectionResponse.FromString(await call.read())
                assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0], nothing

    asyncio.run(body())


def test_reflection_takes_short_questions_only() -> None:
    async def body() -> None:
        async with serving(FakeEngine()) as (_, channel):
            for bytes_max, reason in (
                (4 << 10, ""),
                ((4 << 10) + 1, "MESSAGE_TOO_LARGE"),
                (16 << 20, "MESSAGE_TOO_LARGE"),
            ):
                call = reflect(channel)
                asked = reflection_pb2.ServerReflectionRequest(list_services="x" * bytes_max)
                size = asked.ByteSize() - bytes_max
                asked.list_services = asked.list_services[size:]
                await call.write(asked.SerializeToString())
                if not reason:
                    assert isinstance(await call.read(), bytes)
                    continue
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                assert error_info(caught.value).reason == reason

    asyncio.run(body())


def test_streams_of_reflection_are_few_and_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard, "REFLECTIONS_MAX", 1)
    monkeypatch.setattr(standard, "REFLECTION_S", 0.3)

    async def body() -> None:
        async with serving(FakeEngine()) as (_, channel):
            first, second = reflect(channel), reflect(channel)
            reasons = set()
            for call in (first, second):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                reasons.add(error_info(caught.value).reason)
            assert reasons == {"DEADLINE", "OVERLOADED"}

    asyncio.run(body())


def test_too_much_metadata_is_refused_with_details() -> None:
    async def body() -> None:
        async with serving(FakeEngine()) as (_, channel):
            for path in (CHECK, "/invengine.v1.ReservationService/Reserve", "/x.Y/Z", f"/{'x' * 30_000}"):
                # In parts, since some clients do not send more than 16 KiB in one.
                metadata = [(f"x-own-{number}", "x" * 4_000) for number in range(17 if len(path) < 1_000 else 1)]
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(path)(b"", metadata=metadata)
                info = error_info(caught.value)
                assert info.reason == ("INVALID_FIELD" if len(path) < 1_000 else "UNIMPLEMENTED")
                assert all(len(value) <= 128 for value in info.metadata.values())

    asyncio.run(body())


def test_malformed_reflection_is_an_invalid_field() -> None:
    async def body() -> None:
        async with serving(FakeEngine()) as (_, channel):
            call = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")()
            await call.write(b"\xff\xff\xff")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert error_info(caught.value).reason == "INVALID_FIELD"

    asyncio.run(body())
