"""Finds the installed Redis-compatible servers."""

from __future__ import annotations

import shutil

from tools.valkey_server import valkey_server


def programs() -> dict[str, str]:
    """Returns the paths of Redis and Valkey by name, if they are installed."""
    found = {"redis": shutil.which("redis-server") or "", "valkey": valkey_server()}
    return {name: path for name, path in found.items() if path}
