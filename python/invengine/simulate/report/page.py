"""The report as one HTML file: everything is in it, styles and plots too, so it opens without a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from html import escape
from typing import Any, NamedTuple

_STYLE = """
:root { color-scheme: light; --ink: #0f172a; --soft: #475569; --line: #e2e8f0; --good: #0b7a75; --bad: #c2410c; }
* { box-sizing: border-box; }
body { margin: 0; background: #f8fafc; color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 36px 0 12px; }
p { max-width: 76ch; }
.soft { color: var(--soft); }
.verdict { display: inline-block; margin: 12px 0; padding: 4px 12px; border-radius: 999px; }
.verdict { color: #fff; font-weight: 600; }
.good { background: var(--good); } .bad { background: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(158px, 1fr)); gap: 12px; }
.figure, .plot, .scroll { background: #fff; border: 1px solid var(--line); border-radius: 10px; }
.figure { padding: 14px 16px; } .of { display: block; font-size: 13px; }
.figure b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(310px, 100%), 1fr)); gap: 12px; }
.plot { padding: 12px; } .plot h3 { margin: 0 0 8px; font-size: 14px; } .plot svg { width: 100%; height: auto; }
.scroll { overflow-x: auto; margin-bottom: 12px; }
.notice { border-left: 4px solid var(--bad); padding: 6px 12px; background: #fff; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 14px; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child > * { border-bottom: 0; } thead th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.found { overflow-wrap: anywhere; min-width: 5em; } td.found:first-child { min-width: 8.5em; }
.yes { color: var(--good); font-weight: 600; } .no { color: var(--bad); font-weight: 700; }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--soft); }
@media (max-width: 600px) { main { padding: 20px 14px 48px; } th, td { padding: 6px 8px; }
.figure b { font-size: 19px; } }
pre { overflow-x: auto; background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 14px; }
"""


class Figure(NamedTuple):
    """A number at the top of a report: its name, its value, and what it is of."""

    name: str
    value: str
    of: str = ""


def page(
    title: str,
    lead: str,
    sections: Sequence[tuple[str, str]],
    *,
    passed: bool,
    all_judged: bool = True,
    notice: str = "",
) -> str:
    """The whole page. `sections` are titles with their HTML; the notice is shown above them."""
    held = "Every check passed" if all_judged else "Every check passed that was judged"
    verdict = ("good", held) if passed else ("bad", "A check failed")
    notice_html = f'<p class="notice">{escape(notice)}</p>' if notice else ""
    parts = "".join(f"<section><h2>{escape(name)}</h2>{body}</section>" for name, body in sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>{escape(title)}</h1><p class="soft">{escape(lead)}</p>'
        f'<div class="verdict {verdict[0]}">{verdict[1]}</div>{notice_html}{parts}</main></body></html>\n'
    )


def cards(figures: Iterable[Figure]) -> str:
    """Numbers, each with what it is of."""
    found = "".join(
        f'<div class="figure"><b>{escape(each.value)}</b>{escape(each.name)}'
        f'<span class="soft of">{escape(each.of)}</span></div>'
        for each in figures
    )
    return f'<div class="figures">{found}</div>'


def plots(drawings: Mapping[str, str]) -> str:
    """Drawings side by side."""
    cells = "".join(f'<div class="plot"><h3>{escape(name)}</h3>{svg}</div>' for name, svg in drawings.items())
    return f'<div class="plots">{cells}</div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; numbers are right-aligned."""
    shown = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(shown) and all('class="number"' in row[at] for row in shown) for at in range(len(columns))]
    head = "".join(
        f'<th class="number">{escape(column)}</th>' if right else f"<th>{escape(column)}</th>"
        for column, right in zip(columns, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in shown)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def folded(summary: str, body: str) -> str:
    """Collapsed HTML that a reader can expand."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def preformatted(text: str) -> str:
    """Preformatted text."""
    return f"<pre>{escape(text)}</pre>"


def number(value: float) -> str:
    """A number for people: thousands separated, at most three significant digits below 100."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"


class Verdict(StrEnum):
    """The result of a check."""

    HOLDS = "holds"
    BROKEN = "broken"
    NOT_JUDGED = "not judged"

    @classmethod
    def of(cls, check: Mapping[str, Any]) -> Verdict:
        """The verdict of a check in a report."""
        if not check["judged"]:
            return cls.NOT_JUDGED
        return cls.HOLDS if check["holds"] else cls.BROKEN


_VERDICTS = {Verdict.HOLDS: "yes", Verdict.BROKEN: "no", Verdict.NOT_JUDGED: "soft"}


def _cell(value: Any) -> str:
    if isinstance(value, Verdict):
        return f'<td class="{_VERDICTS[value]}">{value}</td>'
    if isinstance(value, int | float):
        return f'<td class="number">{number(value)}</td>'
    return f'<td class="found">{escape(str(value))}</td>'
