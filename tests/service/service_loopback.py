"""A real service on a loopback port for each test, and a caller that sends raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
from google.rpc import error_details_pb2, status_pb2

from invengine.service import PythonService
from invengine.service.ports import EnginePort

# A grpc.aio.Channel; its stubs cannot express a method that takes and returns bytes.
Raw: TypeAlias = Any

WAIT_S = 20.0


@asynccontextmanager
async def serving(engine: EnginePort) -> AsyncIterator[tuple[PythonService, Raw]]:
    """Starts the service of this engine and opens a channel to it."""
    service = PythonService(engine)
    address = await service.listen("127.0.0.1:0")
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        try:
            yield service, channel
        finally:
            await service.stop(100)


async def until(holds: Callable[[], bool]) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 - what it looks at belongs to threads
            await asyncio.sleep(0.005)


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The one ErrorInfo of a refusal; fails if there is none or more than one."""
    trailers: Any = error.trailing_metadata() or ()
    metadata: dict[str, Any] = dict(trailers)
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    infos = [detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1
    assert status.code == error.code().value[0]
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    assert info.domain == "invengine"
    return info
