"""An auditor that trusts nobody: every level and every hold added up again from the events, with plain dicts.

Its rules are written anew from docs/holds.md and the contract; it shares no code with the ledger and reads none of its
counters. After every event it checks what must hold: the units a promise took were there, nothing is negative, what
leaves a line was in it, a hold ends at its time and not before, each command has its effect once, numbers and epochs
rise. It never stops at a finding, so that one run shows all of them.
"""

from __future__ import annotations

import bisect
import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

from invengine.client import Event, StockState, TransferRemainder
from invengine.v1.journal_service_pb2 import StockChangeKind

LevelKey: TypeAlias = tuple[str, str]
"""(sku, location): one inventory level."""
Moved: TypeAlias = tuple[tuple[LevelKey, int], ...]
"""Units by place, sorted."""
Name: TypeAlias = tuple[str, str]
"""What a command is known by: its scope and its key, or its source and `epoch/number`."""

FINDINGS_KEPT = 50
RECOUNT_EVERY = 2_000
GAINS, LOSSES = ("received", "returned", "adjusted"), ("fulfilled", "lost")
"""Where the units of an item come from, and how they leave."""
PARTS = {state.value: state.field for state in StockState if state.is_unsellable}
"""The unsellable parts of on_hand, by their number in the contract."""


@dataclass(slots=True)
class Stock:
    """A level as the events make it. `reserved` leaves out units whose hold has expired."""

    on_hand: int = 0
    reserved: int = 0
    allocated: int = 0
    unsellable: Counter[str] = field(default_factory=Counter)
    in_transit: int = 0

    @property
    def room(self) -> int:
        """Units that nobody holds and that can be sold; below zero if more is promised than is there."""
        return self.on_hand - self.unsellable.total() - self.reserved - self.allocated


@dataclass(slots=True)
class Units:
    """Units of one line of a hold by state. `due` units have expired, but no event has said so yet."""

    reserved: int = 0
    allocated: int = 0
    due: int = 0
    expired: int = 0
    released: int = 0
    fulfilled: int = 0
    taken: int = 0
    """All units that ever came into the line."""

    @property
    def everywhere(self) -> int:
        """The sum of all states."""
        return self.reserved + self.allocated + self.due + self.expired + self.released + self.fulfilled


@dataclass(slots=True)
class Hold:
    """One reservation."""

    expire_ms: int
    lines: dict[LevelKey, Units] = field(default_factory=lambda: defaultdict(Units))


class Effect(NamedTuple):
    """What one event did, in a form that can be compared with an answer."""

    sequence: int
    kind: str
    subject: str
    """The reservation; empty for other events."""
    moved: Moved


class Moment(NamedTuple):
    """A level from a sequence and an engine time on. `passing` marks a change that time made, not an event."""

    sequence: int
    time_ms: int
    room: int
    on_hand: int
    reserved: int
    allocated: int
    passing: bool


NOTHING = Moment(0, 0, 0, 0, 0, 0, False)


class Auditor:
    """Takes events in order; `findings` is what is wrong.

    sequence: position of the event before the first one that it takes.
    skus: the only items that are looked at, with holds of others taken for granted; all if left out.
    history: places whose every moment is kept in `history`; all if left out.
    """

    def __init__(
        self, *, sequence: int = 0, skus: Collection[str] | None = None, history: Collection[LevelKey] | None = None
    ) -> None:
        self.findings: list[str] = []
        self.finding_count = 0
        self.oversold_units = 0
        self.sequence = sequence
        self.epochs: list[tuple[int, int]] = []
        """Each writer epoch with its first sequence."""
        self.levels: dict[LevelKey, Stock] = defaultdict(Stock)
        self.holds: dict[str, Hold] = {}
        self.effects: dict[Name, list[Effect]] = {}
        self.settled: dict[Name, int] = {}
        """The last sequence of commands that were judged and whose effects were put away."""
        self.sources: dict[str, tuple[int, int]] = {}
        """The epoch of each source and its last consumed number."""
        self.flows: dict[str, Counter[str]] = defaultdict(Counter)
        """Units by item: received, returned, adjusted, fulfilled, lost."""
        self.history: dict[LevelKey, list[Moment]] = defaultdict(lambda: [NOTHING])
        self._skus = skus
        self._kept = history
        self._now_ms = 0
        self._ends: list[tuple[int, str]] = []

    def complain(self, text: str) -> None:
        """Notes a finding."""
        self.finding_count += 1
        if len(self.findings) < FINDINGS_KEPT:
            self.findings.append(f"at {self.sequence}: {text}")

    def take_all(self, events: Iterable[Any]) -> None:
        """Takes many events."""
        for event in events:
            self.take(event)

    def take(self, event: Any) -> None:
        """Takes one event, the client's value or the message of the contract, and checks everything that it touches."""
        kind, fact, context, now_ms = _parts(event)
        if event.sequence != self.sequence + 1:
            self.complain(f"the next event is {event.sequence}: the journal has a hole or says something twice")
        self._pass_time(now_ms, event.sequence, event.writer_epoch)
        self.sequence = event.sequence
        if context is not None:
            self._attribute(context, kind, fact)
        book = getattr(self, f"_{kind}", None)
        if book is not None:
            for place in book(fact):
                self._check(place)
        if self.sequence % RECOUNT_EVERY == 0:
            self.recount()

    def recount(self) -> None:
        """Adds up the holds themselves and compares: the running counters must be their sums."""
        sums: dict[LevelKey, list[int]] = defaultdict(lambda: [0, 0])
        for hold in self.holds.values():
            for place, units in hold.lines.items():
                sums[place][0] += units.reserved
                sums[place][1] += units.allocated
                if units.taken != units.everywhere:
                    self.complain(f"{place}: units of a line are lost or doubled: {units}")
        there: Counter[str] = Counter()
        for place, level in self.levels.items():
            if [level.reserved, level.allocated] != sums[place]:
                self.complain(f"{place}: the holds add up to {sums[place]}, the counters say {level}")
            there[place[0]] += level.on_hand + level.in_transit
        for sku, flows in self.flows.items():
            came = sum(flows[flow] for flow in GAINS) - sum(flows[flow] for flow in LOSSES)
            if came != there[sku]:
                self.complain(f"{sku}: {came} units came and stayed, {there[sku]} are there: {dict(flows)}")

    def differences(self, levels: Iterable[Any]) -> list[str]:
        """Where the levels that a server stated, values or messages, differ from those of the events."""
        found = []
        for stated in levels:
            level = self.levels[stated.sku, stated.location]
            parts = [level.unsellable[part] for part in PARTS.values()]
            room = level.room
            mine = (
                level.on_hand,
                level.reserved,
                level.allocated,
                *parts,
                level.in_transit,
                max(0, room),
                max(0, -room),
            )
            unsellable = [getattr(stated, part) for part in PARTS.values()]
            held = (stated.on_hand, stated.reserved, stated.allocated)
            theirs = (*held, *unsellable, stated.in_transit, stated.available, stated.oversold)
            if mine != theirs:
                found.append(f"{stated.sku} at {stated.location}: the server says {theirs}, the events {mine}")
        return found

    def epoch_at(self, sequence: int) -> int:
        """Which writer wrote this position."""
        index = bisect.bisect_right(self.epochs, (sequence, 1 << 62)) - 1
        return self.epochs[index][1] if index >= 0 else 0

    def room_at(self, place: LevelKey, time_ms: float) -> int:
        """Units that could be held at a place at an engine time; its history must be kept."""
        moments = self.history[place]
        return max(0, moments[bisect.bisect_right(moments, time_ms, key=lambda moment: moment.time_ms) - 1].room)

    def level_at(self, place: LevelKey, time_ms: int) -> Stock:
        """A level as the events leave it at a time from the last event on: what expires until then is free."""
        level = self.levels[place]
        expired = (hold.lines for hold in self.holds.values() if hold.expire_ms <= time_ms)
        due = [lines[place].reserved for lines in expired if place in lines]
        return replace(level, reserved=level.reserved - sum(due))

    def expires_between(self, first_ms: int, last_ms: int) -> bool:
        """True if a hold expires in this time."""
        return any(first_ms < hold.expire_ms <= last_ms for hold in self.holds.values())

    # Order, time and identity

    def _pass_time(self, now_ms: int, sequence: int, writer_epoch: int) -> None:
        if now_ms < self._now_ms:
            self.complain("time goes back")
        self._now_ms = max(now_ms, self._now_ms)
        epoch = self.epochs[-1][1] if self.epochs else 0
        if writer_epoch < epoch:
            self.complain(f"a record of writer {writer_epoch} after one of writer {epoch}")
        elif writer_epoch > epoch:
            self.epochs.append((sequence, writer_epoch))
        while self._ends and self._ends[0][0] <= self._now_ms:
            expire_ms, name = heapq.heappop(self._ends)
            if self.holds[name].expire_ms == expire_ms:
                self._expire(self.holds[name])

    def _expire(self, hold: Hold) -> None:
        for place, units in hold.lines.items():
            if units.reserved:
                self.levels[place].reserved -= units.reserved
                units.due += units.reserved
                units.reserved = 0
                self._note(place, hold.expire_ms, passing=True)

    def _attribute(self, context: Any, kind: str, fact: Any) -> None:
        """Whose command was it? Each command has its effect once, in events that follow each other."""
        name = name_of(context)
        subject = str(getattr(fact, "reservation_id", ""))
        effect = Effect(self.sequence, kind, subject, moved_by(kind, fact))
        effects = self.effects.setdefault(name, [])
        if name in self.settled or (effects and effects[-1].sequence != self.sequence - 1):
            self.complain(f"{name} has its effect a second time: {effect}")
        elif any((other.kind, other.subject) == (kind, subject) for other in effects if subject):
            self.complain(f"{name} does the same to the same hold again: {effect}")
        if context.HasField("source") and not effects:
            self._number(context.source)
        effects.append(effect)

    def _number(self, position: Any) -> None:
        if self._skus is None or position.source_id in self.sources:
            epoch, last = self.sources.get(position.source_id, (0, 0))
            if (position.epoch, position.sequence) != (epoch, last + 1):
                got = f"{position.epoch}/{position.sequence}"
                self.complain(f"source {position.source_id} at {epoch}/{last} goes on with {got}")
        self.sources[position.source_id] = (position.epoch, position.sequence)

    # What each fact does; each gives the places that it touched

    def _source_registered(self, fact: Any) -> list[LevelKey]:
        if fact.epoch <= self.sources.get(fact.source_id, (0, 0))[0]:
            self.complain(f"the epoch of source {fact.source_id} does not rise")
        self.sources[fact.source_id] = (fact.epoch, 0)
        return []

    def _stock_changed(self, fact: Any) -> list[LevelKey]:
        if self._skus is not None and fact.sku not in self._skus:
            return []
        place = (fact.sku, fact.location)
        level = self.levels[place]
        level.on_hand += fact.delta
        if fact.state in PARTS:
            level.unsellable[PARTS[fact.state]] += fact.delta
        flow = StockChangeKind.Name(fact.kind).removeprefix("STOCK_CHANGE_KIND_").lower()
        self.flows[fact.sku][flow if flow in GAINS else "adjusted"] += fact.delta
        return [place]

    def _stock_moved(self, fact: Any) -> list[LevelKey]:
        if self._skus is not None and fact.sku not in self._skus:
            return []
        place = (fact.sku, fact.location)
        unsellable = self.levels[place].unsellable
        for state, units in ((fact.from_state, -fact.quantity), (fact.to_state, fact.quantity)):
            if state in PARTS:
                unsellable[PARTS[state]] += units
                if unsellable[PARTS[state]] < 0:
                    self.complain(f"more of {fact.sku} at {fact.location} is moved than is in that state")
        return [place]

    def _transfer_shipped(self, fact: Any) -> list[LevelKey]:
        touched = []
        for line, origin, destination in self._transferred_lines(fact):
            self.levels[origin].on_hand -= line.quantity
            self.levels[destination].in_transit += line.quantity
            touched += [origin, destination]
        return touched

    def _transfer_received(self, fact: Any) -> list[LevelKey]:
        touched = []
        for line, origin, destination in self._transferred_lines(fact):
            level = self.levels[destination]
            level.in_transit -= line.in_transit
            level.on_hand += line.quantity
            self.levels[origin].on_hand -= line.sent_back
            if line.state in PARTS:
                level.unsellable[PARTS[line.state]] += line.quantity
            if line.in_transit + line.lost + line.sent_back + line.surplus != line.quantity:
                self.complain(f"an arrival does not add up: {line}")
            self.flows[line.sku].update(adjusted=line.surplus, lost=-line.lost)
            touched += [origin, destination]
        return touched

    def _transfer_closed(self, fact: Any) -> list[LevelKey]:
        touched = []
        for line, origin, destination in self._transferred_lines(fact):
            self.levels[destination].in_transit -= line.quantity
            if fact.remainder == TransferRemainder.SENT_BACK:
                self.levels[origin].on_hand += line.quantity
            else:
                self.flows[line.sku]["lost"] += line.quantity
            touched += [origin, destination]
        return touched

    def _transferred_lines(self, fact: Any) -> Iterator[tuple[Any, LevelKey, LevelKey]]:
        """The lines of a stock transfer that are looked at, each with its level at the origin and the destination."""
        for line in fact.lines:
            if self._skus is None or line.sku in self._skus:
                yield line, (line.sku, fact.from_location), (line.sku, fact.to_location)

    def _reserved(self, fact: Any) -> list[LevelKey]:
        lines = self._lines(fact)
        if not lines:
            return []
        if fact.reservation_id in self.holds:
            self.complain(f"the token {fact.reservation_id} is issued twice")
        hold = self.holds[fact.reservation_id] = Hold(fact.expire_time.ToMilliseconds())
        for place, units in lines:
            self._promise(hold, place, units, "reserved")
            hold.lines[place].taken += units
        heapq.heappush(self._ends, (hold.expire_ms, fact.reservation_id))
        return list(hold.lines)

    def _extended(self, fact: Any) -> list[LevelKey]:
        if self._skus is not None and fact.reservation_id not in self.holds:
            return []
        hold = self._hold(fact)
        if any(units.due for units in hold.lines.values()):
            self.complain("a hold is extended after its time")
        hold.expire_ms = fact.expire_time.ToMilliseconds()
        heapq.heappush(self._ends, (hold.expire_ms, fact.reservation_id))
        return []

    def _amended(self, fact: Any) -> list[LevelKey]:
        for place, wanted in (lines := self._lines(fact)):
            hold = self._hold(fact)
            more = wanted - hold.lines[place].reserved
            if more > 0:
                self._promise(hold, place, more, "reserved")
                hold.lines[place].taken += more
            else:
                self._leave(hold, place, -more, ("reserved",), "released")
        return [place for place, _ in lines]

    def _allocated(self, fact: Any) -> list[LevelKey]:
        for place, units in (lines := self._lines(fact)):
            hold = self._hold(fact)
            if fact.reacquired:
                # Back from expiry, whether or not the event that says so has been written.
                self._leave(hold, place, units, ("expired", "due"), "")
                self._promise(hold, place, units, "allocated")
            else:
                self._leave(hold, place, units, ("reserved",), "allocated")
        return [place for place, _ in lines]

    def _released(self, fact: Any) -> list[LevelKey]:
        for place, units in (lines := self._lines(fact)):
            self._leave(self._hold(fact), place, units, ("reserved", "allocated"), "released")
        return [place for place, _ in lines]

    def _fulfilled(self, fact: Any) -> list[LevelKey]:
        for place, units in (lines := self._lines(fact)):
            self._leave(self._hold(fact), place, units, ("allocated", "reserved"), "fulfilled")
            self.levels[place].on_hand -= units
            self.flows[place[0]]["fulfilled"] += units
        return [place for place, _ in lines]

    def _expired(self, fact: Any) -> list[LevelKey]:
        for place, units in (lines := self._lines(fact)):
            self._leave(self._hold(fact), place, units, ("due",), "expired")
        return [place for place, _ in lines]

    def _transferred(self, fact: Any) -> list[LevelKey]:
        touched = []
        for place, units in self._lines(fact):
            hold, to = self._hold(fact), (place[0], fact.to_location)
            timed = min(units, hold.lines[place].reserved)
            self._leave(hold, place, units, ("reserved", "allocated"), "")
            hold.lines[place].taken -= units
            hold.lines[to].taken += units
            self._promise(hold, to, timed, "reserved")
            self._promise(hold, to, units - timed, "allocated")
            touched += [place, to]
        return touched

    # Moving units

    def _lines(self, fact: Any) -> list[tuple[LevelKey, int]]:
        lines = lines_of(fact)
        return lines if self._skus is None else [line for line in lines if line[0][0] in self._skus]

    def _hold(self, fact: Any) -> Hold:
        if fact.reservation_id not in self.holds:
            self.complain(f"the hold {fact.reservation_id} was never taken")
        return self.holds.setdefault(fact.reservation_id, Hold(0))

    def _promise(self, hold: Hold, place: LevelKey, units: int, state: str) -> None:
        """A new promise: the units must be there, whoever wants them."""
        level = self.levels[place]
        missing = units - max(0, level.room)
        if missing > 0:
            self.oversold_units += missing
            self.complain(f"oversold: {units} units of {place} were promised, {level.room} were there")
        self._add(hold, place, state, units)

    def _leave(self, hold: Hold, place: LevelKey, units: int, states: tuple[str, ...], to: str) -> None:
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

    def _add(self, hold: Hold, place: LevelKey, state: str, units: int) -> None:
        line = hold.lines[place]
        setattr(line, state, getattr(line, state) + units)
        if state in ("reserved", "allocated"):
            level = self.levels[place]
            setattr(level, state, getattr(level, state) + units)

    def _check(self, place: LevelKey) -> None:
        level = self.levels[place]
        if min(level.on_hand, level.reserved, level.allocated, level.in_transit, *level.unsellable.values()) < 0:
            self.complain(f"a counter of {place} is negative: {level}")
        self._note(place, self._now_ms, passing=False)

    def _note(self, place: LevelKey, time_ms: int, *, passing: bool) -> None:
        if self._kept is None or place in self._kept:
            level = self.levels[place]
            self.history[place].append(
                Moment(self.sequence, time_ms, level.room, level.on_hand, level.reserved, level.allocated, passing)
            )


def _parts(event: Any) -> tuple[str, Any, Any, int]:
    """Kind, fact, context and engine time (ms) of an event in either form."""
    if isinstance(event, Event):
        return event.kind, event.fact, event.context, round(event.time.timestamp() * 1000)
    kind = str(event.WhichOneof("fact"))
    context = event.context if event.HasField("context") else None
    return kind, getattr(event, kind), context, event.time.ToMilliseconds()


def name_of(context: Any) -> Name:
    """What a command is known by."""
    source = context.source
    if context.idempotency_key:
        return context.channel or (f"source:{source.source_id}" if source.source_id else ""), context.idempotency_key
    return f"source:{source.source_id}", f"{source.epoch}/{source.sequence}"


def lines_of(fact: Any) -> list[tuple[LevelKey, int]]:
    """Units by place, as an event has them; those of a stock transfer by its destination."""
    to = getattr(fact, "to_location", "")
    return [((line.sku, getattr(line, "location", to)), line.quantity) for line in fact.lines]


def moved_by(kind: str, fact: Any) -> Moved:
    """Units by place of any event."""
    if kind in ("stock_changed", "stock_moved"):
        return (((fact.sku, fact.location), fact.delta if kind == "stock_changed" else fact.quantity),)
    return tuple(sorted(lines_of(fact))) if hasattr(fact, "lines") else ()
