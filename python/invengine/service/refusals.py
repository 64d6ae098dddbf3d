"""Refusals on the wire: a gRPC code, one sentence, and a google.rpc.Status with exactly one ErrorInfo.

Every refusal of the service is created here, so that no answer has the code UNKNOWN, lacks its ErrorInfo or shows a
text that was meant for the log.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "invengine"
DETAILS_KEY = "grpc-status-details-bin"

# Clients refuse more than 8 KiB of metadata by default, and the details are base64-encoded.
STATUS_BYTES_MAX = 4096
MESSAGE_CHARS_MAX = 512
VIOLATIONS_MAX = 10
# Maximum characters of a caller's text that a refusal repeats. No name and no key is longer.
ECHO_CHARS_MAX = 128

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class RefusedError(Exception):
    """A refusal that is sent to the caller as it is. `status` is a serialized google.rpc.Status."""

    def __init__(self, code: grpc.StatusCode, message: str, status: bytes) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status


def refused(
    code: grpc.StatusCode,
    reason: str,
    message: str,
    metadata: Mapping[str, str] | None = None,
    *,
    violations: Mapping[str, str] | None = None,
    retry_delay_ms: int = 0,
) -> RefusedError:
    """Creates a refusal with its ErrorInfo, and BadRequest or RetryInfo where given."""
    status = status_pb2.Status(code=code.value[0], message=message)
    facts = {name: value[:ECHO_CHARS_MAX] for name, value in (metadata or {}).items()}
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=facts))
    if violations:
        bad = error_details_pb2.BadRequest()
        for field, description in violations.items():
            bad.field_violations.add(field=field, description=description)
        status.details.add().Pack(bad)
    if retry_delay_ms:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(retry_delay_ms)
        status.details.add().Pack(retry)
    return RefusedError(code, message, status.SerializeToString())


def bad_field(field: str, rule: str) -> RefusedError:
    """Creates INVALID_FIELD for one field; an empty field means the whole message."""
    message = f"{field}: {rule}" if field else rule
    return refused(
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, {"field": field}, violations={field: rule}
    )


def malformed(message_type: str) -> RefusedError:
    """Creates the refusal of bytes that are not a message of this type."""
    return bad_field("", f"Send a valid {message_type}: these bytes cannot be parsed as one.")


def too_large(size: int, limit: int) -> RefusedError:
    """Creates MESSAGE_TOO_LARGE; both numbers are in bytes."""
    return refused(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "MESSAGE_TOO_LARGE",
        f"Send at most {limit} bytes in this message; it has {size}. Split it.",
        {"limit": str(limit), "size": str(size)},
    )


def unimplemented(path: str) -> RefusedError:
    """Creates the refusal of a method that does not exist, or not yet."""
    return refused(
        grpc.StatusCode.UNIMPLEMENTED,
        "UNIMPLEMENTED",
        "This server does not implement the method; server reflection lists the services that it knows.",
        {"method": path},
    )


def stream_over() -> RefusedError:
    """Creates the refusal of a stream that has reached its maximum duration."""
    return refused(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "DEADLINE",
        "The stream lasted as long as one may. Open another one.",
    )


def draining() -> RefusedError:
    """Creates DRAINING: the same call, with the same key, is to be sent to the next server."""
    return refused(
        grpc.StatusCode.UNAVAILABLE,
        "DRAINING",
        "The server is shutting down. Send the same call again with the same key.",
        retry_delay_ms=500,
    )


def overloaded(what: str) -> RefusedError:
    """Creates OVERLOADED, with a retry delay."""
    return refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", f"{what} Wait and try again.", retry_delay_ms=1000)


def incident() -> tuple[str, RefusedError]:
    """Creates INTERNAL with a new incident id and nothing else; the log has the rest under the same id."""
    number = secrets.token_hex(8)
    answer = refused(
        grpc.StatusCode.INTERNAL,
        "INTERNAL",
        f"The server failed. Give incident {number} to its operator; the outcome is unknown, so keep the same key.",
        {"incident": number},
    )
    return number, answer


def from_status(code: int, status: bytes) -> RefusedError | None:
    """Parses an engine's refusal; None if it breaks the contract (wrong code, not exactly one ErrorInfo)."""
    known = _CODES.get(code)
    if known is None or known in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN):
        return None
    try:
        parsed = status_pb2.Status.FromString(status)
    except DecodeError:
        return None
    if parsed.code != code or sum(d.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for d in parsed.details) != 1:
        return None
    if len(status) > STATUS_BYTES_MAX:
        _shorten(parsed)
        status = parsed.SerializeToString()
    return RefusedError(known, parsed.message[:MESSAGE_CHARS_MAX], status)


def from_exception(error: BaseException) -> RefusedError | None:
    """Returns the refusal that an exception of the engine carries; None for any other exception.

    CallError is recognised by its arguments, (code, status), so that an engine other than the native one may be used.
    """
    if isinstance(error, RefusedError):
        return error
    core: Any = sys.modules.get("invengine._core")
    if core is not None and isinstance(error, core.EngineClosed):
        return draining()
    if len(error.args) == 2 and isinstance(error.args[0], int) and isinstance(error.args[1], bytes):
        return from_status(error.args[0], error.args[1])
    return None


def _shorten(status: status_pb2.Status) -> None:
    """Truncates the message and the list of invalid fields, so that the answer fits the metadata limit."""
    status.message = status.message[:MESSAGE_CHARS_MAX]
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            del bad.field_violations[VIOLATIONS_MAX:]
            for violation in bad.field_violations:
                violation.field = violation.field[:100]
                violation.description = violation.description[:150]
            detail.Pack(bad)
