"""The bare listener: gRPC without an engine, the yardstick of what gRPC itself needs of one core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from invengine.bench import machine
from invengine.bench.rounds import Plan


@dataclass(frozen=True, slots=True)
class Bare:
    """A running bare listener."""

    address: str
    pid: int


@contextmanager
def listening(plan: Plan) -> Iterator[Bare]:
    """A bare listener on the server's core, until the block ends."""
    with machine.running("bare-listener", machine.worker("bare"), plan.cores.server, plan.directory) as program:
        yield Bare(program.line(), program.pid)
