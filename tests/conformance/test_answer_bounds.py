"""No answer exceeds the maximum of its method, even with names of 128 characters of four bytes each and every list at
its limit. A command whose answer could be longer is refused before it is executed, or answered with a summary."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import journal_service_pb2 as journal
from invengine.v1 import policy_service_pb2 as policy
from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import source_service_pb2 as sources
from invengine.v1 import types_pb2 as types

from . import methods, requests
from .methods import Method
from .own import own_target
from .refused import Refused
from .targets import TARGETS, EmbeddedTarget, ServerTarget, Target
from .worst_messages import WorstMessages

ROOT = Path(__file__).resolve().parents[2]
METHOD = re.compile(r"((?:  //.*\n)*)  rpc (\w+)\(")
BOUND = re.compile(r"has at most (\d+) (KiB|MiB)\.")
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20}
COUNT = 1_000
PLACES = 1_000
STOCKED = 5
"""So many locations have stock of every item."""
GROUPS = 7
MANY = 2**50
"""Units that take as many bytes as any."""


def long(text: str) -> str:
    """A name as long as it may be."""
    return "\U0001f9e1" * (128 - len(text)) + text


def stated() -> dict[str, int]:
    """The bound of every method that this version answers, as its comment in the protos states it."""
    found = {}
    for file in sorted((ROOT / "protos/invengine/v1").glob("*_service.proto")):
        text = file.read_text(encoding="utf-8")
        for service in re.findall(r"^service (\w+) \{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE):
            for comment, name in METHOD.findall(service[1]):
                bound = BOUND.search(comment)
                if bound:
                    found[f"/invengine.v1.{service[0]}/{name}"] = int(bound[1]) * UNITS[bound[2]]
    return found


class Worst:
    """A ledger with the longest names, and calls with the longest answers."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._numbers = itertools.count()
        self.skus = [long(f"sku{number:04}") for number in range(COUNT)]
        self.others = [long(f"another{number:04}") for number in range(COUNT)]
        self.places = [long(f"place{number:04}") for number in range(PLACES)]
        self.groups = [long(f"group{number:04}") for number in range(COUNT)]
        self.channels = [long(f"channel{number:04}") for number in range(COUNT)]
        self.sources = [long(f"source{number:04}") for number in range(COUNT)]
        self.channel, self.order, self.holder = long("channel"), long("order"), long("holder")
        self.upserts: list[tuple[Method[Any, Any], Any]] = [
            (methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(items=[self._item(sku) for sku in self.skus])),
            (methods.UPSERT_ITEMS, catalog.UpsertItemsRequest(items=[self._item(sku) for sku in self.others])),
            (
                methods.UPSERT_LOCATIONS,
                catalog.UpsertLocationsRequest(
                    locations=[catalog.Location(location=each, display_name=long("")) for each in self.places]
                ),
            ),
            (
                methods.UPSERT_CHANNELS,
                catalog.UpsertChannelsRequest(channels=[catalog.Channel(channel=self.channel, display_name=long(""))]),
            ),
            (
                methods.UPSERT_CHANNELS,
                catalog.UpsertChannelsRequest(channels=[catalog.Channel(channel=each) for each in self.channels]),
            ),
            (methods.UPSERT_LOCATION_GROUPS, self.groups_of(self.groups[GROUPS:], self.places[:1])),
            # As many groups with every location as one request can hold.
            (methods.UPSERT_LOCATION_GROUPS, self.groups_of(self.groups[:GROUPS], self.places)),
            (methods.UPSERT_SOURCE_PROFILES, self.profiles_of(self.sources[:2], self.channels, self.places)),
            (methods.UPSERT_SOURCE_PROFILES, self.profiles_of(self.sources[2:], [], self.places[5:6])),
            (methods.UPSERT_AUTHORITY_RULES, self.rules_of([long(f"rule{number:04}") for number in range(COUNT)])),
            (methods.UPSERT_CONSUMERS, self.consumers_of([long(f"consumer{number:04}") for number in range(COUNT)])),
        ]
        for method, request in self.upserts:
            request.context.CopyFrom(self.context())
            self.ask(method, request)
        for place in self.places[:STOCKED]:
            self.ask(methods.RECEIVE, requests.receive(self.context(), *self.lines(place, MANY)))

    @staticmethod
    def _item(sku: str) -> catalog.Item:
        return catalog.Item(sku=sku, display_name=long(""), gtin="0" * 14)

    @staticmethod
    def groups_of(names: list[str], places: list[str]) -> policy.UpsertLocationGroupsRequest:
        """Puts groups of these locations."""
        groups = [policy.LocationGroup(group=each, locations=places) for each in names]
        return policy.UpsertLocationGroupsRequest(location_groups=groups)

    @staticmethod
    def profiles_of(names: list[str], channels: list[str], places: list[str]) -> sources.UpsertSourceProfilesRequest:
        """Puts profiles with these limits."""
        profiles = [
            sources.SourceProfile(source_id=each, kind=types.SOURCE_KIND_OTHER, channels=channels, locations=places)
            for each in names
        ]
        return sources.UpsertSourceProfilesRequest(source_profiles=profiles)

    def rules_of(self, names: list[str]) -> policy.UpsertAuthorityRulesRequest:
        """Puts rules about what no command needs."""
        order, rules = [types.AUTHORITY_RIGHT_ORDER], policy.UpsertAuthorityRulesRequest()
        for name in names:
            rules.authority_rules.add(
                rule=name, rights=order, source_kind=types.SOURCE_KIND_OTHER, location=self.places[0]
            )
        return rules

    def registered(self) -> list[int]:
        """All sources with profiles."""
        m = methods.REGISTER_SOURCE
        return [self.ask(m, m.request(context=self.context(), source_id=each)) for each in self.sources]

    def claims(self) -> list[int]:
        """As many claims as there are items, of a source that may speak of another location only."""
        place = types.SourcePosition(source_id=self.sources[-1], sequence=1)
        registered = methods.REGISTER_SOURCE.request(context=self.context(), source_id=place.source_id)
        answer = self.target.call_raw(methods.REGISTER_SOURCE.path, registered.SerializeToString())
        place.epoch = methods.REGISTER_SOURCE.answer.FromString(answer).epoch
        context = types.CommandContext(source=place)
        self.ask(methods.COUNT, requests.count(context, *self.lines(self.places[0], MANY)))
        return self.pages(methods.LIST_CLAIMS)

    def owners(self) -> list[int]:
        """Owners with the longest name, as long as their rule is in force."""
        self.registered()
        put = policy.UpsertAuthorityRulesRequest(context=self.context())
        put.authority_rules.add(rule=long("owns"), rights=[types.AUTHORITY_RIGHT_SET], source_id=self.sources[0])
        self.ask(methods.UPSERT_AUTHORITY_RULES, put)
        found = self.pages(methods.LIST_OWNERS)
        delete = policy.DeleteAuthorityRulesRequest(context=self.context())
        delete.authority_rules.add(name=long("owns"))
        self.ask(methods.DELETE_AUTHORITY_RULES, delete)
        return found

    @staticmethod
    def consumers_of(names: list[str]) -> journal.UpsertConsumersRequest:
        """Puts consumers before the first event."""
        start = types.JournalPosition(ledger="main")
        return journal.UpsertConsumersRequest(
            consumers=[types.Consumer(consumer=each, position=start) for each in names]
        )

    def context(self, **fields: Any) -> types.CommandContext:
        """Shared fields with a new key, as long as it may be."""
        return types.CommandContext(idempotency_key=f"{next(self._numbers):0>128}", **fields)

    def lines(self, place: str, units: int) -> list[requests.Line]:
        """So many units of every item."""
        return [(sku, place, units) for sku in self.skus]

    def ask(self, method: Method[Any, Any], request: Any) -> int:
        """How long the answer is."""
        return len(self.target.call_raw(method.path, request.SerializeToString()))

    def once(self, method: Method[Any, Any], request: Any) -> list[int]:
        """The same as a list."""
        return [self.ask(method, request)]

    def deleted(self, upsert: Method[Any, Any], request: Any, delete: Method[Any, Any], **references: Any) -> list[int]:
        """A deletion of what is put for it."""
        request.context.CopyFrom(self.context())
        self.ask(upsert, request)
        return [self.ask(delete, delete.request(context=self.context(), **references))]

    def hold(self) -> types.HoldTarget:
        """A hold on every item at one location."""
        context = self.context(order_ref=self.order)
        self.ask(methods.RESERVE, requests.reserve(context, *self.lines(self.places[0], 2**20)))
        return requests.by_key(context.idempotency_key)

    def longest_hold(self) -> types.HoldTarget:
        """A hold with as many lines as one may have."""
        target = self.hold()
        self.ask(methods.AMEND, requests.amend(self.context(), target, *self.lines(self.places[1], 2**20)))
        with pytest.raises(Refused):
            self.ask(methods.AMEND, requests.amend(self.context(), target, (self.skus[0], self.places[2], 1)))
        return target

    def on_a_hold(self, method: Method[Any, Any]) -> list[int]:
        """A command on a long hold, and in short on the longest one."""
        request = method.request(context=self.context(), target=self.hold())
        short = method.request(context=self.context(accept_summary=True), target=self.longest_hold())
        for each in (request, short):
            if method is methods.TRANSFER:
                each.to_location = self.places[2]
        return [self.ask(method, request), self.ask(method, short)]

    def on_stock(self, method: Method[Any, Any]) -> list[int]:
        """A command on the stock of every item."""
        request = method.request(context=self.context())
        for sku in self.skus:
            line = request.lines.add(sku=sku, location=self.places[3])
            if method is methods.ADJUST:
                line.delta = 1
            else:
                line.quantity = MANY + 1
            if method is methods.MOVE_QUANTITY:
                line.to_state = types.STOCK_STATE_DAMAGED
        return [self.ask(method, request)]

    def shipped(self) -> int:
        """A transfer of every item."""
        m = methods.SHIP_TRANSFER
        return self.ask(
            m, m.request(context=self.context(), transfer=long(f"tr{next(self._numbers)}"), **self._shipment(1))
        )

    def _shipment(self, units: int) -> dict[str, Any]:
        lines = [inventory.ShipmentLine(sku=sku, quantity=units) for sku in self.skus]
        return {"from_location": self.places[0], "to_location": self.places[5], "lines": lines}

    def under_way(self) -> str:
        """The name of a transfer with the longest answer: as many items as one may have, in the most bytes."""
        name = long(f"tr{next(self._numbers)}")
        ship = methods.SHIP_TRANSFER.request(context=self.context(), transfer=name, **self._shipment(1))
        self.ask(methods.SHIP_TRANSFER, ship)
        arrive = methods.RECEIVE_TRANSFER.request(context=self.context(), transfer=name)
        for sku in self.others:
            arrive.lines.add(sku=sku, quantity=2**40)
        self.ask(methods.RECEIVE_TRANSFER, arrive)
        return name

    def on_a_transfer(self, method: Method[Any, Any], **fields: Any) -> list[int]:
        """A command on such a transfer, or a question."""
        context = {} if "Get" in method.path else {"context": self.context()}
        return [self.ask(method, method.request(transfer=self.under_way(), **context, **fields))]

    def transfer_deleted(self) -> list[int]:
        """A transfer that arrived."""
        name = self.under_way()
        whole = methods.RECEIVE_TRANSFER.request(context=self.context(), transfer=name, whole=True)
        self.ask(methods.RECEIVE_TRANSFER, whole)
        request = methods.DELETE_STOCK_TRANSFERS.request(context=self.context())
        request.stock_transfers.add(name=name, version=3)
        return [self.ask(methods.DELETE_STOCK_TRANSFERS, request)]

    def outcomes(self) -> list[int]:
        """What keys did: a long hold, the stock of every item."""
        hold = self.hold().reservation_key
        stock = requests.receive(self.context(), *self.lines(self.places[4], 1))
        self.ask(methods.RECEIVE, stock)
        return [
            self.ask(methods.GET_OUTCOME, methods.GET_OUTCOME.request(idempotency_key=key))
            for key in (hold, stock.context.idempotency_key)
        ]

    def replays(self) -> reservations.SubmitRequest:
        """A batch of one long answer given again and again."""
        again = requests.allocate(self.context(), self.hold())
        self.ask(methods.ALLOCATE, again)
        return requests.submit(*(again for _ in range(COUNT)))

    def stream(self) -> list[int]:
        """Two such batches over a stream; an engine in this process has none."""
        if not isinstance(self.target, ServerTarget):
            return []
        batch = self.replays().SerializeToString()
        return [len(answer) for answer in self.target.stream_raw(methods.SUBMIT_STREAM, iter([batch, batch]))]

    def availability(self) -> list[int]:
        """All at one location; all at every location, which is refused as long as it does not fit."""
        request = methods.GET_AVAILABILITY.request(channel=self.channel, allow_unknown=True)
        for sku in self.skus:
            request.queries.add(sku=sku, location=self.places[0])
        found = [self.ask(methods.GET_AVAILABILITY, request)]
        for query in request.queries:
            query.location = ""
        while not found[1:]:
            with suppress(Refused):
                found.append(self.ask(methods.GET_AVAILABILITY, request))
            del request.queries[-100:]
        assert found[-1] > stated()[methods.GET_AVAILABILITY.path] * 4 // 5
        return found

    def pages(self, method: Method[Any, Any], **wanted: str) -> list[int]:
        """Pages as long as they get."""
        request = method.request(page_size=COUNT, **wanted)
        found: list[int] = []
        while not found or request.page_token:
            answer = self.target.call_raw(method.path, request.SerializeToString())
            found.append(len(answer))
            request.page_token = method.answer.FromString(answer).next_page_token
        return found

    def past_levels(self) -> list[int]:
        """One level, and pages of all, as they are now."""
        request = methods.GET_STATE_AT.request(sequence=self.target.digest()[1])
        request.level.sku, request.level.location = self.skus[0], self.places[0]
        found = [self.ask(methods.GET_STATE_AT, request)]
        request.levels.page_size = COUNT
        while len(found) == 1 or request.levels.page_token:
            answer = self.target.call_raw(methods.GET_STATE_AT.path, request.SerializeToString())
            found.append(len(answer))
            request.levels.page_token = methods.GET_STATE_AT.answer.FromString(answer).next_page_token
        return found

    def history(self) -> list[int]:
        """Pages of changes whose causes are as long as they may be."""
        names = ("order_ref", "holder", "actor", "reason_code", "reference", "causation")
        for _ in range(COUNT):
            context = self.context(channel=self.channel, **{name: long(name) for name in names})
            self.ask(methods.RECEIVE, requests.receive(context, (self.skus[0], self.places[0], 1)))
        return self.pages(methods.LIST_HISTORY, sku=self.skus[0], location=self.places[0])

    def events(self) -> list[int]:
        """Every message of the whole journal."""
        if isinstance(self.target, EmbeddedTarget):
            return list(self._embedded_events(self.target))
        assert isinstance(self.target, ServerTarget)
        request = journal.ReadEventsRequest().SerializeToString()
        return [len(each) for each in self.target.channel.unary_stream(methods.READ_EVENTS, None, None)(request)]

    def _embedded_events(self, target: EmbeddedTarget) -> Iterator[int]:
        sequence, end = 1, target.digest()[1]
        while sequence <= end:
            answer = target.engine.read_events(sequence, 0, 0)
            sequence = journal.ReadEventsResponse.FromString(answer).events[-1].sequence + 1
            yield len(answer)


def calls(worst: Worst) -> dict[str, Callable[[], list[int]]]:
    """How to get the longest answers of each method, by its path."""
    m = methods
    found: dict[str, Callable[[], list[int]]] = {
        m.RESERVE.path: lambda: [
            worst.ask(m.RESERVE, requests.reserve(worst.context(), *worst.lines(worst.places[0], 2**20)))
        ],
        m.AMEND.path: lambda: [
            worst.ask(m.AMEND, requests.amend(worst.context(), worst.hold(), *worst.lines(worst.places[1], 2**20)))
        ],
        m.SUBMIT.path: lambda: [worst.ask(m.SUBMIT, worst.replays())],
        m.SUBMIT_STREAM: worst.stream,
        m.GET_AVAILABILITY.path: worst.availability,
        m.GET_RESERVATION.path: lambda: [
            worst.ask(
                m.GET_RESERVATION,
                m.GET_RESERVATION.request(reservation_key=worst.longest_hold().reservation_key),
            )
        ],
        m.GET_OUTCOME.path: worst.outcomes,
        m.GET_LEVEL.path: lambda: [
            worst.ask(m.GET_LEVEL, m.GET_LEVEL.request(sku=worst.skus[0], location=worst.places[0]))
        ],
        m.GET_ITEM.path: lambda: [worst.ask(m.GET_ITEM, m.GET_ITEM.request(sku=worst.skus[0]))],
        m.GET_LOCATION.path: lambda: [worst.ask(m.GET_LOCATION, m.GET_LOCATION.request(location=worst.places[0]))],
        m.GET_CHANNEL.path: lambda: [worst.ask(m.GET_CHANNEL, m.GET_CHANNEL.request(channel=worst.channel))],
        m.GET_LOCATION_GROUP.path: lambda: [
            worst.ask(m.GET_LOCATION_GROUP, m.GET_LOCATION_GROUP.request(group=worst.groups[0]))
        ],
        m.GET_CONSUMER.path: lambda: [worst.ask(m.GET_CONSUMER, m.GET_CONSUMER.request(consumer=long("consumer0000")))],
        m.DELETE_CONSUMERS.path: lambda: worst.deleted(
            m.UPSERT_CONSUMERS,
            worst.consumers_of([long("gone")]),
            m.DELETE_CONSUMERS,
            consumers=[types.EntityReference(name=long("gone"), version=1)],
        ),
        m.DELETE_ITEMS.path: lambda: worst.deleted(
            m.UPSERT_ITEMS,
            m.UPSERT_ITEMS.request(items=[catalog.Item(sku=long("gone"))]),
            m.DELETE_ITEMS,
            skus=[long("gone")],
        ),
        m.DELETE_LOCATIONS.path: lambda: worst.deleted(
            m.UPSERT_LOCATIONS,
            m.UPSERT_LOCATIONS.request(locations=[catalog.Location(location=long("gone"))]),
            m.DELETE_LOCATIONS,
            locations=[long("gone")],
        ),
        m.DELETE_LOCATION_GROUPS.path: lambda: worst.deleted(
            m.UPSERT_LOCATION_GROUPS,
            worst.groups_of([long("gone")], worst.places[:1]),
            m.DELETE_LOCATION_GROUPS,
            location_groups=[types.EntityReference(name=long("gone"), version=1)],
        ),
        m.SHIP_TRANSFER.path: lambda: [worst.shipped()],
        m.RECEIVE_TRANSFER.path: lambda: worst.on_a_transfer(m.RECEIVE_TRANSFER, whole=True),
        m.CLOSE_TRANSFER.path: lambda: worst.on_a_transfer(m.CLOSE_TRANSFER, remainder=types.TRANSFER_REMAINDER_LOST),
        m.GET_STOCK_TRANSFER.path: lambda: worst.on_a_transfer(m.GET_STOCK_TRANSFER),
        m.DELETE_STOCK_TRANSFERS.path: worst.transfer_deleted,
        m.REGISTER_SOURCE.path: worst.registered,
        m.LIST_CLAIMS.path: worst.claims,
        m.LIST_OWNERS.path: worst.owners,
        m.GET_SOURCE_PROFILE.path: lambda: [
            worst.ask(m.GET_SOURCE_PROFILE, m.GET_SOURCE_PROFILE.request(source_id=worst.sources[0]))
        ],
        m.GET_AUTHORITY_RULE.path: lambda: [
            worst.ask(m.GET_AUTHORITY_RULE, m.GET_AUTHORITY_RULE.request(rule=long("rule0000")))
        ],
        m.DELETE_SOURCE_PROFILES.path: lambda: worst.deleted(
            m.UPSERT_SOURCE_PROFILES,
            worst.profiles_of([long("gone")], [], []),
            m.DELETE_SOURCE_PROFILES,
            source_profiles=[types.EntityReference(name=long("gone"), version=1)],
        ),
        m.DELETE_AUTHORITY_RULES.path: lambda: worst.deleted(
            m.UPSERT_AUTHORITY_RULES,
            worst.rules_of([long("gone")]),
            m.DELETE_AUTHORITY_RULES,
            authority_rules=[types.EntityReference(name=long("gone"), version=1)],
        ),
        m.GET_DIGEST.path: lambda: [worst.ask(m.GET_DIGEST, m.GET_DIGEST.request())],
        m.GET_SERVER_INFO.path: lambda: [worst.ask(m.GET_SERVER_INFO, m.GET_SERVER_INFO.request())],
        "/invengine.v1.AdminService/CreateSnapshot": lambda: [
            len(worst.target.call_raw("/invengine.v1.AdminService/CreateSnapshot", b""))
        ],
        m.READ_EVENTS: worst.events,
        m.GET_STATE_AT.path: worst.past_levels,
        m.LIST_HISTORY.path: worst.history,
    }
    on_holds: list[Method[Any, Any]] = [m.EXTEND, m.ALLOCATE, m.TRANSFER, m.RELEASE, m.FULFILL]
    on_stock: list[Method[Any, Any]] = [m.RECEIVE, m.RETURN, m.ADJUST, m.COUNT, m.SET_QUANTITY, m.MOVE_QUANTITY]
    lists: list[Method[Any, Any]] = [
        m.LIST_RESERVATIONS,
        m.LIST_LEVELS,
        m.LIST_ITEMS,
        m.LIST_LOCATIONS,
        m.LIST_CHANNELS,
        m.LIST_LOCATION_GROUPS,
        m.LIST_STOCK_TRANSFERS,
        m.LIST_CONSUMERS,
        m.LIST_SOURCES,
        m.LIST_SOURCE_PROFILES,
        m.LIST_AUTHORITY_RULES,
    ]
    found |= {method.path: partial(worst.on_a_hold, method) for method in on_holds}
    found |= {method.path: partial(worst.on_stock, method) for method in on_stock}
    found |= {method.path: partial(worst.pages, method) for method in lists}
    found |= {method.path: partial(worst.once, method, request) for method, request in worst.upserts}
    found |= WorstMessages(worst, long("reports"), long("no-transfer")).calls()
    return found


@pytest.mark.parametrize("kind", TARGETS)
def test_no_answer_is_longer_than_the_contract_states(kind: str, tmp_path: Path) -> None:
    with own_target(kind, tmp_path) as target:
        found = {path: call() for path, call in calls(Worst(target)).items()}
    bounds = stated()
    assert found.keys() == bounds.keys()
    assert {path: lengths for path, lengths in found.items() if max(lengths, default=0) > bounds[path]} == {}
    silent = {methods.SUBMIT_STREAM, methods.RECORD_MESSAGE_STREAM} if kind == "embedded" else set()
    assert {path for path, lengths in found.items() if not lengths} == silent
    # What is stated is not far from what can be: a bound that nothing comes near is none.
    assert max(max(lengths, default=0) for lengths in found.values()) > max(bounds.values()) // 2


def test_every_method_states_its_bound_or_comes_later() -> None:
    text = "".join(file.read_text() for file in sorted((ROOT / "protos/invengine/v1").glob("*_service.proto")))
    later = {name for comment, name in METHOD.findall(text) if "UNIMPLEMENTED" in comment}
    declared = {methods.path_of(method) for method in methods.every_method() if method.name not in later}
    assert declared == stated().keys()
    assert max(stated().values()) == 4 << 20, "gRPC clients take 4 MiB unless told otherwise"
