"""A rejection as a caller receives it, and the rules for every rejection whatever its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from invengine.v1.types_pb2 import Rejection

DOMAIN = "invengine"
DETAILS_KEY = "grpc-status-details-bin"
CODES = {code.value[0]: code for code in grpc.StatusCode}

CODE_OF_REASON = {
    "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
    "IDEMPOTENCY_KEY_REUSED": grpc.StatusCode.FAILED_PRECONDITION,
    "DEDUPE_WINDOW_EXPIRED": grpc.StatusCode.FAILED_PRECONDITION,
    "KEY_CANCELLED": grpc.StatusCode.FAILED_PRECONDITION,
    "INSUFFICIENT_STOCK": grpc.StatusCode.FAILED_PRECONDITION,
    "UNKNOWN_SKU": grpc.StatusCode.NOT_FOUND,
    "UNKNOWN_LOCATION": grpc.StatusCode.NOT_FOUND,
    "UNKNOWN_CHANNEL": grpc.StatusCode.NOT_FOUND,
    "UNKNOWN_SOURCE": grpc.StatusCode.NOT_FOUND,
    "UNKNOWN_GROUP": grpc.StatusCode.NOT_FOUND,
    "RESERVATION_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "RESERVATION_EXPIRED": grpc.StatusCode.FAILED_PRECONDITION,
    "ALREADY_RELEASED": grpc.StatusCode.FAILED_PRECONDITION,
    "ALREADY_ALLOCATED": grpc.StatusCode.FAILED_PRECONDITION,
    "ALREADY_FULFILLED": grpc.StatusCode.FAILED_PRECONDITION,
    "EXCEEDS_OUTSTANDING": grpc.StatusCode.FAILED_PRECONDITION,
    "QUANTITY_STALE": grpc.StatusCode.ABORTED,
    "STALE_VERSION": grpc.StatusCode.ABORTED,
    "ENTITY_IN_USE": grpc.StatusCode.FAILED_PRECONDITION,
    "ENTITY_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "NOT_AUTHORITATIVE": grpc.StatusCode.PERMISSION_DENIED,
    "RULE_CONFLICT": grpc.StatusCode.FAILED_PRECONDITION,
    "TRANSFER_STATE": grpc.StatusCode.FAILED_PRECONDITION,
    "POSITION_NOT_IN_HISTORY": grpc.StatusCode.OUT_OF_RANGE,
    "SEQUENCE_GAP": grpc.StatusCode.ABORTED,
    "SEQUENCE_CONSUMED": grpc.StatusCode.ALREADY_EXISTS,
    "SEQUENCE_CONFLICT": grpc.StatusCode.FAILED_PRECONDITION,
    "STALE_EPOCH": grpc.StatusCode.FAILED_PRECONDITION,
    "OVERLOADED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DRAINING": grpc.StatusCode.UNAVAILABLE,
    "NOT_OWNER": grpc.StatusCode.UNAVAILABLE,
    "MESSAGE_TOO_LARGE": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "ANSWER_TOO_LARGE": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DEADLINE": grpc.StatusCode.DEADLINE_EXCEEDED,
    "OUTCOME_UNKNOWN": grpc.StatusCode.UNAVAILABLE,
    "UNIMPLEMENTED": grpc.StatusCode.UNIMPLEMENTED,
}
"""The code of each reason of this version."""

HOLD_FACTS = {"reservation", "state", "sequence"}
FACTS_OF_REASON: dict[str, set[str]] = {
    "INVALID_FIELD": {"field"},
    "IDEMPOTENCY_KEY_REUSED": {"sequence", "field", "sku", "location"},
    "DEDUPE_WINDOW_EXPIRED": {"window"},
    "INSUFFICIENT_STOCK": {"sku", "location", "requested", "available"},
    "UNKNOWN_SKU": {"sku"},
    "UNKNOWN_LOCATION": {"location"},
    "UNKNOWN_CHANNEL": {"channel"},
    "UNKNOWN_SOURCE": {"source"},
    "UNKNOWN_GROUP": {"group"},
    "RESERVATION_NOT_FOUND": {"reservation", "key", "order"},
    "RESERVATION_EXPIRED": HOLD_FACTS,
    "ALREADY_RELEASED": HOLD_FACTS,
    "ALREADY_ALLOCATED": HOLD_FACTS,
    "ALREADY_FULFILLED": HOLD_FACTS,
    "EXCEEDS_OUTSTANDING": {"sku", "location", "outstanding"},
    "QUANTITY_STALE": {"sku", "location", "expected", "actual"},
    "STALE_VERSION": {"expected", "actual", "kind", "name"},
    "ENTITY_IN_USE": {"kind", "name", "used_by"},
    "ENTITY_NOT_FOUND": {"kind", "name"},
    "TRANSFER_STATE": {"transfer", "state"},
    "NOT_AUTHORITATIVE": {"right", "state", "location", "source", "owner", "channel"},
    "RULE_CONFLICT": {"kind", "name", "conflicts_with", "state"},
    "POSITION_NOT_IN_HISTORY": {
        "ledger",
        "head_sequence",
        "head_epoch",
        "last_common_sequence",
        "last_common_epoch",
    },
    "SEQUENCE_GAP": {"source", "expected", "got"},
    "SEQUENCE_CONSUMED": {"source", "last"},
    "SEQUENCE_CONFLICT": {"source", "sequence", "field", "sku", "location"},
    "STALE_EPOCH": {"source", "current"},
    "OVERLOADED": {"answer_bytes_max", "limit", "source"},
    "NOT_OWNER": {"ledger"},
    "ANSWER_TOO_LARGE": {"limit"},
    "MESSAGE_TOO_LARGE": {"limit", "size"},
    "UNIMPLEMENTED": {"method"},
}
"""The metadata that each reason may have; tests/shape compares it with docs/errors.md."""

# Words that only a reader of the sources would understand.
INTERNAL_TEXT = re.compile(
    r"panicked|Traceback|RUST_BACKTRACE|\bunwrap\b|\.rs\b|\.py\b|/src/|0x[0-9a-f]{6,}|Err\(|Some\(|None\b|Exception\b"
)


# What the message must contain so that a person knows what the rejection is about.
NAMED = (
    "sku", "location", "requested", "available", "outstanding", "channel", "source", "reservation", "order", "key",
    "expected", "actual", "got", "current", "field", "group", "consumer", "kind", "name", "used_by",
    "right", "owner", "conflicts_with",
)  # fmt: skip


@dataclass(slots=True)
class Refused(Exception):
    """A well-formed rejection: canonical code, stable reason, metadata, bad fields and how long to wait."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    retry_delay_ms: int | None = None

    def __post_init__(self) -> None:
        assert self.code is CODE_OF_REASON.get(self.reason), f"a code that the table does not have: {self}"
        assert self.message, self
        assert "  " not in self.message, f"one sentence on one line: {self}"
        for text in (self.message, *self.metadata.values()):
            assert not INTERNAL_TEXT.search(text), f"a caller is shown internal text: {text}"
        unknown = self.metadata.keys() - FACTS_OF_REASON.get(self.reason, set())
        assert not unknown, f"facts that the table does not have: {unknown} of {self}"
        for name in NAMED:
            assert self.metadata.get(name, "") in self.message, f"the sentence does not name the {name}: {self}"
        if self.reason == "INVALID_FIELD":
            assert self.fields, "INVALID_FIELD names each bad field"

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason} {self.metadata} {self.fields}: {self.message}"


class TransportEnded(Exception):
    """The call ended without an answer of invengine: by the connection or the caller's own deadline."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code


def from_status(code: int, serialized: bytes) -> Refused:
    """Reads the google.rpc.Status of a rejection; it must agree with the code and hold exactly one ErrorInfo."""
    status = status_pb2.Status.FromString(serialized)
    assert status.code == code, f"the status says {status.code}, the call {code}"
    infos = []
    refused_fields: list[str] = []
    retry_delay_ms = None
    for detail in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            infos.append(info)
        elif detail.Unpack(bad):
            assert all(violation.description for violation in bad.field_violations), bad
            refused_fields += [violation.field for violation in bad.field_violations]
        elif detail.Unpack(retry):
            retry_delay_ms = milliseconds(retry.retry_delay)
    assert len(infos) == 1, f"exactly one ErrorInfo, not {len(infos)}: {status}"
    assert infos[0].domain == DOMAIN, infos[0]
    if infos[0].reason in ("OVERLOADED", "DRAINING"):
        assert retry_delay_ms, f"{infos[0].reason} says how long to wait"
    return Refused(
        CODES[code], infos[0].reason, status.message, dict(infos[0].metadata), refused_fields, retry_delay_ms
    )


def from_rpc_error(error: grpc.RpcError) -> Refused | TransportEnded:
    """Reads how a call ended. The transport itself reports CANCELLED, DEADLINE_EXCEEDED or UNAVAILABLE."""
    code: grpc.StatusCode = error.code()
    details: str = error.details() or ""
    serialized = next((entry.value for entry in error.trailing_metadata() or () if entry.key == DETAILS_KEY), None)
    if serialized is None:
        allowed = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
        assert code in allowed, f"a refusal without details: {code.name} {details!r}"
        return TransportEnded(code, details)
    assert isinstance(serialized, bytes)
    refused = from_status(code.value[0], serialized)
    assert details == refused.message, "the status message and grpc-message say the same"
    return refused


def from_rejection(rejection: Rejection) -> Refused:
    """Reads the rejection of one command of a batch."""
    fields = [violation.field for violation in rejection.field_violations]
    assert all(violation.description for violation in rejection.field_violations), rejection
    return Refused(CODES[rejection.code], rejection.reason, rejection.message, dict(rejection.metadata), fields)


def milliseconds(duration: Duration) -> int:
    """Whole milliseconds of a duration."""
    return duration.seconds * 1000 + duration.nanos // 1_000_000
