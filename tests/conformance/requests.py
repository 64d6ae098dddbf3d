"""The requests of the contract in one line each."""

from __future__ import annotations

from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration

from invengine.v1 import inventory_service_pb2 as inventory
from invengine.v1 import reservation_service_pb2 as reservations
from invengine.v1 import types_pb2 as types

Line: TypeAlias = tuple[str, str, int]
"""Item, location, units."""

HoldRequest: TypeAlias = (
    reservations.ReserveRequest
    | reservations.ExtendRequest
    | reservations.AmendRequest
    | reservations.AllocateRequest
    | reservations.ReleaseRequest
    | reservations.FulfillRequest
    | reservations.TransferReservationRequest
)

NO_CONTEXT = types.CommandContext()


def seconds(value: float) -> Duration:
    """A duration."""
    duration = Duration()
    duration.FromNanoseconds(round(value * 1_000_000_000))
    return duration


def keyed(key: str) -> types.CommandContext:
    """Shared fields with a key and nothing else."""
    return types.CommandContext(idempotency_key=key)


def by_id(reservation_id: str, *lines: Line, version: int = 0) -> types.HoldTarget:
    """Names a hold by its token."""
    return types.HoldTarget(reservation_id=reservation_id, lines=selections(lines), expected_version=version)


def by_key(reservation_key: str, *lines: Line, version: int = 0) -> types.HoldTarget:
    """Names a hold by the key that made it."""
    return types.HoldTarget(reservation_key=reservation_key, lines=selections(lines), expected_version=version)


def by_order(order_ref: str) -> types.HoldTarget:
    """Names all holds of an order."""
    return types.HoldTarget(order_ref=order_ref)


def selections(lines: tuple[Line, ...]) -> list[types.LineSelection]:
    """Lines of a reservation."""
    return [types.LineSelection(sku=sku, location=location, quantity=units) for sku, location, units in lines]


def reserve(
    context: types.CommandContext,
    *lines: Line,
    ttl_s: float | None = None,
    allow_partial: bool = False,
    replace_own: bool = False,
) -> reservations.ReserveRequest:
    """Asks for a hold."""
    return reservations.ReserveRequest(
        context=context,
        lines=[types.LineRequest(sku=sku, location=location, quantity=units) for sku, location, units in lines],
        ttl=None if ttl_s is None else seconds(ttl_s),
        allow_partial=allow_partial,
        replace_own=replace_own,
    )


def extend(
    context: types.CommandContext, target: types.HoldTarget, ttl_s: float | None = None
) -> reservations.ExtendRequest:
    """Asks for another end."""
    return reservations.ExtendRequest(context=context, target=target, ttl=None if ttl_s is None else seconds(ttl_s))


def amend(context: types.CommandContext, target: types.HoldTarget, *lines: Line) -> reservations.AmendRequest:
    """Asks for new quantities."""
    return reservations.AmendRequest(context=context, target=target, lines=selections(lines))


def allocate(context: types.CommandContext, target: types.HoldTarget) -> reservations.AllocateRequest:
    """Binds a hold to an order."""
    return reservations.AllocateRequest(context=context, target=target)


def release(context: types.CommandContext, target: types.HoldTarget) -> reservations.ReleaseRequest:
    """Gives back."""
    return reservations.ReleaseRequest(context=context, target=target)


def fulfill(context: types.CommandContext, target: types.HoldTarget) -> reservations.FulfillRequest:
    """Says that goods leave."""
    return reservations.FulfillRequest(context=context, target=target)


def transfer(
    context: types.CommandContext, target: types.HoldTarget, to_location: str
) -> reservations.TransferReservationRequest:
    """Moves a promise."""
    return reservations.TransferReservationRequest(context=context, target=target, to_location=to_location)


def command(request: HoldRequest) -> reservations.Command:
    """A command of a batch."""
    found = reservations.Command()
    for option in reservations.Command.DESCRIPTOR.oneofs_by_name["command"].fields:
        if option.message_type is request.DESCRIPTOR:
            getattr(found, option.name).CopyFrom(request)
    return found


def submit(*requests: HoldRequest) -> reservations.SubmitRequest:
    """A batch."""
    return reservations.SubmitRequest(commands=[command(request) for request in requests])


def stock_lines(
    lines: tuple[Line, ...], state: types.StockState.ValueType = types.STOCK_STATE_UNSPECIFIED
) -> list[inventory.StockLine]:
    """Units of items at locations."""
    return [
        inventory.StockLine(sku=sku, location=location, quantity=units, state=state) for sku, location, units in lines
    ]


def receive(
    context: types.CommandContext, *lines: Line, state: types.StockState.ValueType = types.STOCK_STATE_UNSPECIFIED
) -> inventory.ReceiveRequest:
    """A Receive request."""
    return inventory.ReceiveRequest(context=context, lines=stock_lines(lines, state))


def give_back(
    context: types.CommandContext, *lines: Line, state: types.StockState.ValueType = types.STOCK_STATE_UNSPECIFIED
) -> inventory.ReturnRequest:
    """Says which sold goods came back."""
    return inventory.ReturnRequest(context=context, lines=stock_lines(lines, state))


def adjust(
    context: types.CommandContext, *lines: Line, state: types.StockState.ValueType = types.STOCK_STATE_UNSPECIFIED
) -> inventory.AdjustRequest:
    """Says what differs."""
    return inventory.AdjustRequest(
        context=context,
        lines=[
            inventory.StockDelta(sku=sku, location=location, delta=delta, state=state) for sku, location, delta in lines
        ],
    )


def quantities(
    lines: tuple[Line, ...], expected: int | None, state: types.StockState.ValueType
) -> list[inventory.StockQuantity]:
    """Absolute quantities of items at locations."""
    return [
        inventory.StockQuantity(sku=sku, location=location, quantity=units, state=state, expected_quantity=expected)
        for sku, location, units in lines
    ]


def set_quantity(
    context: types.CommandContext,
    *lines: Line,
    expected: int | None = None,
    state: types.StockState.ValueType = types.STOCK_STATE_UNSPECIFIED,
) -> inventory.SetQuantityRequest:
    """Says what there is."""
    return inventory.SetQuantityRequest(context=context, lines=quantities(lines, expected, state))


def count(
    context: types.CommandContext,
    *lines: Line,
    expected: int | None = None,
    state: types.StockState.ValueType = types.STOCK_STATE_UNSPECIFIED,
) -> inventory.CountRequest:
    """Says what was counted."""
    return inventory.CountRequest(context=context, lines=quantities(lines, expected, state))


def move_quantity(
    context: types.CommandContext,
    *lines: Line,
    from_state: types.StockState.ValueType = types.STOCK_STATE_UNSPECIFIED,
    to_state: types.StockState.ValueType = types.STOCK_STATE_DAMAGED,
) -> inventory.MoveQuantityRequest:
    """Says which units are in another state now."""
    return inventory.MoveQuantityRequest(
        context=context,
        lines=[
            inventory.StateMove(sku=sku, location=at, quantity=units, from_state=from_state, to_state=to_state)
            for sku, at, units in lines
        ],
    )
