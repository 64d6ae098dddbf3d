"""The statuses that callers may get while servers shut down on SIGTERM under load."""

from __future__ import annotations

from collections import Counter

ALLOWED = {"UNAVAILABLE DRAINING", "UNAVAILABLE TRANSPORT", "UNAVAILABLE RECOVERING", "14 DRAINING", "14 RECOVERING"}
# What grpcio itself answers to calls that arrive while it shuts down.
BY_GRPCIO = {"native": set[str](), "python": {"CANCELLED TRANSPORT"}}


def unexpected_endings(tries: Counter[str], door: str) -> set[str]:
    """Endings of attempts that no caller should see."""
    return set(tries) - ALLOWED - BY_GRPCIO[door]
