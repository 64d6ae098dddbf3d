"""Plots of a report as SVG text that is embedded in the page, so that it opens without a network."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

ENGINE = "#0b7a75"
OTHER = "#c2410c"
CALM = "#94a3b8"
POINTS_MAX = 600
ABOVE: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (0.0, 1.0),
    "ncols": 2,
    "fontsize": 8.5,
    "frameon": False,
}
"""Places a legend above the plot, where it hides nothing however small the plot is drawn."""
_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e8f0",
}


def drawn(draw: Callable[[Any], None], width: float = 4.3, height: float = 3.0) -> str:
    """One plot as an SVG element."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_LOOK):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return re.sub(r"^.*?(?=<svg)", "", text.getvalue(), flags=re.DOTALL)


def thinned(values: Sequence[Any], most: int = POINTS_MAX) -> Sequence[Any]:
    """At most this many of the values, evenly spaced, including the last one."""
    if len(values) <= most:
        return values
    step = len(values) / most
    return [*(values[int(at * step)] for at in range(most - 1)), values[-1]]
