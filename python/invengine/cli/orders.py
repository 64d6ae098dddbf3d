"""`invengine orders import | export`: orders under way, as holds, in CSV files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import typer

from invengine.cli.calls import call_settings
from invengine.cli.csvfile import BadLine, read_table
from invengine.cli.exports import Force, Out, export
from invengine.cli.imports import (
    FEW,
    CsvFile,
    Delimiter,
    DryRun,
    Report,
    SkipBad,
    conclude,
    in_flight,
    problem_with_names,
    reference_of,
    shown,
    tell,
    unknown_names,
)
from invengine.cli.keys import changes_something
from invengine.cli.options import Actor, Channel, Json, Reference, Target, TimeoutMs, connected
from invengine.cli.order_lines import (
    COLUMNS,
    KEY_CHARS,
    REQUIRED,
    Order,
    OrderHold,
    drafts_of,
    held_by,
    is_done,
    key_of,
    orders_of,
    rows_of,
)
from invengine.cli.progress import progress
from invengine.client import Client, Reservation
from invengine.errors import InvengineError, Rejected

app = typer.Typer(help="Orders under way in CSV files: import, export.", no_args_is_help=True, add_completion=False)

# Holds of one message; each has up to two commands.
HOLDS_MAX, LINES_MAX = 250, 5000


class _Wanted(NamedTuple):
    """A hold that is not done yet, or of which only the reserve is."""

    hold: OrderHold
    reserved: Reservation | None


@app.command("import")
def bring(
    context: typer.Context,
    file: CsvFile,
    delimiter: Delimiter = ",",
    dry_run: DryRun = False,
    skip_bad: SkipBad = False,
    channel: Channel = None,
    reference: Reference = None,
    actor: Actor = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Hold what orders under way need, from a CSV file with the columns order_ref, sku, location, quantity and, if
    wanted, channel, holder, state and ttl_s.

    The lines of an order become one hold: allocated, or with state reserved a timed one. An order that has a hold which
    is not of this file is bad. Run the same file again after a failure: what is done is not done twice, and the rest is
    done. --channel is for a file without a column for it, and --reference the name of the file if not given.
    """
    report = Report(read_table(file, COLUMNS, REQUIRED, delimiter), dry_run, skip_bad)
    own_channel = call_settings(context.obj, target=target, timeout_ms=timeout_ms, channel=channel).channel
    orders = orders_of(report, own_channel)
    fields = {"reference": reference or reference_of(file), "actor": actor}
    with connected(context, target, timeout_ms, in_channel=False) as client:
        wanted = _checked(client, orders, report)
        report.importable = sum(len(each.hold.lines) for each in wanted)
        report.more = {
            "orders": len({each.hold.terms.order_ref for each in wanted}),
            "holds": len(wanted),
            "sequence": 0,
        }
        failure = _send(client, wanted, fields, report) if report.sends else None
    tell(report, as_json=as_json)
    conclude(report, failure)


@app.command("export")
def take(
    context: typer.Context,
    out: Out = None,
    force: Force = False,
    delimiter: Delimiter = ",",
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Write what orders hold as CSV, as `orders import` reads it. Holds of no order are not in the file."""
    with connected(context, target, timeout_ms) as client:
        held, without_order = held_by(client.list_reservations(), datetime.now(UTC))
    counts = {"holds": len(held), "holds_without_order": without_order}
    export(lambda: rows_of(held), COLUMNS, out, force=force, delimiter=delimiter, as_json=as_json, more=lambda: counts)


def _checked(client: Client, orders: Sequence[Order], report: Report) -> list[_Wanted]:
    """The holds that are still to be made. What is done, or would be refused, is in the report afterwards."""
    known = _reservations(client, orders)
    pending = [(order, found) for order in orders if (found := _pending(order, known, report))]
    fresh = {(line.sku, line.location) for _, found in pending for each in found for line in _needed(each)}
    unknown = unknown_names(client, fresh)
    channels = {each.channel for each in client.list_channels()}
    places = [place for place in fresh if not problem_with_names(*place, unknown)]
    left = {(each.sku, each.location): each.available or 0 for each in client.availabilities(places)} if places else {}
    wanted = []
    with progress("checking orders", len(pending)) as advance:
        for order, found in pending:
            bad = _problems(order, found, channels, unknown, left)
            report.refused += bad
            if bad:
                report.left_out += sum(len(each.hold.lines) for each in found) - len(bad)
            else:
                wanted += found
            advance(1)
    return wanted


def _needed(wanted: _Wanted) -> Sequence[Any]:
    """The lines that need units which it does not hold yet."""
    return () if wanted.reserved else wanted.hold.lines


def _reservations(client: Client, orders: Sequence[Order]) -> dict[str, list[Reservation]]:
    """The reservations that the orders have, or had as far as the server remembers."""
    refs = {order.order_ref for order in orders}
    found: dict[str, list[Reservation]] = {}
    of_few = (each for ref in refs for each in client.list_reservations(order=ref, include_ended=True))
    for each in of_few if len(refs) <= FEW else client.list_reservations(include_ended=True):
        if each.order_ref in refs:
            found.setdefault(each.order_ref, []).append(each)
    return found


def _pending(order: Order, known: Mapping[str, list[Reservation]], report: Report) -> list[_Wanted]:
    """The holds of an order that are not done; none if another file, or another program, holds something for it."""
    own = {key_of(report.table.sha256, hold): hold for hold in order.holds}
    done = {each.key[:KEY_CHARS]: each for each in known.get(order.order_ref, ())}
    for key, other in done.items():
        if key not in own:
            problem = f"order {shown(order.order_ref)} has a hold already: reservation {other.reservation_id}"
            report.refused.append(BadLine(order.lines[0].line, problem))
            report.left_out += len(order.lines) - 1
            return []
    pending = []
    for key, hold in own.items():
        if key in done and is_done(hold, done[key]):
            report.already_done += len(hold.lines)
        else:
            pending.append(_Wanted(hold, done.get(key)))
    return pending


def _problems(
    order: Order,
    found: Sequence[_Wanted],
    channels: set[str],
    unknown: Mapping[str, set[str]],
    left: dict[tuple[str, str], int],
) -> list[BadLine]:
    """What the ledger would refuse of an order. If nothing, its units are taken from what is `left` for later ones."""
    bad = []
    taken: dict[tuple[str, str], int] = {}
    for each in found:
        channel = each.hold.terms.channel
        if channel and channel not in channels:
            bad.append(BadLine(each.hold.lines[0].line, f"channel {shown(channel)} is not in the catalogue"))
            continue
        for line in _needed(each):
            place = (line.sku, line.location)
            problem = problem_with_names(*place, unknown)
            available = max(0, left.get(place, 0) - taken.get(place, 0))
            if not problem and line.quantity > available:
                what = f"{shown(line.sku)} at {shown(line.location)}"
                problem = f"{what}: requested {line.quantity}, available {available} after what other lines take"
            if problem:
                bad.append(BadLine(line.line, problem))
            taken[place] = taken.get(place, 0) + line.quantity
    if not bad:
        for place, units in taken.items():
            left[place] -= units
    return bad


def _messages(wanted: Sequence[_Wanted]) -> Iterator[list[_Wanted]]:
    """Divides holds into messages."""
    message: list[_Wanted] = []
    lines = 0
    for each in wanted:
        if message and (len(message) >= HOLDS_MAX or lines + len(each.hold.lines) > LINES_MAX):
            yield message
            message, lines = [], 0
        message.append(each)
        lines += len(each.hold.lines)
    if message:
        yield message


def _send(client: Client, wanted: Sequence[_Wanted], fields: Any, report: Report) -> InvengineError | None:
    """Makes the holds, and returns what ended it early: a failure, or without --skip-bad a refusal."""
    failure: InvengineError | None = None
    changes_something()
    with progress("importing orders", report.importable) as advance:
        for message, found in in_flight(_messages(wanted), lambda each: _made(client, each, fields, report)):
            if isinstance(found, InvengineError):
                failure = failure or found
            elif isinstance(found, Exception):
                raise found
            else:
                for each, outcome in zip(message, found, strict=True):
                    refusal = _count(each.hold, outcome, report)
                    failure = failure or (None if report.skip_bad else refusal)
                advance(sum(len(each.hold.lines) for each in message))
    return failure


class _Made(NamedTuple):
    """What became of a hold: where the journal has it, or why not."""

    sequence: int
    replayed: bool
    refusal: Rejected | None


def _made(client: Client, message: Sequence[_Wanted], fields: Any, report: Report) -> list[_Made]:
    """Sends the commands of a message. A refusal may be an old one, of a key that an earlier run used: it is asked for
    once more, under a new key, which the same hold is found by as well."""
    keys = [key_of(report.table.sha256, each.hold) for each in message]
    found = _submitted(client, message, keys, fields)
    again = [at for at, each in enumerate(found) if each.refusal is not None]
    if again:
        named = [f"{keys[at]}/{os.urandom(4).hex()}" for at in again]
        for at, outcome in zip(again, _submitted(client, [message[at] for at in again], named, fields), strict=True):
            found[at] = outcome
    return found


def _submitted(client: Client, message: Sequence[_Wanted], keys: Sequence[str], fields: Any) -> list[_Made]:
    drafts = [drafts_of(each.hold, key, fields, each.reserved) for each, key in zip(message, keys, strict=True)]
    outcomes = iter(client.submit([draft for each in drafts for draft in each]))
    return [_of_outcomes([next(outcomes) for _ in each]) for each in drafts]


def _of_outcomes(outcomes: Sequence[Any]) -> _Made:
    for each in outcomes:
        if each.rejection is not None:
            return _Made(0, False, each.rejection)
    receipts = [each.receipt for each in outcomes]
    return _Made(max(each.sequence for each in receipts), all(each.replayed for each in receipts), None)


def _count(hold: OrderHold, made: _Made, report: Report) -> Rejected | None:
    """Counts a hold in the report, and returns why it was refused, if it was."""
    if made.refusal is None:
        if made.replayed:
            # Its hold ended and is forgotten, but not its key.
            report.importable -= len(hold.lines)
            report.already_done += len(hold.lines)
        else:
            report.imported += len(hold.lines)
        report.more["sequence"] = max(report.more["sequence"], made.sequence)
        return None
    at = int(made.refusal.metadata.pop("line", "1")) - 1
    made.refusal.metadata.pop("lines", None)
    line = hold.lines[at].line
    if report.skip_bad:
        report.importable -= len(hold.lines)
        report.left_out += len(hold.lines) - 1
        report.refused.append(BadLine(line, str(made.refusal)))
    made.refusal.message = f"line {line}: {made.refusal.message}"
    return made.refusal
