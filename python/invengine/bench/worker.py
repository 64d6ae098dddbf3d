"""Work in a process of its own: `python -m invengine.bench.worker KIND`, a JSON object in, a JSON object out.

The load generator, the bare listener and the sync probe are native. The others are clients as people write them, in one
process on one core each, so that Python is compared with Python.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any


def load(spec: Mapping[str, Any]) -> str:
    """One run of the load generator."""
    from invengine import _core

    return _core.load_run(json.dumps(spec))


def sync(spec: Mapping[str, Any]) -> str:
    """One probe of the disk."""
    from invengine import _core

    return _core.load_probe_sync(json.dumps(spec))


def ledger(spec: Mapping[str, Any]) -> str:
    """One run of the ledger alone."""
    from invengine import _core

    return _core.bench_ledger(spec["operations"], spec["levels"], spec["run"])


def asyncio_client(spec: Mapping[str, Any]) -> str:
    """Many tasks on one AsyncClient, whose commands are batched automatically."""
    from invengine.bench import callers

    return json.dumps(callers.with_asyncio(callers.Spec(**spec)))


def columns_client(spec: Mapping[str, Any]) -> str:
    """Threads that reserve in columns."""
    from invengine.bench import callers

    return json.dumps(callers.with_columns(callers.Spec(**spec)))


def redis_client(spec: Mapping[str, Any]) -> str:
    """Threads that call the Lua script through redis-py."""
    from invengine.bench import callers

    return json.dumps(callers.with_redis(callers.Spec(**spec)))


def embedded(spec: Mapping[str, Any]) -> str:
    """A caller with an engine in its own process."""
    from invengine.bench import callers, embedded

    return json.dumps(embedded.run(callers.Spec(**spec)))


def attack() -> int:
    """A peer who means no good."""
    from invengine.bench import attacks

    return attacks.main()


def bystander() -> int:
    """A caller who reserves and releases meanwhile."""
    from invengine.bench import bystander

    return bystander.main()


def followers() -> int:
    """Readers of events who wait for what never comes."""
    from invengine.bench import followers

    return followers.main()


TALKING: dict[str, Callable[[], int]] = {"attack": attack, "bystander": bystander, "followers": followers}
"""Those who are told more than what stands in their first line."""

KINDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "load": load,
    "sync": sync,
    "ledger": ledger,
    "asyncio": asyncio_client,
    "columns": columns_client,
    "redis": redis_client,
    "embedded": embedded,
}


def main(arguments: list[str]) -> int:
    """Runs one kind and returns the exit code."""
    kind = arguments[0] if arguments else ""
    if kind == "bare":
        from invengine import _core

        _core.load_bare(min(os.sched_getaffinity(0)))
        return 0
    if kind in TALKING:
        return TALKING[kind]()
    if kind not in KINDS:
        print(f"unknown kind {kind!r}: one of bare, {', '.join([*TALKING, *KINDS])}", file=sys.stderr)
        return 2
    print(KINDS[kind](json.load(sys.stdin)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
