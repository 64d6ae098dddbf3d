"""Explanations of the words of a report, a sentence each, and assumptions in words."""

from __future__ import annotations

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
    "reserve_since_due": "a basket's reserve, since due",
    "flash_since_due": "a caller of the flash sale, since due, all",
    "flash_since_due_without_outage": "… without those around the kill",
    "flash_since_due_around_outage": "… those around the kill",
    "other_commands": "any other command",
    "store_upload": "a store's whole upload",
}

_AREAS = {
    "shopping": "baskets",
    "messages": "messages of connectors",
    "flash": "flash sale",
    "shelves": "stock at the start",
    "copies": "own copies",
}
_MINUTE_S, _HOUR_S = 60, 3600


def assumptions(listed: Mapping[str, Any], area: str = "") -> Iterator[tuple[str, str, str]]:
    """Every assumed number as a row: where it belongs, its name in words, and its value with its unit."""
    for name, value in listed.items():
        if not area and isinstance(value, Mapping):
            yield from assumptions(value, _AREAS.get(name, name))
        elif isinstance(value, Mapping):
            yield from ((area, f"{_words(name)}, {each}", _value(name, found)) for each, found in value.items())
        else:
            yield area or "all", _words(name), _value(name, value)


def _words(name: str) -> str:
    for unit in ("_s", "_chance", "_share"):
        name = name.removesuffix(unit)
    return name.replace("_", " ")


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
