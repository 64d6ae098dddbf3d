"""P1 and P17: the ledger alone on one core, without journal or door; and what more levels cost it and a server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

from invengine.bench import figures, machine
from invengine.bench.checks import check_and_end, require
from invengine.bench.figures import Figure, figure, ratio
from invengine.bench.generator import Target
from invengine.bench.rounds import SECONDS, Plan, Sample, interleaved, values
from invengine.bench.server import serving

LEVELS = 100_000
LEVELS_FEW = 1_000
LEVELS_MANY = 1_000_000
"""Of a server: ten million take minutes to set up."""
LEVELS_MAX = 9_999_999
BYTES_A_LEVEL = 800
"""More than the ledger takes, with its operations."""
OPERATIONS = 6_000_000
TIMEOUT_S = 300.0
# Instructions are the difference between two runs, so that the start of the program does not count.
COUNTED_PAIRS = (10_000, 30_000)
COUNTED_LEVELS = 1_000


def alone(plan: Plan) -> list[Figure]:
    """P1: reserve and allocate over 100,000 levels in random order, with keys and expiry on."""
    operations = round(OPERATIONS * plan.seconds / SECONDS)
    faults: list[float] = []

    def run(kind: str) -> Sample:
        answer = _run(plan, operations, LEVELS, kind)
        if kind == "growing":
            faults.append(2 * answer["page_faults"] / answer["operations"])
        return Sample(answer["operations"] / answer["seconds"])

    counted = [_instructions_per_pair(plan.cores.server)] if shutil.which("valgrind") else []
    found = interleaved(plan, {"growing": lambda: run("growing"), "steady": lambda: run("steady")})
    return [
        figure("P1.ledger", figures.OPERATIONS_PER_S, values(found["growing"])),
        figure("P1.steady", figures.OPERATIONS_PER_S, values(found["steady"])),
        figure("P1.page_faults_per_pair", "faults", faults),
        *([figure("P1.instructions_per_pair", "instructions", counted)] if counted else []),
    ]


def growth(plan: Plan) -> list[Figure]:
    """P17: time of an operation over ten million levels divided by that over a thousand, and of a unary Reserve."""
    most = min(LEVELS_MAX, machine.memory_available() // BYTES_A_LEVEL)
    operations = round(OPERATIONS / 3 * plan.seconds / SECONDS)

    def ns(levels: int) -> Sample:
        answer = _run(plan, operations, levels, "growing")
        return Sample(1e9 * answer["seconds"] / answer["operations"])

    with serving(plan, "few", items=LEVELS_FEW) as few, serving(plan, "many", items=LEVELS_MANY) as many:
        targets = {
            name: Target(plan, name, server.address, server.pid, skus={"count": items})
            for name, server, items in (("few", few, LEVELS_FEW), ("many", many, LEVELS_MANY))
        }
        runs = {f"unary_{name}": target.latency_alone for name, target in targets.items()}
        found = interleaved(plan, {"few": lambda: ns(LEVELS_FEW), "most": lambda: ns(most), **runs})
        for name, server in (("few", few), ("many", many)):
            check_and_end("P17", server, targets[name].records)
    took = {name: values(samples) for name, samples in found.items()}
    return [
        ratio("P17.ledger", took["most"], took["few"]),
        ratio("P17.unary", took["unary_many"], took["unary_few"]),
        *(figure(f"P17.ledger_{name}_ns", figures.NS, took[name]) for name in ("few", "most")),
        *(figure(f"P17.{name}_p50_us", figures.US, took[name]) for name in runs),
        figure("P17.ledger_levels", figures.LEVELS, [most]),
    ]


def _run(plan: Plan, operations: int, levels: int, kind: str) -> dict[str, Any]:
    spec = json.dumps({"operations": operations, "levels": levels, "run": kind})
    return _checked(machine.answer_of("ledger", machine.worker("ledger"), plan.cores.server, spec, TIMEOUT_S))


def _checked(text: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(text)
    require("P1", [] if answer["checks"] == "passed" else [str(answer["checks"])])
    return answer


def _instructions_per_pair(core: int) -> float:
    """The instructions of a reserve and its allocate."""

    def grown(kind: str) -> int:
        fewer, more = (_instructions(core, pairs, kind) for pairs in COUNTED_PAIRS)
        return more - fewer

    return (grown("growing") - grown("texts")) / (COUNTED_PAIRS[1] - COUNTED_PAIRS[0])


def _instructions(core: int, pairs: int, kind: str) -> int:
    """The instructions of a whole program that executes so many pairs."""
    spec = json.dumps({"operations": 2 * pairs, "levels": COUNTED_LEVELS, "run": kind})
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *machine.worker("ledger")]
    with machine.pinned(core):
        ran = subprocess.run(command, input=spec, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    _checked(ran.stdout)
    found = re.search(r"Collected : (\d+)", ran.stderr)
    require("P1", [] if found else ["callgrind counted nothing"])
    return int(found[1]) if found else 0
