"""One client process: it connects, waits for the clock, plays its role and hands its tally over."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from invengine.client import AsyncClient
from invengine.simulate.answers import AnswerLog
from invengine.simulate.desk import Desk
from invengine.simulate.gate import Gate
from invengine.simulate.habits import Messages
from invengine.simulate.marketplaces import Marketplace
from invengine.simulate.pace import Clock, Pace
from invengine.simulate.roles import Kind, Role
from invengine.simulate.shoppers import Shoppers
from invengine.simulate.stores import Stores
from invengine.simulate.tally import Tally
from invengine.simulate.warehouse import SOURCE, deliver_all

READY = "ready"


@dataclass(frozen=True, slots=True)
class Script:
    """What every role must know besides its own part. After second `close_s` of the stream nobody waits any more."""

    target: str
    answers: Path
    messages: Messages
    close_s: float
    outages: int
    """How often the server will be killed: as often each process looks up what it was told."""


def answers_of(script: Script, role: Role) -> Path:
    """The file in which a role writes down what it is told."""
    return script.answers / f"{role.name}.jsonl"


def perform(role: Role, script: Script, clock: Clock, wire: Connection) -> None:
    """The whole life of a client process. It sends READY and then its tally; an error ends it with a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the director, who ends its processes.
    gc.freeze()  # The role is read and kept; looking through it again and again would only take time from the callers.
    asyncio.run(_perform(role, script, clock, wire))


async def _perform(role: Role, script: Script, clock: Clock, wire: Connection) -> None:
    director = multiprocessing.parent_process()
    if director is not None:
        # Whatever ends the director, its client processes do not outlive it.
        asyncio.get_running_loop().add_reader(director.sentinel, os._exit, 1)
    tally = Tally()
    with AnswerLog(answers_of(script, role)) as log:
        async with AsyncClient(script.target, channel=role.channel or None, actor=role.name) as client:
            await client.server_info()
            desk = Desk(client, log, Pace(clock), tally, role.scope)
            async with asyncio.TaskGroup() as group:
                group.create_task(_look_up(desk, script.outages))
                wire.send(READY)
                await _play(role, script, desk)
    wire.send(tally)
    wire.close()


async def _play(role: Role, script: Script, desk: Desk) -> None:
    if role.kind is Kind.LIVE:
        await Shoppers(desk, script.close_s).serve(role.sales)
    elif role.kind is Kind.FLASH:
        await Gate(desk, Shoppers(desk, script.close_s)).serve(role.sales)
    elif role.kind is Kind.STORES:
        await Stores(desk, script.messages.upload_every_s).serve(role.sales)
    elif role.kind is Kind.MARKETPLACE:
        await Marketplace(desk, script.messages, script.close_s).serve(role.sales)
    else:
        async with await desk.client.source(SOURCE) as source:
            await deliver_all(desk, source, role.facts)


async def _look_up(desk: Desk, outages: int) -> None:
    for _ in range(outages):
        await desk.pace.outage()
        await desk.look_up()
