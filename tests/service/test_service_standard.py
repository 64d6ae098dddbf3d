"""Health and reflection, guarded like the rest."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

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


def test_every_service_is_serving_until_told_otherwise() -> None:
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


def test_malformed_reflection_is_an_invalid_field() -> None:
    async def body() -> None:
        async with serving(FakeEngine()) as (_, channel):
            call = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")()
            await call.write(b"\xff\xff\xff")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert error_info(caught.value).reason == "INVALID_FIELD"

    asyncio.run(body())
