"""A ledger whose server is started at one address again and again, killed, paused, and read for the audit."""

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
from .caller_process import OPTIONS, CallerConfig
from .history_checker import Incarnation
from .prefork import Prefork

CALL_S = 20.0
POLL_S = 0.01

SKUS = tuple(f"sku-{number}" for number in range(24))
SCARCE = ("scarce-1", "scarce-2", "scarce-3")
LOCATIONS = ("here", "there")
CHANNEL = "web"
PLENTIFUL_UNITS, SCARCE_UNITS = 20_000, 40


@dataclass(slots=True)
class ServerFixture:
    """One ledger, the address of its server, and every incarnation that the server had."""

    directory: Path
    flags: tuple[str, ...]
    address: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    incarnations: list[Incarnation] = field(default_factory=list)
    server: ServerProcess | None = None
    prefork: Prefork | None = None
    """Starts the servers by forking, if many are started."""
    prefix: tuple[str, ...] = ()
    """A program, with its arguments, that starts the servers."""

    def start(self) -> ServerProcess:
        """Starts the server and waits until it accepts calls."""
        self.choose_address()
        begin_ns = time.monotonic_ns()
        flags = ("--address", self.address, *self.flags)
        if self.prefork is not None:
            self.server = self.prefork.start(self.directory, *flags, environment=self.environment)
        else:
            self.server = start_server(self.directory, *flags, environment=self.environment, prefix=self.prefix)
        epoch = self.call(methods.GET_SERVER_INFO, methods.GET_SERVER_INFO.request()).writer_epoch
        self.incarnations.append(Incarnation(self.address, epoch, begin_ns))
        return self.server

    def choose_address(self) -> None:
        """Chooses the address of the server, so that callers can know it before the server starts."""
        self.address = self.address or f"127.0.0.1:{free_port()}"

    def spawn(self) -> Running:
        """Starts a server without waiting for it, as a supervisor would; for servers that are killed soon."""
        if self.prefork is not None:
            return self.prefork.spawn(
                self.directory, "--address", self.address, *self.flags, environment=self.environment
            )
        command = [sys.executable, "-m", "invengine.cli", "serve", "--address", self.address, "--metrics-address", ""]
        with (self.directory / "server.log").open("ab") as log:
            environment = server_environment(self.environment)
            return subprocess.Popen(
                [*command, *self.flags], cwd=self.directory, env=environment, stdout=log, stderr=log
            )

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
        """Kills the server if it is still running."""
        if self.server is not None and self.server.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.server.kill()

    def call(self, method: Method[Q, A], request: Q) -> A:
        """Calls a method over a connection of its own and returns the answer."""
        with grpc.insecure_channel(self.address, options=OPTIONS) as channel:
            call = channel.unary_unary(method.path, None, None)
            answer: bytes = call(request.SerializeToString(), timeout=CALL_S, wait_for_ready=True)
            return method.answer.FromString(answer)

    def add_stock(self) -> None:
        """Creates the items, locations and the channel that callers use, and receives their stock."""
        skus = (*SKUS, *SCARCE)
        locations = [catalog.Location(location=location) for location in LOCATIONS]
        items = [catalog.Item(sku=sku) for sku in skus]
        channels = [catalog.Channel(channel=CHANNEL)]
        context = [types.CommandContext(idempotency_key=f"stock-{number}") for number in range(4)]
        self.call(methods.UPSERT_LOCATIONS, catalog.UpsertLocationsRequest(context=context[0], locations=locations))
        self.call(methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=context[1], items=items))
        self.call(methods.UPSERT_CHANNELS, catalog.UpsertChannelsRequest(context=context[2], channels=channels))
        lines = [
            inventory.StockLine(sku=sku, location=location, quantity=SCARCE_UNITS if sku in SCARCE else PLENTIFUL_UNITS)
            for sku in skus
            for location in LOCATIONS
        ]
        self.call(methods.RECEIVE, inventory.ReceiveRequest(context=context[3], lines=lines))

    def events(self, after: int = 0) -> Iterator[journal.Event]:
        """Yields every durable event after a position."""
        request = journal.ReadEventsRequest(from_sequence=after + 1)
        with grpc.insecure_channel(self.address, options=OPTIONS) as channel:
            stream: Any = channel.unary_stream(methods.READ_EVENTS, None, None)
            for answer in stream(request.SerializeToString(), timeout=10 * CALL_S):
                yield from journal.ReadEventsResponse.FromString(answer).events

    def levels(self) -> list[types.InventoryLevel]:
        """Returns every level of the server."""
        answer = self.call(methods.LIST_LEVELS, inventory.ListInventoryLevelsRequest(page_size=1000))
        return list(answer.levels)

    def digest(self) -> tuple[str, int]:
        """Returns the digest of the durable state and its position, once the server knows that it owns its ledger."""
        end = time.monotonic() + CALL_S
        while True:
            try:
                answer = self.call(methods.GET_DIGEST, journal.GetDigestRequest())
                return answer.digest, answer.sequence
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
                time.sleep(POLL_S)

    def digest_over(self, channel: grpc.Channel) -> tuple[str, int]:
        """The same over a connection that is already open."""
        call = channel.unary_unary(methods.GET_DIGEST.path, None, None)
        request = journal.GetDigestRequest().SerializeToString()
        answer = journal.GetDigestResponse.FromString(call(request, timeout=CALL_S))
        return answer.digest, answer.sequence

    def caller_config(self, seed: int, threads: int, *, channel: str = "", pause_s: float = 0.0) -> CallerConfig:
        """Returns the configuration of a process of callers of this server."""
        file = str(self.directory / f"calls-{seed}.jsonl")
        return CallerConfig(
            [self.address], file, seed, threads, list(SKUS), list(SCARCE), list(LOCATIONS), channel, pause_s=pause_s
        )


@contextmanager
def server_fixture(
    directory: Path, *flags: str, environment: Mapping[str, str] | None = None, prefork: Prefork | None = None
) -> Iterator[ServerFixture]:
    """A ledger on a file journal in `directory`, or as the flags say; its server is killed at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    all_flags = ("--directory", str(directory / "journal"), *flags)
    fixture = ServerFixture(directory, all_flags, environment=environment or {}, prefork=prefork)
    try:
        yield fixture
    finally:
        with suppress(ProcessLookupError):
            fixture.end()
