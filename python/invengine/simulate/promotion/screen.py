"""The report of a promotion in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from invengine.simulate.promotion import wording
from invengine.simulate.promotion.run import figures, headline
from invengine.simulate.report import page
from invengine.simulate.report.screen import facts, say, verdicts


def show_promotion(report: dict[str, Any], console: Console, notice: str = "") -> None:
    """Prints the report of a promotion; a notice states that speed is not judged."""
    console.print()
    console.print(Text(report["title"], style="bold"))
    say(notice, console)
    compared = Table("", "invengine", "own copies", box=None, header_style="bold", padding=(0, 3, 0, 0))
    for column in compared.columns[1:]:
        column.justify = "right"
    for name, ours, theirs in headline(report):
        compared.add_row(name, page.number(ours), page.number(theirs))
    console.print(compared)
    console.print(Text(wording.OWN_COPIES, style="dim"))
    console.print()
    console.print(facts(figures(report)))
    console.print()
    console.print(verdicts(report["checks"]))
    for text in wording.CHECKING:
        console.print(Text(text, style="dim"))
