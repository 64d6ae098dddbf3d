"""An engine of a test's own, for what would disturb the others: limits, stops, kills and restarts."""

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
    """A target of this kind on a file journal in `workspace`, which is recovered if it is there already."""
    target = open_target(kind, workspace, **settings)
    try:
        yield target
    finally:
        target.close()


def open_target(kind: str, workspace: Path, **settings: object) -> Target:
    """The same, for the caller to close."""
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
    """Where the journal of a target is."""
    return workspace / "journal"


def started(target: Target, method: Method[Q, A], requests: list[Q]) -> list[Future[bytes]]:
    """Calls that are all under way."""
    return [target.start_raw(method.path, request.SerializeToString()) for request in requests]


def ended(method: Method[Q, A], future: Future[bytes]) -> A | Refused | TransportEnded:
    """What became of a call that was under way."""
    try:
        return method.answer.FromString(future.result(60))
    except (Refused, TransportEnded) as no_answer:
        return no_answer
