"""Reserves as columns: takes and returns lists, for many reserves at once. Encoding and decoding are native."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from invengine.client import arguments, draft
from invengine.client.draft import CommandFields
from invengine.client.framing import BATCH_COMMANDS_MAX
from invengine.errors import InvalidArgument
from invengine.v1.types_pb2 import CommandContext

METHOD = "/invengine.v1.ReservationService/Submit"


@dataclass(slots=True)
class ReserveColumns:
    """One row per reserve, in the order of the request. A rejected row has an empty id, its reason, and sequence 0.

    A reason such as OVERLOADED or DRAINING means that the row was not executed: repeat it with the same key.
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
    """Returns the columns with their keys, still without answers, and the SubmitRequests to send, 1,000 rows each."""
    items = _texts(skus, "skus")
    rows = len(items)
    one = isinstance(locations, str)
    at = [arguments.nonempty(locations, "locations")] * rows if one else _texts(locations, "locations")
    units = (
        _units(quantities) if isinstance(quantities, Iterable) else [arguments.integer(quantities, "quantities")] * rows
    )
    prefix = os.urandom(12).hex()
    names = [f"{prefix}-{row}" for row in range(rows)] if keys is None else _texts(keys, "keys")
    for name, column in (("locations", at), ("quantities", units), ("keys", names)):
        if len(column) != rows:
            raise InvalidArgument(name, f"as many rows as there are skus, {rows}; got {len(column)}")
    if not all(names):
        arguments.nonempty("", f"keys[{names.index('')}]")
    ttl_ms = 0 if ttl_s is None else max(1, math.ceil(arguments.seconds(ttl_s, "ttl_s") * 1000))
    shared = shared_context(time.time_ns(), fields, keys_named=keys is not None)
    return ReserveColumns(names), _requests(items, at, units, names, ttl_ms, shared)


def shared_context(now_ns: int, fields: CommandFields, *, keys_named: bool = False) -> bytes:
    """Returns a serialized CommandContext for many commands; `key` and `source` identify one and are refused."""
    for name in ("key", "source"):
        if fields.get(name) is not None:
            raise InvalidArgument(name, "columns share their fields: give `keys`, one a row; submit() takes sources")
    context = CommandContext()
    draft.fill(context, fields)
    if not context.HasField("issue_time"):
        context.issue_time.seconds, context.issue_time.nanos = divmod(now_ns, 1_000_000_000)
    context.remember_refusal = keys_named
    return context.SerializeToString()


def _texts(column: Iterable[str], name: str) -> list[str]:
    found = list(arguments.items_of(column, name))
    if set(map(type, found)) - {str} or not all(map(arguments.is_encodable, found)):
        return [arguments.text(value, f"{name}[{row}]") for row, value in enumerate(found)]
    return found


def _units(column: Iterable[int]) -> list[int]:
    found = list(arguments.items_of(column, "quantities"))
    if set(map(type, found)) - {int}:
        return [arguments.integer(value, f"quantities[{row}]") for row, value in enumerate(found)]
    return found


def _requests(
    skus: list[str], locations: list[str], quantities: list[int], keys: list[str], ttl_ms: int, shared: bytes
) -> Iterator[bytes]:
    from invengine._core import encode_reserves

    for start in range(0, len(skus), BATCH_COMMANDS_MAX):
        part = slice(start, start + BATCH_COMMANDS_MAX)
        yield encode_reserves(skus[part], locations[part], quantities[part], keys[part], shared, ttl_ms)
