"""A separate engine for one test, for limits, stops, kills and restarts that would disturb the others."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from .methods import A, Method, Q
from .refused import Refused, TransportEnded
from .server import start_server
from .targets import EmbeddedTarget, ServerTarget, Target


@contextmanager
def own_target(kind: str, workspace: Path, **settings: object) -> Iterator[Target]:
    """A target of this kind on a file journal in `workspace`, which is recovered if it exists."""
    target = open_target(kind, workspace, **settings)
    try:
        yield target
    finally:
        target.close()


def open_target(kind: str, workspace: Path, **settings: object) -> Target:
    """The same, but the caller must close it."""
    if kind == "embedded":
        workspace.mkdir(parents=True, exist_ok=True)
        return EmbeddedTarget(journal="file", directory=str(journal_of(workspace)), **settings)
    return open_server(kind, workspace, **settings)


def open_server(kind: str, workspace: Path, **settings: object) -> ServerTarget:
    """A server with these settings in its environment."""
    environment = {f"INVENGINE_{name.upper()}": str(value) for name, value in settings.items()}
    flags = ("--door", kind, "--journal", "file", "--directory", str(journal_of(workspace)))
    return ServerTarget(kind, start_server(workspace, *flags, environment=environment))


def journal_of(workspace: Path) -> Path:
    """Returns the directory of the journal of a target."""
    return workspace / "journal"


def started(target: Target, method: Method[Q, A], requests: list[Q]) -> list[Future[bytes]]:
    """Starts calls, all in flight at the same time."""
    return [target.start_raw(method.path, request.SerializeToString()) for request in requests]


def ended(method: Method[Q, A], future: Future[bytes]) -> A | Refused | TransportEnded:
    """Returns the outcome of a call that was in flight."""
    try:
        return method.answer.FromString(future.result(60))
    except (Refused, TransportEnded) as no_answer:
        return no_answer
