"""Every error of invengine as one tree, and the function that turns a gRPC status into the right class.

InvengineError                      code, reason, metadata, violations, retry_after_s
├── Rejected                        the ledger's no: nothing changed, and asking again changes nothing
│   ├── InvalidField                violations says which field and which rule
│   ├── KeyReused                   IDEMPOTENCY_KEY_REUSED: the key was used for another body
│   ├── DedupeWindowExpired         issue_time is older than what the server remembers
│   ├── KeyCancelled                the key was released before it reserved
│   ├── InsufficientStock           sku, location, requested, available
│   ├── UnknownName
│   │   ├── UnknownSku · UnknownLocation · UnknownGroup · UnknownChannel · UnknownSource · UnknownService
│   │   └── ReservationNotFound
│   ├── WrongState
│   │   ├── ReservationExpired · AlreadyReleased · AlreadyAllocated · AlreadyFulfilled
│   │   ├── ExceedsOutstanding      more than the line still holds
│   │   └── OrderState · EventFromFuture
│   ├── StaleRead                   compare-and-swap lost: read again
│   │   └── QuantityStale · StaleVersion
│   ├── SourceRefused
│   │   ├── SequenceGap             expected, got: send again from expected
│   │   ├── SequenceConsumed · SequenceConflict
│   │   └── StaleEpoch              somebody registered the source again
│   ├── NotAllowed
│   │   └── NotAuthoritative · AuthMissing · ChannelNotAllowed
│   ├── HoldLimitExceeded           too many holds: wait or release some
│   ├── HistoryTrimmed · MessageTooLarge
│   └── Unimplemented               not in this version
└── Fault                           the machinery failed; `retryable` and `outcome_unknown` say what to do
    ├── Unavailable                 retryable
    │   ├── Draining · Recovering · Fenced · NotOwner
    │   ├── Unreachable             no connection: nothing was sent
    │   └── ConnectionLost          outcome unknown
    ├── OutcomeUnknown              outcome unknown; `key` names the intention: ask get_outcome(key) or repeat the key
    ├── DeadlineExceeded            the deadline passed before the command was taken
    │   └── AnswerOverdue           outcome unknown
    ├── Exhausted
    │   ├── Overloaded · RateLimited   retryable
    │   └── JournalFull             a person must make room
    ├── CorruptJournal              a person must look
    ├── InternalFault               outcome unknown; `metadata["incident"]` names the report
    └── ClientClosed                the client was closed by its owner
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "invengine"

_INVALID_ARGUMENT = 3
_DEADLINE_EXCEEDED = 4
_RESOURCE_EXHAUSTED = 8
_INTERNAL = 13
_UNAVAILABLE = 14


class Violation(NamedTuple):
    """One bad field: its path, such as `lines[2].quantity`, and the rule it breaks."""

    field: str
    description: str


class InvengineError(Exception):
    """Root of everything that invengine raises on purpose.

    `code` is the canonical gRPC status code, `reason` the stable machine-readable reason, `metadata` the facts about
    it, all as text. The message says what to do and is not stable.
    """

    retryable: ClassVar[bool] = False
    outcome_unknown: ClassVar[bool] = False
    default_code: ClassVar[int] = _INTERNAL
    default_reason: ClassVar[str] = ""

    def __init__(
        self,
        message: str = "",
        *,
        code: int | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        self.code = self.default_code if code is None else code
        self.reason = self.default_reason if reason is None else reason
        self.metadata: dict[str, str] = dict(metadata or {})
        self.violations: tuple[Violation, ...] = tuple(violations)
        self.retry_after_s = retry_after_s
        self.message = message
        super().__init__(message or self.reason or type(self).__name__)

    def __str__(self) -> str:
        text = self.message or type(self).__name__
        return f"{self.reason}: {text}" if self.reason and not text.startswith(self.reason) else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, dict(self.__dict__))

    def _number(self, name: str) -> int:
        text = self.metadata.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else 0


def _rebuild(kind: type[InvengineError], message: str, state: dict[str, Any]) -> InvengineError:
    error = kind(message)
    error.__dict__.update(state)
    return error


class Rejected(InvengineError):
    """The ledger's no. Nothing changed; the same key gets the same no."""

    default_code = 9


class InvalidField(Rejected):
    """A field is bad; `violations` names each. Mend the command; the key was not used up."""

    default_code = _INVALID_ARGUMENT
    default_reason = "INVALID_FIELD"


class KeyReused(Rejected):
    """The key already names another intention. Never retry: the caller mixed up two keys."""

    default_reason = "IDEMPOTENCY_KEY_REUSED"


class DedupeWindowExpired(Rejected):
    """The command is older than what the server remembers. Look at the hold, then use a new key."""

    default_reason = "DEDUPE_WINDOW_EXPIRED"


class KeyCancelled(Rejected):
    """The key was released before its Reserve arrived, so the Reserve must not happen any more."""

    default_reason = "KEY_CANCELLED"


class InsufficientStock(Rejected):
    """Not enough units. Asking later for the same needs a new key."""

    default_reason = "INSUFFICIENT_STOCK"

    @property
    def sku(self) -> str:
        """The first item that was short."""
        return self.metadata.get("sku", "")

    @property
    def location(self) -> str:
        """Where it was short."""
        return self.metadata.get("location", "")

    @property
    def requested(self) -> int:
        """Units asked for."""
        return self._number("requested")

    @property
    def available(self) -> int:
        """Units that were there."""
        return self._number("available")


class UnknownName(Rejected):
    """A name that the ledger does not know. Nothing is created by being mentioned."""

    default_code = 5


class UnknownSku(UnknownName):
    """No such item in the catalogue."""

    default_reason = "UNKNOWN_SKU"


class UnknownLocation(UnknownName):
    """No such location in the catalogue."""

    default_reason = "UNKNOWN_LOCATION"


class UnknownGroup(UnknownName):
    """No such location group."""

    default_reason = "UNKNOWN_GROUP"


class UnknownChannel(UnknownName):
    """No such channel in the catalogue."""

    default_reason = "UNKNOWN_CHANNEL"


class UnknownSource(UnknownName):
    """No such source: register it first."""

    default_reason = "UNKNOWN_SOURCE"


class UnknownService(UnknownName):
    """The server has no such service to tell the health of."""

    default_reason = "UNKNOWN_SERVICE"


class ReservationNotFound(UnknownName):
    """No such reservation, or it ended longer ago than the ledger remembers (the journal still has it)."""

    default_reason = "RESERVATION_NOT_FOUND"


class WrongState(Rejected):
    """The hold is past what was asked; `metadata` has its state."""


class ReservationExpired(WrongState):
    """The hold is over. Allocate takes the units again if they are still there."""

    default_reason = "RESERVATION_EXPIRED"


class AlreadyReleased(WrongState):
    """Everything was given back before."""

    default_reason = "ALREADY_RELEASED"


class AlreadyAllocated(WrongState):
    """The units are bound to an order already."""

    default_reason = "ALREADY_ALLOCATED"


class AlreadyFulfilled(WrongState):
    """The goods have left already."""

    default_reason = "ALREADY_FULFILLED"


class ExceedsOutstanding(WrongState):
    """More than the line still holds; `metadata["outstanding"]` says how much that is."""

    default_reason = "EXCEEDS_OUTSTANDING"


class OrderState(WrongState):
    """The message does not fit the state of its order."""

    default_reason = "ORDER_STATE"


class EventFromFuture(WrongState):
    """A time lies beyond the allowed skew."""

    default_reason = "EVENT_FROM_FUTURE"


class StaleRead(Rejected):
    """Somebody changed it in between. Read again and decide again."""

    default_code = 10


class QuantityStale(StaleRead):
    """The quantity before was not `expected_quantity`."""

    default_reason = "QUANTITY_STALE"


class StaleVersion(StaleRead):
    """The reservation no longer has `expected_version`."""

    default_reason = "STALE_VERSION"


class SourceRefused(Rejected):
    """A numbered message does not continue its source's line."""


class SequenceGap(SourceRefused):
    """A message before this one is missing. Send again from `expected`; OrderedSource does it by itself."""

    default_code = 10
    default_reason = "SEQUENCE_GAP"

    @property
    def expected(self) -> int:
        """The number that the ledger waits for."""
        return self._number("expected")

    @property
    def got(self) -> int:
        """The number that was sent."""
        return self._number("got")


class SequenceConsumed(SourceRefused):
    """The number was used so long ago that its outcome is no longer kept. Look at the hold or level."""

    default_code = 6
    default_reason = "SEQUENCE_CONSUMED"


class SequenceConflict(SourceRefused):
    """The number was used for another message. Two writers share the source, or its state was lost: raise an alarm."""

    default_reason = "SEQUENCE_CONFLICT"


class StaleEpoch(SourceRefused):
    """Somebody registered the source again; this incarnation must stop. `current` is the epoch that counts."""

    default_reason = "STALE_EPOCH"

    @property
    def current(self) -> int:
        """The epoch that counts now."""
        return self._number("current")


class NotAllowed(Rejected):
    """The caller may not do this."""

    default_code = 7


class NotAuthoritative(NotAllowed):
    """The source may not assert this state there."""

    default_reason = "NOT_AUTHORITATIVE"


class AuthMissing(NotAllowed):
    """The server wants to know who calls."""

    default_code = 16
    default_reason = "AUTH_MISSING"


class ChannelNotAllowed(NotAllowed):
    """The caller may not act for this channel."""

    default_reason = "CHANNEL_NOT_ALLOWED"


class HoldLimitExceeded(Rejected):
    """The holder or channel has as many holds as it may have."""

    default_code = _RESOURCE_EXHAUSTED
    default_reason = "HOLD_LIMIT_EXCEEDED"


class HistoryTrimmed(Rejected):
    """The journal no longer has that position; `metadata` says what it still has."""

    default_code = 11
    default_reason = "HISTORY_TRIMMED"


class MessageTooLarge(Rejected):
    """The message is over the server's limit. Send fewer lines or commands at once."""

    default_code = _RESOURCE_EXHAUSTED
    default_reason = "MESSAGE_TOO_LARGE"


class Unimplemented(Rejected):
    """Part of the contract, but not of this version of the server."""

    default_code = 12
    default_reason = "UNIMPLEMENTED"


class Fault(InvengineError):
    """The machinery failed. `retryable`: the same key may be sent again. `outcome_unknown`: it may have happened."""


class Unavailable(Fault):
    """The server takes no commands now. The same key may be sent again."""

    retryable = True
    default_code = _UNAVAILABLE


class Draining(Unavailable):
    """The server is stopping; what it took is answered, this was not taken."""

    default_reason = "DRAINING"


class Recovering(Unavailable):
    """The server is starting and reads its journal."""

    default_reason = "RECOVERING"


class Fenced(Unavailable):
    """Another writer owns the ledger."""

    default_reason = "FENCED"


class NotOwner(Unavailable):
    """Another node owns the ledger; `metadata["ownerHint"]` may say which."""

    default_reason = "NOT_OWNER"


class Unreachable(Unavailable):
    """No connection could be made, so nothing was sent."""


class ConnectionLost(Unavailable):
    """The connection broke before the answer came."""

    outcome_unknown = True


class OutcomeUnknown(Fault):
    """It may have happened, or not. Repeat it with the same key, or ask `get_outcome(error.key)`."""

    retryable = True
    outcome_unknown = True
    default_code = _UNAVAILABLE
    default_reason = "OUTCOME_UNKNOWN"

    key: str = ""
    """The idempotency key of the command; empty for a numbered message of a source."""


class DeadlineExceeded(Fault):
    """The deadline passed before the command was taken: it did not happen."""

    default_code = _DEADLINE_EXCEEDED
    default_reason = "DEADLINE"


class AnswerOverdue(DeadlineExceeded):
    """The deadline passed while the answer was awaited."""

    outcome_unknown = True
    default_reason = ""


class Exhausted(Fault):
    """Something is used up; `retry_after_s` says how long to wait, if waiting is enough."""

    default_code = _RESOURCE_EXHAUSTED


class Overloaded(Exhausted):
    """The server's queue is full; the command was not taken."""

    retryable = True
    default_reason = "OVERLOADED"


class RateLimited(Exhausted):
    """The caller's quota is used up; the command was not taken."""

    retryable = True
    default_reason = "RATE_LIMITED"


class JournalFull(Exhausted):
    """The journal has no room; reads go on. A person must make room."""

    default_reason = "JOURNAL_FULL"


class CorruptJournal(Fault):
    """The journal is damaged. A person must look; `metadata["incident"]` names the report."""

    default_code = 15
    default_reason = "CORRUPT_JOURNAL"


class InternalFault(Fault):
    """The server failed in a way it does not describe; `metadata["incident"]` names its own report."""

    outcome_unknown = True
    default_reason = "INTERNAL"


class ClientClosed(Fault):
    """The client was closed; make a new one."""


def _all_below(kind: type[InvengineError]) -> list[type[InvengineError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in _all_below(child))]


CLASS_OF_REASON: dict[str, type[InvengineError]] = {
    kind.default_reason: kind for kind in _all_below(InvengineError) if kind.default_reason
}
"""The class of each stable reason."""

CLASS_OF_CODE: dict[int, type[InvengineError]] = {
    1: ConnectionLost,
    2: InternalFault,
    3: InvalidField,
    4: DeadlineExceeded,
    5: UnknownName,
    6: Rejected,
    7: NotAllowed,
    8: Exhausted,
    9: Rejected,
    10: StaleRead,
    11: Rejected,
    12: Unimplemented,
    13: InternalFault,
    14: Unavailable,
    15: CorruptJournal,
    16: NotAllowed,
}
"""What a reason that this version does not know degrades to, by its status code."""


def error_from_reason(
    code: int,
    reason: str,
    message: str = "",
    metadata: Mapping[str, str] | None = None,
    violations: Sequence[Violation] = (),
    retry_after_s: float | None = None,
) -> InvengineError:
    """The error of a reason; a reason this version does not know becomes the class of its code."""
    kind = CLASS_OF_REASON.get(reason) or CLASS_OF_CODE.get(code, InternalFault)
    return kind(
        message, code=code, reason=reason, metadata=metadata, violations=violations, retry_after_s=retry_after_s
    )


def error_from_status(code: int, status: bytes | None, details: str = "") -> InvengineError:
    """The error of a gRPC status.

    `status` is the serialized google.rpc.Status (the trailer `grpc-status-details-bin`, or what `_core.CallError`
    carries). Without an ErrorInfo of invengine the status comes from the transport, and what it does not say is taken
    as unknown.
    """
    parsed = _parse(status)
    info = None if parsed is None else _unpack(parsed, error_details_pb2.ErrorInfo)
    if parsed is None or info is None or info.domain != DOMAIN:
        return _transport_error(code, details)
    bad = _unpack(parsed, error_details_pb2.BadRequest)
    pause = _unpack(parsed, error_details_pb2.RetryInfo)
    violations = [] if bad is None else [Violation(each.field, each.description) for each in bad.field_violations]
    retry_after_s = None if pause is None else pause.retry_delay.seconds + pause.retry_delay.nanos / 1e9
    message = parsed.message or details
    return error_from_reason(code, info.reason, message, info.metadata, violations, retry_after_s)


def _parse(status: bytes | None) -> status_pb2.Status | None:
    if not status:
        return None
    try:
        return status_pb2.Status.FromString(status)
    except DecodeError:
        return None


def _unpack(status: status_pb2.Status, kind: Any) -> Any:
    for detail in status.details:
        if detail.Is(kind.DESCRIPTOR):
            found = kind()
            detail.Unpack(found)
            return found
    return None


# What grpc-core says when no byte of the call left this machine. Anything else may have been executed.
_NOTHING_SENT = ("failed to connect to all addresses", "DNS resolution failed", "connections to all backends failing")


def _transport_error(code: int, details: str) -> InvengineError:
    if code == _UNAVAILABLE and details.startswith(_NOTHING_SENT):
        return Unreachable(details, code=code)
    if code in (_UNAVAILABLE, _INTERNAL):
        return ConnectionLost(details, code=code)
    if code == _DEADLINE_EXCEEDED:
        return AnswerOverdue(details, code=code)
    return CLASS_OF_CODE.get(code, InternalFault)(details, code=code)
