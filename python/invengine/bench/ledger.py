"""P1: the ledger alone on one core, without journal or door."""

from __future__ import annotations

import json

from invengine.bench import figures, machine
from invengine.bench.checks import require
from invengine.bench.figures import Figure, figure
from invengine.bench.rounds import SECONDS, Plan, Sample, interleaved, values

LEVELS = 100_000
OPERATIONS = 6_000_000
TIMEOUT_S = 300.0


def alone(plan: Plan) -> list[Figure]:
    """P1: reserve and allocate over 100,000 levels in random order, with keys and expiry on."""
    operations = round(OPERATIONS * plan.seconds / SECONDS)

    def run() -> Sample:
        spec = json.dumps({"operations": operations, "levels": LEVELS})
        core = plan.cores.server
        answer = json.loads(machine.answer_of("ledger", machine.worker("ledger"), core, spec, TIMEOUT_S))
        require("P1", [] if answer["checks"] == "passed" else [str(answer["checks"])])
        return Sample(answer["operations"] / answer["seconds"])

    found = interleaved(plan, {"ledger": run})
    return [figure("P1.ledger", figures.OPERATIONS_PER_S, values(found["ledger"]))]
