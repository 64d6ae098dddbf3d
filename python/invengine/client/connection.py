"""How a channel is opened and how the status of a failed call becomes an error."""

from __future__ import annotations

from typing import Any

import grpc

from invengine.errors import InvengineError, error_from_status

DEFAULT_TARGET = "127.0.0.1:7411"
DEFAULT_TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
"""Most bytes of any answer, as the contract states for every method."""

OPTIONS: list[tuple[str, Any]] = [
    # What is too long to send the server refuses, with the reason and the limit.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    # Every client has a connection of its own: two clients in one process share neither window nor fate.
    ("grpc.use_local_subchannel_pool", 1),
    # Retries are decided in `retry`, where the key and the deadline are known.
    ("grpc.enable_retries", 0),
    # A restarted server is found again within a second, not after grpc's own two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A peer that vanished without a word is noticed while calls are open; an idle connection is left in peace.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
]

_DETAILS = "grpc-status-details-bin"


def error_of(failure: Any) -> InvengineError:
    """The error of a grpc.RpcError, sync or asyncio."""
    status = None
    for name, value in failure.trailing_metadata() or ():
        if name == _DETAILS:
            status = value
    code: grpc.StatusCode = failure.code()
    return error_from_status(code.value[0], status, failure.details() or "")


def metadata_for(ledger: str) -> tuple[tuple[str, str], ...]:
    """What every call carries: the ledger it is for, if it is not the default one."""
    return (("invengine-ledger", ledger),) if ledger else ()
