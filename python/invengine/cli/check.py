"""`invengine verify`: folds a journal again, offline, and proves the invariants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from invengine.cli.exits import CheckFailedError, UsageProblemError
from invengine.cli.options import Json
from invengine.cli.output import print_facts
from invengine.cli.progress import progress


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("verify")(verify)


def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a file journal.")],
    at_sequence: Annotated[
        int | None, typer.Option("--at", min=0, help="Stop after this sequence; else at the end.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fold a journal again and prove that every invariant held at every sequence; exit code 4 if one did not.

    It only reads, so it may run beside a server: it then sees what was durable when it began.
    """
    if not directory.is_dir():
        raise UsageProblemError(f"{directory} is not a directory: name the --directory of the server")
    from invengine import _core

    with progress(f"verifying {directory}", None):
        report: dict[str, Any] = json.loads(_core.verify(str(directory), at_sequence))
    findings = findings_of(report)
    print_facts(report, as_json=as_json)
    if findings:
        raise CheckFailedError(f"{directory} breaks {len(findings)} of its rules: {'; '.join(findings)[:400]}")


def findings_of(report: Mapping[str, Any]) -> list[str]:
    """What a report says is wrong: the invariants that do not hold, and where; empty if everything held."""
    oversold = report["oversold_units_by_reserve"]
    return [*broken_of(report), *([f"oversold_units_by_reserve: {oversold}"] if oversold else [])]


def broken_of(report: Mapping[str, Any]) -> list[str]:
    """Invariants that do not hold, and the first places where they do not, in words."""
    names = [name for name, holds in report["invariants"].items() if holds is not True]
    return [*names, *report["broken"]]
