"""A server from start to end: stages, drain, poison, and what is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from invengine.service.address import AddressError
from invengine.service.lifetime import EndReason, Host, Ready, engine_settings, run
from invengine.service.ports import EnginePort
from invengine.settings import JournalKind, Settings, SettingsError
from invengine.v1 import journal_service_pb2

from .fake_engine import FakeEngine
from .service_loopback import Raw, error_info, until

RESERVE = "/invengine.v1.ReservationService/Reserve"
SUBMIT = "/invengine.v1.ReservationService/Submit"


class FakeDoor:
    """A door that only remembers."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.ended: list[str] = []

    @property
    def address(self) -> str:
        return "127.0.0.1:1234"

    def stats(self) -> str:
        return json.dumps({"connections": 3, "bounds": {"control_frames": 2}})

    def drain(self, timeout_ms: int) -> None:
        self.ended.append(f"drain {timeout_ms}")

    def close(self) -> None:
        self.ended.append("close")


class FakeCore:
    """Opens one fake engine."""

    def __init__(self, engine: FakeEngine, door_error: Exception | None = None) -> None:
        self.engine = engine
        self.doors: list[FakeDoor] = []
        self.door_error = door_error

    def begin(self, settings: str) -> EnginePort:
        return self.engine

    def door(self, engine: EnginePort, address: str, settings: str) -> FakeDoor:
        if self.door_error:
            raise self.door_error
        self.doors.append(FakeDoor(json.loads(settings)))
        return self.doors[-1]

    def version(self) -> str:
        return "1.2.3"


def settings(**values: Any) -> Settings:
    return Settings(**{"address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0", "door": "python"} | values)


def test_a_server_answers_serves_metrics_and_ends_when_asked() -> None:
    engine = FakeEngine({RESERVE: lambda payload: payload}, counters={"sequence": 7, "writer_epoch": 2})

    async def body() -> None:
        host = Host(settings(), FakeCore(engine))
        ready = await host.start()
        assert (ready.door, ready.sequence, ready.writer_epoch) == ("python", 7, 2)
        async with grpc.aio.insecure_channel(ready.address) as opened:
            channel: Raw = opened
            assert await channel.unary_unary(RESERVE)(b"x") == b"x"
        page = await asyncio.to_thread(fetch, f"http://{ready.metrics_address}/metrics")
        assert 'invengine_build{version="1.2.3"} 1.0' in page
        assert 'code="OK",method="invengine.v1.ReservationService/Reserve"' in page
        stop = asyncio.Event()
        stop.set()
        assert await host.wait(stop) is EndReason.DRAINED
        assert await host.drain() is EndReason.DRAINED
        assert engine.drained

    asyncio.run(body())


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def test_accepted_calls_are_answered_while_health_is_already_not_serving() -> None:
    engine = FakeEngine({RESERVE: lambda payload: payload}, delay_s=2.0)

    async def body() -> None:
        host = Host(settings(), FakeCore(engine))
        ready = await host.start()
        async with grpc.aio.insecure_channel(ready.address) as opened:
            channel: Raw = opened
            taken = asyncio.ensure_future(channel.unary_unary(RESERVE)(b"taken"))
            await until(lambda: bool(engine.calls))
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
            await watch.read()
            draining = asyncio.create_task(host.drain())
            answer = health_pb2.HealthCheckResponse.FromString(await watch.read())
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
            assert not taken.done()
            assert await taken == b"taken"
            assert await draining is EndReason.DRAINED

    asyncio.run(body())


OPEN_STREAMS = (
    ("/invengine.v1.ReservationService/SubmitStream", None),
    ("/invengine.v1.InventoryService/RecordMessageStream", None),
    ("/invengine.v1.JournalService/ReadEvents", journal_service_pb2.ReadEventsRequest(follow=True)),
    ("/grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest()),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", None),
)


def test_open_streams_do_not_delay_a_drain_and_end_with_draining() -> None:
    async def body() -> float:
        host = Host(settings(), FakeCore(FakeEngine({SUBMIT: lambda payload: payload})))
        ready = await host.start()
        async with grpc.aio.insecure_channel(ready.address) as opened:
            channel: Raw = opened
            calls = []
            for path, asked in OPEN_STREAMS:
                call = channel.stream_stream(path)()
                if asked is not None:
                    await call.write(asked.SerializeToString())
                calls.append(call)
            # Accepted calls are answered before.
            await calls[0].write(b"taken")
            assert await calls[0].read() == b"taken"
            started = time.monotonic()
            draining = asyncio.create_task(host.drain())
            for call in calls:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await read_to_the_end(call)
                assert error_info(caught.value).reason == "DRAINING"
            assert await draining is EndReason.DRAINED
            return time.monotonic() - started

    assert asyncio.run(body()) < 2.0


async def read_to_the_end(call: Any) -> None:
    while isinstance(await call.read(), bytes):
        pass


def test_the_bounds_of_the_native_door_are_metrics() -> None:
    async def body() -> None:
        host = Host(settings(door="native", connection_idle_ms=7), core := FakeCore(FakeEngine()))
        ready = await host.start()
        page = await asyncio.to_thread(fetch, f"http://{ready.metrics_address}/metrics")
        assert "invengine_door_connections 3.0" in page
        assert 'invengine_door_bounds_total{bound="control_frames"} 2.0' in page
        assert core.doors[0].settings["connection_idle_ms"] == 7
        await host.drain()

    asyncio.run(body())


def test_the_bounds_of_the_python_door_are_metrics() -> None:
    async def body() -> None:
        host = Host(settings(), FakeCore(FakeEngine()))
        ready = await host.start()
        async with grpc.aio.insecure_channel(ready.address) as opened:
            channel: Raw = opened
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary("/invengine.v1.ReservationService/Reserve")(bytes(3 << 20))
        page = await asyncio.to_thread(fetch, f"http://{ready.metrics_address}/metrics")
        assert 'invengine_door_bounds_total{bound="message_refused"} 1.0' in page
        assert 'invengine_door_bounds_total{bound="metadata_refused"} 0.0' in page
        assert "invengine_door_connections" not in page, "what nobody measures is not 0"
        await host.drain()

    asyncio.run(body())


def test_a_connection_without_a_call_is_closed_and_one_with_a_stream_is_not() -> None:
    async def body() -> None:
        host = Host(settings(connection_idle_ms=1_000), FakeCore(FakeEngine()))
        ready = await host.start()
        name, port = ready.address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(name, int(port))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        async with grpc.aio.insecure_channel(ready.address) as opened:
            channel: Raw = opened
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
            await watch.read()
            await asyncio.wait_for(reader.read(-1), 20)
            assert not watch.done()
            watch.cancel()
        writer.close()
        await host.drain()

    asyncio.run(body())


class FailsToClose(FakeEngine):
    """A journal that failed cannot be closed well."""

    def close(self) -> None:
        super().close()
        raise RuntimeError("the journal failed")


def test_a_poisoned_engine_ends_the_server() -> None:
    engine = FailsToClose()

    async def body() -> None:
        host = Host(settings(), FakeCore(engine))
        await host.start()
        waiting = asyncio.create_task(host.wait(asyncio.Event()))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        engine.counters["poisoned"] = True
        assert await asyncio.wait_for(waiting, 5) is EndReason.POISONED
        with capture_logs() as logs:
            assert await host.drain() is EndReason.POISONED
        assert not [log for log in logs if log["log_level"] == "error"], "it has said why before"

    asyncio.run(body())


def test_a_journal_that_fails_at_the_very_end_is_reported() -> None:
    async def body() -> None:
        host = Host(settings(), FakeCore(FailsToClose()))
        await host.start()
        with capture_logs() as logs:
            assert await host.drain() is EndReason.POISONED
        assert {"event": "the last sync failed", "error": "the journal failed", "log_level": "error"} in logs

    asyncio.run(body())


def test_an_engine_that_cannot_drain_still_closes_the_listeners(capsys: pytest.CaptureFixture[str]) -> None:
    class Stuck(FakeEngine):
        def drain(self) -> None:
            raise RuntimeError("no")

    async def body() -> None:
        host = Host(settings(), FakeCore(Stuck()))
        ready = await host.start()
        assert await host.drain() is EndReason.POISONED
        async with grpc.aio.insecure_channel(ready.address) as opened:
            channel: Raw = opened
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary(RESERVE)(b"x", timeout=0.5)

    asyncio.run(body())


def test_behind_the_native_door_the_service_is_on_a_private_socket() -> None:
    core = FakeCore(FakeEngine())

    async def body() -> None:
        host = Host(settings(door="native", threads=3, metrics_address=""), core)
        ready = await host.start()
        assert (ready.address, ready.door, ready.metrics_address) == ("127.0.0.1:1234", "native", "")
        (door,) = core.doors
        socket = Path(door.settings["forward_socket"])
        assert door.settings["threads"] == 3
        assert socket_mode(socket) == (True, 0o700)
        async with grpc.aio.insecure_channel(f"unix:{socket}") as opened:
            channel: Raw = opened
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(RESERVE)(b"")
            assert error_info(caught.value).reason == "UNKNOWN_SKU"
        await host.drain()
        assert door.ended[0].startswith("drain")
        assert socket_mode(socket) == (False, None)

    asyncio.run(body())


def socket_mode(socket: Path) -> tuple[bool, int | None]:
    """Whether it is a socket, and who may reach it: the mode of its directory."""
    directory = socket.parent
    return socket.is_socket(), stat.S_IMODE(directory.stat().st_mode) if directory.exists() else None


def test_a_failed_start_closes_what_was_opened() -> None:
    core = FakeCore(FakeEngine(), door_error=OSError("in use"))

    async def body() -> None:
        with pytest.raises(OSError, match="in use"):
            await Host(settings(door="native"), core).start()

    asyncio.run(body())
    assert core.engine.drained


@pytest.mark.parametrize("name", ["address", "metrics_address"])
def test_addresses_that_others_reach_are_refused_before_anything_is_opened(name: str) -> None:
    core = FakeCore(FakeEngine())

    async def body() -> None:
        with pytest.raises(AddressError, match="--insecure"):
            await Host(settings(**{name: "0.0.0.0:0"}), core).start()

    asyncio.run(body())
    assert not core.engine.drained


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(number: int) -> None:
    engine = FakeEngine()

    def announce(_: Ready) -> None:
        os.kill(os.getpid(), number)

    assert asyncio.run(run(settings(), announce, FakeCore(engine))) is EndReason.DRAINED
    assert engine.drained


@pytest.mark.parametrize(
    ("values", "check"),
    [
        ({"journal": "memory"}, lambda found: "directory" not in found and "redis_url" not in found),
        ({"journal": "redis", "directory": "data"}, lambda found: Path(found["directory"]).is_absolute()),
        (
            {"journal": "redis", "redis_url": "redis://:x@h", "redis_password": "p", "redis_ack": "everysec"},
            lambda found: (
                [found["redis_url"], found["redis_password"], found["redis_ack"], found["redis_ca_file"]]
                == ["redis://:x@h", "p", "everysec", ""]
            ),
        ),
        ({"journal": "file", "directory": "data"}, lambda found: Path(found["directory"]).is_absolute()),
        (
            {"snapshot_journal_bytes": 0, "snapshot_interval_ms": 5, "archive_ms": 6, "archive_bytes_max": 7},
            lambda found: (
                [found["snapshot_journal_bytes"], found["snapshot_interval_ms"]] == [0, 5]
                and [found["archive_ms"], found["archive_bytes_max"], "force_empty" in found] == [6, 7, False]
            ),
        ),
        ({"force_empty": True}, lambda found: found["force_empty"] is True),
        ({}, lambda found: "in_flight_max" not in found and "journal_file_bytes" not in found),
        ({"in_flight_max": 5, "time_scale": 60.0}, lambda f: (f["in_flight_max"], f["time_scale"]) == (5, 60.0)),
    ],
)
def test_the_settings_that_the_engine_gets(values: dict[str, Any], check: Callable[[dict[str, Any]], bool]) -> None:
    assert check(json.loads(engine_settings(Settings(**values))))


@pytest.mark.parametrize("journal", [JournalKind.REDIS, JournalKind.MEMORY])
def test_only_files_can_be_set_aside(journal: JournalKind) -> None:
    with pytest.raises(SettingsError, match="force_empty"):
        engine_settings(settings(journal=journal, force_empty=True))
