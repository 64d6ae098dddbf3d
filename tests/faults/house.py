"""A ledger whose server comes and goes: started at one address again and again, killed, paused, read for the audit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import types_pb2 as types

from ..conformance import methods
from ..conformance.methods import A, Method, Q
from ..conformance.redis_server import free_port
from ..conformance.server import Running, ServerProcess, server_environment, start_server
from .nursery import Nursery
from .shopper import OPTIONS, Orders
from .testimony import Reign

CALL_S = 20.0
LOOK_S = 0.01

SKUS = tuple(f"sku-{number}" for number in range(24))
SCARCE = ("scarce-1", "scarce-2", "scarce-3")
PLACES = ("here", "there")
CHANNEL = "web"
PLENTY, FEW = 20_000, 40


@dataclass(slots=True)
class House:
    """One ledger, the place where its server listens, and every life that the server had."""

    room: Path
    flags: tuple[str, ...]
    address: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    reigns: list[Reign] = field(default_factory=list)
    server: ServerProcess | None = None
    nursery: Nursery | None = None
    """What starts its servers, where many are started."""
    prefix: tuple[str, ...] = ()
    """A program, with its arguments, that starts them."""

    def start(self) -> ServerProcess:
        """Starts the server and waits until it takes calls."""
        self.settle_down()
        begin_ns = time.monotonic_ns()
        flags = ("--address", self.address, *self.flags)
        if self.nursery is not None:
            self.server = self.nursery.start(self.room, *flags, environment=self.environment)
        else:
            self.server = start_server(self.room, *flags, environment=self.environment, prefix=self.prefix)
        epoch = self.call(methods.GET_SERVER_INFO, methods.GET_SERVER_INFO.request()).writer_epoch
        self.reigns.append(Reign(self.address, epoch, begin_ns))
        return self.server

    def settle_down(self) -> None:
        """Chooses where the server will listen, so that callers may know it before it starts."""
        self.address = self.address or f"127.0.0.1:{free_port()}"

    def spawn(self) -> Running:
        """Starts a server without waiting for it, as a supervisor would; for those that are not to live long."""
        if self.nursery is not None:
            return self.nursery.spawn(self.room, "--address", self.address, *self.flags, environment=self.environment)
        command = [sys.executable, "-m", "invengine.cli", "serve", "--address", self.address, "--metrics-address", ""]
        with (self.room / "server.log").open("ab") as log:
            environment = server_environment(self.environment)
            return subprocess.Popen([*command, *self.flags], cwd=self.room, env=environment, stdout=log, stderr=log)

    @property
    def running(self) -> ServerProcess:
        """The server that was started last."""
        assert self.server is not None
        return self.server

    def kill(self) -> None:
        """SIGKILL."""
        self.running.kill()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the server."""
        os.kill(self.running.process.pid, number)

    def end(self) -> None:
        """Kills what still runs."""
        if self.server is not None and self.server.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.server.kill()

    def call(self, method: Method[Q, A], request: Q) -> A:
        """The answer of a method, over a connection of its own."""
        with grpc.insecure_channel(self.address, options=OPTIONS) as channel:
            call = channel.unary_unary(method.path, None, None)
            answer: bytes = call(request.SerializeToString(), timeout=CALL_S, wait_for_ready=True)
            return method.answer.FromString(answer)

    def furnish(self) -> None:
        """Makes the items, locations and the channel that shoppers use, with their stock."""
        skus = (*SKUS, *SCARCE)
        locations = [catalog.Location(location=place) for place in PLACES]
        items = [catalog.Item(sku=sku) for sku in skus]
        channels = [catalog.Channel(channel=CHANNEL)]
        context = [types.CommandContext(idempotency_key=f"furnish-{number}") for number in range(4)]
        self.call(methods.UPSERT_LOCATIONS, catalog.UpsertLocationsRequest(context=context[0], locations=locations))
        self.call(methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=context[1], items=items))
        self.call(methods.UPSERT_CHANNELS, catalog.UpsertChannelsRequest(context=context[2], channels=channels))
        lines = [
            inventory.StockLine(sku=sku, location=place, quantity=FEW if sku in SCARCE else PLENTY)
            for sku in skus
            for place in PLACES
        ]
        self.call(methods.RECEIVE, inventory.ReceiveRequest(context=context[3], lines=lines))

    def events(self, after: int = 0) -> Iterator[journal.Event]:
        """Every durable event behind a position."""
        request = journal.ReadEventsRequest(from_sequence=after + 1)
        with grpc.insecure_channel(self.address, options=OPTIONS) as channel:
            stream: Any = channel.unary_stream(methods.READ_EVENTS, None, None)
            for answer in stream(request.SerializeToString(), timeout=10 * CALL_S):
                yield from journal.ReadEventsResponse.FromString(answer).events

    def levels(self) -> list[types.InventoryLevel]:
        """Every level as the server has it."""
        answer = self.call(methods.LIST_LEVELS, inventory.ListInventoryLevelsRequest(page_size=1000))
        return list(answer.levels)

    def digest(self) -> tuple[str, int]:
        """Digest of the durable state and its position, once the server knows that its ledger is its own."""
        end = time.monotonic() + CALL_S
        while True:
            try:
                answer = self.call(methods.GET_DIGEST, journal.GetDigestRequest())
                return answer.digest, answer.sequence
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
                time.sleep(LOOK_S)

    def digest_over(self, channel: grpc.Channel) -> tuple[str, int]:
        """The same over a connection that is open already."""
        call = channel.unary_unary(methods.GET_DIGEST.path, None, None)
        request = journal.GetDigestRequest().SerializeToString()
        answer = journal.GetDigestResponse.FromString(call(request, timeout=CALL_S))
        return answer.digest, answer.sequence

    def orders(self, seed: int, threads: int, *, channel: str = "", pause_s: float = 0.0) -> Orders:
        """What a process of shoppers here is told."""
        file = str(self.room / f"calls-{seed}.jsonl")
        return Orders(
            [self.address], file, seed, threads, list(SKUS), list(SCARCE), list(PLACES), channel, pause_s=pause_s
        )


@contextmanager
def house(
    room: Path, *flags: str, environment: Mapping[str, str] | None = None, nursery: Nursery | None = None
) -> Iterator[House]:
    """A ledger on a file journal in `room`, or as the flags say; nothing of it runs afterwards."""
    room.mkdir(parents=True, exist_ok=True)
    where = ("--directory", str(room / "journal"), *flags)
    found = House(room, where, environment=environment or {}, nursery=nursery)
    try:
        yield found
    finally:
        with suppress(ProcessLookupError):
            found.end()
