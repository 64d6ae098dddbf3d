"""Checks a target, connects a channel, and turns the status of a failed call into an error.

No call starts before the channel is connected. So a failed connection is `Unreachable` and nothing was sent; a call
that fails later may have been executed, unless the server itself states that it was not.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from invengine.client import arguments
from invengine.errors import (
    ClientClosed,
    DeadlineExceeded,
    InvalidArgument,
    InvengineError,
    Unreachable,
    error_from_status,
)

DEFAULT_TARGET = "127.0.0.1:7411"
DEFAULT_TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
"""The maximum size of any answer, which the contract states for every method."""

OPTIONS: list[tuple[str, Any]] = [
    # The server refuses a message that is too long, with the reason and the limit.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    # Every client has its own connection: two clients in one process share neither flow control nor failures.
    ("grpc.use_local_subchannel_pool", 1),
    # Retries are decided in `retry`, where the key and the deadline are known.
    ("grpc.enable_retries", 0),
    # A restarted server is found within a second, not after up to two minutes, which is grpc's default.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A peer that disappears is noticed while calls are open; an idle connection is not probed.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
]

_DETAILS = "grpc-status-details-bin"
_READY: int = grpc.ChannelConnectivity.READY.value[0]
_FAILED: int = grpc.ChannelConnectivity.TRANSIENT_FAILURE.value[0]
_POLL_FIRST_S = 0.001
_POLL_MAX_S = 0.02

_TARGET_RULE = "HOST:PORT, [IPV6]:PORT or unix:PATH, such as 127.0.0.1:7411"
_PATHS = ("unix:", "unix-abstract:")
_RESOLVERS = ("dns:", "ipv4:", "ipv6:")


def options_for(target: str) -> list[tuple[str, Any]]:
    """Returns the gRPC options of a channel to this target."""
    if target.startswith(_PATHS):
        # grpcio would send the percent-encoded path as authority, which the native door refuses as malformed HTTP/2.
        return [*OPTIONS, ("grpc.default_authority", "localhost")]
    return OPTIONS


def checked_target(target: str) -> str:
    """Returns a valid target, or raises InvalidArgument. gRPC would dial another address, or fail late."""
    if not isinstance(target, str):
        raise InvalidArgument("target", f"{_TARGET_RULE}; got {type(target).__name__}")
    if not target or not target.isprintable() or " " in target:
        raise InvalidArgument("target", f"{_TARGET_RULE}; got {target!r}")
    path = next((target.removeprefix(scheme) for scheme in _PATHS if target.startswith(scheme)), None)
    if path is not None:
        if not path.strip("/"):
            raise InvalidArgument("target", f"a path behind {target!r}, such as unix:/run/invengine.sock")
        return target
    scheme = next((scheme for scheme in _RESOLVERS if target.startswith(scheme)), "")
    for host_and_port in target.removeprefix(scheme).rpartition("/")[2].split(",") if scheme else [target]:
        _check_host_and_port(target, host_and_port)
    return target


def _check_host_and_port(target: str, host_and_port: str) -> None:
    if "/" in host_and_port or "@" in host_and_port:
        raise InvalidArgument("target", f"{_TARGET_RULE}, without a scheme such as http:// or a path; got {target!r}")
    host, colon, port = host_and_port.rpartition(":")
    if not colon or not host:
        raise InvalidArgument("target", f"{_TARGET_RULE}: host and port, both; got {target!r}")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise InvalidArgument("target", f"a port from 1 to 65535; got {port!r} in {target!r}")
    bracketed = host.startswith("[") and host.endswith("]")
    if (":" in host or "[" in host or "]" in host) and not bracketed:
        raise InvalidArgument("target", f"an IPv6 address in brackets, such as [::1]:7411; got {target!r}")


class UsageScope:
    """Restricts a client to its process, and an asyncio client to its event loop; otherwise ClientClosed.

    A connection does not survive a fork, and a future of one event loop is never completed in another one.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def forked(self) -> bool:
        """True in a fork of the process that created the client, which must not close the connection."""
        return os.getpid() != self._process

    def check(self) -> None:
        """Refuses a fork."""
        if self.forked:
            raise ClientClosed(
                "this process is a fork of the one that made the client; nothing was sent: make a new one"
            )

    def check_loop(self) -> None:
        """Refuses a fork, and any event loop except the first one in which it was called."""
        loop = asyncio.get_running_loop()
        if loop is self._loop and os.getpid() == self._process:  # On the path of each call.
            return
        if loop is not self._loop:
            if self._loop is not None:
                raise ClientClosed("this client belongs to another event loop; nothing was sent: make one in each loop")
            self._loop = loop
        self.check()


def connecting(state: Callable[[], int], target: str, deadline_s: float) -> Iterator[float]:
    """Yields the time to wait before the next check, and ends when the channel is connected. Nothing is sent yet.

    `state` returns the connectivity of the channel and makes it connect. Raises Unreachable if the connection failed or
    is not established at `deadline_s` (monotonic).
    """
    wait_s = _POLL_FIRST_S
    while (now := state()) != _READY:
        late = time.monotonic() >= deadline_s
        if now == _FAILED or late:
            why = "in time" if late else "check the address, and that a server runs there"
            raise Unreachable(f"no connection to {target}, nothing was sent: {why}")
        yield wait_s
        wait_s = min(wait_s * 2, _POLL_MAX_S)


def time_left_s(deadline_s: float) -> float:
    """Returns the time that is left for a connected call. DeadlineExceeded if none is left: it is not sent."""
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise DeadlineExceeded("the deadline passed before the call was sent")
    return left_s


def error_of(failure: Any) -> InvengineError:
    """Converts a grpc.RpcError, sync or asyncio, into an error of invengine."""
    status = None
    for name, value in failure.trailing_metadata() or ():
        if name == _DETAILS:
            status = value
    code: grpc.StatusCode = failure.code()
    return error_from_status(code.value[0], status, failure.details() or "")


def metadata_for(ledger: str | None) -> tuple[tuple[str, str], ...]:
    """Returns the metadata of every call: the name of its ledger, if it is not the default one.

    Nothing else of a caller becomes metadata. What gRPC cannot send must be refused here: it would fail in every call,
    and as if the call might have been sent.
    """
    return () if ledger is None else (("invengine-ledger", arguments.ledger_name(ledger, "ledger")),)
