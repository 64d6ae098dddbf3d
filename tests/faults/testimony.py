"""What callers were told, judged by the journal: each yes has its effect exactly once, each no has none, and all of it
fits one order that real time agrees with.

The journal is that order. So a history is linearizable if no command stands in it before one whose answer was known
when it was asked, and every read and every refusal fits a position between its question and its answer.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.rpc import error_details_pb2, status_pb2

from invengine.simulate.audit import Auditor, Effect, Name, name_of
from invengine.simulate.sales import LevelKey
from invengine.v1 import availability_service_pb2 as availability
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import types_pb2 as types

from .record import ACCEPTED, READ, REFUSED, UNKNOWN, Call

Deeds: TypeAlias = "Counter[tuple[str, LevelKey]]"
"""Units by hold and place."""

NOWHERE: LevelKey = ("", "")

KINDS: dict[str, tuple[Any, Any]] = {
    "Reserve": (reservations.ReserveRequest, reservations.ReserveResponse),
    "Extend": (reservations.ExtendRequest, reservations.ExtendResponse),
    "Allocate": (reservations.AllocateRequest, reservations.AllocateResponse),
    "Release": (reservations.ReleaseRequest, reservations.ReleaseResponse),
    "Fulfill": (reservations.FulfillRequest, reservations.FulfillResponse),
    "Receive": (inventory.ReceiveRequest, inventory.ReceiveResponse),
    "GetAvailability": (availability.GetAvailabilityRequest, availability.GetAvailabilityResponse),
}
"""Messages of the methods that are recorded. (A command of a batch is recorded as if it had been called alone.)"""


@dataclass(frozen=True, slots=True)
class Reign:
    """One life of a server: where, which writer, and from when on nobody else could answer there."""

    server: str
    epoch: int
    begin_ns: int


@dataclass(slots=True)
class Heard:
    """A call with its messages read and its effects found."""

    call: Call
    request: Any
    answer: Any
    effects: Sequence[Effect] = ()

    @property
    def name(self) -> Name:
        """What the command is known by."""
        return name_of(self.request.context)


class Judge:
    """Compares calls with an auditor's books. The findings go to the auditor."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor
        self._known = 0
        self._floor_at_ns: list[int] = []
        self._floors: list[int] = []
        self.judged = {ACCEPTED: 0, REFUSED: 0, UNKNOWN: 0, READ: 0, "exact reads": 0, "explained refusals": 0}

    def hear(self, calls: Iterable[Call], reigns: Sequence[Reign]) -> None:
        """Judges calls whose events are all in the books; later calls may be judged in later turns."""
        heard = [_heard(call) for call in calls]
        writes = [one for one in heard if one.call.outcome != READ]
        for one in writes:
            one.effects = self._auditor.effects.get(one.name, ())
            self._effect(one)
        self._strangers(writes)
        self._order(heard)
        ceiling = _Ceiling(writes, reigns, self._auditor)
        for one in heard:
            self.judged[one.call.outcome] += 1
            if one.call.outcome == READ:
                self._read(one, ceiling.reign_of(one.call))
            elif one.call.reason == "INSUFFICIENT_STOCK":
                self._short(one, ceiling)
        self._put_away()

    # Effects

    def _effect(self, one: Heard) -> None:
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
            elif _told(one) != _done(one.effects):
                complain(f"{one.name} was told {_told(one)} and did {one.effects}")
            elif call.path == "Reserve" and _asked(one) != Counter(dict(one.effects[0].moved)):
                complain(f"{one.name} asked for {_asked(one)} and got {one.effects}")
            if receipt.durable_sequence < receipt.sequence:
                complain(f"{one.name} was acknowledged before it was durable")

    def _strangers(self, writes: list[Heard]) -> None:
        """Nothing is in the journal that nobody asked for."""
        asked = {one.name for one in writes}
        for name, effects in self._auditor.effects.items():
            if name not in asked and effects and effects[0].kind in _ASKED:
                self._auditor.complain(f"{name} was never asked for: {effects}")

    def _put_away(self) -> None:
        for name, effects in self._auditor.effects.items():
            self._auditor.settled[name] = effects[-1].sequence if effects else 0
        self._auditor.effects.clear()

    # Order in real time

    def _order(self, heard: list[Heard]) -> None:
        """Everything stands behind what was acknowledged to anybody before it was asked."""
        for one in sorted((one for one in heard if one.answer is not None), key=lambda one: one.call.end_ns):
            self._known = max(self._known, _durable(one))
            self._floor_at_ns.append(one.call.end_ns)
            self._floors.append(self._known)
        for one in heard:
            floor = self._floor(one.call.begin_ns)
            if one.call.outcome == READ and one.answer.sequence < floor:
                self._auditor.complain(f"a read saw {one.answer.sequence}, {floor} was acknowledged before it")
            elif one.effects and one.effects[0].sequence <= floor:
                where = one.effects[0].sequence
                self._auditor.complain(f"{one.name} stands at {where}, {floor} was acknowledged before it was asked")

    def _floor(self, at_ns: int) -> int:
        index = bisect.bisect_left(self._floor_at_ns, at_ns)
        return self._floors[index - 1] if index else 0

    # What was seen

    def _read(self, one: Heard, reign: Reign | None) -> None:
        """Each quantity is what the books say at that position, unless the position was lost with a crash."""
        sequence = one.answer.sequence
        if reign is None or sequence > self._auditor.sequence or self._auditor.epoch_at(sequence) > reign.epoch:
            return
        self.judged["exact reads"] += 1
        for seen in one.answer.availabilities:
            possible = self._rooms((seen.sku, seen.location), sequence, sequence)
            if seen.available not in possible:
                text = f"a read of {seen.sku} at {seen.location} saw {seen.available} at {sequence}, not {possible}"
                self._auditor.complain(text)

    def _short(self, one: Heard, ceiling: _Ceiling) -> None:
        """There was a moment at which there was as little as the caller was told."""
        last = ceiling.of(one.call)
        facts = _facts(one)
        if last is None or "available" not in facts:
            return
        self.judged["explained refusals"] += 1
        place = (facts["sku"], facts["location"])
        possible = self._rooms(place, self._floor(one.call.begin_ns), last)
        if int(facts["available"]) not in possible:
            self._auditor.complain(f"{one.name} was told that {facts['available']} of {place} are left: {possible}")

    def _rooms(self, place: LevelKey, first: int, last: int) -> set[int]:
        """What may be held there, at every moment from one position to another."""
        moments = self._auditor.history[place]
        begin = bisect.bisect_right(moments, first, key=lambda moment: moment.sequence) - 1
        while moments[begin].passing and moments[begin].sequence == first:
            begin -= 1
        end = bisect.bisect_right(moments, last, key=lambda moment: moment.sequence)
        return {max(0, moment.room) for moment in moments[max(0, begin) : end]}


_ASKED = {"reserved", "extended", "allocated", "released", "fulfilled", "key_cancelled"}
_ASKED |= {"message_rejected", "command_refused"}


class _Ceiling:
    """The last position that a refusal can stand at: before the first command of the same life that was asked after it.

    A no rests on what may not be durable yet. It can be judged only if something later of the same life is.
    """

    def __init__(self, writes: list[Heard], reigns: Sequence[Reign], auditor: Auditor) -> None:
        self._reigns: dict[str, list[Reign]] = {}
        for life in sorted(reigns, key=lambda life: life.begin_ns):
            self._reigns.setdefault(life.server, []).append(life)
        self._asked: dict[Reign, list[tuple[int, int]]] = {}
        for one in writes:
            reign = self.reign_of(one.call)
            if one.call.outcome != ACCEPTED or not one.effects or reign is None:
                continue
            # A server may answer before anybody has noted its beginning: only what that very life wrote counts.
            if auditor.epoch_at(one.effects[0].sequence) == reign.epoch:
                self._asked.setdefault(reign, []).append((one.call.begin_ns, one.effects[0].sequence))
        for asked in self._asked.values():
            asked.sort()
            for index in range(len(asked) - 2, -1, -1):
                asked[index] = (asked[index][0], min(asked[index][1], asked[index + 1][1]))

    def reign_of(self, call: Call) -> Reign | None:
        """The one life that the whole call lies in."""
        reigns = self._reigns.get(call.server, [])
        first = bisect.bisect_right(reigns, call.begin_ns, key=lambda reign: reign.begin_ns) - 1
        last = bisect.bisect_right(reigns, call.end_ns, key=lambda reign: reign.begin_ns) - 1
        return reigns[first] if first == last >= 0 else None

    def of(self, call: Call) -> int | None:
        """The position, if there is one."""
        reign = self.reign_of(call)
        asked = self._asked.get(reign, []) if reign is not None else []
        index = bisect.bisect_right(asked, (call.end_ns, 1 << 62))
        return asked[index][1] - 1 if index < len(asked) else None


def _heard(call: Call) -> Heard:
    request, answer = KINDS[call.path]
    told = answer.FromString(call.answer) if call.outcome in (ACCEPTED, READ) else None
    return Heard(call, request.FromString(call.body), told)


def _durable(one: Heard) -> int:
    receipt = one.answer if one.call.outcome == READ else one.answer.receipt
    return int(receipt.durable_sequence)


def _facts(one: Heard) -> dict[str, str]:
    """The facts of a refusal, of a batch or of a call of its own."""
    if one.call.batched:
        return dict(types.Rejection.FromString(one.call.answer).metadata)
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(one.call.answer).details:
        if detail.Unpack(info):
            break
    return dict(info.metadata)


def _told(one: Heard) -> Deeds:
    """Units by hold and place of everything that the caller was told."""
    told: Deeds = Counter()
    if one.call.path == "Receive":
        told.update({("", (line.sku, line.location)): line.quantity for line in one.request.lines})
        return told
    for hold in [one.answer.hold] if one.call.path == "Reserve" else one.answer.holds:
        told[hold.reservation_id, NOWHERE] += 1
        for line in hold.lines if one.call.path != "Extend" else ():
            told[hold.reservation_id, (line.sku, line.location)] += line.quantity
    return told


def _done(effects: Sequence[Effect]) -> Deeds:
    """The same of what the events did."""
    done: Deeds = Counter()
    for effect in effects:
        # What was over is written down before it is taken again, in the same step.
        if effect.kind == "expired":
            continue
        if effect.subject:
            done[effect.subject, NOWHERE] += 1
        for place, units in effect.moved:
            done[effect.subject, place] += units
    return done


def _asked(one: Heard) -> Counter[LevelKey]:
    """Units by place that a Reserve asks for."""
    asked: Counter[LevelKey] = Counter()
    for line in one.request.lines:
        asked[line.sku, line.location] += line.quantity
    return asked
