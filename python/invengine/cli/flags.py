"""Flags of the commands that start a server: each is a setting of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invengine.settings import DoorKind, JournalKind, RedisAck

Address = Annotated[str | None, typer.Option("--address", help="Where to listen, HOST:PORT or unix:PATH.")]
Journal = Annotated[
    JournalKind | None, typer.Option("--journal", help="file or redis (durable), or memory (lost at exit).")
]
RedisUrl = Annotated[
    str | None, typer.Option("--redis-url", help="Where the Redis journal lives; keep its password in the environment.")
]
RedisAckFlag = Annotated[
    RedisAck | None, typer.Option("--redis-ack", help="Durable means: fsync, everysec, replicated or memory.")
]
Directory = Annotated[
    Path | None,
    typer.Option("--directory", help="Where the file journal lives; beside a Redis journal, what was acknowledged."),
]
Ledger = Annotated[str | None, typer.Option("--ledger", help="Name of the ledger.")]
Door = Annotated[DoorKind | None, typer.Option("--door", help="native (Rust) or python (grpc.aio).")]
Threads = Annotated[int | None, typer.Option("--threads", help="Threads of the native door.")]
TimeScale = Annotated[float | None, typer.Option("--time-scale", help="Run engine time this many times faster.")]
AutoCreate = Annotated[
    bool | None, typer.Option("--auto-create/--no-auto-create", help="Create names by mention; development only.")
]
MetricsAddress = Annotated[
    str | None, typer.Option("--metrics-address", help="Where /metrics listens; '' for no metrics.")
]
DrainTimeoutMs = Annotated[int | None, typer.Option("--drain-timeout-ms", help="How long a shutdown waits.")]
Insecure = Annotated[
    bool | None, typer.Option("--insecure", help="Allow addresses that other machines reach; nobody is identified.")
]
ForceEmpty = Annotated[
    bool,
    typer.Option(
        "--force-empty", help="Last resort: set aside a journal that cannot be recovered, begin an empty one."
    ),
]
AcceptClock = Annotated[
    bool,
    typer.Option(
        "--accept-clock",
        help="This machine's clock is right, however far from where the journal ends: after a start with a wrong one.",
    ),
]
ReadyFile = Annotated[
    Path | None, typer.Option("--ready-file", help="Write the ready line there as JSON; removed at the end.")
]
