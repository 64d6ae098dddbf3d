"""Reserves as columns: lists in, lists out, for callers who bring many at once. Encoding and decoding are native."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from invengine.client import commands
from invengine.client.commands import CommandFields
from invengine.client.stream import BATCH_COMMANDS_MAX

METHOD = "/invengine.v1.ReservationService/Submit"


@dataclass(slots=True)
class ReserveColumns:
    """One row a reserve, in the order asked. A refused row has an empty id, its reason, and sequence 0.

    A reason such as OVERLOADED or DRAINING means that the row was not taken: ask again with the same key.
    """

    keys: list[str]
    accepted: list[bool] = field(default_factory=list)
    reservation_ids: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)

    def add(self, answer: bytes) -> None:
        """Appends the rows of one SubmitResponse."""
        from invengine._core import decode_outcomes

        accepted, reservation_ids, reasons, sequences = decode_outcomes(answer)
        self.accepted += accepted
        self.reservation_ids += reservation_ids
        self.reasons += reasons
        self.sequences += sequences


def encoded(
    skus: Sequence[str],
    locations: Sequence[str] | str,
    quantities: Sequence[int] | int,
    keys: Sequence[str] | None,
    ttl_s: float | None,
    fields: CommandFields,
) -> tuple[ReserveColumns, Iterator[bytes]]:
    """The empty answer with its keys, and the SubmitRequests to send, 1,000 rows each."""
    rows = len(skus)
    at = [locations] * rows if isinstance(locations, str) else list(locations)
    units = [quantities] * rows if isinstance(quantities, int) else list(quantities)
    keys_named = keys is not None
    if keys is None:
        prefix = os.urandom(12).hex()
        keys = [f"{prefix}-{row}" for row in range(rows)]
    if not len(at) == len(units) == len(keys) == rows:
        raise ValueError("every column needs as many rows as there are skus")
    shared = commands.shared_context(time.time_ns(), fields, keys_named=keys_named)
    return ReserveColumns(list(keys)), _requests(list(skus), at, units, list(keys), ttl_s, shared)


def _requests(
    skus: list[str], locations: list[str], quantities: list[int], keys: list[str], ttl_s: float | None, shared: bytes
) -> Iterator[bytes]:
    from invengine._core import encode_reserves

    ttl_ms = 0 if ttl_s is None else max(1, math.ceil(ttl_s * 1000))
    for start in range(0, len(skus), BATCH_COMMANDS_MAX):
        part = slice(start, start + BATCH_COMMANDS_MAX)
        yield encode_reserves(skus[part], locations[part], quantities[part], keys[part], shared, ttl_ms)
