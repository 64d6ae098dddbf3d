"""What callers may see while servers end by SIGTERM under load."""

from __future__ import annotations

from collections import Counter

ALLOWED = {"UNAVAILABLE DRAINING", "UNAVAILABLE TRANSPORT", "UNAVAILABLE RECOVERING", "14 DRAINING", "14 RECOVERING"}
# What grpcio says by itself to calls that reach it in the moment of its end.
BY_GRPCIO = {"native": set[str](), "python": {"CANCELLED TRANSPORT"}}


def surprises(tries: Counter[str], door: str) -> set[str]:
    """Endings of tries that no caller should see."""
    return set(tries) - ALLOWED - BY_GRPCIO[door]
