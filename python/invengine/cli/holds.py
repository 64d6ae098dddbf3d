"""`invengine reserve | allocate | release | fulfill | extend | amend | transfer`: the life of a hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import typer

from invengine.cli.exits import UsageProblemError
from invengine.cli.keys import command_key
from invengine.cli.options import (
    Actor,
    Channel,
    ExpectedVersion,
    Holder,
    Json,
    Key,
    OrderRef,
    ReasonCode,
    Reference,
    Target,
    TimeoutMs,
    connected,
    parts,
    quantities,
)
from invengine.cli.output import print_json, print_line, print_table
from invengine.client import Changes, Client, Hold, HoldSummary, Receipt

TtlS = Annotated[float | None, typer.Option("--ttl-s", help="Seconds until it expires; 15 minutes if not given.")]
What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RESERVATION_ID] [LINE...]",
        help="The reservation, unless --reservation-key or --order names it; then lines SKU@LOCATION[=QUANTITY], "
        "or none for everything.",
    ),
]
ReservationKey = Annotated[
    str | None, typer.Option("--reservation-key", help="Name the hold by the key of its reserve.")
]
Order = Annotated[str | None, typer.Option("--order", help="Every hold of this order, atomically.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("reserve")(reserve)
    _on_hold(app, "allocate", Client.allocate, "Turn a timed hold into a hard one of --order-ref, without expiry.")
    _on_hold(app, "release", Client.release, "Give units back; by a --reservation-key not yet seen, cancel that key.")
    _on_hold(app, "fulfill", Client.fulfill, "Goods leave the building.")
    app.command("extend")(extend)
    app.command("amend")(amend)
    app.command("transfer")(transfer)


def reserve(
    context: typer.Context,
    lines: Annotated[list[str], typer.Argument(metavar="LINE...", help="SKU@LOCATION[=QUANTITY], once or more.")],
    ttl_s: TtlS = None,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="Take what is available.")] = False,
    replace_own: Annotated[
        bool, typer.Option("--replace-own", help="Release what --holder has on the same levels, in the same step.")
    ] = False,
    order_ref: OrderRef = None,
    holder: Holder = None,
    key: Key = None,
    channel: Channel = None,
    reason_code: ReasonCode = None,
    reference: Reference = None,
    actor: Actor = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Take a timed hold on every line, or on none of them."""
    wanted = quantities(lines, default=1)
    key = command_key(key)
    with connected(context, target, timeout_ms, channel) as client:
        hold = client.reserve(
            wanted,
            ttl_s=ttl_s,
            allow_partial=allow_partial,
            replace_own=replace_own,
            order_ref=order_ref,
            holder=holder,
            key=key,
            reason_code=reason_code,
            reference=reference,
            actor=actor,
        )
    print_holds((hold,), hold.receipt, key, as_json)


def extend(
    context: typer.Context,
    what: What = None,
    reservation_key: ReservationKey = None,
    order: Order = None,
    ttl_s: TtlS = None,
    expected_version: ExpectedVersion = None,
    key: Key = None,
    channel: Channel = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Move the expiry of what is still reserved to --ttl-s from now."""
    named, rest = named_hold(what, reservation_key, order)
    if rest:
        raise UsageProblemError("a reservation has one expiry: name no lines")
    key = command_key(key)
    with connected(context, target, timeout_ms, channel) as client:
        changes = client.extend(**named, ttl_s=ttl_s, expected_version=expected_version, key=key)
    print_changes(changes, key, as_json)


def amend(
    context: typer.Context,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="[RESERVATION_ID] LINE...",
            help="The reservation, unless --reservation-key names it; then SKU@LOCATION=QUANTITY, the new reserved "
            "quantity of each line. 0 removes a line.",
        ),
    ],
    reservation_key: ReservationKey = None,
    expected_version: ExpectedVersion = None,
    key: Key = None,
    channel: Channel = None,
    reason_code: ReasonCode = None,
    reference: Reference = None,
    actor: Actor = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Set new reserved quantities of a hold's lines, in one step.

    Lines that are not named stay as they are; a line that the hold does not have is added.
    """
    named, lines = named_hold(what, reservation_key, None)
    wanted = quantities(lines)
    key = command_key(key)
    fields: dict[str, Any] = {"key": key, "reason_code": reason_code, "reference": reference, "actor": actor}
    with connected(context, target, timeout_ms, channel) as client:
        changes = client.amend(wanted, **named, expected_version=expected_version, **fields)
    print_changes(changes, key, as_json)


def transfer(
    context: typer.Context,
    to_location: Annotated[str, typer.Option("--to", help="The new location of the hold.")],
    what: What = None,
    reservation_key: ReservationKey = None,
    expected_version: ExpectedVersion = None,
    key: Key = None,
    channel: Channel = None,
    reason_code: ReasonCode = None,
    reference: Reference = None,
    actor: Actor = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Move a promise to another location that has room. It moves no goods."""
    named, lines = named_hold(what, reservation_key, None)
    key = command_key(key)
    fields: dict[str, Any] = {"key": key, "reason_code": reason_code, "reference": reference, "actor": actor}
    with connected(context, target, timeout_ms, channel) as client:
        changes = client.transfer(
            to_location, **named, lines=parts(lines) or None, expected_version=expected_version, **fields
        )
    print_changes(changes, key, as_json)


def _on_hold(app: typer.Typer, name: str, send: Callable[..., Changes], text: str) -> None:
    """Adds a command on a hold, whole or some lines."""

    @app.command(name, help=text)
    def command(
        context: typer.Context,
        what: What = None,
        reservation_key: ReservationKey = None,
        order: Order = None,
        expected_version: ExpectedVersion = None,
        order_ref: OrderRef = None,
        key: Key = None,
        channel: Channel = None,
        reason_code: ReasonCode = None,
        reference: Reference = None,
        actor: Actor = None,
        target: Target = None,
        timeout_ms: TimeoutMs = None,
        as_json: Json = False,
    ) -> None:
        named, lines = named_hold(what, reservation_key, order)
        key = command_key(key)
        fields = {
            "order_ref": order_ref,
            "key": key,
            "reason_code": reason_code,
            "reference": reference,
            "actor": actor,
        }
        with connected(context, target, timeout_ms, channel) as client:
            changes = send(client, **named, lines=parts(lines) or None, expected_version=expected_version, **fields)
        print_changes(changes, key, as_json)


def named_hold(
    what: list[str] | None, reservation_key: str | None, order: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Returns the arguments of the client that name the hold, and the lines after them."""
    rest = list(what or ())
    if reservation_key is not None and order is not None:
        raise UsageProblemError("name the hold by --reservation-key or by --order, not by both")
    if reservation_key is not None:
        return {"reservation_key": reservation_key}, rest
    if order is not None:
        return {"order": order}, rest
    if not rest:
        raise UsageProblemError("name the hold: RESERVATION_ID, --reservation-key KEY or --order REF")
    return {"reservation_id": rest[0]}, rest[1:]


def print_changes(changes: Changes, key: str, as_json: bool) -> None:
    """Prints what a command did to its holds, or a summary if there are too many."""
    if changes.summary is not None:
        _print_summary(changes.summary, changes.receipt, key, as_json)
    else:
        print_holds(changes.holds, changes.receipt, key, as_json, key_cancelled=changes.key_cancelled)


def _print_summary(summary: HoldSummary, receipt: Receipt, key: str, as_json: bool) -> None:
    if as_json:
        units = {state.name.lower(): count for state, count in summary.units.items()}
        print_json({"summary": dataclasses.asdict(summary) | {"units": units}, "receipt": receipt, "key": key})
        return
    print_line(f"{summary.reservations} reservations with {summary.lines} lines, too many to name each")
    print_table(("state", "units"), list(summary.units.items()))
    count = summary.last_sequence - summary.first_sequence + 1
    print_line(f"their events: invengine events tail --from {summary.first_sequence} --limit {count}")
    print_line(f"sequence {receipt.sequence}, key {key}{', replayed' if receipt.replayed else ''}")


def print_holds(
    holds: tuple[Hold, ...], receipt: Receipt, key: str, as_json: bool, *, key_cancelled: bool = False
) -> None:
    """Prints what a command did to its holds."""
    if as_json:
        found = {"holds": holds, "receipt": receipt, "key": key}
        print_json(found | ({"key_cancelled": True} if key_cancelled else {}))
        return
    for hold in holds:
        again = ", reacquired" if hold.reacquired else ""
        print_line(f"reservation {hold.reservation_id}, version {hold.version}, until {hold.expire_time:%F %T}Z{again}")
        print_table(
            ("sku", "location", "quantity", "state", "outstanding"),
            [(line.sku, line.location, line.quantity, line.state, line.outstanding) for line in hold.lines],
        )
    if key_cancelled:
        print_line(
            "nothing was released: no hold of this channel has the key; its reserve is cancelled and will be refused "
            "(KEY_CANCELLED); a hold that was made under another channel still stands: release it with that --channel"
        )
    print_line(f"sequence {receipt.sequence}, key {key}{', replayed' if receipt.replayed else ''}")
