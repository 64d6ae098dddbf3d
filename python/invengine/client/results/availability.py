"""The units that may be held now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Availability(NamedTuple):
    """Units of one item at one location that may be held now: 0 without stock, None if a name is unknown."""

    sku: str
    location: str
    available: int | None
    unknown_sku: bool = False
    """The catalogue has no such item."""
    unknown_location: bool = False
    """The catalogue has no such location."""


class Availabilities(list[Availability]):
    """Results in the order of the queries, and the position of the ledger at which they were read.

    The ledger is durable to `durable_sequence`, which may be a little below `sequence`. More than 1,000 queries are
    sent in several requests, and both are then those of the earliest; later results may be newer. Both are 0 without
    queries.
    """

    def __init__(self, entries: Iterable[Availability] = (), sequence: int = 0, durable_sequence: int = 0) -> None:
        super().__init__(entries)
        self.sequence = sequence
        self.durable_sequence = durable_sequence
