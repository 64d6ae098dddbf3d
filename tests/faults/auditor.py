"""An auditor's books: every level and every hold added up again from the events, by rules written down anew.

It shares no code with the ledger, and none with the client: it reads the messages of the contract and docs/holds.md. It
never stops at a finding, so that one run shows all of them. What callers were told is judged in `testimony.py`.
"""

from __future__ import annotations

import bisect
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from invengine.v1 import types_pb2 as types
from invengine.v1.journal_service_pb2 import Event

Place: TypeAlias = tuple[str, str]
"""Item and location."""
Moved: TypeAlias = tuple[tuple[Place, int], ...]
"""Units by place, sorted."""
Name: TypeAlias = tuple[str, str]
"""What a command is known by: its scope and its key, or its source and `epoch/number`."""

FINDINGS_KEPT = 40
WHOLE = (types.STOCK_STATE_UNSPECIFIED, types.STOCK_STATE_ON_HAND)
RECOUNT_EVERY = 2_000


@dataclass(slots=True)
class Level:
    """Units of one item at one location. `reserved` leaves out what is over."""

    on_hand: int = 0
    reserved: int = 0
    allocated: int = 0
    unsellable: Counter[int] = field(default_factory=Counter)

    @property
    def room(self) -> int:
        """What nobody holds; below zero if more is promised than is there."""
        return self.on_hand - self.unsellable.total() - self.reserved - self.allocated


@dataclass(slots=True)
class Units:
    """Units of one line of a hold by where they are; `due` ones are over, but no event has said so yet."""

    reserved: int = 0
    allocated: int = 0
    due: int = 0
    expired: int = 0
    released: int = 0
    fulfilled: int = 0
    taken: int = 0
    """All that ever came into the line."""

    @property
    def everywhere(self) -> int:
        """The sum of all states."""
        return self.reserved + self.allocated + self.due + self.expired + self.released + self.fulfilled


@dataclass(slots=True)
class Hold:
    """One reservation."""

    expire_ms: int
    lines: dict[Place, Units] = field(default_factory=lambda: defaultdict(Units))


class Effect(NamedTuple):
    """What one event did, in a form that can be compared with an answer."""

    sequence: int
    kind: str
    subject: str
    moved: Moved


class Room(NamedTuple):
    """How much room a place had from a sequence on. `passing` is a change that time made, not an event."""

    sequence: int
    units: int
    passing: bool


class Auditor:
    """Takes events in order; `findings` is what is wrong."""

    def __init__(self) -> None:
        self.findings: list[str] = []
        self.finding_count = 0
        self.sequence = 0
        self.epochs: list[tuple[int, int]] = []
        """Each writer epoch with its first sequence."""
        self.levels: dict[Place, Level] = defaultdict(Level)
        self.holds: dict[str, Hold] = {}
        self.effects: dict[Name, list[Effect]] = {}
        self.settled: dict[Name, int] = {}
        """The last sequence of commands that were judged and whose effects were put away."""
        self.sources: dict[str, tuple[int, int]] = {}
        """The epoch of each source and its last consumed number."""
        self.rooms: dict[Place, list[Room]] = defaultdict(lambda: [Room(0, 0, False)])
        self._now_ms = 0
        self._ends: list[tuple[int, str]] = []

    def complain(self, text: str) -> None:
        """Notes a finding."""
        self.finding_count += 1
        if len(self.findings) < FINDINGS_KEPT:
            self.findings.append(f"at {self.sequence}: {text}")

    def take_all(self, events: Iterable[Event]) -> None:
        """Takes many events."""
        for event in events:
            self.take(event)

    def take(self, event: Event) -> None:
        """Takes one event and checks everything that it touches."""
        if event.sequence != self.sequence + 1:
            self.complain(f"the next event is {event.sequence}: the journal has a hole or says something twice")
        self._pass_time(event)
        self.sequence = event.sequence
        kind = str(event.WhichOneof("fact"))
        fact = getattr(event, kind)
        if event.HasField("context"):
            self._attribute(event, kind, fact)
        book = getattr(self, f"_{kind}", None)
        if book is not None:
            for place in book(fact):
                self._check(place)
        if self.sequence % RECOUNT_EVERY == 0:
            self.recount()

    def recount(self) -> None:
        """Adds up the holds themselves and compares: the running counters must be their sums."""
        sums: dict[Place, list[int]] = defaultdict(lambda: [0, 0])
        for hold in self.holds.values():
            for place, units in hold.lines.items():
                sums[place][0] += units.reserved
                sums[place][1] += units.allocated
                if units.taken != units.everywhere:
                    self.complain(f"{place}: units of a line are lost or doubled: {units}")
        for place, level in self.levels.items():
            if [level.reserved, level.allocated] != sums[place]:
                self.complain(f"{place}: the holds add up to {sums[place]}, the counters say {level}")

    def differences(self, levels: Iterable[types.InventoryLevel]) -> list[str]:
        """Where levels that a server told differ from the books."""
        found = []
        for told in levels:
            level = self.levels[told.sku, told.location]
            parts = sum(level.unsellable.values())
            mine = (level.on_hand, level.reserved, level.allocated, parts, max(0, level.room), max(0, -level.room))
            unsellable = told.damaged + told.returned + told.quality_control
            theirs = (told.on_hand, told.reserved, told.allocated, unsellable, told.available, told.oversold)
            if mine != theirs:
                found.append(f"{told.sku} at {told.location}: the server says {theirs}, the events {mine}")
        return found

    def epoch_at(self, sequence: int) -> int:
        """Which writer wrote this position."""
        index = bisect.bisect_right(self.epochs, (sequence, 1 << 62)) - 1
        return self.epochs[index][1] if index >= 0 else 0

    # Order, time and identity

    def _pass_time(self, event: Event) -> None:
        now_ms = event.time.ToMilliseconds()
        if now_ms < self._now_ms:
            self.complain("time goes back")
        self._now_ms = max(now_ms, self._now_ms)
        epoch = self.epochs[-1][1] if self.epochs else 0
        if event.writer_epoch < epoch:
            self.complain(f"a record of writer {event.writer_epoch} after one of writer {epoch}")
        elif event.writer_epoch > epoch:
            self.epochs.append((event.sequence, event.writer_epoch))
        while self._ends and self._ends[0][0] <= self._now_ms:
            expire_ms, name = heapq.heappop(self._ends)
            if self.holds[name].expire_ms == expire_ms:
                self._fall_due(self.holds[name])

    def _fall_due(self, hold: Hold) -> None:
        for place, units in hold.lines.items():
            if units.reserved:
                self.levels[place].reserved -= units.reserved
                units.due += units.reserved
                units.reserved = 0
                self.rooms[place].append(Room(self.sequence, self.levels[place].room, True))

    def _attribute(self, event: Event, kind: str, fact: Any) -> None:
        """Whose command was it? Each command has its effect once, in events that follow each other."""
        name = name_of(event.context)
        moved = moved_by(kind, fact)
        effect = Effect(event.sequence, kind, str(getattr(fact, "reservation_id", "")), moved)
        effects = self.effects.setdefault(name, [])
        if name in self.settled or (effects and effects[-1].sequence != event.sequence - 1):
            self.complain(f"{name} has its effect a second time: {effect}")
        elif any((other.kind, other.subject) == (kind, effect.subject) for other in effects if effect.subject):
            self.complain(f"{name} does the same to the same hold again: {effect}")
        if event.context.HasField("source") and not effects:
            self._number(event.context.source)
        effects.append(effect)

    def _number(self, position: types.SourcePosition) -> None:
        epoch, last = self.sources.get(position.source_id, (0, 0))
        if (position.epoch, position.sequence) != (epoch, last + 1):
            told = f"{position.epoch}/{position.sequence}"
            self.complain(f"source {position.source_id} at {epoch}/{last} goes on with {told}")
        self.sources[position.source_id] = (position.epoch, position.sequence)

    # What each fact does; each gives the places that it touched

    def _source_registered(self, fact: Any) -> list[Place]:
        if fact.epoch <= self.sources.get(fact.source_id, (0, 0))[0]:
            self.complain(f"the epoch of source {fact.source_id} does not rise")
        self.sources[fact.source_id] = (fact.epoch, 0)
        return []

    def _stock_changed(self, fact: Any) -> list[Place]:
        place = (fact.sku, fact.location)
        level = self.levels[place]
        level.on_hand += fact.delta
        if fact.state not in WHOLE:
            level.unsellable[fact.state] += fact.delta
        return [place]

    def _reserved(self, fact: Any) -> list[Place]:
        if fact.reservation_id in self.holds:
            self.complain(f"the token {fact.reservation_id} is issued twice")
        hold = self.holds[fact.reservation_id] = Hold(fact.expire_time.ToMilliseconds())
        for place, units in lines_of(fact):
            self._promise(hold, place, units, "reserved")
            hold.lines[place].taken += units
        heapq.heappush(self._ends, (hold.expire_ms, fact.reservation_id))
        return list(hold.lines)

    def _extended(self, fact: Any) -> list[Place]:
        hold = self._hold(fact)
        if any(units.due for units in hold.lines.values()):
            self.complain("a hold is extended after its time")
        hold.expire_ms = fact.expire_time.ToMilliseconds()
        heapq.heappush(self._ends, (hold.expire_ms, fact.reservation_id))
        return []

    def _amended(self, fact: Any) -> list[Place]:
        hold = self._hold(fact)
        for place, wanted in lines_of(fact):
            more = wanted - hold.lines[place].reserved
            if more > 0:
                self._promise(hold, place, more, "reserved")
                hold.lines[place].taken += more
            else:
                self._leave(hold, place, -more, ("reserved",), "released")
        return [place for place, _ in lines_of(fact)]

    def _allocated(self, fact: Any) -> list[Place]:
        hold = self._hold(fact)
        for place, units in lines_of(fact):
            if fact.reacquired:
                # Back from expiry, whether or not the event that says so has been written.
                self._leave(hold, place, units, ("expired", "due"), "")
                self._promise(hold, place, units, "allocated")
            else:
                self._leave(hold, place, units, ("reserved",), "allocated")
        return [place for place, _ in lines_of(fact)]

    def _released(self, fact: Any) -> list[Place]:
        hold = self._hold(fact)
        for place, units in lines_of(fact):
            self._leave(hold, place, units, ("reserved", "allocated"), "released")
        return [place for place, _ in lines_of(fact)]

    def _fulfilled(self, fact: Any) -> list[Place]:
        hold = self._hold(fact)
        for place, units in lines_of(fact):
            self._leave(hold, place, units, ("allocated", "reserved"), "fulfilled")
            self.levels[place].on_hand -= units
        return [place for place, _ in lines_of(fact)]

    def _expired(self, fact: Any) -> list[Place]:
        hold = self._hold(fact)
        for place, units in lines_of(fact):
            self._leave(hold, place, units, ("due",), "expired")
        return [place for place, _ in lines_of(fact)]

    def _transferred(self, fact: Any) -> list[Place]:
        hold = self._hold(fact)
        touched = []
        for place, units in lines_of(fact):
            to = (place[0], fact.to_location)
            timed = min(units, hold.lines[place].reserved)
            self._leave(hold, place, units, ("reserved", "allocated"), "")
            hold.lines[place].taken -= units
            hold.lines[to].taken += units
            self._promise(hold, to, timed, "reserved")
            self._promise(hold, to, units - timed, "allocated")
            touched += [place, to]
        return touched

    # Moving units

    def _hold(self, fact: Any) -> Hold:
        if fact.reservation_id not in self.holds:
            self.complain(f"the hold {fact.reservation_id} was never taken")
        return self.holds.setdefault(fact.reservation_id, Hold(0))

    def _promise(self, hold: Hold, place: Place, units: int, state: str) -> None:
        """A new promise: the units must be there, whoever wants them."""
        level = self.levels[place]
        if units > max(0, level.room):
            self.complain(f"oversold: {units} of {place} promised, {level.room} were there")
        self._add(hold, place, state, units)

    def _leave(self, hold: Hold, place: Place, units: int, states: tuple[str, ...], to: str) -> None:
        """Units leave the first state, and where that is not enough the second; they must be there."""
        line, wanted = hold.lines[place], units
        for state in states:
            part = min(wanted, getattr(line, state))
            self._add(hold, place, state, -part)
            wanted -= part
        if wanted:
            self.complain(f"{wanted} units of {place} more leave {' and '.join(states)} than are in it: {line}")
        if to:
            self._add(hold, place, to, units)

    def _add(self, hold: Hold, place: Place, state: str, units: int) -> None:
        line = hold.lines[place]
        setattr(line, state, getattr(line, state) + units)
        if state in ("reserved", "allocated"):
            level = self.levels[place]
            setattr(level, state, getattr(level, state) + units)

    def _check(self, place: Place) -> None:
        level = self.levels[place]
        if min(level.on_hand, level.reserved, level.allocated, *level.unsellable.values()) < 0:
            self.complain(f"a counter of {place} is negative: {level}")
        self.rooms[place].append(Room(self.sequence, level.room, False))


def name_of(context: types.CommandContext) -> Name:
    """What a command is known by."""
    source = context.source
    scope = context.channel or (f"source:{source.source_id}" if source.source_id else "")
    if context.idempotency_key:
        return scope, context.idempotency_key
    return f"source:{source.source_id}", f"{source.epoch}/{source.sequence}"


def lines_of(fact: Any) -> list[tuple[Place, int]]:
    """Units by place, as an event has them."""
    return [((line.sku, line.location), line.quantity) for line in fact.lines]


def moved_by(kind: str, fact: Any) -> Moved:
    """Units by place of any event."""
    if kind == "stock_changed":
        return (((fact.sku, fact.location), fact.delta),)
    return tuple(sorted(lines_of(fact))) if hasattr(fact, "lines") else ()
