"""The bytes of a batch: commands that become one message, and outcomes out of its answer.

`_core` reads the outcomes. It is loaded by the first batch or by the second single command, and where it is not built
protobuf does the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from invengine.client import contract, results

BATCH_COMMANDS_MAX = 1_000
BATCH_BYTES_MAX = 2 * 1024 * 1024


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _head(field: int, length: int) -> bytes:
    inner = bytes([field << 3 | 2]) + _varint(length)
    return b"\x0a" + _varint(len(inner) + length) + inner


_SHORT = 512
_HEADS: list[list[bytes]] = [[] for _ in range(8)]
"""The bytes before a payload of each length below _SHORT, by field. Those of a field are computed on first use."""


def _heads(field: int) -> list[bytes]:
    _HEADS[field] = [_head(field, length) for length in range(_SHORT)]
    return _HEADS[field]


def framed(field: int, payload: bytes) -> bytes:
    """One element of `SubmitStreamRequest.commands` (also of SubmitRequest): Command{field: payload}."""
    length = len(payload)
    return ((_HEADS[field] or _heads(field))[length] if length < _SHORT else _head(field, length)) + payload


@cache
def native() -> Any:
    """Returns `invengine._core`, or None without it."""
    try:
        from invengine import _core
    except ImportError:
        return None
    return _core


@cache
def reader() -> Any:
    """Returns what reads the holds of an outcome, or None without `_core`."""
    core = native()
    if core is None:
        return None
    values = (results.Receipt, results.HoldLine, results.Hold, results.Changes)
    return core.OutcomeReader(*values, list(results.LineState))


def outcomes_in(answer: bytes) -> list[Any]:
    """Returns the outcomes of a SubmitResponse or SubmitStreamResponse; DecodeError if it is malformed.

    A command that was accepted and only changed holds gives the bytes of its Outcome, which `reader` reads; any other
    gives its message.
    """
    core = native()
    split: tuple[list[Any], list[int]] | None = core and core.OutcomeReader.split(answer)
    if split is None:
        return list(contract.reservation.SubmitResponse.FromString(answer).outcomes)
    found, others = split
    for at in others:
        found[at] = contract.reservation.Outcome.FromString(found[at])
    return found
