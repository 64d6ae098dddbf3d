"""Flags of the commands that start a server: each is a setting of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from invengine.settings import DoorKind, JournalKind, RedisAck, Settings


def _flag(name: str, text: str, *forms: str) -> Any:
    """The flag of a setting. Its help has the current default, so that a new default cannot make it wrong."""
    default = Settings.model_fields[name].default
    shown = getattr(default, "get_secret_value", lambda: default)()
    words = {"True": "yes", "False": "no", "": "empty"}.get(str(shown), str(shown))
    return typer.Option(*(forms or (f"--{name.replace('_', '-')}",)), help=f"{text} [default: {words}]")


Address = Annotated[str | None, _flag("address", "Where to listen, HOST:PORT or unix:PATH.")]
Journal = Annotated[JournalKind | None, _flag("journal", "file or redis (durable), or memory (lost at exit).")]
RedisUrl = Annotated[
    str | None, _flag("redis_url", "Where the Redis journal lives; keep its password in the environment.")
]
RedisAckFlag = Annotated[RedisAck | None, _flag("redis_ack", "Durable means: fsync, everysec, replicated or memory.")]
Directory = Annotated[
    Path | None, _flag("directory", "Where the file journal lives; beside a Redis journal, what was acknowledged.")
]
Ledger = Annotated[str | None, _flag("ledger", "Name of the ledger.")]
Door = Annotated[DoorKind | None, _flag("door", "native (Rust) or python (grpc.aio).")]
Threads = Annotated[int | None, _flag("threads", "Threads of the native door.")]
TimeScale = Annotated[float | None, _flag("time_scale", "Run engine time this many times faster.")]
AutoCreate = Annotated[
    bool | None,
    _flag("auto_create", "Create names by mention; development only.", "--auto-create/--no-auto-create"),
]
MetricsAddress = Annotated[str | None, _flag("metrics_address", "Where /metrics listens; '' for no metrics.")]
DrainTimeoutMs = Annotated[int | None, _flag("drain_timeout_ms", "How long a shutdown waits.")]
Insecure = Annotated[
    bool | None,
    _flag("insecure", "Allow addresses that other machines reach; callers are not authenticated.", "--insecure"),
]
ForceEmpty = Annotated[
    bool,
    _flag("force_empty", "Last resort: set aside a journal that cannot be recovered, start an empty one."),
]
AcceptClock = Annotated[
    bool,
    typer.Option(
        "--accept-clock",
        help="This machine's clock is right, however far from the end of the journal: after a start with a wrong one.",
    ),
]
ReadyFile = Annotated[
    Path | None, typer.Option("--ready-file", help="Write the ready line there as JSON; removed at the end.")
]

# Of `dev`, which keeps nothing and has no metrics by default: typer shows these defaults itself.
DevJournal = Annotated[
    JournalKind, typer.Option("--journal", help="memory, or file: a directory that is removed at the end.")
]
DevMetricsAddress = Annotated[
    str, typer.Option("--metrics-address", help="Where /metrics listens; '' for no metrics. [default: empty]")
]
