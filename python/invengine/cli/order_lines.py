"""The orders that a file states: lines become holds, and holds become commands. Nothing here asks a server."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from invengine.cli.csvfile import BadLine, Row
from invengine.cli.imports import BATCH, Report, shown
from invengine.cli.opening import quantity_of
from invengine.client import Reservation, commands
from invengine.client.commands import Draft

COLUMNS = ("order_ref", "sku", "location", "quantity", "channel", "holder", "state", "ttl_s")
REQUIRED = 4
ALLOCATED, RESERVED = "allocated", "reserved"
TEXT_CHARS_MAX = 128
TTL_S_MIN, TTL_S_MAX = 1.0, 2_592_000.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Terms(NamedTuple):
    """What all lines of a hold have in common. Empty texts are none; `ttl_s` is that of a reserved one, or None."""

    order_ref: str
    channel: str
    holder: str
    state: str
    ttl_s: float | None


class OrderLine(NamedTuple):
    """A line of the file: units of one item at one location."""

    line: int
    sku: str
    location: str
    quantity: int


class OrderHold(NamedTuple):
    """Up to 1,000 lines of an order with the same terms; `part` counts the holds that more of them need."""

    terms: Terms
    part: int
    lines: tuple[OrderLine, ...]


class Order(NamedTuple):
    """All that a file says about an order. It is imported as a whole or not at all."""

    order_ref: str
    holds: tuple[OrderHold, ...]

    @property
    def lines(self) -> list[OrderLine]:
        """Its lines, hold after hold."""
        return [line for hold in self.holds for line in hold.lines]


def orders_of(report: Report, channel: str) -> list[Order]:
    """The orders of a file in the order of their first lines, without those that have a bad line.

    `channel` is that of a file without a column for it; where there is one, an empty cell is no channel.
    """
    report.malformed += report.table.bad
    spoilt = {bad.cells[0] for bad in report.table.bad}
    orders: dict[str, dict[Terms, dict[tuple[str, str], OrderLine]]] = {}
    own = channel if "channel" not in report.table.header else None
    for row in report.table.rows:
        order_ref, sku, location, *_ = row.cells
        holds = orders.setdefault(order_ref, {})
        found = _line(row, own)
        earlier = None if isinstance(found, BadLine) else holds.setdefault(found[0], {}).get((sku, location))
        if earlier is not None:
            what = f"{shown(sku)} at {shown(location)} of {shown(order_ref)} was on line {earlier.line} already"
            found = BadLine(row.line, f"{what}: write one line with the sum")
        if isinstance(found, BadLine):
            report.malformed.append(found)
            spoilt.add(order_ref)
        else:
            terms, line = found
            holds[terms][sku, location] = line
    for order_ref in spoilt & orders.keys():
        report.left_out += sum(len(lines) for lines in orders.pop(order_ref).values())
    return [Order(ref, tuple(_holds(found))) for ref, found in orders.items()]


def _holds(found: dict[Terms, dict[tuple[str, str], OrderLine]]) -> Iterator[OrderHold]:
    for terms, by_place in found.items():
        lines = tuple(by_place.values())
        for part, at in enumerate(range(0, len(lines), BATCH)):
            yield OrderHold(terms, part, lines[at : at + BATCH])


def _line(row: Row, own_channel: str | None) -> tuple[Terms, OrderLine] | BadLine:
    order_ref, sku, location, quantity_cell, channel, holder, state, ttl_cell = row.cells
    for column, text in (("order_ref", order_ref), ("holder", holder)):
        if len(text) > TEXT_CHARS_MAX or _CONTROL.search(text):
            return BadLine(row.line, f"{column} is {shown(text)}: at most {TEXT_CHARS_MAX} printable characters")
    quantity = quantity_of(quantity_cell, least=1)
    if isinstance(quantity, str):
        return BadLine(row.line, quantity)
    state = state or ALLOCATED
    if state not in (ALLOCATED, RESERVED):
        return BadLine(row.line, f"{shown(state)} is not a state of an order under way: {ALLOCATED} or {RESERVED}")
    ttl_s = _ttl_s(ttl_cell, state)
    if isinstance(ttl_s, str):
        return BadLine(row.line, ttl_s)
    terms = Terms(order_ref, channel if own_channel is None else own_channel, holder, state, ttl_s)
    return terms, OrderLine(row.line, sku, location, quantity)


def _ttl_s(cell: str, state: str) -> float | str | None:
    """The time until a reserved line expires; None for the server's default. A text says what is wrong."""
    if not cell:
        return None
    if state == ALLOCATED:
        return f"ttl_s is {shown(cell)}: what is allocated does not expire; leave it empty, or write state reserved"
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,3})?", cell) or not TTL_S_MIN <= float(cell) <= TTL_S_MAX:
        return f"ttl_s is {shown(cell)}: seconds from {TTL_S_MIN:.0f} to {TTL_S_MAX:.0f}, such as 900"
    return float(cell)


def key_of(sha256: str, hold: OrderHold) -> str:
    """The key of a hold's reserve. It follows from the file and the order; whatever begins with it is of this hold."""
    text = json.dumps([*hold.terms, hold.part])
    return f"import/orders/{sha256[:32]}/{hashlib.sha256(text.encode()).hexdigest()[:32]}"


KEY_CHARS = len(key_of("0" * 64, OrderHold(Terms("", "", "", "", None), 0, ())))
"""The length of such a key: what follows it in a longer one was added."""


def drafts_of(hold: OrderHold, key: str, fields: Any, reserved: Reservation | None = None) -> list[Draft[Any]]:
    """The commands of a hold, all of them under keys that begin with `key`; `reserved` is done already."""
    terms = hold.terms
    named: Any = {**fields, "order_ref": terms.order_ref}
    named |= {"channel": terms.channel} if terms.channel else {}
    reserve_key = key if reserved is None else reserved.key
    drafts: list[Draft[Any]] = []
    if reserved is None:
        lines = [(line.sku, line.location, line.quantity) for line in hold.lines]
        holder = terms.holder or None
        drafts.append(commands.reserve(lines, ttl_s=terms.ttl_s, key=key, holder=holder, **named))
    if terms.state == ALLOCATED:
        drafts.append(commands.allocate(reservation_key=reserve_key, key=f"{key}/allocate", **named))
    return drafts


def is_done(hold: OrderHold, found: Reservation) -> bool:
    """True unless what the reservation has reserved, or had until it expired, is still to be allocated."""
    return hold.terms.state == RESERVED or not any(line.reserved or line.expired for line in found.lines)


Held = dict[Terms, dict[tuple[str, str], int]]


def held_by(reservations: Iterable[Reservation], now: datetime) -> tuple[Held, int]:
    """The units that orders hold at this time, by terms and place; and how many reservations are of no order."""
    held: Held = {}
    without_order = 0
    for each in reservations:
        if not each.order_ref:
            without_order += 1
            continue
        left_s = (each.expire_time - now).total_seconds()
        reserved = Terms(each.order_ref, each.channel, each.holder, RESERVED, max(TTL_S_MIN, round(left_s, 3)))
        for line in each.lines:
            if line.allocated:
                _add(held, reserved._replace(state=ALLOCATED, ttl_s=None), line.sku, line.location, line.allocated)
            if line.reserved and left_s > 0:
                _add(held, reserved, line.sku, line.location, line.reserved)
    return held, without_order


def _add(held: Held, terms: Terms, sku: str, location: str, units: int) -> None:
    places = held.setdefault(terms, {})
    places[sku, location] = places.get((sku, location), 0) + units


def rows_of(held: Held) -> Iterator[tuple[Any, ...]]:
    """The rows of a file that says so."""
    for terms, places in held.items():
        ttl = "" if terms.ttl_s is None else f"{terms.ttl_s:.3f}".rstrip("0").rstrip(".")
        for (sku, location), units in places.items():
            yield terms.order_ref, sku, location, units, terms.channel, terms.holder, terms.state, ttl
