"""The weekend's clock: from seconds of the stream to the wall clock, and what time it is for the engine.

Commands carry an `issue_time`, and engine time runs many times faster than the wall clock. So every client process asks
the server for engine time twice a second and stamps its commands with the last answer, which is never in the future.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from invengine.client import AsyncClient
from invengine.errors import InvengineError

ASK_EVERY_S = 0.5


class Pace:
    """Runs from the moment `started_at` (Unix time), `scale` times as fast as the wall clock."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.started_at = float("inf")
        self.issue_time = datetime.fromtimestamp(0, UTC)

    @property
    def now_s(self) -> float:
        """Seconds of the stream since its start; below 0 before it."""
        return (time.time() - self.started_at) * self.scale

    async def until(self, at_s: float) -> None:
        """Waits for a moment of the stream."""
        left_s = (at_s - self.now_s) / self.scale
        if left_s > 0:
            await asyncio.sleep(left_s)

    async def rest(self, seconds: float) -> None:
        """Waits for some seconds of the stream."""
        await asyncio.sleep(max(0.0, seconds) / self.scale)

    async def ask(self, client: AsyncClient) -> None:
        """Asks the server once what time it is."""
        described = await client.server_info(timeout_s=2.0)
        self.issue_time = described.engine_time

    async def keep_asking(self, client: AsyncClient) -> None:
        """Asks again and again until it is cancelled; while the server is away the last answer stands."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            try:
                await self.ask(client)
            except InvengineError:
                continue
