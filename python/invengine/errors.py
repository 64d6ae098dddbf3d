"""Every error of invengine as one tree, and the function that turns a gRPC status into the right class.

InvengineError                      code, reason, metadata, violations, retry_after_s
├── Rejected                        a rejection by the ledger: nothing changed, and a repeat changes nothing
│   ├── InvalidField                violations has each field and the rule it breaks
│   │   └── InvalidArgument         the client refused an argument: nothing was sent
│   ├── KeyReused                   IDEMPOTENCY_KEY_REUSED: the key was used for another body
│   ├── DedupeWindowExpired         issue_time is older than what the server remembers
│   ├── KeyCancelled                the key was released before it reserved
│   ├── InsufficientStock           sku, location, requested, available
│   ├── UnknownName
│   │   ├── UnknownSku · UnknownLocation · UnknownGroup · UnknownChannel · UnknownSource · UnknownService
│   │   └── EntityNotFound · ReservationNotFound
│   ├── WrongState
│   │   ├── ReservationExpired · AlreadyReleased · AlreadyAllocated · AlreadyFulfilled
│   │   ├── ExceedsOutstanding      more than the line still holds
│   │   ├── EntityInUse             kind, name, used_by: something refers to it
│   │   ├── RuleConflict            kind, name, conflicts_with, state: two owners of one state
│   │   └── TransferState · OrderState · EventFromFuture
│   ├── StaleRead                   compare-and-swap lost: read again
│   │   └── QuantityStale · StaleVersion
│   ├── SourceRefused
│   │   ├── SequenceGap             expected, got: send again from expected
│   │   ├── SequenceConsumed · SequenceConflict
│   │   └── StaleEpoch              somebody registered the source again
│   ├── NotAllowed
│   │   ├── NotAuthoritative        right, state, location, owner: by the rules of authority, or a profile
│   │   └── AuthMissing · ChannelNotAllowed
│   ├── HoldLimitExceeded           too many holds: wait or release some
│   ├── HistoryTrimmed · MessageTooLarge · AnswerTooLarge
│   ├── PositionNotInHistory        last_common: continue after it
│   └── Unimplemented               not in this version
└── Fault                           a technical failure; `retryable` and `outcome_unknown` tell what to do
    ├── Unavailable                 retryable
    │   ├── Draining · Recovering · Fenced · JournalFailed · NotOwner
    │   ├── Unreachable             no connection: nothing was sent
    │   └── ConnectionLost          outcome unknown
    ├── OutcomeUnknown              outcome unknown; `key` is that of the command: ask get_outcome(key) or repeat it
    ├── DeadlineExceeded            the deadline passed before the command was accepted for processing
    │   └── AnswerOverdue           outcome unknown
    ├── Exhausted
    │   ├── Overloaded · RateLimited   retryable
    │   └── JournalFull             an operator must free space
    ├── CorruptJournal              an operator must look
    ├── InternalFault               outcome unknown; `metadata["incident"]` names the report
    ├── AnswerLost                  outcome unknown; the answer did not come from invengine
    └── ClientClosed                the client was closed by its owner
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from google.rpc import status_pb2

    from invengine.positions import JournalPosition

DOMAIN = "invengine"

_CANCELLED = 1
_INVALID_ARGUMENT = 3
_DEADLINE_EXCEEDED = 4
_RESOURCE_EXHAUSTED = 8
_INTERNAL = 13
_UNAVAILABLE = 14


class Violation(NamedTuple):
    """One invalid field: its path, such as `lines[2].quantity`, and the rule it breaks."""

    field: str
    description: str


class InvengineError(Exception):
    """Root of everything that invengine raises on purpose.

    `code` is the canonical gRPC status code, `reason` the stable machine-readable reason, `metadata` the facts about
    it, all as text. The message tells what to do and is not stable.
    """

    retryable: ClassVar[bool] = False
    outcome_unknown: bool = False
    default_code: ClassVar[int] = _INTERNAL
    default_reason: ClassVar[str] = ""
    shown_metadata: ClassVar[tuple[str, ...]] = ()
    """Keys of the metadata that `str()` includes, whether or not the server's message has them."""

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
        facts = [(name, self.metadata[name]) for name in self.shown_metadata if name in self.metadata]
        missing = [f"{name} {value}" for name, value in facts if not _says(text, value)]
        if "line" in self.metadata:
            missing.append(f"line {self.metadata['line']} of {self.metadata.get('lines', '?')}")
        text += f" ({', '.join(missing)})" if missing else ""
        return f"{self.reason}: {text}" if self.reason and not text.startswith(self.reason) else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, dict(self.__dict__))

    def _number(self, name: str) -> int:
        text = self.metadata.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else 0


def _says(text: str, value: str) -> bool:
    """True if a text contains the value as a separate word."""
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def _rebuild(kind: type[InvengineError], message: str, state: dict[str, Any]) -> InvengineError:
    error = kind(message)
    error.__dict__.update(state)
    return error


class Rejected(InvengineError):
    """The ledger rejected the command. Nothing changed; the same key gets the same rejection."""

    default_code = 9


class InvalidField(Rejected):
    """A field is invalid; `violations` lists each. Fix the command; the key was not used up."""

    default_code = _INVALID_ARGUMENT
    default_reason = "INVALID_FIELD"


class InvalidArgument(InvalidField, TypeError, ValueError):
    """The client refused an argument: nothing was sent. `violations` names it, with its line. Also a TypeError and a
    ValueError, as Python raises for a wrong argument.
    """

    def __init__(self, field: str = "", rule: str = "", **more: Any) -> None:
        violations = more.pop("violations", None) or [Violation(field, rule)]
        super().__init__(f"{field}: {rule}" if rule else field, violations=violations, **more)


class KeyReused(Rejected):
    """The key was already used for another command. Never retry: the caller mixed up two keys."""

    default_reason = "IDEMPOTENCY_KEY_REUSED"
    shown_metadata = ("field", "sku", "location")


class DedupeWindowExpired(Rejected):
    """The command is older than what the server remembers. Check the hold, then use a new key."""

    default_reason = "DEDUPE_WINDOW_EXPIRED"


class KeyCancelled(Rejected):
    """The key was released before its Reserve arrived, so the Reserve must not happen any more."""

    default_reason = "KEY_CANCELLED"


class InsufficientStock(Rejected):
    """Not enough units. Asking later for the same needs a new key."""

    default_reason = "INSUFFICIENT_STOCK"
    shown_metadata = ("sku", "location", "requested", "available")

    @property
    def sku(self) -> str:
        """The first item without enough units."""
        return self.metadata.get("sku", "")

    @property
    def location(self) -> str:
        """The location without enough units."""
        return self.metadata.get("location", "")

    @property
    def requested(self) -> int:
        """Units asked for."""
        return self._number("requested")

    @property
    def available(self) -> int:
        """Units that were available."""
        return self._number("available")


class UnknownName(Rejected):
    """A name that the ledger does not know. Nothing is created by being mentioned."""

    default_code = 5


class UnknownSku(UnknownName):
    """No such item in the catalogue."""

    default_reason = "UNKNOWN_SKU"
    shown_metadata = ("sku",)


class UnknownLocation(UnknownName):
    """No such location in the catalogue."""

    default_reason = "UNKNOWN_LOCATION"
    shown_metadata = ("location",)


class UnknownGroup(UnknownName):
    """No such location group."""

    default_reason = "UNKNOWN_GROUP"
    shown_metadata = ("group",)


class EntityNotFound(UnknownName):
    """Nothing of this kind and name, such as a stock transfer."""

    default_reason = "ENTITY_NOT_FOUND"
    shown_metadata = ("kind", "name")


class UnknownChannel(UnknownName):
    """No such channel in the catalogue."""

    default_reason = "UNKNOWN_CHANNEL"
    shown_metadata = ("channel",)


class UnknownSource(UnknownName):
    """No such source: register it first."""

    default_reason = "UNKNOWN_SOURCE"
    shown_metadata = ("source",)


class UnknownService(UnknownName):
    """The server has no service of this name to check the health of."""

    default_reason = "UNKNOWN_SERVICE"
    shown_metadata = ("service",)


class ReservationNotFound(UnknownName):
    """No such reservation, or it ended longer ago than the ledger remembers (the journal still has it)."""

    default_reason = "RESERVATION_NOT_FOUND"
    shown_metadata = ("reservation", "key", "order")


class WrongState(Rejected):
    """The hold's state does not allow the command; `metadata` has that state."""


class ReservationExpired(WrongState):
    """The hold has expired. Allocate takes the units again if they are still available."""

    default_reason = "RESERVATION_EXPIRED"
    shown_metadata = ("reservation",)


class AlreadyReleased(WrongState):
    """Everything was released before."""

    default_reason = "ALREADY_RELEASED"
    shown_metadata = ("reservation",)


class AlreadyAllocated(WrongState):
    """The units are already bound to an order."""

    default_reason = "ALREADY_ALLOCATED"
    shown_metadata = ("reservation",)


class AlreadyFulfilled(WrongState):
    """The goods have already left."""

    default_reason = "ALREADY_FULFILLED"
    shown_metadata = ("reservation",)


class ExceedsOutstanding(WrongState):
    """More than the line still holds; `metadata["outstanding"]` has how much that is."""

    default_reason = "EXCEEDS_OUTSTANDING"
    shown_metadata = ("sku", "location", "requested", "outstanding")


class EntityInUse(WrongState):
    """What was to be deleted is in use: `metadata["used_by"]` names by what, such as "location_group west"."""

    default_reason = "ENTITY_IN_USE"
    shown_metadata = ("kind", "name", "used_by")


class RuleConflict(WrongState):
    """Two rules of authority would give one state at one place two owners; `conflicts_with` is the other."""

    default_reason = "RULE_CONFLICT"
    shown_metadata = ("kind", "name", "conflicts_with", "state")


class TransferState(WrongState):
    """Not possible in the state of the stock transfer: it exists already, or nothing of it is on its way."""

    default_reason = "TRANSFER_STATE"
    shown_metadata = ("transfer", "state")


class OrderState(WrongState):
    """The message does not fit the state of its order."""

    default_reason = "ORDER_STATE"
    shown_metadata = ("order", "state")


class EventFromFuture(WrongState):
    """A time is further in the future than the allowed skew."""

    default_reason = "EVENT_FROM_FUTURE"
    shown_metadata = ("limit",)


class StaleRead(Rejected):
    """It was changed in the meantime. Read again and decide again."""

    default_code = 10


class QuantityStale(StaleRead):
    """The quantity before was not `expected_quantity`."""

    default_reason = "QUANTITY_STALE"
    shown_metadata = ("sku", "location", "expected", "actual")


class StaleVersion(StaleRead):
    """The reservation no longer has `expected_version`, or an entity (`kind`, `name`) not the version it must have."""

    default_reason = "STALE_VERSION"
    shown_metadata = ("kind", "name", "expected", "actual")


class SourceRefused(Rejected):
    """A numbered message does not continue its source's sequence."""


class SequenceGap(SourceRefused):
    """A message before this one is missing. Send again from `expected`; OrderedSource does so automatically."""

    default_code = 10
    default_reason = "SEQUENCE_GAP"
    shown_metadata = ("source", "expected", "got")

    @property
    def expected(self) -> int:
        """The number that the ledger waits for."""
        return self._number("expected")

    @property
    def got(self) -> int:
        """The number that was sent."""
        return self._number("got")


class SequenceConsumed(SourceRefused):
    """The number was used so long ago that its outcome is no longer stored. Check the hold or level."""

    default_code = 6
    default_reason = "SEQUENCE_CONSUMED"
    shown_metadata = ("source", "last")


class SequenceConflict(SourceRefused):
    """The number was used for another message. Two writers share the source, or its state was lost: raise an alarm."""

    default_reason = "SEQUENCE_CONFLICT"
    shown_metadata = ("source", "sequence", "field", "sku", "location")


class StaleEpoch(SourceRefused):
    """The source was registered again; this incarnation must stop. `current` is the epoch in effect."""

    default_reason = "STALE_EPOCH"
    shown_metadata = ("source", "current")

    @property
    def current(self) -> int:
        """The epoch that is now in effect."""
        return self._number("current")


class NotAllowed(Rejected):
    """The caller may not do this."""

    default_code = 7


class NotAuthoritative(NotAllowed):
    """By the rules of authority, or by the profile of its source, the sender may not do this there.

    `metadata["source"]` is the sender, `operator` for a command from no source; `metadata["channel"]` is what its
    profile does not name.
    """

    default_reason = "NOT_AUTHORITATIVE"
    shown_metadata = ("right", "state", "location", "channel", "source", "owner")

    @property
    def right(self) -> str:
        """The right that it lacks, such as ADJUST; empty if it is about a channel."""
        return self.metadata.get("right", "")

    @property
    def state(self) -> str:
        """The state of stock, for a right that is about states."""
        return self.metadata.get("state", "")

    @property
    def location(self) -> str:
        """The location; empty if it is about a channel."""
        return self.metadata.get("location", "")

    @property
    def owner(self) -> str:
        """Who owns the state there, or has the right; empty for nobody."""
        return self.metadata.get("owner", "")


class AuthMissing(NotAllowed):
    """The server requires authentication."""

    default_code = 16
    default_reason = "AUTH_MISSING"


class ChannelNotAllowed(NotAllowed):
    """The caller may not act for this channel."""

    default_reason = "CHANNEL_NOT_ALLOWED"


class HoldLimitExceeded(Rejected):
    """The holder or channel has reached its maximum number of holds."""

    default_code = _RESOURCE_EXHAUSTED
    default_reason = "HOLD_LIMIT_EXCEEDED"
    shown_metadata = ("limit",)


class HistoryTrimmed(Rejected):
    """The journal no longer has that position; `metadata` has what it still has."""

    default_code = 11
    default_reason = "HISTORY_TRIMMED"
    shown_metadata = ("limit",)


class PositionNotInHistory(Rejected):
    """The position is not in this ledger's history: a backup was restored, or events were lost, since it was read.

    What a reader handled after `last_common` never happened in this history. Undo it, then continue with
    `read_events(after=error.last_common)`, which returns everything that happened instead.
    """

    default_code = 11
    default_reason = "POSITION_NOT_IN_HISTORY"
    shown_metadata = ("ledger", "head_sequence")

    @property
    def head(self) -> JournalPosition | None:
        """The newest durable event of the ledger that refused."""
        return self._position("head_epoch", "head_sequence")

    @property
    def last_common(self) -> JournalPosition | None:
        """The newest event that is certainly in both histories; before the first event if none is.

        None if it cannot be known: the position is another ledger's, or only a sequence was given.
        """
        return self._position("last_common_epoch", "last_common_sequence")

    def _position(self, epoch: str, sequence: str) -> JournalPosition | None:
        if not {"ledger", epoch, sequence} <= self.metadata.keys():
            return None
        from invengine.positions import JournalPosition

        return JournalPosition(self.metadata["ledger"], self._number(epoch), self._number(sequence))


class MessageTooLarge(Rejected):
    """The message is over the server's limit. Send fewer lines or commands at once."""

    default_code = _RESOURCE_EXHAUSTED
    default_reason = "MESSAGE_TOO_LARGE"
    shown_metadata = ("limit",)


class AnswerTooLarge(Rejected):
    """Listing all that the command would change exceeds the maximum answer, and the short form was not accepted.

    The commands of this client accept it.
    """

    default_code = _RESOURCE_EXHAUSTED
    default_reason = "ANSWER_TOO_LARGE"
    shown_metadata = ("limit",)


class Unimplemented(Rejected):
    """Part of the contract, but not of this version of the server."""

    default_code = 12
    default_reason = "UNIMPLEMENTED"


class Fault(InvengineError):
    """A technical failure. `retryable`: the same key may be sent again. `outcome_unknown`: it may have happened."""


class Unavailable(Fault):
    """The server accepts no commands now. The same key may be sent again."""

    retryable = True
    default_code = _UNAVAILABLE


class Draining(Unavailable):
    """The server is stopping: commands accepted before are answered, this one was not accepted."""

    default_reason = "DRAINING"


class Recovering(Unavailable):
    """The server is starting and reads its journal."""

    default_reason = "RECOVERING"


class Fenced(Unavailable):
    """Another writer owns the ledger."""

    default_reason = "FENCED"


class JournalFailed(Unavailable):
    """The journal failed and the server answers nothing until it is started again. Only reads get this."""

    default_reason = "JOURNAL_FAILED"


class NotOwner(Unavailable):
    """Another node owns the ledger; `metadata["ownerHint"]` may name it."""

    default_reason = "NOT_OWNER"
    shown_metadata = ("ledger", "ownerHint")


class Unreachable(Unavailable):
    """No connection could be made, so nothing was sent."""


class ConnectionLost(Unavailable):
    """The connection broke before the answer arrived."""

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
    """The deadline passed before the command was accepted for processing: it did not happen."""

    default_code = _DEADLINE_EXCEEDED
    default_reason = "DEADLINE"


class AnswerOverdue(DeadlineExceeded):
    """The deadline passed while waiting for the answer."""

    outcome_unknown = True
    default_reason = ""


class Exhausted(Fault):
    """A resource is exhausted; `retry_after_s` is how long to wait, if waiting is enough."""

    default_code = _RESOURCE_EXHAUSTED


class Overloaded(Exhausted):
    """The server's queue, the answer to a batch, or what a source may have of claims is full: it was not accepted."""

    retryable = True
    default_reason = "OVERLOADED"

    @property
    def answer_full(self) -> bool:
        """True if only the answer to its batch was full: the command may be sent again at once."""
        return "answer_bytes_max" in self.metadata


class RateLimited(Exhausted):
    """The caller's quota is used up; the command was not accepted."""

    retryable = True
    default_reason = "RATE_LIMITED"


class JournalFull(Exhausted):
    """The journal is full; reads continue. An operator must free space."""

    default_reason = "JOURNAL_FULL"


class CorruptJournal(Fault):
    """The journal is damaged. An operator must look; `metadata["incident"]` identifies the report."""

    default_code = 15
    default_reason = "CORRUPT_JOURNAL"
    shown_metadata = ("incident",)


class InternalFault(Fault):
    """The server failed in a way it does not describe; `metadata["incident"]` identifies its report."""

    outcome_unknown = True
    default_reason = "INTERNAL"
    shown_metadata = ("incident",)


class AnswerLost(Fault):
    """The answer did not come from invengine: gRPC's own code, or a proxy, set the status of the call.

    It may still have been executed, for example if its answer was longer than the client's configured limit.
    """

    outcome_unknown = True


class ClientClosed(Fault):
    """The client was closed, or is used in a fork or in an event loop other than its own: nothing was sent."""


def _all_below(kind: type[InvengineError]) -> list[type[InvengineError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in _all_below(child))]


CLASS_OF_REASON: dict[str, type[InvengineError]] = {
    kind.default_reason: kind for kind in _all_below(InvengineError) if vars(kind).get("default_reason")
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
"""The class of a reason that this version does not know, by status code."""


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
    carries). Without an ErrorInfo of invengine the status comes from the transport, and the outcome is taken as unknown
    unless it states otherwise.
    """
    # Only a call that fails has a status to read.
    from google.rpc import error_details_pb2

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
    from google.protobuf.message import DecodeError
    from google.rpc import status_pb2

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


def _transport_error(code: int, details: str) -> InvengineError:
    """The error of a status that did not come from the server, by its code alone: `details` are for people.

    The call had begun, so it may have been executed. The clients raise `Unreachable` themselves, before they begin one.
    """
    if code in (_CANCELLED, _UNAVAILABLE, _INTERNAL):
        return ConnectionLost(details, code=code)
    if code == _DEADLINE_EXCEEDED:
        return AnswerOverdue(details, code=code)
    return AnswerLost(details, code=code)
