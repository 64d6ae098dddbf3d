"""Commands as values: each function makes a `Draft`, which a client, an operation or a source then sends.

A draft gets its key and issue_time when it is first sent and keeps them, so sending the same draft again repeats the
same intention. The shared keyword arguments of all commands are `CommandFields`. The method of the same name on a
client, an operation or a source makes the draft and sends it (`invengine.client.methods`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from invengine.client import arguments, contract, decode, results
from invengine.client.authority import *  # noqa: F403
from invengine.client.draft import CommandFields as CommandFields
from invengine.client.draft import Draft as Draft
from invengine.client.draft import Kind
from invengine.client.entities import *  # noqa: F403
from invengine.client.kept_messages import *  # noqa: F403
from invengine.client.reserving import reserving
from invengine.client.stock_transfers import *  # noqa: F403
from invengine.client.times import put_seconds, seconds_and_nanos
from invengine.errors import InvalidArgument

if TYPE_CHECKING:
    from invengine.client.results import (
        Changes,
        Hold,
        Registration,
        StockChanges,
        StockState,
    )

T = TypeVar("T")

LineTuple = tuple[str, str, int]
"""(sku, location, quantity); `results.Line` is one."""
PartTuple = tuple[str, str] | tuple[str, str, int]
"""(sku, location) for all of a line, or (sku, location, quantity)."""
QuantityTuple = tuple[str, str, int] | tuple[str, str, int, int]
"""(sku, location, quantity), or with the expected quantity before the command."""


_RESERVE = Kind("reserve", "reservation", "Reserve", decode.reserved, 1, decode.only_hold)
_EXTEND = Kind("extend", "reservation", "Extend", decode.changed, 2, decode.changed_holds)
_AMEND = Kind("amend", "reservation", "Amend", decode.changed, 3, decode.changed_holds)
_ALLOCATE = Kind("allocate", "reservation", "Allocate", decode.changed, 4, decode.changed_holds)
_RELEASE = Kind("release", "reservation", "Release", decode.released, 5, decode.changed_holds)
_FULFILL = Kind("fulfill", "reservation", "Fulfill", decode.changed, 6, decode.changed_holds)
_TRANSFER = Kind("transfer", "reservation", "TransferReservation", decode.changed, 7, decode.changed_holds)
_RECEIVE = Kind("receive", "inventory", "Receive", decode.stock_changed)
_RETURN = Kind("return", "inventory", "Return", decode.stock_changed)
_ADJUST = Kind("adjust", "inventory", "Adjust", decode.stock_changed)
_SET = Kind("set", "inventory", "SetQuantity", decode.stock_changed)
_COUNT = Kind("count", "inventory", "Count", decode.stock_changed)
_MOVE = Kind("move", "inventory", "MoveQuantity", decode.stock_changed)
_REGISTER = Kind("register", "source", "RegisterSource", decode.registration)


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
    # An answer that would be too long to list every hold has a summary instead (`Changes.summary`).
    request.context.accept_summary = True
    target = request.target
    if reservation_id is not None:
        token = reservation_id.reservation_id if isinstance(reservation_id, results.Hold) else reservation_id
        target.reservation_id = arguments.nonempty(token, "reservation_id")
    elif reservation_key is not None:
        target.reservation_key = arguments.nonempty(reservation_key, "reservation_key")
    else:
        target.order_ref = arguments.nonempty(order, "order")
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
    """Takes a timed hold on every line, or on none (InsufficientStock).

    `ttl_s` is 1 s to 30 days; 15 minutes if None. `allow_partial` takes what is available. `replace_own` first releases
    what the same holder has reserved on the same levels.
    """
    rows = arguments.rows(lines, (3,), arguments.HELD_LINE)
    ttl = None if ttl_s is None else seconds_and_nanos(arguments.seconds(ttl_s, "ttl_s"))
    flags = (
        allow_partial is not False and arguments.flag(allow_partial, "allow_partial"),
        replace_own is not False and arguments.flag(replace_own, "replace_own"),
    )
    return reserving(_RESERVE, tuple(rows), ttl, flags, fields)


def extend(
    reservation_id: str | Hold | None = None,
    *,
    reservation_key: str | None = None,
    order: str | None = None,
    ttl_s: float | None = None,
    expected_version: int | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[Changes]:
    """Sets the expiry of what is still reserved to `ttl_s` from now, 15 minutes if None."""
    request = contract.reservation.ExtendRequest()
    _target(request, reservation_id, reservation_key, order, None, expected_version)
    if ttl_s is not None:
        put_seconds(request.ttl, arguments.seconds(ttl_s, "ttl_s"))
    return Draft(_EXTEND, request, fields)


def amend(
    lines: Iterable[LineTuple],
    reservation_id: str | Hold | None = None,
    *,
    reservation_key: str | None = None,
    expected_version: int | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[Changes]:
    """Sets new reserved quantities of the named lines, in one step; 0 removes a line, a new line is added."""
    request = contract.reservation.AmendRequest()
    _target(request, reservation_id, reservation_key, None, None, expected_version)
    for sku, location, quantity in arguments.rows(lines, (3,), arguments.HELD_LINE):
        request.lines.add(sku=sku, location=location, quantity=quantity)
    return Draft(_AMEND, request, fields)


def _on_hold(
    kind: Kind[Changes],
    request: Any,
    reservation_id: str | Hold | None,
    reservation_key: str | None,
    order: str | None,
    lines: Iterable[PartTuple] | None,
    expected_version: int | None,
    fields: CommandFields,
) -> Draft[Changes]:
    _target(request, reservation_id, reservation_key, order, lines, expected_version)
    return Draft(kind, request, fields)


def allocate(
    reservation_id: str | Hold | None = None,
    *,
    reservation_key: str | None = None,
    order: str | None = None,
    lines: Iterable[PartTuple] | None = None,
    expected_version: int | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[Changes]:
    """Turns a timed hold into a permanent one of `order_ref`; after expiry it takes the units again if available.

    A rejection is remembered like an acceptance, even if the server restarts.
    """
    request = contract.reservation.AllocateRequest()
    # A payment depends on it: a caller that got a rejection has refunded the money.
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
    """Releases units, all or the named lines. A key that is not known yet is cancelled: `key_cancelled` is True.

    A warning in the log then states the scope in which the key was looked up: keys are scoped by channel.
    """
    request = contract.reservation.ReleaseRequest()
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
    """Records that goods left: lowers on_hand. Units that are only reserved are allocated and fulfilled in one step."""
    request = contract.reservation.FulfillRequest()
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
    """Moves a hold to another location with enough available units. It moves no goods."""
    request = contract.reservation.TransferReservationRequest(
        to_location=arguments.nonempty(to_location, "to_location")
    )
    return _on_hold(_TRANSFER, request, reservation_id, reservation_key, None, lines, expected_version, fields)


def _on_stock(
    kind: Kind[StockChanges], request: Any, state: StockState | None, fields: CommandFields
) -> Draft[StockChanges]:
    if state is not None:
        known = _known_state(state, "state")
        for line in request.lines:
            line.state = known
    return Draft(kind, request, fields)


def _units(lines: Iterable[LineTuple]) -> list[contract.inventory.StockLine]:
    given = arguments.rows(lines, (3,), arguments.HELD_LINE)
    return [contract.inventory.StockLine(sku=sku, location=at, quantity=units) for sku, at, units in given]


def receive(
    lines: Iterable[LineTuple], *, state: StockState | None = None, **fields: Unpack[CommandFields]
) -> Draft[StockChanges]:
    """Records received goods; `state` is the part of the stock they go to, on_hand if None."""
    return _on_stock(_RECEIVE, contract.inventory.ReceiveRequest(lines=_units(lines)), state, fields)


def return_(
    lines: Iterable[LineTuple], *, state: StockState | None = None, **fields: Unpack[CommandFields]
) -> Draft[StockChanges]:
    """Records returned goods; `state` says whether they can be sold again."""
    return _on_stock(_RETURN, contract.inventory.ReturnRequest(lines=_units(lines)), state, fields)


def adjust(
    lines: Iterable[LineTuple], *, state: StockState | None = None, **fields: Unpack[CommandFields]
) -> Draft[StockChanges]:
    """Records differences, up or down; below zero is refused (InsufficientStock). State the reason in `reason_code`."""
    given = arguments.rows(lines, (3,), "(sku, location, delta)", "delta")
    stock = [contract.inventory.StockDelta(sku=sku, location=at, delta=delta) for sku, at, delta in given]
    return _on_stock(_ADJUST, contract.inventory.AdjustRequest(lines=stock), state, fields)


def _put_quantities(request: Any, lines: Iterable[QuantityTuple]) -> Any:
    """Writes the lines and returns the request."""
    add = request.lines.add
    for given in arguments.rows(lines, (3, 4), arguments.QUANTITY_LINE):
        line = add()  # Setting attributes takes a third of the time of keyword arguments.
        line.sku = given[0]
        line.location = given[1]
        line.quantity = given[2]
        if len(given) > 3:
            line.expected_quantity = given[3]
    return request


def set_quantity(
    lines: Iterable[QuantityTuple], *, state: StockState | None = None, **fields: Unpack[CommandFields]
) -> Draft[StockChanges]:
    """Sets absolute quantities. A fourth element of a line is the quantity expected before (else QuantityStale).

    Where another writer owns the state by the rules of authority, the line is only recorded as a claim:
    `claimed_lines` of the result says which.
    """
    return _on_stock(_SET, _put_quantities(contract.inventory.SetQuantityRequest(), lines), state, fields)


def count(
    lines: Iterable[QuantityTuple], *, state: StockState | None = None, **fields: Unpack[CommandFields]
) -> Draft[StockChanges]:
    """Records a physical count, which is always accepted; a count below what is held shows as `oversold`.

    Where another writer owns the state by the rules of authority, or if `event_time` is before the last physical change
    of the level, the line is only recorded as a claim: `claimed_lines` of the result says which.
    """
    return _on_stock(_COUNT, _put_quantities(contract.inventory.CountRequest(), lines), state, fields)


def move_quantity(
    lines: Iterable[LineTuple],
    *,
    from_state: StockState | None = None,
    to_state: StockState | None = None,
    **fields: Unpack[CommandFields],
) -> Draft[StockChanges]:
    """Moves units from one state to another at their level: what is damaged can no longer be sold.

    More than there is in that state is refused (InsufficientStock); holds do not keep units from being moved.

    from_state: the state that the units are in; None or ON_HAND for those that can be sold.
    to_state: the state that they get, another one.
    """
    states = [_known_state(state, name) for state, name in ((from_state, "from_state"), (to_state, "to_state"))]
    if states[0] == states[1]:
        raise InvalidArgument("to_state", f"another state than from_state; got {to_state!r} for both")
    moves = [
        contract.inventory.StateMove(sku=sku, location=at, quantity=units, from_state=states[0], to_state=states[1])
        for sku, at, units in arguments.rows(lines, (3,), arguments.HELD_LINE)
    ]
    return Draft(_MOVE, contract.inventory.MoveQuantityRequest(lines=moves), fields)


def _known_state(state: StockState | None, name: str) -> Any:
    if state is None:
        return int(results.StockState.ON_HAND)
    if not isinstance(state, results.StockState):
        raise InvalidArgument(name, f"a StockState; got {state!r}: leave it out for on_hand")
    return int(state)


def register_source(source_id: str, **fields: Unpack[CommandFields]) -> Draft[Registration]:
    """Starts the next epoch of a source. Older epochs are refused from then on."""
    request = contract.source.RegisterSourceRequest(source_id=arguments.nonempty(source_id, "source_id"))
    return Draft(_REGISTER, request, fields)
