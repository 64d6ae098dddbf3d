"""Which servers of the Redis kind are installed."""

from __future__ import annotations

import shutil

from tools.valkey_server import valkey_server


def programs() -> dict[str, str]:
    """Redis and Valkey by name, those that are installed."""
    found = {"redis": shutil.which("redis-server") or "", "valkey": valkey_server()}
    return {name: path for name, path in found.items() if path}
