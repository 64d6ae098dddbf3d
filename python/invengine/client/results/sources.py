"""The numbers of the messages of a source."""

from __future__ import annotations

from dataclasses import dataclass

from invengine.client.results.receipts import LookAlike, Receipt


@dataclass(frozen=True, slots=True)
class Registration:
    """The new epoch of a source, and the last sequence that was applied in the epoch before it."""

    epoch: int
    previous_epoch: int
    previous_sequence: int
    receipt: Receipt
    look_alikes: tuple[LookAlike, ...] = ()


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a message of a source."""

    source_id: str
    epoch: int
    sequence: int
