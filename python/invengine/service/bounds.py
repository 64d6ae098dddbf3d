"""The bounds of the service that refuse something, and how often each acted, so that operators see who reaches which.

Other bounds are enforced by grpcio before a handler is called, so nothing can count them.
"""

from __future__ import annotations

import enum
from collections import Counter

from invengine.service.refusals import RefusedError


class Bound(enum.StrEnum):
    """A bound; `docs/operations.md` states the value of each. The native door has the same names where it has them."""

    MESSAGE_REFUSED = "message_refused"
    METADATA_REFUSED = "metadata_refused"
    READER_REFUSED = "reader_refused"
    REFLECTION_REFUSED = "reflection_refused"
    REFLECTION_ENDED = "reflection_ended"


class BoundReachedError(RefusedError):
    """A refusal because a bound was reached."""

    def __init__(self, bound: Bound, refusal: RefusedError) -> None:
        super().__init__(refusal.code, refusal.message, refusal.status)
        self.bound = bound


class Bounds:
    """How often each bound acted since the start."""

    def __init__(self) -> None:
        self._counts = Counter(dict.fromkeys(Bound, 0))

    def acted(self, bound: Bound) -> None:
        """Counts one action of a bound."""
        self._counts[bound] += 1

    def counts(self) -> dict[str, int]:
        """The count of every bound, by name."""
        return {bound.value: self._counts[bound] for bound in Bound}
