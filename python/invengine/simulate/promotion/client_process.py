"""One client process: it connects, waits for the clock, plays its role and sends back its tally."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from invengine.client import AsyncClient
from invengine.simulate.promotion.answers import AnswerLog
from invengine.simulate.promotion.assumptions import Messages
from invengine.simulate.promotion.clock import ProcessClock, SharedClock
from invengine.simulate.promotion.command_sender import CommandSender
from invengine.simulate.promotion.flash_batcher import FlashBatcher
from invengine.simulate.promotion.marketplaces import Marketplace
from invengine.simulate.promotion.roles import Role, RoleKind
from invengine.simulate.promotion.shoppers import Shoppers
from invengine.simulate.promotion.stores import Stores
from invengine.simulate.promotion.tally import Tally
from invengine.simulate.promotion.warehouse import SOURCE, deliver_all

READY = "ready"


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """The settings that all roles share. After second `close_s` of the stream nobody waits any more."""

    target: str
    answers: Path
    messages: Messages
    close_s: float
    outages: int
    """How often the server will be killed; after each time every process verifies its answers."""


def answers_of(process_settings: ProcessSettings, role: Role) -> Path:
    """The file in which a role records its answers."""
    return process_settings.answers / f"{role.name}.jsonl"


def run_client_process(role: Role, process_settings: ProcessSettings, clock: SharedClock, wire: Connection) -> None:
    """Runs a client process to its end. It sends READY and then its tally; an error ends it with a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinator, which ends its processes.
    # A marketplace's cancellation that overtakes its order releases nothing, which is meant, and counted by the tally.
    logging.getLogger("invengine.client").addHandler(logging.NullHandler())
    gc.freeze()  # The role lives as long as the process: scanning it in every collection would only delay the callers.
    asyncio.run(_run(role, process_settings, clock, wire))


async def _run(role: Role, process_settings: ProcessSettings, clock: SharedClock, wire: Connection) -> None:
    director = multiprocessing.parent_process()
    if director is not None:
        # Whatever ends the coordinator, its client processes do not outlive it.
        asyncio.get_running_loop().add_reader(director.sentinel, os._exit, 1)
    tally = Tally()
    with AnswerLog(answers_of(process_settings, role)) as log:
        async with AsyncClient(process_settings.target, channel=role.channel or None, actor=role.name) as client:
            await client.server_info()
            sender = CommandSender(client, log, ProcessClock(clock), tally, role.scope)
            async with asyncio.TaskGroup() as group:
                group.create_task(_verify_answers(sender, process_settings.outages))
                wire.send(READY)
                await _play(role, process_settings, sender)
    wire.send(tally)
    wire.close()


async def _play(role: Role, process_settings: ProcessSettings, sender: CommandSender) -> None:
    if role.kind is RoleKind.LIVE:
        await Shoppers(sender, process_settings.close_s).serve(role.sales)
    elif role.kind is RoleKind.FLASH:
        await FlashBatcher(sender, Shoppers(sender, process_settings.close_s)).serve(role.sales)
    elif role.kind is RoleKind.STORES:
        await Stores(sender, process_settings.messages.upload_every_s).serve(role.sales)
    elif role.kind is RoleKind.MARKETPLACE:
        await Marketplace(sender, process_settings.messages, process_settings.close_s).serve(role.sales)
    else:
        async with await sender.client.source(SOURCE) as source:
            await deliver_all(sender, source, role.facts)


async def _verify_answers(sender: CommandSender, outages: int) -> None:
    for _ in range(outages):
        await sender.clock.outage()
        await sender.verify_answers()
