"""Drafts of reserves, which `_core` encodes. Their message is made only where something else needs it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from invengine.client import arguments, contract
from invengine.client.draft import CommandFields, Draft, Kind, fill, new_key
from invengine.client.framing import native

if TYPE_CHECKING:
    from invengine.client.results import Hold


@cache
def _encoder() -> Any:
    """Returns what encodes a reserve, or None without `_core`."""
    core = native()
    return core and core.encode_reserve


Rows = tuple[tuple[str, str, int], ...]

_TEXTS = frozenset({"key", "channel", "order_ref", "holder", "actor", "reason_code", "reference", "causation"})


def reserving(
    kind: Kind[Hold], rows: Rows, ttl: tuple[int, int] | None, flags: tuple[bool, bool], fields: CommandFields
) -> Draft[Hold]:
    """Returns the draft of a reserve. `ttl` is (seconds, nanoseconds); `flags` are allow_partial and replace_own."""
    texts = plain_texts(fields) if fields else {}
    for sku, location, _ in rows:
        if not (sku.isascii() and location.isascii()):
            texts = None
    if texts is None:
        return Draft(kind, _message(rows, ttl, flags), fields)
    return PlainReserve(kind, rows, ttl, flags, texts, fields.get("timeout_s"))


def plain_texts(fields: Mapping[str, Any]) -> dict[str, str] | None:
    """Returns the fields of a context if all are valid texts in ASCII, otherwise None."""
    texts = {}
    for name, value in fields.items():
        if name == "timeout_s" and value is not None:
            arguments.timeout(value, name)
        elif value is not None:
            if name not in _TEXTS or value.__class__ is not str or not value or not value.isascii():
                return None
            texts[name] = value
    return texts


def _message(rows: Rows, ttl: tuple[int, int] | None, flags: tuple[bool, bool]) -> Any:
    request = contract.reservation.ReserveRequest()
    add = request.lines.add
    for sku, location, quantity in rows:  # Setting attributes takes a third less time than keyword arguments.
        line = add()
        line.sku = sku
        line.location = location
        line.quantity = quantity
    if ttl is not None:
        duration = request.ttl
        duration.seconds, duration.nanos = ttl
    request.allow_partial, request.replace_own = flags
    return request


class PlainReserve(Draft["Hold"]):
    """A reserve with nothing but texts in its context, all of them in ASCII."""

    __slots__ = ("_flags", "_key", "_payload", "_rows", "_texts", "_ttl")

    def __init__(
        self,
        kind: Kind[Hold],
        rows: Rows,
        ttl: tuple[int, int] | None,
        flags: tuple[bool, bool],
        texts: dict[str, str],
        timeout_s: float | None,
    ) -> None:
        self.kind = kind
        self.timeout_s = timeout_s
        self._request = None
        self._rows, self._ttl, self._flags, self._texts = rows, ttl, flags, texts
        self._key = texts.get("key", "")
        self._payload = b""
        """Its bytes once `_core` has sealed it."""

    @property
    def request(self) -> Any:
        """Its message. What is changed in it is what is sent."""
        if self._request is None and self._payload:
            self._request = contract.reservation.ReserveRequest.FromString(self._payload)
        elif self._request is None:
            self._request = _message(self._rows, self._ttl, self._flags)
            if self._texts:
                fill(self._request.context, self._texts)
        return self._request

    @property
    def key(self) -> str:
        """Its idempotency key; empty until one is set."""
        return self._key if self._request is None else super().key

    @property
    def is_anonymous(self) -> bool:
        """True without a key, number or issue_time of its caller, who then cannot repeat it."""
        return not self._key if self._request is None else super().is_anonymous

    @property
    def is_unnamed(self) -> bool:
        """True without a key or number."""
        return not self._key if self._request is None else super().is_unnamed

    def name_key(self, key: str) -> None:
        """Sets a key that the caller chose and may repeat."""
        if self._request is None and not self._payload and key.isascii():
            self._key, self._texts = key, {**self._texts, "key": key}
        else:
            super().name_key(key)

    def payload(self, now_ns: int, channel: str = "", actor: str = "", native: bool = True) -> bytes:
        """Seals it and returns its bytes, which `_core` encodes if `native`."""
        encode = _encoder() if native and self._request is None else None
        if encode is None:
            return super().payload(now_ns, channel, actor)
        if not self._payload:
            key, named = self._key or new_key(), bool(self._key)
            self._payload = encode(self._rows, self._ttl, self._flags, self._texts, key, named, now_ns, channel, actor)
            self._key = key
        return self._payload
