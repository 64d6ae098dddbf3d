"""The results of questions about reservations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


class ReservationLine(NamedTuple):
    """The current state of a line: quantity = reserved + allocated + released + expired + fulfilled."""

    sku: str
    location: str
    quantity: int
    reserved: int
    allocated: int
    released: int
    expired: int
    fulfilled: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """The current state of a reservation. Texts are empty if they were not given."""

    reservation_id: str
    version: int
    expire_time: datetime
    create_time: datetime
    channel: str
    order_ref: str
    holder: str
    key: str
    lines: tuple[ReservationLine, ...]
    lines_omitted: int = 0
    """Lines after the first 2,000, which only a reservation of an earlier version can have."""
