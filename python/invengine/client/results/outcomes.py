"""What a command or a key did, as a value: accepted or rejected."""

from __future__ import annotations

from dataclasses import dataclass

from invengine.client.results.holds import Hold, HoldSummary, only
from invengine.client.results.receipts import Receipt
from invengine.client.results.stock import Level
from invengine.client.results.stock_transfers import StockTransfer
from invengine.errors import InvengineError


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one command of a batch, or what a key did: accepted with a receipt, or refused with a rejection."""

    receipt: Receipt | None
    holds: tuple[Hold, ...]
    levels: tuple[Level, ...]
    key_cancelled: bool
    rejection: InvengineError | None
    summary: HoldSummary | None = None
    """The totals if there were too many holds to list; None if `holds` has them all."""
    versions: tuple[int, ...] = ()
    """The versions of the entities that it put, in its order; items, locations and channels have none."""
    transfer: StockTransfer | None = None
    """The stock transfer after the command, for a command on one."""
    claimed_lines: tuple[int, ...] = ()
    """Indexes, from 0, of the lines of a set or count that were only recorded as claims."""

    @property
    def accepted(self) -> bool:
        """True if the command was accepted."""
        return self.rejection is None

    @property
    def hold(self) -> Hold:
        """The only hold that changed. Raises the rejection if there is one, ValueError if holds are none or several."""
        if self.rejection is not None:
            raise self.rejection
        return only(self.holds, self.summary)


@dataclass(frozen=True, slots=True)
class KnownOutcome:
    """What the ledger knows about a key.

    If not `known`, no command with this key has an outcome; it may still arrive. To ensure that it is never executed,
    release by that key, which leaves a tombstone.
    """

    known: bool
    outcome: Outcome | None
    key_cancelled: bool
    sequence: int
