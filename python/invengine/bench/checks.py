"""What must be true at the end of a run, or it has no figure.

Every level adds up; not more was accepted than there was; the callers' own ledger equals the server's; and the journal,
folded again after the server has ended, gives the state that the server had.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from invengine.bench.server import Server
from invengine.cli.check import findings_of
from invengine.cli.exits import CheckFailedError
from invengine.client import Client, Digest, Level

KEYS_LOOKED_UP = 200


@dataclass(slots=True)
class CallerRecords:
    """What the callers of one server recorded, over all its runs."""

    accepted: Counter[str] = field(default_factory=Counter)
    """Units of each item that were reserved."""
    released: Counter[str] = field(default_factory=Counter)
    allocated: Counter[str] = field(default_factory=Counter)
    keys: list[str] = field(default_factory=list)
    """Keys of some accepted reserves."""
    findings: list[str] = field(default_factory=list)
    """Answers that must not occur."""

    def add_faults(
        self, run: str, *, broken: int = 0, unanswered: int = 0, refused: dict[str, int] | None = None
    ) -> None:
        """Records answers that a benchmark must not get: stock is plentiful, and nobody calls too fast."""
        if broken:
            self.findings.append(f"{run}: {broken} answers violate the contract")
        if unanswered:
            self.findings.append(f"{run}: {unanswered} calls were never answered")
        if refused:
            self.findings.append(f"{run}: refused: {', '.join(f'{count} {why}' for why, count in refused.items())}")


def check_and_end(name: str, server: Server, records: CallerRecords | None = None) -> Digest:
    """Runs every check, ends the server and returns its last digest. Raises CheckFailedError with all findings.

    Without `records` the callers' own ledger was compared before.
    """
    with server.client() as client:
        levels = list(client.list_levels())
        findings = [line for level in levels for line in level_findings(level)]
        if records is not None:
            findings += records.findings + record_findings(levels, records) + key_findings(client, records.keys)
        digest = client.digest()
    server.program.end()
    findings += recovery_findings(server, digest)
    require(name, findings)
    return digest


def require(name: str, findings: Iterable[str]) -> None:
    """Raises CheckFailedError unless there are no findings."""
    found = list(findings)
    if found:
        raise CheckFailedError(f"{name} has no figure, since {len(found)} checks failed: {'; '.join(found)}")


def record_findings(levels: list[Level], records: CallerRecords) -> list[str]:
    """Where the server's levels differ from the callers' records."""
    by_sku: dict[str, list[Level]] = {}
    for level in levels:
        by_sku.setdefault(level.sku, []).append(level)
    found = [f"{sku} is sold but has no level" for sku in records.accepted if sku not in by_sku]
    for sku, of_sku in by_sku.items():
        held = (sum(level.reserved for level in of_sku), sum(level.allocated for level in of_sku))
        allocated = records.allocated[sku]
        reserved = records.accepted[sku] - records.released[sku] - allocated
        if held != (reserved, allocated):
            found.append(
                f"{sku}: the server holds {held[0]} reserved and {held[1]} allocated, "
                f"its callers {reserved} and {allocated}"
            )
    return found


def level_findings(level: Level) -> list[str]:
    """What is wrong with one level."""
    found = []
    held = level.reserved + level.allocated
    if level.on_hand + level.oversold != level.available + held + level.unsellable:
        found.append(f"{level.sku}: does not add up: {level}")
    if held > level.on_hand:
        found.append(f"{level.sku}: {held} units are held of {level.on_hand}")
    return found


def key_findings(client: Client, keys: list[str]) -> list[str]:
    """Accepted reserves of which the server knows nothing."""
    lost = []
    for key in keys[-KEYS_LOOKED_UP:]:
        known = client.get_outcome(key)
        if known.outcome is None or not known.outcome.accepted:
            lost.append(key)
    return [f"{len(lost)} accepted reserves are unknown, such as {lost[0]}"] if lost else []


def recovery_findings(server: Server, before: Digest) -> list[str]:
    """What is wrong with the journal of a server that has ended; `before` is its digest when it was last asked."""
    if server.directory is None:
        return []
    from invengine import _core

    return digest_findings(json.loads(_core.verify(str(server.directory), None)), before)


def digest_findings(report: dict[str, Any], before: Digest) -> list[str]:
    """The findings of a report of `verify`, and whether it found the same state as before."""
    return findings_of(report) + same_state(before, report["digest"], report["sequence"])


def same_state(before: Digest, digest: str, sequence: int) -> list[str]:
    """What is wrong with the state after a recovery, if it is not the one before."""
    if (digest, sequence) == (before.digest, before.sequence):
        return []
    return [f"the digest was {before.digest} at {before.sequence}, after recovery {digest} at {sequence}"]
