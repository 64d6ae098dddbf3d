"""What must hold after a run, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

SHOWN = 5
"""Examples of what a failed check found."""


class Check(NamedTuple):
    """Something that must hold. `found` states what was seen, in the words of the report.

    What is not `judged` counts neither as held nor as broken: a speed on a machine that others kept busy.
    """

    name: str
    holds: bool
    found: str
    judged: bool = True

    @property
    def failed(self) -> bool:
        """True if it was judged and does not hold."""
        return self.judged and not self.holds


def examples(texts: Sequence[str]) -> str:
    """The first few of many findings, to be appended to their number."""
    return f": {'; '.join(texts[:SHOWN])}" if texts else ""


def all_or(texts: Sequence[str]) -> str:
    """`all` if there are no findings, otherwise their number with examples."""
    return f"{len(texts)}{examples(texts)}" if texts else "all"
