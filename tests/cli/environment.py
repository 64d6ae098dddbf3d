"""Environments for a server, good and bad, and their contents: so that a test can see that nothing was written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from invengine import _core

from ..conformance.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
LUA = ROOT / "rust/node/src/journal/redis/functions.lua"
# The byte with the format of a journal file, and the offset of its checksum.
FORMAT_AT, CRC_AT = 8, 4092
RIGHTS = re.compile(r"^ACL SETUSER invengine on >password (.+)$", re.MULTILINE)


def begin_journal(directory: Path, ledger: str = "main") -> None:
    """Creates a journal of this ledger in a directory."""
    _core.Engine.open(json.dumps({"journal": "file", "directory": str(directory), "ledger": ledger})).close()


def begin_redis_journal(server: RedisServer, ledger: str = "main", **settings: str) -> None:
    """Creates a journal of this ledger in Redis."""
    values = {"journal": "redis", "redis_url": server.url, "ledger": ledger, **settings}
    _core.Engine.open(json.dumps(values)).close()


def files_in(directory: Path) -> dict[str, str]:
    """Returns the hash of every file, whatever its time; empty if the directory does not exist."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def all_of(server: RedisServer) -> tuple[dict[bytes, bytes], bytes]:
    """Returns every key with its value, and the functions."""
    with redis.Redis(port=server.port) as connection:
        client: Any = connection
        return {key: client.dump(key) for key in sorted(client.keys())}, client.function_dump()


def ask(server: RedisServer, *commands: str) -> None:
    """Runs commands as an administrator; they must succeed."""
    with redis.Redis(port=server.port) as connection:
        for command in commands:
            connection.execute_command(*command.split())


def make_newer(directory: Path) -> None:
    """Changes the journal there to a later format, with a valid checksum."""
    (file,) = directory.glob("journal-*")
    with file.open("r+b") as stream:
        header = bytearray(stream.read(CRC_AT))
        header[FORMAT_AT] += 1
        stream.seek(0)
        stream.write(bytes(header) + crc32c(header).to_bytes(4, "little"))


def crc32c(data: bytes | bytearray) -> int:
    """The checksum of journal files, a bit at a time."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F6_3B78 if crc & 1 else 0)
    return crc ^ 0xFFFF_FFFF


def functions(version: int) -> str:
    """Returns the functions with another version."""
    code, found = re.subn(r"local VERSION = '\d+'", f"local VERSION = '{version}'", LUA.read_text(encoding="utf-8"))
    assert found == 1
    return code


def functions_version() -> int:
    """Returns the version that this build needs."""
    found = re.search(r"local VERSION = '(\d+)'", LUA.read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1])


def documented_rights() -> str:
    """Returns the rules of docs/operations.md for the user of a journal."""
    found = RIGHTS.search((ROOT / "docs/operations.md").read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def without_privileges() -> Sequence[str]:
    """Returns the prefix of a command with which permissions apply to root too."""
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


@contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """Mounts a file system in memory until the block ends."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)
