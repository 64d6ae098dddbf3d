"""Reports in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from invengine.simulate.report import page
from invengine.simulate.report.page import Figure

_STYLES = {
    page.Verdict.HOLDS: "green",
    page.Verdict.BROKEN: "bold red",
    page.Verdict.NOT_JUDGED: "yellow",
}


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
