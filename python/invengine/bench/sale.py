"""P10: a flash sale at ten times the capacity."""

from __future__ import annotations

from invengine.bench.figures import Figure
from invengine.bench.rounds import Plan


def flash(plan: Plan) -> list[Figure]:
    """P10."""
    from invengine.simulate import flash_sale  # noqa

    return []
