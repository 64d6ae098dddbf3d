"""The lifecycle of a server: open the engine, listen, watch, drain, end.

Numbered stages, in this order and in reverse: 1 engine, 2 Python service, 3 native door in front of it, 4 metrics. A
shutdown first fails health checks, then lets the engine answer what it accepted, and only then closes the listeners.
"""

from __future__ import annotations

import asyncio
import enum
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import structlog
from pydantic import SecretStr

from invengine.service.address import check_address, split_address
from invengine.service.ports import EnginePort
from invengine.service.server import PythonService
from invengine.settings import USED_BY, DoorKind, JournalKind, Settings, SettingsError
from invengine.telemetry import CallHistogram, DoorCollector, MetricsListener, metrics_registry

EXIT_SECOND_SIGNAL = 130

# The path of a unix socket may have 107 bytes.
_SOCKET_PATH_BYTES_MAX = 107
_WATCH_S = 0.2
# During a longer recovery the server already listens and answers every call with RECOVERING.
_RECOVERY_QUICK_MS = 300
_RECOVERY_REPORT_MS = 2_000

_log = structlog.get_logger("invengine.serve")


class DoorPort(Protocol):
    """The part of the native door that its server needs."""

    @property
    def address(self) -> str:
        """Where it listens."""

    def stats(self) -> str:
        """Connections and calls, and how often each bound acted, as a JSON object."""

    def drain(self, timeout_ms: int) -> None:
        """Closes connections after their answers."""

    def close(self) -> None:
        """Closes the listener."""


class Core(Protocol):
    """Creates engines and doors: `NativeCore`, or a fake for tests."""

    def begin(self, settings: str) -> EnginePort:
        """Starts to open an engine."""

    def door(self, engine: EnginePort, address: str, settings: str) -> DoorPort:
        """Starts the native door."""

    def version(self) -> str:
        """Version of the core."""


class NativeCore:
    """The extension module."""

    def begin(self, settings: str) -> EnginePort:
        """Starts to open an engine, which recovers its journal."""
        from invengine import _core

        return _core.Engine.begin(settings)

    def door(self, engine: EnginePort, address: str, settings: str) -> DoorPort:
        """Starts the native door."""
        from invengine import _core

        return _core.Door.serve(cast(_core.Engine, engine), address, settings)

    def version(self) -> str:
        """Version of the extension."""
        from invengine import _core

        return _core.version()


class EndReason(enum.Enum):
    """Why a server ended."""

    DRAINED = "drained"
    POISONED = "poisoned"


@dataclass(frozen=True, slots=True)
class Ready:
    """A server that accepts calls. `metrics_address` is empty if there are no metrics."""

    address: str
    metrics_address: str
    door: str
    journal: str
    ledger: str
    writer_epoch: int
    sequence: int


class Host:
    """One server: an engine with its listeners. Use it on one event loop."""

    def __init__(self, settings: Settings, core: Core) -> None:
        self._settings = settings
        self._core = core
        self._engine: EnginePort | None = None
        self._service: PythonService | None = None
        self._door: DoorPort | None = None
        self._metrics: MetricsListener | None = None
        self._socket_directory: Path | None = None

    @property
    def engine(self) -> EnginePort:
        """The engine, once the server was started."""
        if self._engine is None:
            raise RuntimeError("Invariant: the engine is opened first")
        return self._engine

    async def start(self) -> Ready:
        """Opens everything in order. On any failure it closes what was opened and raises the error."""
        settings = self._settings
        for name, address in (("--address", settings.address), ("--metrics-address", settings.metrics_address)):
            if address:
                check_address(name, address, insecure=settings.insecure)
        try:
            return await self._open()
        except BaseException:
            await self.abandon()
            raise

    async def wait(self, stop: asyncio.Event) -> EndReason:
        """Returns when `stop` is set, or when the engine is poisoned."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _WATCH_S)
            if self._poisoned():
                return EndReason.POISONED
            if stop.is_set():
                return EndReason.DRAINED

    async def drain(self) -> EndReason:
        """Refuses new calls, answers accepted ones, closes everything. POISONED if the journal failed meanwhile."""
        timeout_ms = self._settings.drain_timeout_ms
        if self._service is not None:
            await self._service.not_serving()
        poisoned = False
        try:
            await asyncio.to_thread(self.engine.drain)
        except Exception as error:
            _log.error("drain failed", error=str(error))
            poisoned = True
        if self._door is not None:
            await asyncio.to_thread(self._door.drain, timeout_ms)
        if self._service is not None:
            await self._service.stop(timeout_ms)
            self._service = None
        poisoned = poisoned or self._poisoned()
        try:
            await asyncio.to_thread(self.engine.close)
        except Exception as error:
            # A journal that failed before has reported why, and cannot be closed cleanly.
            if not poisoned:
                _log.error("the last sync failed", error=str(error))
            poisoned = True
        await self.abandon()
        return EndReason.POISONED if poisoned else EndReason.DRAINED

    async def abandon(self) -> None:
        """Closes what is open, without waiting for calls."""
        if self._service is not None:
            await self._service.stop(0)
        if self._door is not None:
            await asyncio.to_thread(self._door.close)
        if self._metrics is not None:
            await asyncio.to_thread(self._metrics.close)
        if self._engine is not None:
            with suppress(Exception):
                await asyncio.to_thread(self._engine.close)
        if self._socket_directory is not None:
            shutil.rmtree(self._socket_directory, ignore_errors=True)
        self._service = self._door = self._metrics = self._socket_directory = None

    async def _open(self) -> Ready:
        settings = self._settings
        self._engine = engine = await asyncio.to_thread(self._core.begin, engine_settings(settings))
        # An error that shows at once is raised before the server listens.
        recovering = not await asyncio.to_thread(engine.wait_open, _RECOVERY_QUICK_MS)
        registry = metrics_registry(engine.stats, self._core.version())
        native = settings.door is DoorKind.NATIVE
        # Behind the native door there is one connection, which stays open.
        idle_ms = 0 if native else settings.connection_idle_ms
        self._service = service = PythonService(
            engine, door=settings.door.value, meter=CallHistogram(registry), connection_idle_ms=idle_ms
        )
        address = await service.listen(self._private_socket() if native else settings.address, recovering=recovering)
        if native:
            door_settings = {
                "threads": settings.threads,
                "forward_socket": address.removeprefix("unix:"),
                "connection_idle_ms": settings.connection_idle_ms,
            }
            serve = self._core.door
            self._door = await asyncio.to_thread(serve, engine, settings.address, json.dumps(door_settings))
            address = self._door.address
            registry.register(DoorCollector(self._door.stats))
        else:
            registry.register(DoorCollector(service.stats))
        metrics_address = ""
        if settings.metrics_address:
            host, port = split_address("--metrics-address", settings.metrics_address)
            self._metrics = _listen_for_metrics(host, port, registry)
            metrics_address = self._metrics.address
        if recovering:
            await self._recover(engine)
            await service.serving()
        stats = json.loads(engine.stats())
        return Ready(
            address=address,
            metrics_address=metrics_address,
            door=settings.door.value,
            journal=settings.journal.value,
            ledger=settings.ledger,
            writer_epoch=int(stats.get("writer_epoch", 0)),
            sequence=int(stats.get("sequence", 0)),
        )

    async def _recover(self, engine: EnginePort) -> None:
        while not await asyncio.to_thread(engine.wait_open, _RECOVERY_REPORT_MS):
            stats = json.loads(engine.stats())
            _log.info(
                "recovering the journal",
                done_bytes=stats.get("recovery_done_bytes", 0),
                of_bytes=stats.get("recovery_of_bytes", 0),
            )

    def _private_socket(self) -> str:
        # mkdtemp creates the directory with mode 0700: no other user reaches the service behind the door.
        directory = tempfile.mkdtemp(prefix="invengine-")
        if len(os.fsencode(directory)) + len("/service.sock") > _SOCKET_PATH_BYTES_MAX:
            shutil.rmtree(directory)
            directory = tempfile.mkdtemp(prefix="invengine-", dir="/tmp")
        self._socket_directory = Path(directory)
        return f"unix:{directory}/service.sock"

    def _poisoned(self) -> bool:
        # A closed engine has no counters any more: it is not poisoned.
        with suppress(Exception):
            return bool(json.loads(self.engine.stats()).get("poisoned", False))
        return False


async def run(settings: Settings, announce: Callable[[Ready], None], core: Core | None = None) -> EndReason:
    """Serves until SIGTERM or SIGINT, or until the engine is poisoned; `announce` is called once calls are accepted.

    A second signal ends the process at once: the journal survives that, but callers in flight do not learn their
    outcome.
    """
    host = Host(settings, core or NativeCore())
    ready = await host.start()
    stop = asyncio.Event()
    _listen_for_signals(stop)
    announce(ready)
    _log.info("serving", address=ready.address, metrics=ready.metrics_address, sequence=ready.sequence)
    end = await host.wait(stop)
    if end is EndReason.POISONED:
        _log.error("the journal failed: the engine is poisoned and answers nothing more")
    else:
        _log.info("draining")
    drained = await host.drain()
    return EndReason.POISONED if EndReason.POISONED in (end, drained) else EndReason.DRAINED


def engine_settings(settings: Settings) -> str:
    """The settings that the engine needs, as the JSON that it reads."""
    kind = settings.journal
    if settings.force_empty and kind is not JournalKind.FILE:
        raise SettingsError("force_empty: only a file journal can be set aside; name another --ledger instead")
    if settings.accept_clock and kind is JournalKind.MEMORY:
        raise SettingsError("accept_clock: a journal in memory begins with the clock as it is; leave it out")
    values: dict[str, Any] = {
        "journal": kind.value,
        "ledger": settings.ledger,
        "time_scale": settings.time_scale,
        "auto_create": settings.auto_create,
    }
    values |= {
        name: _plain(getattr(settings, name))
        for name, kinds in USED_BY.items()
        if kind in kinds and name not in _ONLY_IF_GIVEN
    }
    values |= {name: given for name in _ONLY_IF_GIVEN if (given := getattr(settings, name))}
    return json.dumps(values)


# 0 and false mean the engine's own defaults.
_ONLY_IF_GIVEN = ("in_flight_max", "journal_file_bytes", "refusal_bytes_max", "force_empty", "accept_clock")


def _plain(value: object) -> object:
    """A setting as JSON: paths are absolute, because the engine may run elsewhere."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value.absolute())
    return "" if value is None else value


def _listen_for_metrics(host: str, port: int, registry: Any) -> MetricsListener:
    try:
        return MetricsListener(host, port, registry)
    except OSError as error:
        raise OSError(
            f"cannot listen for metrics on {host}:{port} ({error.strerror}): "
            f"choose another --metrics-address, or '' for no metrics"
        ) from None


def _listen_for_signals(stop: asyncio.Event) -> None:
    def on_signal() -> None:
        if stop.is_set():
            os._exit(EXIT_SECOND_SIGNAL)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
