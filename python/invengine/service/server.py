"""The server: a table of raw handlers for invengine.v1, health and reflection, and one handler for other paths."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from invengine.service.address import split_address
from invengine.service.calls import EngineCalls
from invengine.service.edge import METADATA_BYTES_MAX, CallMeter, Context, EndedCalls, NoMeter, guard, until_stopping
from invengine.service.events import EventReaders
from invengine.service.methods import SUBMIT_BYTES_MAX, Method, Shape, method_table
from invengine.service.ports import EnginePort
from invengine.service.refusals import unimplemented
from invengine.service.standard import Health, Reflection

# Generic in the type stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

# grpcio refuses what is over its own limits without details, so these are far above those in `methods` and `edge`.
_OPTIONS = (
    ("grpc.max_receive_message_length", 5 * SUBMIT_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 4 * METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", 4 * METADATA_BYTES_MAX),
    ("grpc.max_concurrent_streams", 4096),
    # Above these grpcio would cancel arbitrary calls without details; the engine answers OVERLOADED instead.
    ("grpc.server.max_pending_requests", 1 << 20),
    ("grpc.server.max_pending_requests_hard_limit", 1 << 20),
    ("grpc.so_reuseport", 0),
)

# Callers who keep sending do not delay a stop for longer.
_SETTLE_MS_MAX = 1_000
# Watchers of health learn of the stop before their stream ends.
_WATCH_NOTICE_MS = 100


class PythonService:
    """The service of one engine on grpc.aio. Use it on the event loop that created it.

    `door` is the name that GetServerInfo answers: `native` if a native door forwards to this service. A connection
    without a call in progress is closed after `connection_idle_ms`; 0 means never.
    """

    def __init__(
        self,
        engine: EnginePort,
        *,
        door: str = "python",
        meter: CallMeter | None = None,
        connection_idle_ms: int = 0,
    ) -> None:
        self._meter = EndedCalls(meter or NoMeter())
        self._stopping = asyncio.Event()
        self._calls = EngineCalls(engine, door, self._stopping)
        self._readers = EventReaders(engine)
        self._health = Health(self._meter, self._stopping)
        self._reflection = Reflection(self._meter, self._stopping)
        idle = (("grpc.max_connection_idle_ms", connection_idle_ms),) if connection_idle_ms else ()
        self._server = grpc.aio.server(options=(*_OPTIONS, *idle))
        self._server.add_generic_rpc_handlers((_Table(self._handlers(), self._unknown),))
        self.address = ""

    async def listen(self, address: str, *, recovering: bool = False) -> str:
        """Starts on `host:port` or `unix:PATH` and returns the actual address (port 0 is resolved).

        An engine that is still `recovering` is NOT_SERVING to health checks until `serving` is called.
        Raises OSError if the address cannot be used.
        """
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise OSError(f"cannot listen on {address}: it is in use or not an address of this machine") from None
        await self._health.start()
        if not recovering:
            await self._health.serving()
        await self._server.start()
        self.address = address if address.startswith("unix:") else _with_port(address, port)
        return self.address

    async def serving(self) -> None:
        """Makes every health check answer SERVING."""
        await self._health.serving()

    async def not_serving(self) -> None:
        """Makes every health check answer NOT_SERVING from now on. Calls are still answered."""
        await self._health.not_serving()

    def stats(self) -> str:
        """`bounds`: how often each bound acted, as a JSON object like that of the native door."""
        return json.dumps({"bounds": self._meter.bounds.counts()})

    async def stop(self, grace_ms: int = 5_000) -> None:
        """Refuses new calls, gives those in flight `grace_ms` to be answered, then ends. Open streams end at once."""
        await self._health.not_serving()
        await asyncio.sleep(min(grace_ms, _WATCH_NOTICE_MS) / 1000)
        self._readers.stop()
        self._stopping.set()
        # Calls in grpcio's own queue would be cancelled by its stop, without details: they are answered first.
        await self._meter.settle(min(grace_ms, _SETTLE_MS_MAX) / 1000)
        await self._server.stop(grace_ms / 1000)

    async def wait_until_stopped(self) -> None:
        """Returns when the server has ended."""
        await self._server.wait_for_termination()

    def _handlers(self) -> dict[str, Handler]:
        handlers = {path: self._handler(method) for path, method in method_table().items()}
        return handlers | self._health.handlers() | self._reflection.handlers()

    def _handler(self, method: Method) -> Handler:
        if method.shape is Shape.UNARY:
            return self._unary(method)
        if method.shape is Shape.BATCH_STREAM:
            return self._batch_stream(method)
        if method.shape is Shape.READ_EVENTS:
            return self._read_events(method)
        return self._unknown(method.path)

    def _unary(self, method: Method) -> Handler:
        async def handle(payload: bytes, context: Context) -> bytes:
            return await guard(method.path, context, self._meter, self._calls.unary(method, payload, context))

        return grpc.unary_unary_rpc_method_handler(handle)

    def _batch_stream(self, method: Method) -> Handler:
        async def handle(requests: AsyncIterator[bytes], context: Context) -> None:
            await guard(method.path, context, self._meter, self._calls.batch_stream(method, requests, context))

        return grpc.stream_stream_rpc_method_handler(handle)

    def _read_events(self, method: Method) -> Handler:
        async def handle(payload: bytes, context: Context) -> None:
            reading = until_stopping(self._stopping, self._readers.read(method, payload, context))
            await guard(method.path, context, self._meter, reading)

        return grpc.unary_stream_rpc_method_handler(handle)

    def _unknown(self, path: str) -> Handler:
        # As a stream handler it answers unary and streaming callers alike, before their first message.
        async def handle(_: AsyncIterator[bytes], context: Context) -> None:
            await guard("other", context, self._meter, self._refuse(path))

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _refuse(self, path: str) -> None:
        raise unimplemented(path)


async def serve_python(
    engine: EnginePort, address: str, *, door: str = "python", meter: CallMeter | None = None
) -> PythonService:
    """Starts the complete service on `host:port` or `unix:PATH`; its `address` has the actual port."""
    service = PythonService(engine, door=door, meter=meter)
    try:
        await service.listen(address)
    except OSError:
        await service.stop(0)
        raise
    return service


if TYPE_CHECKING:
    _Handlers = grpc.GenericRpcHandler[Any, Any]
else:
    _Handlers = grpc.GenericRpcHandler


class _Table(_Handlers):
    """Finds a handler by path; there is always one, since grpcio's own UNIMPLEMENTED has no details."""

    def __init__(self, handlers: dict[str, Handler], unknown: Any) -> None:
        self._handlers = handlers
        self._unknown = unknown

    def service(self, handler_call_details: Any) -> Handler | None:
        path: str = handler_call_details.method
        found: Handler = self._handlers.get(path) or self._unknown(path)
        return found


def _with_port(address: str, port: int) -> str:
    host, _ = split_address("address", address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
