"""Reports in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from invengine.simulate import page, wording
from invengine.simulate.page import Figure
from invengine.simulate.promotion import figures, headline

_STYLES = {
    page.Verdict.HOLDS: "green",
    page.Verdict.BROKEN: "bold red",
    page.Verdict.NOT_JUDGED: "yellow",
}


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


def say(notice: str, console: Console) -> None:
    """Prints a notice prominently, if there is one."""
    if notice:
        console.print(Text(notice, style="bold yellow"))


def facts(figures: Iterable[Figure]) -> Table:
    """Names and values, one per row, with what each is of."""
    table = Table(box=None, show_header=False, padding=(0, 3, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for figure in figures:
        table.add_row(*figure)
    return table


def verdicts(checks: Sequence[dict[str, Any]]) -> Table:
    """Checks with what was found."""
    table = Table(box=None, show_header=False, padding=(0, 3, 0, 0))
    for check in checks:
        verdict = page.Verdict.of(check)
        word = Text(verdict, style=_STYLES[verdict])
        table.add_row(word, check["name"], Text(check["found"], overflow="fold"))
    return table
