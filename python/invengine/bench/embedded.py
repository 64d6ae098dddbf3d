"""P9: reserves from Python on an engine in the same process, started without waiting and acknowledged later."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from typing import Any

from invengine import _core
from invengine.bench import figures, generator, machine
from invengine.bench.callers import CallCounts, Spec
from invengine.bench.checks import digest_findings, require
from invengine.bench.figures import Figure, figure
from invengine.bench.rounds import WARM_UP_S, Plan, Sample, interleaved, values
from invengine.bench.server import LOCATION, STOCK_UNITS, TTL_MS, sku
from invengine.client import Digest, contract, decode

RESERVE, SUBMIT = (contract.method("reservation", each) for each in ("Reserve", "Submit"))
BATCH = 1_000
IN_FLIGHT = 20_000
"""Reserves whose answer has not come; then the caller waits."""
PAUSE_S = 0.0002
TIMEOUT_S = 60.0


def acknowledged_later(plan: Plan) -> list[Figure]:
    """P9: one reserve a call, and batches in columns, each in a process of its own with a journal of its own."""
    runs = itertools.count()

    def run(batch: int) -> Sample:
        directory = str(plan.directory / f"embedded-{next(runs)}")
        spec = Spec(directory, "embedded", IN_FLIGHT, plan.seconds, WARM_UP_S, batch)
        text = json.dumps(dataclasses.asdict(spec))
        report = json.loads(machine.answer_of("embedded", machine.worker("embedded"), None, text, TIMEOUT_S))
        verified = json.loads(_core.verify(directory, None))
        findings = digest_findings(verified, Digest(**report["digest"]))
        if report["refused"] or verified["counts"]["open_reservations"] != report["accepted"]:
            findings.append(f"{report} is not what the journal has: {verified['counts']}")
        require("P9", findings)
        return Sample(report["measured"] / plan.seconds)

    contenders = {"one": lambda: run(1), "columns": lambda: run(BATCH)}
    found = interleaved(plan, {"sync": lambda: generator.sync_us(plan), **contenders})
    measured = [figure(f"P9.{name}", figures.PER_S, values(found[name])) for name in contenders]
    return [*measured, figure("P9.sync_us", figures.US, values(found["sync"]))]


def run(spec: Spec) -> dict[str, Any]:
    """The caller and its engine, whose journal is in the directory `target`."""
    engine = _core.Engine.open(json.dumps({"journal": "file", "directory": spec.target, "auto_create": True}))
    line = contract.inventory.StockLine(sku=sku(), location=LOCATION, quantity=STOCK_UNITS)
    stock = contract.inventory.ReceiveRequest(lines=[line]).SerializeToString()
    engine.call(contract.method("inventory", "Receive"), stock, idempotency_key="stock")
    counts = _reserve(engine, spec)
    answer = engine.call(contract.method("journal", "GetDigest"), b"")
    engine.close()
    digest = decode.digest_of(contract.journal.GetDigestResponse.FromString(answer))
    return {
        "accepted": counts.accepted,
        "measured": counts.measured,
        "refused": counts.refused,
        "digest": dataclasses.asdict(digest),
    }


def _reserve(engine: _core.Engine, spec: Spec) -> CallCounts:
    """Starts calls until the time is up, and waits for the last answer."""
    counts, answered = CallCounts.starting(spec), [0]
    one = contract.reservation.ReserveRequest()
    one.lines.add(sku=sku(), location=LOCATION, quantity=1)
    one.ttl.FromMilliseconds(TTL_MS)
    payload, rows = one.SerializeToString(), spec.batch
    skus, locations, units = [sku()] * rows, [LOCATION] * rows, [1] * rows

    def on_done(code: int, answer: bytes) -> None:
        answered[0] += rows
        taken = 0 if code else 1 if rows == 1 else sum(_core.decode_accepted(answer) or ())
        counts.add_accepted(taken)
        if taken < rows:
            counts.add_refusal(f"code {code}")

    for started in itertools.count(step=rows):
        while started - answered[0] >= spec.callers:
            time.sleep(PAUSE_S)
        if not counts.is_running():
            break
        if rows == 1:
            engine.start_call(RESERVE, payload, on_done, idempotency_key=f"key-{started}")
        else:
            keys = [f"key-{number}" for number in range(started, started + rows)]
            columns = (skus, locations, units, keys)
            engine.start_call(SUBMIT, _core.encode_reserves(*columns, 0, rows, b"", TTL_MS), on_done)
    while answered[0] < started:
        time.sleep(PAUSE_S)
    return counts
