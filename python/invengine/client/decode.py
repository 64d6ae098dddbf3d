"""Turns protobuf answers into the values of `results`. Pure functions; the two for holds are on the fast path."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from invengine.client import contract, results
from invengine.client.framing import reader
from invengine.client.times import duration_s, stamp_time
from invengine.errors import InvengineError, Violation, error_from_reason

if TYPE_CHECKING:
    from invengine.client.results import (
        Availabilities,
        Availability,
        Changes,
        Digest,
        Event,
        HistoryLine,
        Hold,
        HoldLine,
        HoldSummary,
        KnownOutcome,
        Level,
        LineState,
        LookAlike,
        Outcome,
        PastLevel,
        Receipt,
        Registration,
        Reservation,
        ServerDescription,
        StockChanges,
        StockTransfer,
        TransferChange,
        Upserted,
    )

_log = logging.getLogger("invengine.client")


@lru_cache(maxsize=64)
def _line_state(number: int) -> LineState:
    """A state that this version does not know is UNSPECIFIED."""
    try:
        return results.LineState(number)
    except ValueError:
        return results.LineState.UNSPECIFIED


@cache
def _fields_of(kind: Any) -> Callable[[Any], tuple[Any, ...]]:
    """Reads the fields of a value from its message, where they have the same names."""
    return attrgetter(*kind.__match_args__)


def receipt_of(answer: Any) -> Receipt:
    """The receipt of any accepted answer."""
    receipt = answer.receipt
    return results.Receipt(receipt.sequence, receipt.durable_sequence, receipt.replayed, receipt.echo)


def look_alikes_of(answer: Any) -> tuple[LookAlike, ...]:
    """The names of a command that look like older ones."""
    return tuple([results.LookAlike(each.name, each.older_name) for each in answer.look_alikes])


def upserted(answer: Any) -> Upserted:
    """The answer to an Upsert of any kind."""
    return results.Upserted(receipt_of(answer), look_alikes_of(answer), tuple(getattr(answer, "versions", ())))


def hold_line(line: Any) -> HoldLine:
    """One LineChange. A state this version does not know is UNSPECIFIED."""
    state = _line_state(line.state)
    return results.HoldLine(line.sku, line.location, line.quantity, state, line.outstanding)


def hold_of(change: Any, receipt: Receipt) -> Hold:
    """One HoldChange."""
    stamp = change.expire_time
    lines = tuple([hold_line(line) for line in change.lines])
    expire_time_ms = stamp.seconds * 1000 + stamp.nanos // 1_000_000
    return results.Hold(change.reservation_id, change.version, expire_time_ms, change.reacquired, lines, receipt)


def reserved(answer: Any) -> Hold:
    """The hold of a ReserveResponse, or of the Outcome of a Reserve. An echo has an empty one."""
    if not hasattr(answer, "holds"):
        change = answer.hold
    else:
        change = answer.holds[0] if answer.holds else contract.types.HoldChange()
    return hold_of(change, receipt_of(answer))


def only_hold(outcome: bytes) -> Hold | None:
    """The result of a reserve from the bytes of its outcome or answer; None if that takes its message."""
    native = reader()
    found: Hold | None = native and native.hold(outcome)
    return found


def changed_holds(outcome: bytes) -> Changes | None:
    """The same for any other command on holds."""
    native = reader()
    found: Changes | None = native and native.changes(outcome)
    return found


def changed(answer: Any) -> Changes:
    """The holds of any other answer or Outcome about holds."""
    receipt = receipt_of(answer)
    holds = tuple([hold_of(change, receipt) for change in answer.holds])
    return results.Changes(receipt, holds, bool(getattr(answer, "key_cancelled", False)), _summary(answer, receipt))


def _summary(answer: Any, receipt: Receipt) -> HoldSummary | None:
    if not answer.HasField("summary"):
        return None
    found = answer.summary
    units = {_line_state(each.state): each.units for each in found.units}
    return results.HoldSummary(found.reservations, found.lines, units, found.first_sequence, receipt.sequence)


def released(answer: Any) -> Changes:
    """The same for a release, with a warning in the log if it released nothing."""
    changes = changed(answer)
    if changes.key_cancelled:
        _log.warning(
            "nothing was released: the key has no hold among those of %s, and is cancelled there; "
            "a hold that was made under another channel still stands: release it with that channel",
            _writer(answer.key_scope),
        )
    return changes


def _writer(scope: Any) -> str:
    if scope.channel:
        return f"channel {scope.channel!r}"
    return f"source {scope.source_id!r}" if scope.source_id else "the operator (no channel)"


def level_of(level: Any) -> Level:
    """One InventoryLevel."""
    return results.Level(*_fields_of(results.Level)(level))


def stock_changed(answer: Any) -> StockChanges:
    """The levels of any physical answer."""
    levels = tuple([level_of(level) for level in answer.levels])
    return results.StockChanges(receipt_of(answer), levels, tuple(getattr(answer, "claimed_lines", ())))


def stock_transfer(transfer: Any) -> StockTransfer:
    """One StockTransfer. A state this version does not know is UNSPECIFIED."""
    try:
        state = results.StockTransferState(transfer.state)
    except ValueError:
        state = results.StockTransferState.UNSPECIFIED
    return results.StockTransfer(
        transfer.transfer,
        transfer.from_location,
        transfer.to_location,
        stamp_time(transfer.ship_time),
        state,
        tuple([results.TransferLine(*_fields_of(results.TransferLine)(line)) for line in transfer.lines]),
        transfer.version,
    )


def transfer_changed(answer: Any) -> TransferChange:
    """The answer to any command on a stock transfer."""
    look_alikes = look_alikes_of(answer) if hasattr(answer, "look_alikes") else ()
    return results.TransferChange(receipt_of(answer), stock_transfer(answer.transfer), look_alikes)


def rejection_of(rejection: Any) -> InvengineError:
    """The error of a Rejection message."""
    violations = [Violation(each.field, each.description) for each in rejection.field_violations]
    return error_from_reason(rejection.code, rejection.reason, rejection.message, rejection.metadata, violations)


def outcome_of(outcome: Any) -> Outcome:
    """One outcome of a batch, as `framing.outcomes_in` gives it, or of GetOutcome."""
    if outcome.__class__ is bytes:
        receipt, holds = reader().read(outcome)
        return results.Outcome(receipt, holds, (), False, None)
    if outcome.HasField("rejection"):
        return results.Outcome(None, (), (), False, rejection_of(outcome.rejection))
    receipt = receipt_of(outcome)
    holds = tuple([hold_of(change, receipt) for change in outcome.holds])
    levels = tuple([level_of(level) for level in outcome.levels])
    summary, versions = _summary(outcome, receipt), tuple(outcome.versions)
    transfer = stock_transfer(outcome.transfer) if outcome.HasField("transfer") else None
    claimed = tuple(outcome.claimed_lines)
    return results.Outcome(receipt, holds, levels, outcome.key_cancelled, None, summary, versions, transfer, claimed)


def known_outcome(answer: Any) -> KnownOutcome:
    """A GetOutcomeResponse."""
    outcome = outcome_of(answer.outcome) if answer.known and answer.HasField("outcome") else None
    return results.KnownOutcome(answer.known, outcome, answer.key_cancelled, answer.sequence)


def reservation_of(reservation: Any) -> Reservation:
    """One Reservation."""
    lines = tuple([results.ReservationLine(*_fields_of(results.ReservationLine)(line)) for line in reservation.lines])
    return results.Reservation(
        reservation.reservation_id,
        reservation.version,
        stamp_time(reservation.expire_time),
        stamp_time(reservation.create_time),
        reservation.channel,
        reservation.order_ref,
        reservation.holder,
        reservation.idempotency_key,
        lines,
        reservation.lines_omitted,
    )


def availabilities(answer: Any) -> Availabilities:
    """A GetAvailabilityResponse."""
    entries = [_availability(each) for each in answer.availabilities]
    return results.Availabilities(entries, answer.sequence, answer.durable_sequence)


def _availability(entry: Any) -> Availability:
    unknown = entry.unknown_sku or entry.unknown_location
    available = None if unknown else entry.available
    return results.Availability(entry.sku, entry.location, available, entry.unknown_sku, entry.unknown_location)


def registration(answer: Any) -> Registration:
    """A RegisterSourceResponse."""
    before = (answer.previous_epoch, answer.previous_sequence)
    return results.Registration(answer.epoch, *before, receipt_of(answer), look_alikes_of(answer))


def digest_of(answer: Any) -> Digest:
    """A GetDigestResponse."""
    return results.Digest(answer.digest, answer.sequence)


def event_of(event: Any, ledger: str) -> Event:
    """One Event of a ledger."""
    kind = event.WhichOneof("fact") or ""
    context = event.context if event.HasField("context") else None
    fact = getattr(event, kind) if kind else None
    return results.Event(event.sequence, stamp_time(event.time), event.writer_epoch, kind, fact, context, ledger)


def past_level(answer: Any, level: Any) -> PastLevel:
    """One level of a GetStateAtResponse."""
    at, time = answer.position, stamp_time(answer.time) if answer.HasField("time") else None
    return results.PastLevel(level_of(level), at.sequence, at.writer_epoch, time, at.ledger)


def history_line(line: Any, ledger: str) -> HistoryLine:
    """One InventoryHistoryLine of a ledger."""
    before = level_of(line.before) if line.HasField("before") else None
    after = level_of(line.after) if line.HasField("after") else None
    return results.HistoryLine(event_of(line.event, ledger), before, after)


def server_description(answer: Any) -> ServerDescription:
    """A GetServerInfoResponse."""
    odd: dict[str, Any] = {
        "engine_time": stamp_time(answer.engine_time),
        "snapshot_time": stamp_time(answer.snapshot_time) if answer.HasField("snapshot_time") else None,
    }
    odd |= {
        f"{name}_s": duration_s(getattr(answer, name))
        for name in ("effective_dedupe_window", "effective_refusal_window", "recovery_time", "clock_offset")
    }
    same = {name: getattr(answer, name) for name in results.ServerDescription.__match_args__ if name not in odd}
    return results.ServerDescription(**same, **odd)
