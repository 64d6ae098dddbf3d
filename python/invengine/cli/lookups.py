"""`invengine reservation | holds | outcome`: the state of holds and keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from invengine.cli.exits import UsageProblemError
from invengine.cli.holds import Order, ReservationKey, named_hold
from invengine.cli.options import Channel, Json, Source, Target, TimeoutMs, connected
from invengine.cli.output import print_facts, print_json, print_line, print_rows, print_table
from invengine.client import KnownOutcome, Outcome, Reservation


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("reservation")(reservation)
    app.command("holds")(holds)
    app.command("outcome")(outcome)


def reservation(
    context: typer.Context,
    reservation_id: Annotated[str | None, typer.Argument(metavar="[RESERVATION_ID]")] = None,
    reservation_key: ReservationKey = None,
    order: Order = None,
    channel: Channel = None,
    source: Source = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Show the current state of one reservation, or of every one of an --order."""
    _check_scope(channel, source)
    with connected(context, target, timeout_ms, channel) as client:
        if order is not None:
            found = list(client.list_reservations(order=order, include_ended=True))
        else:
            named, _ = named_hold(None if reservation_id is None else [reservation_id], reservation_key, None)
            found = [client.get_reservation(**named, source_id=source)]
    for each in found:
        _show(each, as_json)


def holds(
    context: typer.Context,
    holder: Annotated[str | None, typer.Option("--holder", help="Only of this holder.")] = None,
    order: Annotated[str | None, typer.Option("--order", help="Only of this order.")] = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that no longer hold anything.")] = False,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """List holds, of a --holder, of an --order or all, in the order they were created: a row for each line.

    With --json one object for each hold. Without --ended, those that no longer hold anything are omitted.
    """
    with connected(context, target, timeout_ms) as client:
        found = client.list_reservations(holder=holder, order=order, include_ended=ended)
        if as_json:
            print_rows(found, (), as_json=True)
            return
        columns = ("reservation", "until", "holder", "order", "sku", "location", "reserved", "allocated")
        print_table(columns, (row for each in found for row in _rows(each)))


def outcome(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key of the command.")],
    channel: Channel = None,
    source: Source = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Report what the command with this KEY did.

    A key belongs to the --channel (or the --source) of its command: name the same one. Code 0 means that there is an
    answer, including that the key is not known.
    """
    _check_scope(channel, source)
    with connected(context, target, timeout_ms, channel) as client:
        known = client.get_outcome(key, source_id=source)
        scope = source or client.channel
    if as_json:
        print_json({"key": key, **_facts(known)})
        return
    if known.outcome is not None:
        _print(known.outcome)
    elif known.known:
        print_facts(_facts(known), as_json=False)
    else:
        print_line(
            f"no command with key {key} has an outcome for {repr(scope) if scope else 'the operator (no channel)'}; it "
            f"may still be on its way. To make sure that it never happens: invengine release --reservation-key {key}"
        )


def _check_scope(channel: str | None, source: str | None) -> None:
    """Refuses two scopes of a key; without a source it is the client's channel."""
    if channel is not None and source is not None:
        raise UsageProblemError("a key belongs to a channel or to a source: name one of --channel and --source")


def _facts(known: KnownOutcome) -> dict[str, Any]:
    facts: dict[str, Any] = {"known": known.known, "key_cancelled": known.key_cancelled, "sequence": known.sequence}
    found = known.outcome
    if found is None:
        return facts
    facts |= {"accepted": found.accepted, "holds": found.holds, "levels": found.levels, "versions": found.versions}
    facts["claimed_lines"] = found.claimed_lines
    facts["receipt"] = found.receipt
    if found.rejection is not None:
        rejection = found.rejection
        facts["rejection"] = {"reason": rejection.reason, "message": str(rejection), "metadata": rejection.metadata}
    return facts


def _print(found: Outcome) -> None:
    if found.rejection is not None:
        print_line(f"refused: {found.rejection}")
        return
    for hold in found.holds:
        print_line(f"accepted: reservation {hold.reservation_id}, version {hold.version}")
        columns = ("sku", "location", "quantity", "state", "outstanding")
        print_table(columns, [tuple(line) for line in hold.lines])
    if found.claimed_lines:
        lines = ", ".join(str(at + 1) for at in found.claimed_lines)
        print_line(f"accepted: lines {lines} are only recorded as claims")
    if found.levels:
        print_rows(found.levels, ("sku", "location", "available", "on_hand", "reserved", "allocated"), as_json=False)
    if found.key_cancelled:
        print_line("accepted: no hold had this key; its reserve is cancelled and will be refused (KEY_CANCELLED)")
    elif found.receipt is not None and found.receipt.echo:
        print_line("accepted: an echo of a message that was applied already; nothing was changed")
    elif not found.holds and not found.levels:
        versions = ", ".join(map(str, found.versions))
        print_line(f"accepted: version {versions}" if versions else "accepted")
    if found.receipt is not None:
        print_line(f"sequence {found.receipt.sequence}")


def _show(found: Reservation, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    names = f"channel {found.channel or '-'}, order {found.order_ref or '-'}, holder {found.holder or '-'}"
    print_line(
        f"reservation {found.reservation_id}, version {found.version}, until {found.expire_time:%F %T}Z, {names}"
    )
    columns = ("sku", "location", "quantity", "reserved", "allocated", "released", "expired", "fulfilled")
    print_table(columns, [tuple(line) for line in found.lines])


def _rows(hold: Reservation) -> Iterator[tuple[Any, ...]]:
    names = (hold.reservation_id, f"{hold.expire_time:%F %T}Z", hold.holder, hold.order_ref)
    return ((*names, line.sku, line.location, line.reserved, line.allocated) for line in hold.lines)
