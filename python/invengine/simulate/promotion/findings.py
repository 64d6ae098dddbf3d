"""Judges the evidence: the report as JSON, and the checks that every run must pass."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from invengine.cli.machine_load import verdict
from invengine.simulate.promotion.coordinator import Evidence
from invengine.simulate.promotion.roles import RoleKind, roles_of
from invengine.simulate.report.checks import Check, all_or, examples

AROUND_KILL_S = 1.5
"""What was sent this close to the kill, in seconds of the wall clock, may have waited for the server to come back."""
_NOT_KEPT = ("EXCEEDS_OUTSTANDING", "ALREADY_RELEASED", "RESERVATION_NOT_FOUND", "RESERVATION_EXPIRED")
"""How an order would end whose goods were promised, paid in time, and then not there."""
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


def report_of(evidence: Evidence) -> dict[str, Any]:
    """The whole report. `passed` is True if every check holds."""
    found = checks(evidence)
    return {
        "title": f"Promotion: {evidence.plan.stream.title}",
        "passed": not any(check.failed for check in found),
        "checks": [check._asdict() for check in found],
        "engine": _engine(evidence),
        "fragmented": _fragmented(evidence),
        "throughput": _throughput(evidence),
        "latency_ms": _latency(evidence),
        "machine": None if evidence.load is None else evidence.load.as_json(),
        "notice": verdict(evidence.load),
        "stream": _stream(evidence),
        "server": _server(evidence),
        "assumptions": evidence.plan.assumptions.listed(),
    }


def checks(evidence: Evidence) -> list[Check]:
    """Every check with what was found."""
    tally, auditor, outage = evidence.tally, evidence.auditor, evidence.outage
    at_outage, at_end = evidence.at_outage, evidence.at_end
    invariants = f"{auditor.finding_count} findings{examples(auditor.findings)}"
    left = sum(level.reserved for level in auditor.levels.values())
    disagree = disagreements(evidence)
    return [
        Check(
            "no unit was oversold, by re-folding the journal", at_end.oversold_units == 0, f"{at_end.oversold_units}"
        ),
        Check("no unit was oversold, by the auditor", auditor.oversold_units == 0, f"{auditor.oversold_units}"),
        Check(
            "every acknowledged answer was known after the kill",
            not tally.lost and tally.looked_up > 0,
            f"{tally.looked_up:,} looked up, {len(tally.lost)} lost{examples(tally.lost)}",
        ),
        Check(
            "every acknowledged answer is in the journal",
            not evidence.lost and evidence.answers > 0,
            f"{evidence.answers:,} answers, {len(evidence.lost)} lost{examples(evidence.lost)}",
        ),
        Check("digest before the kill = digest re-folded", outage.digest.digest == at_outage.digest, at_outage.digest),
        Check("digest at the end = digest re-folded", evidence.digest.digest == at_end.digest, at_end.digest),
        Check("every invariant held while re-folding", not at_end.broken, all_or(at_end.broken)),
        Check("every invariant held for the auditor", auditor.finding_count == 0, invariants),
        Check("the server's levels are those of the events", not evidence.differences, all_or(evidence.differences)),
        Check("the clients' ledgers are the server's", not disagree, all_or(disagree)),
        Check("one key never had two answers", not tally.contradictions, all_or(tally.contradictions)),
        Check("nothing was refused that was there", tally.false_refusals == 0, f"{tally.false_refusals}"),
        Check("nothing stays reserved beyond its time", left == 0, f"{left} units"),
        _each_order_once(evidence),
    ]


def _each_order_once(evidence: Evidence) -> Check:
    ends, sales = sum(evidence.tally.orders.values()), len(evidence.plan.stream.sales)
    return Check("every order is counted once, by how it ended", ends == sales, f"{ends:,} ends of {sales:,} orders")


def disagreements(evidence: Evidence) -> list[str]:
    """Where the clients' own ledgers and the server's levels differ."""
    tally, opening, levels = evidence.tally, evidence.plan.stream.opening, evidence.auditor.levels
    found = []
    for place in sorted(opening.keys() | levels.keys()):
        on_hand = opening.get(place, 0) + tally.stock[place] - tally.fulfilled[place]
        mine = (on_hand, tally.allocated[place])
        theirs = (levels[place].on_hand, levels[place].allocated) if place in levels else (0, 0)
        if mine != theirs:
            found.append(f"{place[0]} at {place[1]}: clients {mine}, server {theirs}")
    return found


def late_sales(evidence: Evidence) -> dict[float, int]:
    """Sales of tills whose goods were there then and promised elsewhere when the upload came: time, and units of each.

    That is the price of an upload every fifteen minutes, whoever keeps the stock: somebody's order must go.
    """
    found: Counter[float] = Counter()
    for short in evidence.tally.short:
        at_ms = evidence.epoch_ms + short.at_s * 1000
        room = evidence.auditor.room_at(short.place, at_ms) - short.sold_before
        found[short.at_s] += max(0, min(short.units, room))
    return {at_s: units for at_s, units in found.items() if units}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of sorted values does not exceed."""
    return values[min(len(values) - 1, round(share * (len(values) - 1)))] if values else 0.0


def _engine(evidence: Evidence) -> dict[str, Any]:
    tally, auditor, outage = evidence.tally, evidence.auditor, evidence.outage
    by_command = _by_command(tally.refused)
    late = late_sales(evidence)
    return {
        "accepted": tally.accepted["reserve"],
        "accepted_by_command": dict(tally.accepted),
        "refused": by_command.get("reserve", {}),
        "refused_by_command": by_command,
        "reserves": _reserves(evidence),
        "expired": len(evidence.counts.expired_holds),
        "reacquired": len(evidence.counts.reacquired_holds),
        "replayed": tally.replayed,
        "oversold_units": max(evidence.at_end.oversold_units, auditor.oversold_units),
        "lost_acknowledged": len({*tally.lost, *evidence.lost}),
        "acknowledged": evidence.answers,
        "looked_up_after_kill": tally.looked_up,
        "unknown_resolved": tally.unknown_resolved,
        "digest_at": outage.digest.sequence,
        "digest_live": outage.digest.digest,
        "digest_refolded": evidence.at_outage.digest,
        "digest_end": {
            "at": evidence.digest.sequence,
            "live": evidence.digest.digest,
            "refolded": evidence.at_end.digest,
        },
        "recovery_ms": outage.recovered.recovery_time_s * 1000,
        "recovered_events": outage.recovered.recovered_events,
        "down_ms": outage.down_ms,
        "cancelled_orders": sum(tally.orders[reason] for reason in _NOT_KEPT) + len(late),
        "late_store_units": sum(late.values()),
        "false_sold_outs": tally.false_refusals,
        **_units(evidence),
        "orders": dict(sorted(tally.orders.items())),
        "orders_in_part": tally.parts,
        "faults": dict(tally.faults),
        "events": evidence.counts.events,
        "events_by_kind": dict(sorted(evidence.counts.kinds.items())),
    }


def _reserves(evidence: Evidence) -> dict[str, dict[str, int]]:
    """Accepted and refused reserves of the flash sale, and of the baskets beside it."""
    flash = {role.name for role in roles_of(evidence.plan.stream) if role.kind is RoleKind.FLASH}
    found = {part: {"accepted": 0, "refused": 0} for part in ("flash_sale", "baskets")}
    for name, tally in evidence.tallies.items():
        part = found["flash_sale" if name in flash else "baskets"]
        part["accepted"] += tally.accepted["reserve"]
        part["refused"] += sum(count for what, count in tally.refused.items() if what.startswith("reserve "))
    return found


def _units(evidence: Evidence) -> dict[str, int]:
    tally = evidence.tally
    return {
        "units_reserved": tally.units_reserved,
        "units_sold": sum(tally.fulfilled.values()) + sum(tally.allocated.values()),
        "flash_sold": tally.fulfilled[evidence.plan.stream.flash_place],
        "flash_reserved_units": evidence.counts.watched_reserved_units,
    }


def _by_command(refused: Mapping[str, int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, count in sorted(refused.items()):
        kind, _, reason = name.partition(" ")
        found.setdefault(kind, {})[reason] = count
    return found


def _fragmented(evidence: Evidence) -> dict[str, Any]:
    found = asdict(evidence.fragmented)
    del found["series"]
    by_interval = {f"{factor:g}": units for factor, units in evidence.oversold_by_factor.items()}
    return {**found, "oversold_units_by_interval": by_interval}


def _throughput(evidence: Evidence) -> dict[str, Any]:
    tally = evidence.tally
    commands = sum(tally.accepted.values()) + sum(tally.refused.values()) + tally.replayed
    scale = evidence.plan.scale
    per_second = Counter(int(at_s / scale) for at_s in (*tally.at_s, *tally.flash_at_s))
    return {
        "commands": commands,
        "calls": tally.calls,
        "seconds": evidence.played_s,
        "commands_per_s": commands / max(evidence.played_s, 1e-9),
        "reserves_per_s_peak": max(per_second.values(), default=0),
    }


def _latency(evidence: Evidence) -> dict[str, Any]:
    tally, outage = evidence.tally, evidence.outage

    def parted(name: str, times: Sequence[float], values: Sequence[float]) -> dict[str, Any]:
        around_s = AROUND_KILL_S * evidence.plan.scale
        parts: dict[bool, list[float]] = {True: [], False: []}
        for at_s, took in zip(times, values, strict=True):
            parts[abs(at_s - outage.killed_at_s) > around_s].append(took)
        return {
            name: _percentiles(values),
            f"{name}_without_outage": _percentiles(parts[True]),
            f"{name}_around_outage": _percentiles(parts[False]),
        }

    return {
        **parted("reserve", tally.at_s, tally.reserve_ms),
        **parted("reserve_since_due", tally.at_s, tally.reserve_late_ms),
        **parted("flash_since_due", tally.flash_at_s, tally.flash_ms),
        **parted("other_commands", tally.command_at_s, tally.command_ms),
        **parted("store_upload", tally.uploads_at_s, tally.uploads_ms),
    }


def _percentiles(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    found = {name: percentile(ordered, share) for name, share in PERCENTILES.items()}
    return {**found, "max": percentile(ordered, 1.0), "count": len(ordered)}


def _stream(evidence: Evidence) -> dict[str, Any]:
    stream = evidence.plan.stream
    baskets = [sale for sale in stream.sales if not sale.flash]
    channels = Counter(sale.channel for sale in baskets)
    return {
        "baskets": len(baskets),
        "lines": sum(len(sale.lines) for sale in baskets),
        "baskets_by_channel": dict(sorted(channels.items())),
        "flash_callers": len(stream.sales) - len(baskets),
        "flash_item": f"{stream.flash_place[0]} {stream.names.get(stream.flash_place[0], '')}".strip(),
        "flash_location": stream.flash_place[1],
        "flash_units": stream.opening.get(stream.flash_place, 0),
        "returns": len(stream.returns),
        "adjustments": len(stream.adjustments),
        "items": len(stream.skus),
        "locations": len(stream.locations),
        "levels": len(stream.opening),
        "opening_units": sum(stream.opening.values()),
        "units_asked": stream.units_asked,
        "engine_hours": stream.seconds / 3600,
        "time_scale": evidence.plan.scale,
        "seed": stream.seed,
        "client_processes": len(evidence.tallies),
    }


def _server(evidence: Evidence) -> dict[str, Any]:
    about = evidence.outage.recovered
    return {
        "version": about.version,
        "door": about.door,
        "journal": about.journal,
        "loss_window": about.loss_window,
        "writer_epoch_after_kill": about.writer_epoch,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "refold_ms": evidence.at_end.elapsed_ms,
    }
