"""`invengine config`: the effective settings and the origin of each."""

from __future__ import annotations

from typing import NamedTuple

import typer

from invengine.cli.options import Json, settings_of
from invengine.cli.output import print_rows
from invengine.settings import Settings, shown

app = typer.Typer(help="The effective settings and the origin of each.", no_args_is_help=True, add_completion=False)


class Setting(NamedTuple):
    """One effective setting."""

    name: str
    value: object
    origin: str
    meaning: str


@app.callback()
def root() -> None:
    """The effective settings and the origin of each."""


@app.command("show")
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show every setting, its value and its origin: flag, environment, file or default."""
    loaded = settings_of(context)
    rows = [
        Setting(name, shown(loaded.settings, name), loaded.origins[name], field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    print_rows(rows, Setting._fields, as_json=as_json)
