"""Health and server reflection, guarded like every other method.

The servicers are those of grpcio-health-checking and grpcio-reflection. Their generated registration would let grpc.aio
parse the request and answer UNKNOWN to bytes that it cannot parse, so the handlers here take bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, TypeVar

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from invengine.service.bounds import Bound, BoundReachedError
from invengine.service.calls import check_size
from invengine.service.edge import Context, EndedCalls, guard, until_stopping
from invengine.service.methods import service_names
from invengine.service.refusals import malformed, overloaded, refused, stream_over

HEALTH = "grpc.health.v1.Health"
REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

# As at the native door: a request contains one name.
REFLECTION_BYTES_MAX = 4 << 10
REFLECTION_S = 60.0
REFLECTIONS_MAX = 256

Parsed = TypeVar("Parsed", bound=Message)


class Health:
    """Standard health checking of every service: NOT_SERVING until `serving`, SERVING until `not_serving`."""

    def __init__(self, meter: EndedCalls, stopping: asyncio.Event) -> None:
        self._meter = meter
        self._stopping = stopping
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
        """Marks every service as NOT_SERVING from now on."""
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
                    {"service": request.service},
                )
            answer: health_pb2.HealthCheckResponse = await self._servicer.Check(request, context)
            return answer

        return await guard(f"/{HEALTH}/Check", context, self._meter, work())

    async def _watch(self, payload: bytes, context: Context) -> None:
        async def work() -> None:
            await self._servicer.Watch(_parse(health_pb2.HealthCheckRequest, payload), context)

        await guard(f"/{HEALTH}/Watch", context, self._meter, until_stopping(self._stopping, work()))


class Reflection:
    """Server reflection over invengine.v1, health and itself, as v1 and v1alpha (same messages).

    Requests are short, streams few and limited to `REFLECTION_S`: anybody may call it, and nobody needs more.
    """

    def __init__(self, meter: EndedCalls, stopping: asyncio.Event) -> None:
        self._meter = meter
        self._stopping = stopping
        self._streams = 0
        self._servicer: Any = _aio(reflection).ReflectionServicer((*service_names(), HEALTH, *REFLECTIONS))

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The methods by path."""
        serialize = reflection_pb2.ServerReflectionResponse.SerializeToString
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self._reflect, response_serializer=serialize
        )
        return {f"/{name}/ServerReflectionInfo": handler for name in REFLECTIONS}

    async def _reflect(self, requests: AsyncIterator[bytes], context: Context) -> None:
        work = until_stopping(self._stopping, self._answer(requests, context))
        await guard(f"/{REFLECTIONS[0]}/ServerReflectionInfo", context, self._meter, work)

    async def _answer(self, requests: AsyncIterator[bytes], context: Context) -> None:
        if self._streams >= REFLECTIONS_MAX:
            refusal = overloaded(f"{REFLECTIONS_MAX} callers already use reflection.")
            raise BoundReachedError(Bound.REFLECTION_REFUSED, refusal)
        self._streams += 1
        try:
            async with asyncio.timeout(REFLECTION_S):
                async for payload in requests:
                    check_size(payload, REFLECTION_BYTES_MAX)
                    await self._answer_one(_parse(reflection_pb2.ServerReflectionRequest, payload), context)
        except TimeoutError:
            raise BoundReachedError(Bound.REFLECTION_ENDED, stream_over()) from None
        finally:
            self._streams -= 1

    async def _answer_one(self, asked: reflection_pb2.ServerReflectionRequest, context: Context) -> None:
        async def question() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            known = reflection_pb2.ServerReflectionRequest()
            known.CopyFrom(asked)
            if known.HasField("file_containing_symbol"):
                known.file_containing_symbol = _declared(known.file_containing_symbol)
            yield known

        async for answer in self._servicer.ServerReflectionInfo(question(), context):
            answer.original_request.CopyFrom(asked)
            await context.write(answer)


def _declared(symbol: str) -> str:
    """The symbol, or the parent of a method, a field or the like: the pool finds files by parents only."""
    parent, _, name = symbol.rpartition(".")
    pool = descriptor_pool.Default()
    members = (
        (pool.FindServiceByName, ("methods_by_name",)),
        (pool.FindMessageTypeByName, ("fields_by_name", "oneofs_by_name")),
        (pool.FindEnumTypeByName, ("values_by_name",)),
    )
    for find, tables in members:
        with suppress(KeyError):
            found = find(parent)
            if any(name in getattr(found, table) for table in tables):
                return parent
    return symbol


def _aio(module: Any) -> Any:
    # The type stubs of both packages lack their asyncio half.
    return module.aio


def _parse(kind: type[Parsed], payload: bytes) -> Parsed:
    try:
        return kind.FromString(payload)
    except DecodeError:
        raise malformed(kind.DESCRIPTOR.name) from None
