"""Checks recorded calls against the journal: each accepted command has its effect exactly once, each rejected one has
none, and the history is linearizable.

The journal is the order of the history. So it is linearizable if no command precedes one that was answered before the
command was sent, and if every read and every rejection fits a position between its request and its answer.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.rpc import error_details_pb2, status_pb2

from invengine.simulate.audit import Auditor, Effect, LevelKey, Name, name_of
from invengine.v1 import availability_service_pb2 as availability
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import types_pb2 as types

from .record import ACCEPTED, READ, REFUSED, UNKNOWN, Call

UnitsMoved: TypeAlias = "Counter[tuple[str, LevelKey]]"
"""Units by hold and level."""

NO_LEVEL: LevelKey = ("", "")

KINDS: dict[str, tuple[Any, Any]] = {
    "Reserve": (reservations.ReserveRequest, reservations.ReserveResponse),
    "Extend": (reservations.ExtendRequest, reservations.ExtendResponse),
    "Allocate": (reservations.AllocateRequest, reservations.AllocateResponse),
    "Release": (reservations.ReleaseRequest, reservations.ReleaseResponse),
    "Fulfill": (reservations.FulfillRequest, reservations.FulfillResponse),
    "Receive": (inventory.ReceiveRequest, inventory.ReceiveResponse),
    "GetAvailability": (availability.GetAvailabilityRequest, availability.GetAvailabilityResponse),
}
"""Request and response of each recorded method. (A command of a batch is recorded as if it had been called alone.)"""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One incarnation of a server: its address, its writer epoch, and the time from which no other can answer there."""

    server: str
    epoch: int
    begin_ns: int


@dataclass(slots=True)
class CheckedCall:
    """A call with its messages decoded and its effects looked up."""

    call: Call
    request: Any
    answer: Any
    effects: Sequence[Effect] = ()

    @property
    def name(self) -> Name:
        """The identity of the command: its key, or its number in its source."""
        return name_of(self.request.context)


class HistoryChecker:
    """Compares calls with the events of an auditor, which receives the findings."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor
        self._known = 0
        self._known_times_ns: list[int] = []
        self._known_positions: list[int] = []
        self.counts = {ACCEPTED: 0, REFUSED: 0, UNKNOWN: 0, READ: 0, "exact reads": 0, "explained refusals": 0}

    def check(self, calls: Iterable[Call], incarnations: Sequence[Incarnation]) -> None:
        """Checks calls whose events the auditor has all read; later calls may be checked in a later round."""
        checked = [_parsed(call) for call in calls]
        writes = [one for one in checked if one.call.outcome != READ]
        for one in writes:
            one.effects = self._auditor.effects.get(one.name, ())
            self._check_effect(one)
        self._check_unrequested(writes)
        self._check_order(checked)
        latest = _LatestPositions(writes, incarnations, self._auditor)
        for one in checked:
            self.counts[one.call.outcome] += 1
            if one.call.outcome == READ:
                self._check_read(one, latest.incarnation_of(one.call))
            elif one.call.reason == "INSUFFICIENT_STOCK":
                self._check_shortage(one, latest)
        self._settle()

    # Effects

    def _check_effect(self, one: CheckedCall) -> None:
        call, complain = one.call, self._auditor.complain
        if call.outcome == REFUSED:
            kinds = {effect.kind for effect in one.effects}
            if kinds - {"message_rejected", "command_refused"}:
                complain(f"{one.name} was refused {call.reason} and has an effect: {one.effects}")
            if one.request.context.HasField("source") and not kinds:
                complain(f"{one.name} was refused {call.reason} and its number was not consumed")
        elif call.outcome == ACCEPTED:
            receipt = one.answer.receipt
            if not one.effects:
                complain(f"{one.name} was acknowledged at {receipt.sequence} and is lost")
            elif one.effects[-1].sequence != receipt.sequence:
                complain(f"{one.name} was acknowledged at {receipt.sequence} and stands at {one.effects[-1].sequence}")
            elif _answered(one) != _applied(one.effects):
                complain(f"{one.name} was answered {_answered(one)} and did {one.effects}")
            elif call.path == "Reserve" and _requested(one) != Counter(dict(one.effects[0].moved)):
                complain(f"{one.name} asked for {_requested(one)} and got {one.effects}")
            if receipt.durable_sequence < receipt.sequence:
                complain(f"{one.name} was acknowledged before it was durable")

    def _check_unrequested(self, writes: list[CheckedCall]) -> None:
        """Requires that the journal has nothing that nobody sent."""
        asked = {one.name for one in writes}
        for name, effects in self._auditor.effects.items():
            if name not in asked and effects and effects[0].kind in _REQUESTED:
                self._auditor.complain(f"{name} was never asked for: {effects}")

    def _settle(self) -> None:
        for name, effects in self._auditor.effects.items():
            self._auditor.settled[name] = effects[-1].sequence if effects else 0
        self._auditor.effects.clear()

    # Order in real time

    def _check_order(self, checked: list[CheckedCall]) -> None:
        """Requires that every call comes after everything that was acknowledged to anybody before it was sent."""
        for one in sorted((one for one in checked if one.answer is not None), key=lambda one: one.call.end_ns):
            self._known = max(self._known, _durable(one))
            self._known_times_ns.append(one.call.end_ns)
            self._known_positions.append(self._known)
        for one in checked:
            known = self._acknowledged_at(one.call.begin_ns)
            if one.call.outcome == READ and one.answer.sequence < known:
                self._auditor.complain(f"a read saw {one.answer.sequence}, {known} was acknowledged before it")
            elif one.effects and one.effects[0].sequence <= known:
                where = one.effects[0].sequence
                self._auditor.complain(f"{one.name} stands at {where}, {known} was acknowledged before it was asked")

    def _acknowledged_at(self, at_ns: int) -> int:
        index = bisect.bisect_left(self._known_times_ns, at_ns)
        return self._known_positions[index - 1] if index else 0

    # What reads and rejections report

    def _check_read(self, one: CheckedCall, incarnation: Incarnation | None) -> None:
        """Requires the quantities of the events at that position, unless a crash lost the position."""
        sequence = one.answer.sequence
        if (
            incarnation is None
            or sequence > self._auditor.sequence
            or self._auditor.epoch_at(sequence) > incarnation.epoch
        ):
            return
        self.counts["exact reads"] += 1
        for seen in one.answer.availabilities:
            possible = self._possible_quantities((seen.sku, seen.location), sequence, sequence)
            if seen.available not in possible:
                text = f"a read of {seen.sku} at {seen.location} saw {seen.available} at {sequence}, not {possible}"
                self._auditor.complain(text)

    def _check_shortage(self, one: CheckedCall, latest: _LatestPositions) -> None:
        """Requires a moment at which there was as little as the rejection reports."""
        last = latest.of(one.call)
        metadata = _rejection_metadata(one)
        if last is None or "available" not in metadata:
            return
        self.counts["explained refusals"] += 1
        level = (metadata["sku"], metadata["location"])
        possible = self._possible_quantities(level, self._acknowledged_at(one.call.begin_ns), last)
        if int(metadata["available"]) not in possible:
            self._auditor.complain(
                f"{one.name} was rejected because {metadata['available']} of {level} are left: {possible}"
            )

    def _possible_quantities(self, level: LevelKey, first: int, last: int) -> set[int]:
        """The available quantities of a level at every moment between two positions."""
        moments = self._auditor.history[level]
        begin = bisect.bisect_right(moments, first, key=lambda moment: moment.sequence) - 1
        while moments[begin].passing and moments[begin].sequence == first:
            begin -= 1
        end = bisect.bisect_right(moments, last, key=lambda moment: moment.sequence)
        return {max(0, moment.room) for moment in moments[max(0, begin) : end]}


_REQUESTED = {"reserved", "extended", "allocated", "released", "fulfilled", "key_cancelled"}
_REQUESTED |= {"message_rejected", "command_refused"}


class _LatestPositions:
    """The last position that a rejection can have: before the first command of its incarnation that was sent after it.

    A rejection may rest on events that are not durable yet. It can be checked only if something later of the same
    incarnation is durable.
    """

    def __init__(self, writes: list[CheckedCall], incarnations: Sequence[Incarnation], auditor: Auditor) -> None:
        self._incarnations: dict[str, list[Incarnation]] = {}
        for each in sorted(incarnations, key=lambda each: each.begin_ns):
            self._incarnations.setdefault(each.server, []).append(each)
        self._requested: dict[Incarnation, list[tuple[int, int]]] = {}
        for one in writes:
            incarnation = self.incarnation_of(one.call)
            if one.call.outcome != ACCEPTED or not one.effects or incarnation is None:
                continue
            # A server may answer before its start is recorded: only what that incarnation wrote counts.
            if auditor.epoch_at(one.effects[0].sequence) == incarnation.epoch:
                self._requested.setdefault(incarnation, []).append((one.call.begin_ns, one.effects[0].sequence))
        for asked in self._requested.values():
            asked.sort()
            for index in range(len(asked) - 2, -1, -1):
                asked[index] = (asked[index][0], min(asked[index][1], asked[index + 1][1]))

    def incarnation_of(self, call: Call) -> Incarnation | None:
        """The incarnation that was running during the whole call; None if there was more than one."""
        incarnations = self._incarnations.get(call.server, [])
        first = bisect.bisect_right(incarnations, call.begin_ns, key=lambda incarnation: incarnation.begin_ns) - 1
        last = bisect.bisect_right(incarnations, call.end_ns, key=lambda incarnation: incarnation.begin_ns) - 1
        return incarnations[first] if first == last >= 0 else None

    def of(self, call: Call) -> int | None:
        """The position, or None if it is unknown."""
        incarnation = self.incarnation_of(call)
        asked = self._requested.get(incarnation, []) if incarnation is not None else []
        index = bisect.bisect_right(asked, (call.end_ns, 1 << 62))
        return asked[index][1] - 1 if index < len(asked) else None


def _parsed(call: Call) -> CheckedCall:
    request, answer = KINDS[call.path]
    answered = answer.FromString(call.answer) if call.outcome in (ACCEPTED, READ) else None
    return CheckedCall(call, request.FromString(call.body), answered)


def _durable(one: CheckedCall) -> int:
    receipt = one.answer if one.call.outcome == READ else one.answer.receipt
    return int(receipt.durable_sequence)


def _rejection_metadata(one: CheckedCall) -> dict[str, str]:
    """The metadata of a rejection, in a batch or of a single call."""
    if one.call.batched:
        return dict(types.Rejection.FromString(one.call.answer).metadata)
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(one.call.answer).details:
        if detail.Unpack(info):
            break
    return dict(info.metadata)


def _answered(one: CheckedCall) -> UnitsMoved:
    """Units by hold and level that the answer reports."""
    answered: UnitsMoved = Counter()
    if one.call.path == "Receive":
        answered.update({("", (line.sku, line.location)): line.quantity for line in one.request.lines})
        return answered
    for hold in [one.answer.hold] if one.call.path == "Reserve" else one.answer.holds:
        answered[hold.reservation_id, NO_LEVEL] += 1
        for line in hold.lines if one.call.path != "Extend" else ():
            answered[hold.reservation_id, (line.sku, line.location)] += line.quantity
    return answered


def _applied(effects: Sequence[Effect]) -> UnitsMoved:
    """Units by hold and level that the events moved."""
    applied: UnitsMoved = Counter()
    for effect in effects:
        # An expiry is recorded before the units are taken again, in the same step.
        if effect.kind == "expired":
            continue
        if effect.subject:
            applied[effect.subject, NO_LEVEL] += 1
        for level, units in effect.moved:
            applied[effect.subject, level] += units
    return applied


def _requested(one: CheckedCall) -> Counter[LevelKey]:
    """Units by level that a Reserve requests."""
    requested: Counter[LevelKey] = Counter()
    for line in one.request.lines:
        requested[line.sku, line.location] += line.quantity
    return requested
