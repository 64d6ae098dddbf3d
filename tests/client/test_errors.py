"""Does every status of the contract become the right class, and does nothing get lost on the way?"""

from __future__ import annotations

import pickle
import re

import grpc
import pytest
from scripted_peer import status_bytes

from invengine import errors
from invengine.client import commands
from invengine.errors import Fault, InvengineError, Rejected, error_from_reason, error_from_status

# code, reason, class, family: the contract's table, a row a reason.
TABLE: list[tuple[str, str, type[InvengineError], type[InvengineError]]] = [
    ("INVALID_ARGUMENT", "INVALID_FIELD", errors.InvalidField, Rejected),
    ("FAILED_PRECONDITION", "IDEMPOTENCY_KEY_REUSED", errors.KeyReused, Rejected),
    ("FAILED_PRECONDITION", "DEDUPE_WINDOW_EXPIRED", errors.DedupeWindowExpired, Rejected),
    ("FAILED_PRECONDITION", "KEY_CANCELLED", errors.KeyCancelled, Rejected),
    ("FAILED_PRECONDITION", "INSUFFICIENT_STOCK", errors.InsufficientStock, Rejected),
    ("NOT_FOUND", "UNKNOWN_SKU", errors.UnknownSku, errors.UnknownName),
    ("NOT_FOUND", "UNKNOWN_LOCATION", errors.UnknownLocation, errors.UnknownName),
    ("NOT_FOUND", "UNKNOWN_GROUP", errors.UnknownGroup, errors.UnknownName),
    ("NOT_FOUND", "ENTITY_NOT_FOUND", errors.EntityNotFound, errors.UnknownName),
    ("NOT_FOUND", "UNKNOWN_CHANNEL", errors.UnknownChannel, errors.UnknownName),
    ("NOT_FOUND", "UNKNOWN_SOURCE", errors.UnknownSource, errors.UnknownName),
    ("NOT_FOUND", "UNKNOWN_SERVICE", errors.UnknownService, errors.UnknownName),
    ("NOT_FOUND", "RESERVATION_NOT_FOUND", errors.ReservationNotFound, errors.UnknownName),
    ("FAILED_PRECONDITION", "RESERVATION_EXPIRED", errors.ReservationExpired, errors.WrongState),
    ("FAILED_PRECONDITION", "ALREADY_RELEASED", errors.AlreadyReleased, errors.WrongState),
    ("FAILED_PRECONDITION", "ALREADY_ALLOCATED", errors.AlreadyAllocated, errors.WrongState),
    ("FAILED_PRECONDITION", "ALREADY_FULFILLED", errors.AlreadyFulfilled, errors.WrongState),
    ("FAILED_PRECONDITION", "EXCEEDS_OUTSTANDING", errors.ExceedsOutstanding, errors.WrongState),
    ("ABORTED", "QUANTITY_STALE", errors.QuantityStale, errors.StaleRead),
    ("ABORTED", "STALE_VERSION", errors.StaleVersion, errors.StaleRead),
    ("FAILED_PRECONDITION", "ENTITY_IN_USE", errors.EntityInUse, errors.WrongState),
    ("FAILED_PRECONDITION", "RULE_CONFLICT", errors.RuleConflict, errors.WrongState),
    ("FAILED_PRECONDITION", "TRANSFER_STATE", errors.TransferState, errors.WrongState),
    ("FAILED_PRECONDITION", "ORDER_STATE", errors.OrderState, errors.WrongState),
    ("FAILED_PRECONDITION", "EVENT_FROM_FUTURE", errors.EventFromFuture, errors.WrongState),
    ("ABORTED", "SEQUENCE_GAP", errors.SequenceGap, errors.SourceRefused),
    ("ALREADY_EXISTS", "SEQUENCE_CONSUMED", errors.SequenceConsumed, errors.SourceRefused),
    ("FAILED_PRECONDITION", "SEQUENCE_CONFLICT", errors.SequenceConflict, errors.SourceRefused),
    ("FAILED_PRECONDITION", "STALE_EPOCH", errors.StaleEpoch, errors.SourceRefused),
    ("PERMISSION_DENIED", "NOT_AUTHORITATIVE", errors.NotAuthoritative, errors.NotAllowed),
    ("RESOURCE_EXHAUSTED", "RATE_LIMITED", errors.RateLimited, errors.Exhausted),
    ("RESOURCE_EXHAUSTED", "HOLD_LIMIT_EXCEEDED", errors.HoldLimitExceeded, Rejected),
    ("RESOURCE_EXHAUSTED", "OVERLOADED", errors.Overloaded, errors.Exhausted),
    ("UNAVAILABLE", "DRAINING", errors.Draining, errors.Unavailable),
    ("UNAVAILABLE", "RECOVERING", errors.Recovering, errors.Unavailable),
    ("UNAVAILABLE", "FENCED", errors.Fenced, errors.Unavailable),
    ("UNAVAILABLE", "JOURNAL_FAILED", errors.JournalFailed, errors.Unavailable),
    ("UNAVAILABLE", "NOT_OWNER", errors.NotOwner, errors.Unavailable),
    ("OUT_OF_RANGE", "HISTORY_TRIMMED", errors.HistoryTrimmed, Rejected),
    ("OUT_OF_RANGE", "POSITION_NOT_IN_HISTORY", errors.PositionNotInHistory, Rejected),
    ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE", errors.MessageTooLarge, Rejected),
    ("RESOURCE_EXHAUSTED", "ANSWER_TOO_LARGE", errors.AnswerTooLarge, Rejected),
    ("DEADLINE_EXCEEDED", "DEADLINE", errors.DeadlineExceeded, Fault),
    ("UNAVAILABLE", "OUTCOME_UNKNOWN", errors.OutcomeUnknown, Fault),
    ("DATA_LOSS", "CORRUPT_JOURNAL", errors.CorruptJournal, Fault),
    ("RESOURCE_EXHAUSTED", "JOURNAL_FULL", errors.JournalFull, errors.Exhausted),
    ("UNAUTHENTICATED", "AUTH_MISSING", errors.AuthMissing, errors.NotAllowed),
    ("PERMISSION_DENIED", "CHANNEL_NOT_ALLOWED", errors.ChannelNotAllowed, errors.NotAllowed),
    ("UNIMPLEMENTED", "UNIMPLEMENTED", errors.Unimplemented, Rejected),
    ("INTERNAL", "INTERNAL", errors.InternalFault, Fault),
]


def number(code: str) -> int:
    return int(grpc.StatusCode[code].value[0])


@pytest.mark.parametrize(("code", "reason", "kind", "family"), TABLE, ids=[row[1] for row in TABLE])
def test_every_reason_has_its_class(
    code: str, reason: str, kind: type[InvengineError], family: type[InvengineError]
) -> None:
    error = error_from_status(number(code), status_bytes(number(code), reason, {"sku": "mug"}))
    assert type(error) is kind
    assert isinstance(error, family)
    assert (error.code, error.reason, error.metadata) == (number(code), reason, {"sku": "mug"})
    assert kind.default_code == number(code)


def test_the_table_names_every_class_of_a_reason() -> None:
    assert {row[1]: row[2] for row in TABLE} == errors.CLASS_OF_REASON


def test_the_drawn_tree_shows_every_class() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, InvengineError)]
    drawn = set(re.findall(r"[A-Z]\w+", errors.__doc__ or ""))
    assert [kind.__name__ for kind in kinds if kind.__name__ not in drawn] == []
    assert len(kinds) >= 50


@pytest.mark.parametrize("code", range(1, 17))
def test_an_unknown_reason_degrades_to_the_class_of_its_code(code: int) -> None:
    error = error_from_reason(code, "INVENTED_LATER", "fix it")
    assert type(error) is errors.CLASS_OF_CODE[code]
    assert error.reason == "INVENTED_LATER"
    assert str(error) == "INVENTED_LATER: fix it"


def test_violations_and_the_wait_asked_for_are_kept() -> None:
    bad = error_from_status(3, status_bytes(3, "INVALID_FIELD", violations={"lines[2].quantity": "at least 1"}))
    assert bad.violations == (errors.Violation("lines[2].quantity", "at least 1"),)
    assert error_from_status(8, status_bytes(8, "OVERLOADED", retry_after_s=0.25)).retry_after_s == 0.25


def test_what_a_rejection_says_is_easy_to_reach() -> None:
    short = error_from_reason(
        9, "INSUFFICIENT_STOCK", metadata={"sku": "mug", "location": "wh-1", "requested": "3", "available": "2"}
    )
    assert isinstance(short, errors.InsufficientStock)
    assert (short.sku, short.location, short.requested, short.available) == ("mug", "wh-1", 3, 2)
    denied = error_from_reason(7, "NOT_AUTHORITATIVE", metadata={**FACTS, "source": "erp"})
    assert isinstance(denied, errors.NotAuthoritative)
    assert (denied.right, denied.state, denied.location, denied.owner) == ("ADJUST", "EXPIRED", "berlin", "WMS")
    gap = error_from_reason(10, "SEQUENCE_GAP", metadata={"expected": "4", "got": "6"})
    assert isinstance(gap, errors.SequenceGap)
    assert (gap.expected, gap.got) == (4, 6)


@pytest.mark.parametrize(
    ("code", "details", "kind", "unknown"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses; last error: refused", errors.ConnectionLost, True),
        ("UNAVAILABLE", "Socket closed", errors.ConnectionLost, True),
        ("UNAVAILABLE", "", errors.ConnectionLost, True),
        ("INTERNAL", "RST_STREAM", errors.ConnectionLost, True),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", errors.AnswerOverdue, True),
        ("CANCELLED", "", errors.ConnectionLost, True),
        ("UNKNOWN", "", errors.AnswerLost, True),
        ("RESOURCE_EXHAUSTED", "received message larger than max", errors.AnswerLost, True),
        ("UNIMPLEMENTED", "a proxy does not know it", errors.AnswerLost, True),
        ("FAILED_PRECONDITION", "", errors.AnswerLost, True),
    ],
)
def test_a_status_of_the_transport_is_taken_by_its_code_alone(
    code: str, details: str, kind: type[InvengineError], unknown: bool
) -> None:
    error = error_from_status(number(code), None, details)
    assert type(error) is kind
    assert error.outcome_unknown is unknown


FACTS = {
    "sku": "MUG", "location": "berlin", "requested": "5", "available": "3", "outstanding": "3", "channel": "app",
    "source": "erp", "group": "west", "reservation": "r-17", "order": "o-9", "state": "EXPIRED", "expected": "41",
    "actual": "42", "got": "44", "last": "43", "current": "6", "limit": "900", "field": "ttl", "sequence": "77",
    "ledger": "outlet", "head_sequence": "10", "incident": "i-1", "ownerHint": "node-2", "key": "k-1",
    "service": "till", "kind": "location", "name": "wh-1", "used_by": "location_group west",
    "transfer": "T-17", "right": "ADJUST", "owner": "WMS", "conflicts_with": "wms-owns",
}  # fmt: skip
WITHOUT_FACTS = {
    "INVALID_FIELD", "DEDUPE_WINDOW_EXPIRED", "KEY_CANCELLED", "AUTH_MISSING", "CHANNEL_NOT_ALLOWED", "UNIMPLEMENTED",
    "DRAINING", "RECOVERING", "FENCED", "JOURNAL_FAILED",
    "OUTCOME_UNKNOWN", "DEADLINE", "OVERLOADED", "RATE_LIMITED", "JOURNAL_FULL",
}  # fmt: skip


@pytest.mark.parametrize(("code", "reason"), [row[:2] for row in TABLE])
@pytest.mark.parametrize("message", ["", "terse"])
def test_the_text_names_every_fact_of_its_reason(code: str, reason: str, message: str) -> None:
    error = error_from_reason(number(code), reason, message, FACTS)
    assert bool(error.shown_metadata) is (reason not in WITHOUT_FACTS)
    for name in error.shown_metadata:
        assert str(error).count(FACTS[name]) >= 1


def test_facts_in_the_message_are_not_repeated() -> None:
    said = "MUG at berlin: requested 5, available 3; offer what is available"
    facts = {"sku": "MUG", "location": "berlin", "requested": "5", "available": "3"}
    assert str(error_from_reason(9, "INSUFFICIENT_STOCK", said, facts)) == f"INSUFFICIENT_STOCK: {said}"
    assert str(error_from_reason(9, "INSUFFICIENT_STOCK", "too few", facts)) == (
        "INSUFFICIENT_STOCK: too few (sku MUG, location berlin, requested 5, available 3)"
    )


def test_the_text_says_which_line_of_how_many() -> None:
    lines = [("mug", "wh-1", 1), ("MUG", "paris", 1), ("MUG", "berlin", 5), ("cup", "wh-1", 1)]
    facts = {"sku": "MUG", "location": "berlin", "requested": "5", "available": "3"}
    error = commands.reserve(lines).locate(error_from_reason(9, "INSUFFICIENT_STOCK", "too few", facts))
    assert str(error).endswith("available 3, line 3 of 4)")
    alone = commands.reserve(lines[:1]).locate(error_from_reason(5, "UNKNOWN_SKU", "no mug", {"sku": "mug"}))
    assert str(alone) == "UNKNOWN_SKU: no mug"
    held = {"sku": "MUG", "location": "berlin", "outstanding": "3"}
    part = commands.release("r-1", lines=[("cup", "wh-1"), ("MUG", "berlin", 5)])
    reported = str(part.locate(error_from_reason(9, "EXCEEDS_OUTSTANDING", "too many", held)))
    assert (
        reported == "EXCEEDS_OUTSTANDING: too many (sku MUG, location berlin, requested 5, outstanding 3, line 2 of 2)"
    )


def test_foreign_or_broken_details_are_ignored() -> None:
    assert type(error_from_status(14, b"\xff\xff not protobuf", "x")) is errors.ConnectionLost
    foreign = status_bytes(9, "INSUFFICIENT_STOCK").replace(b"invengine", b"elsewhere")
    assert type(error_from_status(9, foreign, "x")) is errors.AnswerLost


def test_errors_travel_between_processes() -> None:
    error = errors.OutcomeUnknown("look", metadata={"incident": "i-1"})
    error.key = "order-1/1-reserve"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.key, copy.metadata, str(copy)) == (type(error), error.key, error.metadata, str(error))
