"""A separate Redis or Valkey for a test: every write is synced; it can be killed, paused and restarted on its port."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

END_S = 20.0
LOOK_S = 0.02
# Below the ephemeral ports of the kernel: the port of a server that was down is still free.
PORTS = range(10_000, 32_768)


@dataclass(slots=True)
class RedisServer:
    """One server and its directory."""

    program: str
    directory: Path
    port: int
    settings: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it has loaded its file and answers."""
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", ""]
        durable = ["--appendonly", "yes", "--appendfsync", "always"]
        with (self.directory / "redis.log").open("ab") as log:
            command = [self.program, *place, *durable, *self.settings]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until("an answer of Redis", self._answers)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(END_S)

    def ask(self, *words: str) -> bytes:
        """Returns the first bytes of its answer to a command."""
        request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=END_S) as connection:
            connection.sendall(request.encode())
            return connection.recv(1 << 16)

    def _answers(self) -> bool:
        with suppress(OSError):
            return self.ask("PING").startswith(b"+PONG")
        return False


@contextmanager
def redis_server(program: str, directory: Path, *settings: str) -> Iterator[RedisServer]:
    """Runs a server until the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    server = RedisServer(program, directory, free_port(), settings)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.signal(signal.SIGCONT)
            server.kill()


def free_port() -> int:
    """A free loopback port that is unlikely to be taken soon."""
    # Not with a seeded generator: two test processes must not choose the same port.
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def wait_until(what: str, holds: Callable[[], bool], within_s: float = 30.0) -> None:
    """Waits for a condition."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"{what} did not come within {within_s:.0f} s"
        time.sleep(LOOK_S)
