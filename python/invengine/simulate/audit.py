"""An independent auditor: it recomputes every level from the events of the journal, with plain dicts.

It shares no code with the ledger and reads no counter. After every event it checks what must hold: units that a hold
took were available, nothing is negative, no line gives up more than it had, a hold expires at its time and not before,
and at the end the open holds add up to what the levels state as held.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from invengine.client import Event, Level
from invengine.client.times import stamp_ms
from invengine.simulate.answers import Answer
from invengine.simulate.sales import LevelKey

VIOLATIONS_KEPT = 50
_PARTS = {2: "damaged", 3: "returned", 4: "quality_control"}


@dataclass(slots=True)
class LevelState:
    """A level as computed from the events. `reserved` excludes expired holds."""

    on_hand: int = 0
    damaged: int = 0
    returned: int = 0
    quality_control: int = 0
    reserved: int = 0
    allocated: int = 0

    @property
    def free(self) -> int:
        """Units that are neither held nor unsellable; negative if there is a shortage."""
        unavailable = self.damaged + self.returned + self.quality_control
        return self.on_hand - unavailable - self.reserved - self.allocated

    @property
    def broken(self) -> bool:
        """True if a quantity is negative."""
        parts = (self.on_hand, self.damaged, self.returned, self.quality_control, self.reserved, self.allocated)
        return min(parts) < 0


@dataclass(slots=True)
class HoldLineState:
    """Units of one line of a hold by state. `due` units have expired, but their Expired event has not come yet."""

    reserved: int = 0
    allocated: int = 0
    due: int = 0
    expired: int = 0


@dataclass(slots=True)
class HoldState:
    """A hold as computed from the events."""

    expire_ms: int
    lines: dict[LevelKey, HoldLineState] = field(default_factory=dict)


class KeyEffect(NamedTuple):
    """The effect of a key: its last event."""

    sequence: int
    kind: str
    reservation_id: str


class StockQuery(NamedTuple):
    """Asks how many units were free at a time."""

    time_ms: float
    place: LevelKey


class Sample(NamedTuple):
    """The watched level at one moment of engine time."""

    time_ms: int
    available: int
    reserved: int
    allocated: int
    on_hand: int


class Auditor:
    """Applies events in order. Read its findings at the end, after `close`."""

    def __init__(self, watch: LevelKey | None = None, queries: Iterable[StockQuery] = ()) -> None:
        self.events = 0
        self.kinds: Counter[str] = Counter()
        self.oversold_units = 0
        self.violation_count = 0
        self.violations: list[str] = []
        self.effects: dict[tuple[str, str], KeyEffect] = {}
        """By (scope, key); the scope is the channel, else `source:` and the source, else empty. A numbered message
        without a key is known by its epoch and number, such as "1/17"."""
        self.expired_holds: set[str] = set()
        self.reacquired_holds: set[str] = set()
        self.fulfilled_units: Counter[LevelKey] = Counter()
        self.samples: list[Sample] = []
        self.watched_reserved_units = 0
        self.states: dict[LevelKey, LevelState] = {}
        self._holds: dict[str, HoldState] = {}
        self._ends: list[tuple[int, str]] = []
        self.free_units: dict[StockQuery, int] = {}
        """The answers to the queries."""
        self._queries = deque(sorted(queries))
        self._watch = watch
        self._now_ms = 0
        self._sequence = 0

    def take_all(self, events: Iterable[Event]) -> None:
        """Applies many events."""
        for event in events:
            self.take(event)

    def take(self, event: Event) -> None:
        """Applies one event and checks it."""
        self._sequence += 1
        if event.sequence != self._sequence:
            self._violation(event.sequence, f"the event before it was {self._sequence - 1}")
            self._sequence = event.sequence
        now_ms = round(event.time.timestamp() * 1000)
        if now_ms < self._now_ms:
            self._violation(event.sequence, "time went back")
        while self._queries and self._queries[0].time_ms < now_ms:
            self._answer(self._queries.popleft())
        self._now_ms = max(now_ms, self._now_ms)
        self._pass_time()
        self.events += 1
        self.kinds[event.kind] += 1
        self._remember(event)
        apply = getattr(self, f"_{event.kind}", None)
        if apply is not None:
            apply(event.sequence, event.fact)

    def close(self) -> None:
        """Answers the remaining queries, adds up the open holds and compares them with the levels."""
        while self._queries:
            self._answer(self._queries.popleft())
        reserved: Counter[LevelKey] = Counter()
        allocated: Counter[LevelKey] = Counter()
        for hold in self._holds.values():
            for place, line in hold.lines.items():
                reserved[place] += line.reserved
                allocated[place] += line.allocated
        for place, state in self.states.items():
            if (state.reserved, state.allocated) != (reserved[place], allocated[place]):
                self._violation(self._sequence, f"open holds of {place} do not add up to what is held there")

    def differences(self, levels: Iterable[Level]) -> list[str]:
        """Where the server's levels differ from those of the events."""
        found = []
        for level in levels:
            state = self.states.get((level.sku, level.location), LevelState())
            unavailable = (level.damaged, level.returned, level.quality_control)
            stated = (level.on_hand, level.reserved, level.allocated, *unavailable, level.available, level.oversold)
            parts = (state.damaged, state.returned, state.quality_control)
            mine = (state.on_hand, state.reserved, state.allocated, *parts, max(0, state.free), max(0, -state.free))
            if stated != mine:
                found.append(f"{level.sku} at {level.location}: the server says {stated}, the events {mine}")
        return found

    def contradiction(self, answer: Answer) -> str:
        """How the events contradict an acknowledged acceptance; empty if they agree with it."""
        effect = self.effects.get((answer.scope, answer.key))
        if effect is None:
            return f"{answer.scope} {answer.key}: answered {answer}, but no event has that key"
        if effect.sequence != answer.sequence or answer.reservation_id not in ("", effect.reservation_id):
            return f"{answer.scope} {answer.key}: answered {answer}, but the journal has {effect}"
        return ""

    # The effect of each fact

    def _reserved(self, sequence: int, fact: Any) -> None:
        hold = HoldState(stamp_ms(fact.expire_time))
        if fact.reservation_id in self._holds:
            self._violation(sequence, "a reservation id was issued twice")
        self._holds[fact.reservation_id] = hold
        for place, units in _lines(fact):
            self._check_available(sequence, place, units)
            self.states[place].reserved += units
            hold.lines.setdefault(place, HoldLineState()).reserved += units
            if place == self._watch:
                self.watched_reserved_units += units
            self._check(sequence, place)
        heapq.heappush(self._ends, (hold.expire_ms, fact.reservation_id))

    def _extended(self, sequence: int, fact: Any) -> None:
        hold = self._hold(sequence, fact.reservation_id)
        if any(line.due for line in hold.lines.values()):
            self._violation(sequence, "a hold was extended after its time")
        hold.expire_ms = stamp_ms(fact.expire_time)
        heapq.heappush(self._ends, (hold.expire_ms, fact.reservation_id))

    def _amended(self, sequence: int, fact: Any) -> None:
        hold = self._hold(sequence, fact.reservation_id)
        for place, units in _lines(fact):
            line = hold.lines.setdefault(place, HoldLineState())
            more = units - line.reserved
            if more > 0:
                self._check_available(sequence, place, more)
            self._state(place).reserved += more
            line.reserved = units
            self._check(sequence, place)

    def _allocated(self, sequence: int, fact: Any) -> None:
        hold = self._hold(sequence, fact.reservation_id)
        if fact.reacquired:
            self.reacquired_holds.add(fact.reservation_id)
        for place, units in _lines(fact):
            line, state = self._line(sequence, hold, place), self._state(place)
            if fact.reacquired:
                self._check_available(sequence, place, units)
                written = min(units, line.expired)
                line.expired -= written
                line.due -= units - written
            else:
                line.reserved -= units
                state.reserved -= units
            line.allocated += units
            state.allocated += units
            self._check(sequence, place, line)

    def _released(self, sequence: int, fact: Any) -> None:
        hold = self._hold(sequence, fact.reservation_id)
        for place, units in _lines(fact):
            line = self._line(sequence, hold, place)
            self._release_units(place, line, units, reserved=min(units, line.reserved))
            self._check(sequence, place, line)

    def _fulfilled(self, sequence: int, fact: Any) -> None:
        hold = self._hold(sequence, fact.reservation_id)
        for place, units in _lines(fact):
            line = self._line(sequence, hold, place)
            self._release_units(place, line, units, reserved=units - min(units, line.allocated))
            self.states[place].on_hand -= units
            self.fulfilled_units[place] += units
            self._check(sequence, place, line)

    def _expired(self, sequence: int, fact: Any) -> None:
        self.expired_holds.add(fact.reservation_id)
        hold = self._hold(sequence, fact.reservation_id)
        for place, units in _lines(fact):
            line = self._line(sequence, hold, place)
            if line.due < units:
                self._violation(sequence, f"{units} units of {place} expired, {line.due} were due")
            line.due -= min(units, line.due)
            line.expired += units

    def _transferred(self, sequence: int, fact: Any) -> None:
        hold = self._hold(sequence, fact.reservation_id)
        for place, units in _lines(fact):
            line, target = self._line(sequence, hold, place), (place[0], fact.to_location)
            reserved = min(units, line.reserved)
            self._release_units(place, line, units, reserved=reserved)
            self._check_available(sequence, target, units)
            moved, state = hold.lines.setdefault(target, HoldLineState()), self._state(target)
            moved.reserved += reserved
            moved.allocated += units - reserved
            state.reserved += reserved
            state.allocated += units - reserved
            self._check(sequence, place, line)
            self._check(sequence, target)

    def _stock_changed(self, sequence: int, fact: Any) -> None:
        place = (fact.sku, fact.location)
        state = self._state(place)
        part = _PARTS.get(fact.state)
        if part is not None:
            setattr(state, part, getattr(state, part) + fact.delta)
        state.on_hand += fact.delta
        self._check(sequence, place)

    # Checks

    def _pass_time(self) -> None:
        """Frees what has expired, whether or not its Expired event has come."""
        while self._ends and self._ends[0][0] <= self._now_ms:
            expire_ms, name = heapq.heappop(self._ends)
            hold = self._holds[name]
            if hold.expire_ms != expire_ms:
                continue
            for place, line in hold.lines.items():
                if line.reserved:
                    self.states[place].reserved -= line.reserved
                    line.due += line.reserved
                    line.reserved = 0
                    self._sample(place)

    def _answer(self, query: StockQuery) -> None:
        self.free_units[query] = max(0, self._state(query.place).free)

    def _check_available(self, sequence: int, place: LevelKey, units: int) -> None:
        """Checks that units that are about to be held are available."""
        short = units - max(0, self._state(place).free)
        if short > 0:
            self.oversold_units += short
            self._violation(sequence, f"{units} units of {place} were taken, {short} of them were not there")

    def _release_units(self, place: LevelKey, line: HoldLineState, units: int, reserved: int) -> None:
        state = self._state(place)
        line.reserved -= reserved
        state.reserved -= reserved
        line.allocated -= units - reserved
        state.allocated -= units - reserved

    def _check(self, sequence: int, place: LevelKey, line: HoldLineState | None = None) -> None:
        if self.states[place].broken:
            self._violation(sequence, f"a quantity of {place} became negative: {self.states[place]}")
        if line is not None and min(line.reserved, line.allocated, line.due, line.expired) < 0:
            self._violation(sequence, f"more units left a line of {place} than were in it: {line}")
        self._sample(place)

    def _sample(self, place: LevelKey) -> None:
        if place == self._watch:
            state = self.states[place]
            free = max(0, state.free)
            self.samples.append(Sample(self._now_ms, free, state.reserved, state.allocated, state.on_hand))

    def _remember(self, event: Event) -> None:
        context = event.context
        if context is None:
            return
        source = context.source
        scope = context.channel or (f"source:{source.source_id}" if source.source_id else "")
        key = context.idempotency_key or f"{source.epoch}/{source.sequence}"
        name = getattr(event.fact, "reservation_id", "")
        self.effects[scope, key] = KeyEffect(event.sequence, event.kind, name)

    def _hold(self, sequence: int, name: str) -> HoldState:
        if name not in self._holds:
            self._violation(sequence, "the reservation is not known")
        return self._holds.setdefault(name, HoldState(0))

    def _line(self, sequence: int, hold: HoldState, place: LevelKey) -> HoldLineState:
        self._state(place)
        if place not in hold.lines:
            self._violation(sequence, f"the hold has no line of {place}")
        return hold.lines.setdefault(place, HoldLineState())

    def _state(self, place: LevelKey) -> LevelState:
        return self.states.setdefault(place, LevelState())

    def _violation(self, sequence: int, text: str) -> None:
        self.violation_count += 1
        if len(self.violations) < VIOLATIONS_KEPT:
            self.violations.append(f"at {sequence}: {text}")


def _lines(fact: Any) -> list[tuple[LevelKey, int]]:
    return [((line.sku, line.location), line.quantity) for line in fact.lines]
