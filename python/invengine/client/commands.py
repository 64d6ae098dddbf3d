"""Commands as values: each function makes a `Draft`, which a client, an operation or a source then sends.

A draft gets its key and issue_time when it is first sent and keeps them, so sending the same draft again repeats the
same intention. The shared keyword arguments of all commands are `CommandFields`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import fields as fields_of
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar, Unpack

from invengine.client import arguments, decode
from invengine.client.lines import locate
from invengine.client.results import (
    Changes,
    Channel,
    Hold,
    Item,
    Location,
    Position,
    Registration,
    StockChanges,
    StockState,
    Upserted,
)
from invengine.client.times import put_seconds, put_time
from invengine.errors import InvalidArgument, InvengineError
from invengine.v1 import catalog_service_pb2 as catalog
from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import reservation_service_pb2 as reservation
from invengine.v1 import source_service_pb2 as sources

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LineTuple = tuple[str, str, int]
"""(sku, location, quantity); `results.Line` is one."""
PartTuple = tuple[str, str] | tuple[str, str, int]
"""(sku, location) for all of a line, or (sku, location, quantity)."""
QuantityTuple = tuple[str, str, int] | tuple[str, str, int, int]
"""(sku, location, quantity), or with the quantity that is expected to be there before."""


class CommandFields(TypedDict, total=False):
    """Keyword arguments that every command takes. None means left out; an empty text is refused (InvalidArgument).

    key: idempotency key, 1 to 128 printable ASCII bytes; a random one is made if none is given. Refusals of a key that
        is given are remembered like acceptances, over a restart of the server.
    issue_time: when the intention was first issued, a datetime with a time zone; now, if left out. Keep it together
        with a key of your own.
    channel: the sales channel that the command is for; the client's own if left out.
    source: the numbered message of an outside system that this is, a `Position`; a source's methods set it.
    order_ref: the order that a hold belongs to, at most 128 characters.
    holder: whom a hold is for, at most 128 characters.
    event_time: when it happened outside, a datetime with a time zone; recorded, never used for a decision.
    actor: who asks, at most 128 characters, recorded; the client's own if left out.
    reason_code: why, a code of your own list, at most 128 characters, recorded.
    reference: the document behind it, at most 128 characters, recorded.
    causation: the message that caused it, at most 128 characters, recorded.
    """

    key: str | None
    issue_time: datetime | None
    channel: str | None
    source: Position | None
    order_ref: str | None
    holder: str | None
    event_time: datetime | None
    actor: str | None
    reason_code: str | None
    reference: str | None
    causation: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Kind(Generic[T_co]):
    """One command of the contract. `submit_field` is its field number in `Command`, 0 if it has none."""

    name: str
    method: str
    answer: Any
    decode: Callable[[Any], T_co]
    submit_field: int = 0


class Draft(Generic[T_co]):
    """A command that has not been sent yet, or is about to be sent again."""

    __slots__ = ("kind", "request")

    def __init__(self, kind: Kind[T_co], request: Any) -> None:
        self.kind = kind
        self.request = request

    def __repr__(self) -> str:
        return f"<{self.kind.name} {self.key or 'without a key yet'}>"

    @property
    def key(self) -> str:
        """Its idempotency key; empty until one is given."""
        return str(self.request.context.idempotency_key)

    def stamp(self, now_ns: int) -> None:
        """Issues it now."""
        stamp = self.request.context.issue_time
        stamp.seconds, stamp.nanos = divmod(now_ns, 1_000_000_000)

    def locate(self, error: InvengineError) -> InvengineError:
        """Adds to a rejection what the caller's own lines tell about it.

        That is in its metadata the `line` that it is about, counted from 1, of how many `lines`; and the units
        `requested` on it, where the server names only what is there.
        """
        locate(error, self.request)
        return error

    def seal(self, now_ns: int, key: str = "", channel: str = "", actor: str = "") -> str:
        """Fills in what was left open (key, issue_time, channel, actor) and returns the key.

        A message of a source is known by its number and gets no key of its own. A `key` that is given is one that its
        caller named; a random one is nobody's, and refusals of it need not outlive the server.
        """
        context = self.request.context
        own: str = context.idempotency_key
        if not own and not context.HasField("source"):
            if key:
                name_key(context, key)
            own = context.idempotency_key = key or new_key()
        if not context.HasField("issue_time"):
            self.stamp(now_ns)
        if channel and not context.channel:
            context.channel = channel
        if actor and not context.actor:
            context.actor = actor
        return own


def name_key(context: Any, key: str) -> None:
    """Gives a command a key that its caller knows and may come back with: a refusal is then worth as much as a yes."""
    context.idempotency_key = key
    context.remember_refusal = True


def new_key() -> str:
    """A key that nobody else makes: 128 random bits, the same after a fork as before one."""
    return os.urandom(16).hex()


def _hold_kind(name: str, rpc: str, field: int, read: Callable[[Any], T]) -> Kind[T]:
    return Kind(name, f"/invengine.v1.ReservationService/{rpc}", getattr(reservation, f"{rpc}Response"), read, field)


def _stock_kind(name: str, rpc: str) -> Kind[StockChanges]:
    answer = getattr(inventory, f"{rpc}Response")
    return Kind(name, f"/invengine.v1.InventoryService/{rpc}", answer, decode.stock_changed)


def _catalog_kind(name: str, rpc: str) -> Kind[Upserted]:
    answer = getattr(catalog, f"{rpc}Response")
    return Kind(name, f"/invengine.v1.CatalogService/{rpc}", answer, decode.upserted)


_RESERVE = _hold_kind("reserve", "Reserve", 1, decode.reserved)
_EXTEND = _hold_kind("extend", "Extend", 2, decode.changed)
_AMEND = _hold_kind("amend", "Amend", 3, decode.changed)
_ALLOCATE = _hold_kind("allocate", "Allocate", 4, decode.changed)
_RELEASE = _hold_kind("release", "Release", 5, decode.released)
_FULFILL = _hold_kind("fulfill", "Fulfill", 6, decode.changed)
_TRANSFER = _hold_kind("transfer", "TransferReservation", 7, decode.changed)
_RECEIVE = _stock_kind("receive", "Receive")
_RETURN = _stock_kind("return", "Return")
_ADJUST = _stock_kind("adjust", "Adjust")
_SET = _stock_kind("set", "SetQuantity")
_COUNT = _stock_kind("count", "Count")
_ITEMS = _catalog_kind("items", "UpsertItems")
_LOCATIONS = _catalog_kind("locations", "UpsertLocations")
_CHANNELS = _catalog_kind("channels", "UpsertChannels")
_REGISTER: Kind[Registration] = Kind(
    "register", "/invengine.v1.SourceService/RegisterSource", sources.RegisterSourceResponse, decode.registration
)


def fill(context: Any, fields: Mapping[str, Any]) -> None:
    """Puts the shared fields of a command into its context."""
    for name, value in fields.items():
        if value is None:
            continue
        if name == "key":
            name_key(context, arguments.named(value, name))
        elif name in ("issue_time", "event_time"):
            put_time(getattr(context, name), value, name)
        elif name == "source":
            if not isinstance(value, Position):
                raise InvalidArgument(name, f"a Position; got {value!r}")
            place = context.source
            place.source_id, place.epoch, place.sequence = value.source_id, value.epoch, value.sequence
        elif name in CommandFields.__annotations__:
            setattr(context, name, arguments.named(value, name))
        else:
            raise InvalidArgument(name, f"unknown; a command takes {', '.join(CommandFields.__annotations__)}")


def _target(
    request: Any,
    reservation_id: str | Hold | None,
    reservation_key: str | None,
    order: str | None,
    lines: Iterable[PartTuple] | None,
    expected_version: int | None,
) -> None:
    if (reservation_id is not None) + (reservation_key is not None) + (order is not None) != 1:
        raise InvalidArgument(
            "reservation_id", "name the hold by exactly one of reservation_id, reservation_key, order"
        )
    # However many holds it changes: what is too long to be told in full is told in short (`Changes.summary`).
    request.context.accept_summary = True
    target = request.target
    if reservation_id is not None:
        token = reservation_id.reservation_id if isinstance(reservation_id, Hold) else reservation_id
        target.reservation_id = arguments.named(token, "reservation_id")
    elif reservation_key is not None:
        target.reservation_key = arguments.named(reservation_key, "reservation_key")
    else:
        target.order_ref = arguments.named(order, "order")
    if lines is not None:
        for sku, location, *quantity in arguments.parts(lines):
            target.lines.add(sku=sku, location=location, quantity=quantity[0] if quantity else 0)
    if expected_version is not None:
        target.expected_version = arguments.positive(expected_version, "expected_version", "any version")


def reserve(
    lines: Iterable[LineTuple],
    *,
    ttl_s: float | None = None,
    allow_partial: bool = False,
    replace_own: bool = False,
    **fields: Unpack[CommandFields],
) -> Draft[Hold]:
    """A timed hold on every line, or on none of them.

    `ttl_s` is 1 s to 30 days; 15 minutes if None. `allow_partial` takes what is there. `replace_own` first releases
    what the same holder has reserved on the same levels.
    """
    request = reservation.ReserveRequest()
    if fields:
        fill(request.context, fields)
    add = request.lines.add
    for sku, location, quantity in arguments.rows(
        lines, (3,), arguments.HELD_LINE
    ):  # Attribute by attribute costs a third less than keyword arguments.
        line = add()
        line.sku = sku
        line.location = location
        line.quantity = quantity
    if ttl_s is not None:
        put_seconds(request.ttl, arguments.seconds(ttl_s, "ttl_s"))
    if allow_partial is not False and arguments.flag(allow_partial, "allow_partial"):
        request.allow_partial = True
    if replace_own is not False and arguments.flag(replace_own, "replace_own"):
        request.replace_own = True
    return Draft(_RESERVE, request)


def extend(
    reservation_id: str | Hold | None = None,
    *,
    reservation_key: str | None = None,
    order: str | None = None,
    ttl_s: float | None = None,
    expected_version: int | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[Changes]:
    """A new end for what is still reserved: `ttl_s` from now, 15 minutes if None."""
    request = reservation.ExtendRequest()
    fill(request.context, fields)
    _target(request, reservation_id, reservation_key, order, None, expected_version)
    if ttl_s is not None:
        put_seconds(request.ttl, arguments.seconds(ttl_s, "ttl_s"))
    return Draft(_EXTEND, request)


def amend(
    lines: Iterable[LineTuple],
    reservation_id: str | Hold | None = None,
    *,
    reservation_key: str | None = None,
    expected_version: int | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[Changes]:
    """New reserved quantities of the named lines, in one step. 0 takes a line out; a new line is added."""
    request = reservation.AmendRequest()
    fill(request.context, fields)
    _target(request, reservation_id, reservation_key, None, None, expected_version)
    for sku, location, quantity in arguments.rows(lines, (3,), arguments.HELD_LINE):
        request.lines.add(sku=sku, location=location, quantity=quantity)
    return Draft(_AMEND, request)


def _on_hold(
    kind: Kind[Changes],
    request: Any,
    reservation_id: str | Hold | None,
    reservation_key: str | None,
    order: str | None,
    lines: Iterable[PartTuple] | None,
    expected_version: int | None,
    fields: Mapping[str, Any],
) -> Draft[Changes]:
    fill(request.context, fields)
    _target(request, reservation_id, reservation_key, order, lines, expected_version)
    return Draft(kind, request)


def allocate(
    reservation_id: str | Hold | None = None,
    *,
    reservation_key: str | None = None,
    order: str | None = None,
    lines: Iterable[PartTuple] | None = None,
    expected_version: int | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[Changes]:
    """A hard hold without expiry, bound to `order_ref`. After expiry it takes the units again if they are there.

    A refusal is remembered like an acceptance, whatever happens to the server.
    """
    request = reservation.AllocateRequest()
    # A payment hangs on it: who was told no has given the money back.
    request.context.remember_refusal = True
    return _on_hold(_ALLOCATE, request, reservation_id, reservation_key, order, lines, expected_version, fields)


def release(
    reservation_id: str | Hold | None = None,
    *,
    reservation_key: str | None = None,
    order: str | None = None,
    lines: Iterable[PartTuple] | None = None,
    expected_version: int | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[Changes]:
    """Units given back, all or the named lines. By a key not seen yet it cancels that key."""
    request = reservation.ReleaseRequest()
    return _on_hold(_RELEASE, request, reservation_id, reservation_key, order, lines, expected_version, fields)


def fulfill(
    reservation_id: str | Hold | None = None,
    *,
    reservation_key: str | None = None,
    order: str | None = None,
    lines: Iterable[PartTuple] | None = None,
    expected_version: int | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[Changes]:
    """Goods leave: lowers on_hand. What is only reserved is allocated and fulfilled in one step."""
    request = reservation.FulfillRequest()
    return _on_hold(_FULFILL, request, reservation_id, reservation_key, order, lines, expected_version, fields)


def transfer(
    to_location: str,
    reservation_id: str | Hold | None = None,
    *,
    reservation_key: str | None = None,
    lines: Iterable[PartTuple] | None = None,
    expected_version: int | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[Changes]:
    """The promise moved to another location that has room; no goods move."""
    request = reservation.TransferReservationRequest(to_location=arguments.named(to_location, "to_location"))
    return _on_hold(_TRANSFER, request, reservation_id, reservation_key, None, lines, expected_version, fields)


def _on_stock(
    kind: Kind[StockChanges], request: Any, state: StockState | None, fields: Mapping[str, Any]
) -> Draft[StockChanges]:
    fill(request.context, fields)
    if state is not None:
        if not isinstance(state, StockState):
            raise InvalidArgument("state", f"a StockState; got {state!r}: leave it out for on_hand")
        for line in request.lines:
            line.state = int(state)
    return Draft(kind, request)


def _units(lines: Iterable[LineTuple]) -> list[inventory.StockLine]:
    given = arguments.rows(lines, (3,), arguments.HELD_LINE)
    return [inventory.StockLine(sku=sku, location=at, quantity=units) for sku, at, units in given]


def receive(
    lines: Iterable[LineTuple], *, state: StockState | None = None, **fields: Unpack[CommandFields]
) -> Draft[StockChanges]:
    """Goods came in; `state` says into which part of the stock, on_hand if None."""
    return _on_stock(_RECEIVE, inventory.ReceiveRequest(lines=_units(lines)), state, fields)


def return_(
    lines: Iterable[LineTuple], *, state: StockState | None = None, **fields: Unpack[CommandFields]
) -> Draft[StockChanges]:
    """Sold goods came back; `state` says whether they can be sold again."""
    return _on_stock(_RETURN, inventory.ReturnRequest(lines=_units(lines)), state, fields)


def adjust(
    lines: Iterable[LineTuple], *, state: StockState | None = None, **fields: Unpack[CommandFields]
) -> Draft[StockChanges]:
    """Differences, up or down; below zero is refused (InsufficientStock)."""
    given = arguments.rows(lines, (3,), "(sku, location, delta)", "delta")
    stock = [inventory.StockDelta(sku=sku, location=at, delta=delta) for sku, at, delta in given]
    return _on_stock(_ADJUST, inventory.AdjustRequest(lines=stock), state, fields)


def _quantities(lines: Iterable[QuantityTuple]) -> list[inventory.StockQuantity]:
    return [
        inventory.StockQuantity(
            sku=line[0], location=line[1], quantity=line[2], expected_quantity=line[3] if len(line) > 3 else None
        )
        for line in arguments.rows(lines, (3, 4), arguments.QUANTITY_LINE)
    ]


def set_quantity(
    lines: Iterable[QuantityTuple], *, state: StockState | None = None, **fields: Unpack[CommandFields]
) -> Draft[StockChanges]:
    """Absolute quantities. A fourth element of a line is the quantity expected before (else QuantityStale)."""
    return _on_stock(_SET, inventory.SetQuantityRequest(lines=_quantities(lines)), state, fields)


def count(
    lines: Iterable[QuantityTuple], *, state: StockState | None = None, **fields: Unpack[CommandFields]
) -> Draft[StockChanges]:
    """What somebody counted. Below what is held it is still accepted, and the level shows `oversold`."""
    return _on_stock(_COUNT, inventory.CountRequest(lines=_quantities(lines)), state, fields)


def _entries(entries: Iterable[T], kind: type[T], name: str) -> Iterator[T]:
    number = -1
    for number, entry in enumerate(arguments.each(entries, name)):
        if not isinstance(entry, kind):
            raise InvalidArgument(f"{name}[{number}]", f"{kind.__name__}(...); got {entry!r}")
        for field in fields_of(kind):  # type: ignore[arg-type]
            arguments.text(getattr(entry, field.name), f"{name}[{number}].{field.name}")
        yield entry
    if number < 0:
        raise InvalidArgument(name, "at least one")


def upsert_items(items: Iterable[Item], **fields: Unpack[CommandFields]) -> Draft[Upserted]:
    """Items created or replaced, atomically: 1 to 1,000."""
    wanted = [
        catalog.Item(sku=each.sku, display_name=each.display_name, gtin=each.gtin)
        for each in _entries(items, Item, "items")
    ]
    request = catalog.UpsertItemsRequest(items=wanted)
    fill(request.context, fields)
    return Draft(_ITEMS, request)


def upsert_locations(locations: Iterable[Location], **fields: Unpack[CommandFields]) -> Draft[Upserted]:
    """Locations created or replaced, atomically: 1 to 1,000."""
    wanted = [
        catalog.Location(location=each.location, display_name=each.display_name, gln=each.gln)
        for each in _entries(locations, Location, "locations")
    ]
    request = catalog.UpsertLocationsRequest(locations=wanted)
    fill(request.context, fields)
    return Draft(_LOCATIONS, request)


def upsert_channels(channels: Iterable[Channel], **fields: Unpack[CommandFields]) -> Draft[Upserted]:
    """Channels created or replaced, atomically: 1 to 1,000."""
    wanted = [
        catalog.Channel(channel=each.channel, display_name=each.display_name)
        for each in _entries(channels, Channel, "channels")
    ]
    request = catalog.UpsertChannelsRequest(channels=wanted)
    fill(request.context, fields)
    return Draft(_CHANNELS, request)


def register_source(source_id: str, **fields: Unpack[CommandFields]) -> Draft[Registration]:
    """The next epoch of a source. Older epochs are refused from then on."""
    request = sources.RegisterSourceRequest(source_id=arguments.named(source_id, "source_id"))
    fill(request.context, fields)
    return Draft(_REGISTER, request)
