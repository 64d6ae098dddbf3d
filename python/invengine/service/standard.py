"""Health and server reflection, guarded like every other method.

The servicers are those of grpcio-health-checking and grpcio-reflection. Their generated registration would let grpc.aio
parse the request and answer UNKNOWN to bytes that it cannot parse, so the handlers here take bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from invengine.service.edge import CallMeter, Context, guard
from invengine.service.methods import service_names
from invengine.service.refusals import malformed, refused

HEALTH = "grpc.health.v1.Health"
REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

Parsed = TypeVar("Parsed", bound=Message)


class Health:
    """Standard health checking of every service: NOT_SERVING until `serving`, SERVING until `not_serving`."""

    def __init__(self, meter: CallMeter) -> None:
        self._meter = meter
        self._servicer: Any = _aio(health).HealthServicer()
        self._names = frozenset(("", HEALTH, *service_names()))

    async def start(self) -> None:
        """Marks every service as known and not yet serving."""
        for name in self._names:
            await self._servicer.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)

    async def serving(self) -> None:
        """Marks every service as serving."""
        for name in self._names:
            await self._servicer.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def not_serving(self) -> None:
        """Marks every service as NOT_SERVING, for ever."""
        await self._servicer.enter_graceful_shutdown()

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The methods by path."""
        serialize = health_pb2.HealthCheckResponse.SerializeToString
        return {
            f"/{HEALTH}/Check": grpc.unary_unary_rpc_method_handler(self._check, response_serializer=serialize),
            f"/{HEALTH}/Watch": grpc.unary_stream_rpc_method_handler(self._watch, response_serializer=serialize),
        }

    async def _check(self, payload: bytes, context: Context) -> health_pb2.HealthCheckResponse:
        async def work() -> health_pb2.HealthCheckResponse:
            request = _parse(health_pb2.HealthCheckRequest, payload)
            if request.service not in self._names:
                raise refused(
                    grpc.StatusCode.NOT_FOUND,
                    "UNKNOWN_SERVICE",
                    "Ask for a service that server reflection lists, or for none to ask about the server.",
                    {"service": request.service[:200]},
                )
            answer: health_pb2.HealthCheckResponse = await self._servicer.Check(request, context)
            return answer

        return await guard(f"/{HEALTH}/Check", context, self._meter, work())

    async def _watch(self, payload: bytes, context: Context) -> None:
        async def work() -> None:
            await self._servicer.Watch(_parse(health_pb2.HealthCheckRequest, payload), context)

        await guard(f"/{HEALTH}/Watch", context, self._meter, work())


class Reflection:
    """Server reflection over invengine.v1, health and itself, as v1 and v1alpha (same messages)."""

    def __init__(self, meter: CallMeter) -> None:
        self._meter = meter
        self._servicer: Any = _aio(reflection).ReflectionServicer((*service_names(), HEALTH, *REFLECTIONS))

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The methods by path."""
        serialize = reflection_pb2.ServerReflectionResponse.SerializeToString
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self._reflect, response_serializer=serialize
        )
        return {f"/{name}/ServerReflectionInfo": handler for name in REFLECTIONS}

    async def _reflect(self, requests: AsyncIterator[bytes], context: Context) -> None:
        async def parsed() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            async for payload in requests:
                yield _parse(reflection_pb2.ServerReflectionRequest, payload)

        async def work() -> None:
            async for answer in self._servicer.ServerReflectionInfo(parsed(), context):
                await context.write(answer)

        await guard(f"/{REFLECTIONS[0]}/ServerReflectionInfo", context, self._meter, work())


def _aio(module: Any) -> Any:
    # The type stubs of both packages leave their asyncio half out.
    return module.aio


def _parse(kind: type[Parsed], payload: bytes) -> Parsed:
    try:
        return kind.FromString(payload)
    except DecodeError:
        raise malformed(kind.DESCRIPTOR.name) from None
