"""Reserves as columns: takes and returns lists, for many reserves at once. Encoding and decoding are native."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from google.protobuf.message import DecodeError

from invengine.client import arguments, contract, draft
from invengine.client.draft import CommandFields
from invengine.client.framing import BATCH_COMMANDS_MAX
from invengine.client.reserving import plain_texts
from invengine.errors import InvalidArgument
from invengine.text import is_encodable
from invengine.v1.types_pb2 import CommandContext

METHOD = "/invengine.v1.ReservationService/Submit"


@cache
def _core() -> Any:
    """Returns `invengine._core`, without which there are no columns."""
    return import_module("invengine._core")


_DECODED = ("reservation_ids", "reasons", "sequences")
"""What `decode_outcomes` returns."""


class _Pending:
    """Columns that are made when somebody looks at them; most callers look at `accepted` and no other."""

    __slots__ = ("_answers", "_key_prefix", "_rows")

    def _expect(self, rows: int, key_prefix: str) -> None:
        self._answers: list[bytes] = []
        self._rows, self._key_prefix = rows, key_prefix

    def __getattr__(self, name: str) -> Any:
        made: dict[str, list[Any]]
        if name == "keys":
            made = {name: [f"{self._key_prefix}-{row}" for row in range(self._rows)]}
        elif name in _DECODED:
            made = {column: [] for column in _DECODED}
            for answer in self._answers:
                for values, part in zip(made.values(), _core().decode_outcomes(answer), strict=True):
                    values.extend(part)
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        for column, values in made.items():
            setattr(self, column, values)
        return made[name]


@dataclass(slots=True)
class ReserveColumns(_Pending):
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
        accepted = _core().decode_accepted(answer)
        if accepted is None:
            answer = _as_usual(answer)
            accepted = _core().decode_accepted(answer)
        self.accepted += accepted
        self._answers.append(answer)


def _as_usual(answer: bytes) -> bytes:
    """Returns the same answer as every encoder writes it, without what this version does not know."""
    try:
        message = contract.reservation.SubmitResponse.FromString(answer)
    except DecodeError as error:
        raise ValueError("not a SubmitResponse") from error
    message.DiscardUnknownFields()
    return message.SerializeToString()


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
    at = arguments.nonempty(locations, "locations") if isinstance(locations, str) else _texts(locations, "locations")
    units = _units(quantities) if isinstance(quantities, Iterable) else arguments.integer(quantities, "quantities")
    names = os.urandom(12).hex() if keys is None else _texts(keys, "keys")
    for name, column in (("locations", at), ("quantities", units), ("keys", names)):
        if isinstance(column, list) and len(column) != rows:
            raise InvalidArgument(name, f"as many rows as there are skus, {rows}; got {len(column)}")
    if keys is not None and not all(names):
        arguments.nonempty("", f"keys[{names.index('')}]")
    ttl_ms = 0 if ttl_s is None else max(1, math.ceil(arguments.seconds(ttl_s, "ttl_s") * 1000))
    shared = shared_context(time.time_ns(), fields, keys_named=keys is not None)
    return _unanswered(names, rows), _requests(items, at, units, names, shared, ttl_ms)


def _unanswered(keys: list[str] | str, rows: int) -> ReserveColumns:
    """Returns columns without answers, whose rows have these keys, or keys with this prefix."""
    columns = ReserveColumns.__new__(ReserveColumns)
    columns.accepted = []
    if isinstance(keys, str):
        columns._expect(rows, keys)
    else:
        columns._expect(rows, "")
        columns.keys = keys
    return columns


def shared_context(now_ns: int, fields: CommandFields, *, keys_named: bool = False) -> bytes:
    """Returns a serialized CommandContext for many commands; what is about one message is refused."""
    for name in ("key", "source", "origin"):
        if fields.get(name) is not None:
            rule = "columns share their fields: give `keys`, one a row; submit() takes sources and origins"
            raise InvalidArgument(name, rule)
    texts = plain_texts(fields)
    if texts is not None:
        plain: bytes = _core().encode_context(texts, keys_named, now_ns, "", "")
        return plain
    context = CommandContext()
    draft.fill(context, fields)
    if not context.HasField("issue_time"):
        context.issue_time.seconds, context.issue_time.nanos = divmod(now_ns, 1_000_000_000)
    context.remember_refusal = keys_named
    return context.SerializeToString()


def _texts(column: Iterable[str], name: str) -> list[str]:
    found = list(arguments.items_of(column, name))
    if set(map(type, found)) - {str} or not all(map(is_encodable, found)):
        return [arguments.text(value, f"{name}[{row}]") for row, value in enumerate(found)]
    return found


def _units(column: Iterable[int]) -> list[int]:
    found = list(arguments.items_of(column, "quantities"))
    if set(map(type, found)) - {int}:
        return [arguments.integer(value, f"quantities[{row}]") for row, value in enumerate(found)]
    return found


def _requests(
    skus: list[str],
    locations: list[str] | str,
    quantities: list[int] | int,
    keys: list[str] | str,
    shared: bytes,
    ttl_ms: int,
) -> Iterator[bytes]:
    encode, rows = _core().encode_reserves, len(skus)
    for start in range(0, rows, BATCH_COMMANDS_MAX):
        end = min(start + BATCH_COMMANDS_MAX, rows)
        yield encode(skus, locations, quantities, keys, start, end, shared, ttl_ms)
