"""Items, locations and keys of one test on a shared engine, and the checks at the end of every test."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import source_service_pb2 as sources
from invengine.v1 import types_pb2 as types
from invengine.v1.journal_service_pb2 import Event

from . import methods, requests
from .methods import A, Method, Q
from .refused import Refused, from_rejection
from .requests import HoldRequest, Line
from .targets import NO_METADATA, Target

ATTEMPTS = 8
POLL_S = 0.02
WAIT_S = 20.0


class Shop:
    """Names that no other test uses, with the commands that most tests need."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.tag = uuid.uuid4().hex[:10]
        self.here = f"{self.tag}-here"
        self.there = f"{self.tag}-there"
        self._numbers = itertools.count(1)
        self._skus: list[str] = []
        locations = [catalog.Location(location=name) for name in (self.here, self.there)]
        self.call(methods.UPSERT_LOCATIONS, catalog.UpsertLocationsRequest(context=self.context(), locations=locations))

    # Names

    def name(self, what: str) -> str:
        """Returns a new unique name."""
        return f"{self.tag}-{what}-{next(self._numbers)}"

    def context(self, key: str | None = None, **fields: str) -> types.CommandContext:
        """Returns shared fields with a new key, or this one."""
        found = types.CommandContext(idempotency_key=self.name("key") if key is None else key)
        for name, value in fields.items():
            setattr(found, name, value)
        return found

    def item(self, on_hand: int = 0, there: int = 0) -> str:
        """Creates an item with these units at the two locations."""
        sku = self.name("sku")
        self._skus.append(sku)
        self.call(
            methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=self.context(), items=[catalog.Item(sku=sku)])
        )
        stock = [(sku, place, units) for place, units in ((self.here, on_hand), (self.there, there)) if units]
        if stock:
            self.call(methods.RECEIVE, requests.receive(self.context(), *stock))
        return sku

    def items(self, count: int, on_hand: int) -> list[str]:
        """Creates many items with these units each, at the first location."""
        skus = [self.name("sku") for _ in range(count)]
        self._skus += skus
        items = [catalog.Item(sku=sku) for sku in skus]
        self.call(methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(context=self.context(), items=items))
        self.call(methods.RECEIVE, requests.receive(self.context(), *((sku, self.here, on_hand) for sku in skus)))
        return skus

    def channel(self) -> str:
        """A new channel."""
        name = self.name("channel")
        channels = [catalog.Channel(channel=name)]
        self.call(methods.UPSERT_CHANNELS, catalog.UpsertChannelsRequest(context=self.context(), channels=channels))
        return name

    def group(self, *locations: str) -> str:
        """A new location group."""
        name = self.name("group")
        request = methods.UPSERT_LOCATION_GROUPS.request(context=self.context())
        request.location_groups.add(group=name, locations=locations)
        self.call(methods.UPSERT_LOCATION_GROUPS, request)
        return name

    def stock_transfer(self, sku: str, units: int) -> str:
        """A new stock transfer from the first location to the second."""
        name = self.name("transfer")
        request = methods.SHIP_TRANSFER.request(
            context=self.context(), transfer=name, from_location=self.here, to_location=self.there
        )
        request.lines.add(sku=sku, quantity=units)
        self.call(methods.SHIP_TRANSFER, request)
        return name

    def consumer(self) -> str:
        """A new consumer of events, before the first event."""
        name = self.name("consumer")
        request = methods.UPSERT_CONSUMERS.request(context=self.context())
        request.consumers.add(consumer=name).position.ledger = "main"
        self.call(methods.UPSERT_CONSUMERS, request)
        return name

    def profile(self, source_id: str | None = None, kind: Any = types.SOURCE_KIND_OTHER, **limits: list[str]) -> str:
        """A profile of a source, which need not be registered."""
        name = source_id or self.name("source")
        request = methods.UPSERT_SOURCE_PROFILES.request(context=self.context())
        request.source_profiles.add(source_id=name, kind=kind, **limits)
        self.call(methods.UPSERT_SOURCE_PROFILES, request)
        return name

    def rule(self) -> str:
        """A new rule of authority with the one right that no command needs."""
        name = self.name("rule")
        request = methods.UPSERT_AUTHORITY_RULES.request(context=self.context())
        request.authority_rules.add(rule=name, operator=True, rights=[types.AUTHORITY_RIGHT_ORDER])
        self.call(methods.UPSERT_AUTHORITY_RULES, request)
        return name

    def source(self, source_id: str | None = None) -> types.SourcePosition:
        """A source in its new epoch, before its first message."""
        source_id = source_id or self.name("source")
        request = sources.RegisterSourceRequest(context=self.context(), source_id=source_id)
        return types.SourcePosition(source_id=source_id, epoch=self.call(methods.REGISTER_SOURCE, request).epoch)

    def claim(self) -> types.SourcePosition:
        """A new claim, of a new source whose profile keeps it to the second location; returns its message."""
        place = self.source()
        self.profile(place.source_id, locations=[self.there])
        context = types.CommandContext(source=place)
        context.source.sequence = place.sequence = 1
        request = requests.set_quantity(context, (self.item(), self.here, 7))
        assert list(self.call(methods.SET_QUANTITY, request).claimed_lines) == [0]
        return place

    # Commands

    def call(self, method: Method[Q, A], request: Q, *, metadata: Mapping[str, str] = NO_METADATA) -> A:
        """Calls a method and returns its answer."""
        return self.target.call(method, request, metadata=metadata)

    def reserve(
        self,
        *lines: Line,
        context: types.CommandContext | None = None,
        ttl_s: float | None = None,
        allow_partial: bool = False,
        replace_own: bool = False,
    ) -> reservations.ReserveResponse:
        """Takes a hold."""
        request = requests.reserve(
            context or self.context(), *lines, ttl_s=ttl_s, allow_partial=allow_partial, replace_own=replace_own
        )
        return self.call(methods.RESERVE, request)

    def hold(self, *lines: Line, ttl_s: float | None = None, **fields: str) -> types.HoldTarget:
        """Takes a hold and returns its target."""
        answer = self.reserve(*lines, context=self.context(**fields), ttl_s=ttl_s)
        return requests.by_id(answer.hold.reservation_id)

    def expired(self, *lines: Line, **fields: str) -> types.HoldTarget:
        """An expired hold."""
        answer = self.reserve(*lines, context=self.context(**fields), ttl_s=1)
        self.wait_until(answer.hold.expire_time)
        return requests.by_id(answer.hold.reservation_id)

    def allocate(self, target: types.HoldTarget, **fields: str) -> reservations.AllocateResponse:
        """Allocates holds."""
        return self.call(methods.ALLOCATE, requests.allocate(self.context(**fields), target))

    def release(self, target: types.HoldTarget, **fields: str) -> reservations.ReleaseResponse:
        """Releases holds."""
        return self.call(methods.RELEASE, requests.release(self.context(**fields), target))

    def fulfill(self, target: types.HoldTarget, **fields: str) -> reservations.FulfillResponse:
        """Fulfils holds."""
        return self.call(methods.FULFILL, requests.fulfill(self.context(**fields), target))

    def submit(self, *commands: HoldRequest) -> list[reservations.Outcome]:
        """The outcomes of one batch."""
        return list(self.call(methods.SUBMIT, requests.submit(*commands)).outcomes)

    def outcome(self, key: str, **scope: str) -> reservations.GetOutcomeResponse:
        """Returns the outcome of a key."""
        return self.call(methods.GET_OUTCOME, reservations.GetOutcomeRequest(idempotency_key=key, **scope))

    # Reads

    def level(self, sku: str, location: str | None = None) -> types.InventoryLevel:
        """Returns the level of an item, by default at the first location."""
        request = methods.GET_LEVEL.request(sku=sku, location=location or self.here)
        level = self.call(methods.GET_LEVEL, request).level
        adds_up(level)
        return level

    def available(self, sku: str, location: str | None = None) -> int:
        """Units that may be held now."""
        query = methods.GET_AVAILABILITY.request()
        query.queries.add(sku=sku, location=location or self.here)
        found = self.call(methods.GET_AVAILABILITY, query).availabilities
        assert [(each.sku, each.location) for each in found] == [(sku, location or self.here)]
        return found[0].available

    def reservation(self, target: types.HoldTarget) -> types.Reservation:
        """The current state of a hold."""
        request = reservations.GetReservationRequest(reservation_id=target.reservation_id)
        if target.reservation_key:
            request = reservations.GetReservationRequest(reservation_key=target.reservation_key)
        found = self.call(methods.GET_RESERVATION, request).reservation
        for line in found.lines:
            parts = (line.reserved, line.allocated, line.released, line.expired, line.fulfilled)
            assert line.quantity == sum(parts), line
            assert min(parts) >= 0, line
        return found

    def wait_until(self, moment: Timestamp) -> None:
        """Returns once engine time has reached this moment."""
        end = time.monotonic() + WAIT_S
        while (left_ms := moment.ToMilliseconds() - self.target.engine_time_ms()) > 0:
            assert time.monotonic() < end, f"engine time is {left_ms} ms short"
            time.sleep(max(POLL_S, left_ms / 2000))

    def event_after(self, sequence: int, is_wanted: Callable[[Event], bool]) -> Event:
        """Returns the first matching event after a position, waiting for it if necessary."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            for event in self.target.read_events(sequence + 1) or self.target.follow_events(sequence + 1, 1):
                sequence = event.sequence
                if is_wanted(event):
                    return event
        raise AssertionError(f"no event up to {sequence} is the one that was waited for")

    def end_of(self, hold: types.HoldChange, sequence: int) -> Event:
        """Returns the Expired event of a hold, waiting for it; `sequence` is a position before it."""
        return self.event_after(
            sequence, lambda event: event.expired.reservation_id == hold.reservation_id and event.HasField("expired")
        )

    # Refusals

    def refused(
        self,
        method: Method[Q, A],
        request: Q,
        reason: str,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        **facts: str | int,
    ) -> Refused:
        """Requires that a call is rejected with this reason and metadata, and that nothing changed."""
        payload = request.SerializeToString()
        return self.refused_raw(method.path, payload, reason, metadata=metadata, **facts)

    def refused_raw(
        self,
        path: str,
        payload: bytes,
        reason: str,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        **facts: str | int,
    ) -> Refused:
        """The same for bytes."""
        for _ in range(ATTEMPTS):
            before = self.target.digest()
            refused = refusal_of(self.target, path, payload, metadata)
            after = self.target.digest()
            check(refused, reason, facts)
            if before == after:
                return refused
            # A hold of an earlier test may expire in between, or a window of keys rotate: such an event is the engine's
            # own and has no command.
            news = self.target.read_events(before[1] + 1, after[1] - before[1]) if after[1] > before[1] else []
            assert news, f"{reason} changed the digest at sequence {before[1]}"
            assert not any(event.HasField("context") for event in news), f"{reason} wrote {news}"
        raise AssertionError("the engine never stops writing events of its own")

    # The end

    def finish(self) -> None:
        """Checks every level that the test may have changed."""
        for sku in self._skus[:40]:
            request = methods.LIST_LEVELS.request(sku=sku, page_size=1000)
            for level in self.call(methods.LIST_LEVELS, request).levels:
                adds_up(level)


def refusal_of(target: Target, path: str, payload: bytes, metadata: Mapping[str, str] = NO_METADATA) -> Refused:
    """Returns the rejection of a call that must not succeed."""
    try:
        answer = target.call_raw(path, payload, metadata=metadata)
    except Refused as refused:
        return refused
    raise AssertionError(f"{path} accepted what must be refused, and answered {answer[:200]!r}")


def check(refused: Refused, reason: str, facts: Mapping[str, str | int]) -> None:
    """Compares a rejection with the contract; further metadata is allowed."""
    assert refused.reason == reason, refused
    expected = {name: str(value) for name, value in facts.items()}
    assert {name: refused.metadata.get(name) for name in expected} == expected, refused


def check_rejected(outcome: reservations.Outcome, reason: str, **facts: str | int) -> Refused:
    """Returns the rejection of one command of a batch."""
    assert outcome.HasField("rejection"), outcome
    assert not outcome.holds, outcome
    refused = from_rejection(outcome.rejection)
    check(refused, reason, facts)
    return refused


def adds_up(level: types.InventoryLevel) -> None:
    """The arithmetic of a level, which holds at every sequence."""
    held = level.reserved + level.allocated
    unsellable = level.damaged + level.returned + level.quality_control
    assert level.on_hand + level.oversold == level.available + held + unsellable, level
    parts = (level.on_hand, level.reserved, level.allocated, level.damaged, level.returned, level.quality_control)
    assert min(*parts, level.in_transit, level.available, level.oversold) >= 0, level
    assert not (level.available and level.oversold), level


def figures(level: types.InventoryLevel) -> tuple[int, int, int, int]:
    """on_hand, reserved, allocated, available."""
    return level.on_hand, level.reserved, level.allocated, level.available
