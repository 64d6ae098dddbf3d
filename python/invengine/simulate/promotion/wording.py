"""Explanations of the words of a report, a sentence each, and assumptions in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from invengine.simulate.report import page

OWN_COPIES = (
    "Own copies: the usual way without a common ledger. Every channel sells from a copy of the stock of its own, and "
    "the copies are brought together in batches. It is a model that plays the same customers; the intervals are under "
    "Assumptions."
)
CANCELLED = (
    "A cancelled order was promised and could not be kept. In invengine's column these are goods that a till had sold "
    "up to fifteen minutes before it said so, and that a pick-up order had by then. A false sold-out is a refusal of "
    "units that were there."
)
_DIGEST = (
    "Digest: one hash over the whole state of the ledger. Equal digests mean that every level, hold and key is equal."
)
_REFOLDING = "Re-folding: the journal is read from its first event, and the state is made anew from nothing else."
_AUDITOR = (
    "Auditor: a second program that recomputes every level from the events with plain dictionaries. It shares no code "
    "with the ledger and believes no counter of it."
)
CHECKING = (_DIGEST, _REFOLDING, _AUDITOR)
ORDERS = (
    "Every order is counted once. {parts:,} of them took only what was there, and are counted by how they then ended."
)
LATENCY = (
    "Times are of the wall clock, from sending a command to its answer; “since due” counts from when the caller came. "
    "“Around the kill” is what was sent within {around_s:g} seconds of it: those calls waited for the restart."
)
LATENCY_NAMES = {
    "reserve": "a basket's reserve, all",
    "reserve_without_outage": "… without those around the kill",
    "reserve_around_outage": "… those around the kill",
    "reserve_since_due": "a basket's reserve, since due, all",
    "reserve_since_due_without_outage": "… without those around the kill",
    "reserve_since_due_around_outage": "… those around the kill",
    "flash_since_due": "a caller of the flash sale, since due, all",
    "flash_since_due_without_outage": "… without those around the kill",
    "flash_since_due_around_outage": "… those around the kill",
    "other_commands": "any other command, all",
    "other_commands_without_outage": "… without those around the kill",
    "other_commands_around_outage": "… those around the kill",
    "store_upload": "a store's whole upload, all",
    "store_upload_without_outage": "… without those around the kill",
    "store_upload_around_outage": "… those around the kill",
}
_REFUSALS = {
    "RESERVATION_EXPIRED": "the hold had expired",
    "RESERVATION_NOT_FOUND": "the hold was not found",
    "ALREADY_RELEASED": "the hold was released before",
    "ALREADY_ALLOCATED": "the hold was paid before",
    "ALREADY_FULFILLED": "the hold was fulfilled before",
    "EXCEEDS_OUTSTANDING": "the hold had less left",
    "INSUFFICIENT_STOCK": "the units were gone",
    "KEY_CANCELLED": "its key was cancelled",
}
_REASON = re.compile(r"[A-Z]+(_[A-Z]+)+")

_AREAS = {
    "shopping": "baskets",
    "messages": "messages of connectors",
    "flash": "flash sale",
    "shelves": "stock at the start",
    "copies": "own copies",
}
_NAMES = {
    "volume": "baskets, as a multiple of the recorded ones",
    "share": "share of the baskets",
    "pickup_chance": "app orders that are picked up in a store",
    "hold_s": "a hold lasts",
    "marketplace_hold_s": "a hold of a marketplace lasts",
    "payment_median_s": "half of the payments come within",
    "abandon_chance": "customers who neither pay nor cancel",
    "cancel_chance": "customers who cancel",
    "late_chance": "customers who pay after their hold has expired",
    "late_s": "a late payment comes after",
    "takes_rest_chance": "customers who take what there is if it is not all",
    "fulfil_s": "from payment to fulfilment",
    "return_share": "lines that are returned from earlier sales",
    "adjustments_an_hour": "adjustments of the stock in an hour",
    "upload_every_s": "a store uploads its sales every",
    "confirm_s": "from an order to the confirmation of its payment",
    "order_delay_s": "from an order to its message",
    "duplicate_chance": "messages that come twice",
    "duplicate_s": "the second of two comes after",
    "cancel_overtakes_chance": "cancellations that overtake their order",
    "confirm_overtakes_chance": "confirmations that overtake their order",
    "callers": "callers",
    "units": "units for sale",
    "starts_s": "it starts after",
    "lasts_s": "it lasts",
    "mean_arrival_s": "a caller comes after, on average",
    "double_click_chance": "callers who click twice",
    "comes_back_chance": "refused callers who come back",
    "comes_back_s": "they come back after",
    "stores": "stores",
    "cover": "stock, as a multiple of what a usual weekend sells there",
    "sync_s": "its copy is brought up to date every",
    "delay_s": "a batch counts on the other side after",
    "marketplace_buffer_units": "units that are withheld from a marketplace",
}
"""Assumptions in words. A name must say by itself what is assumed: two rows of one area are never called the same."""
_MINUTE_S, _HOUR_S = 60, 3600


def assumptions(listed: Mapping[str, Any], area: str = "") -> Iterator[tuple[str, str, str]]:
    """Every assumed number as a row: where it belongs, its name in words, and its value with its unit."""
    for name, value in listed.items():
        if not area and isinstance(value, Mapping):
            yield from assumptions(value, _AREAS.get(name, name))
        elif isinstance(value, Mapping):
            yield from ((area, f"{each}: {_NAMES[name]}", _value(name, found)) for each, found in value.items())
        else:
            yield area or "all", _NAMES[name], _value(name, value)


def end_of_order(end: str) -> str:
    """How an order ended, in words: of a refusal the tally has the reason."""
    return _REASON.sub(lambda reason: _REFUSALS.get(reason[0], reason[0].lower().replace("_", " ")), end)


def overtaken(count: int) -> str:
    """The line of the demo about cancellations that released nothing; the client would warn of each."""
    return f"{count:,} cancellations of marketplaces came before their orders, which were refused then: that is meant"


def _value(name: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(_value(name, each) for each in value)
    if name.endswith("_s"):
        return duration(value)
    if name.endswith(("_chance", "share")):
        return f"{value:.0%}"
    return page.number(value)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whatever reads best."""
    for size, unit in ((_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= size and seconds % (size / 2) == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
