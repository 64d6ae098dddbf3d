"""A Redis or Valkey of a test's own: every write synced, killed, paused and started again on its port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tools.valkey_server import valkey_server

from .house import free_port, wait_until

END_S = 20.0


@dataclass(slots=True)
class RedisServer:
    """One server and its directory."""

    program: str
    room: Path
    port: int
    settings: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it has read its file and answers."""
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.room), "--save", ""]
        durable = ["--appendonly", "yes", "--appendfsync", "always"]
        with (self.room / "redis.log").open("ab") as log:
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
        """The first bytes of its answer to a command."""
        request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=END_S) as connection:
            connection.sendall(request.encode())
            return connection.recv(1 << 16)

    def _answers(self) -> bool:
        with suppress(OSError):
            return self.ask("PING").startswith(b"+PONG")
        return False


@contextmanager
def redis_server(program: str, room: Path, *settings: str) -> Iterator[RedisServer]:
    """A running server; it is gone afterwards."""
    room.mkdir(parents=True, exist_ok=True)
    server = RedisServer(program, room, free_port(), settings)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.signal(signal.SIGCONT)
            server.kill()


def programs() -> dict[str, str]:
    """Redis and Valkey by name, those that are installed."""
    found = {"redis": shutil.which("redis-server") or "", "valkey": valkey_server()}
    return {name: path for name, path in found.items() if path}
