"""Reports in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from invengine.simulate import page
from invengine.simulate.promotion import figures, headline


def show_promotion(report: dict[str, Any], console: Console) -> None:
    """Prints the report of a promotion."""
    console.print()
    console.print(Text(report["title"], style="bold"))
    compared = Table("", "invengine", "own copies", box=None, header_style="bold", padding=(0, 3, 0, 0))
    for column in compared.columns[1:]:
        column.justify = "right"
    for name, ours, theirs in headline(report):
        compared.add_row(name, page.number(ours), page.number(theirs))
    console.print(compared)
    console.print()
    console.print(facts(figures(report)))
    console.print()
    console.print(verdicts(report["checks"]))


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and values, below each other."""
    table = Table(box=None, show_header=False, padding=(0, 3, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(name, value)
    return table


def verdicts(checks: Sequence[dict[str, Any]]) -> Table:
    """Checks with what was found."""
    table = Table(box=None, show_header=False, padding=(0, 3, 0, 0))
    for check in checks:
        word = Text("holds", style="green") if check["holds"] else Text("BROKEN", style="bold red")
        table.add_row(word, check["name"], Text(check["found"], overflow="fold"))
    return table
