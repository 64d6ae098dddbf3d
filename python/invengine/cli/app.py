"""The tree of commands and the one place where errors become a line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from invengine.cli import backup, catalogue, check, config, copies, dev, doctor, events, holds, serve, status, stock
from invengine.cli.exits import (
    MEANINGS,
    ExitCode,
    InterruptedCommandError,
    UnprintedError,
    UsageProblemError,
    code_of,
    core_error,
    line_of,
)
from invengine.cli.keys import forget_key, key_of_run
from invengine.cli.streams import guarded

EPILOG = "Exit codes: " + "; ".join(f"{int(code)} {meaning}" for code, meaning in MEANINGS.items()) + "."

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


class _RaisedError(Exception):
    """Carries an error past typer, which would end with code 1 for some of them: that is the ledger's no."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class _Root(TyperGroup):
    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except (OSError, EOFError, KeyboardInterrupt) as error:
            raise _RaisedError(error) from error


app = typer.Typer(
    name="invengine",
    cls=_Root,
    help="An inventory reservation engine: serve it, call it, look into it.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def root(
    context: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", help="TOML file with settings; else INVENGINE_CONFIG, else ./invengine.toml."),
    ] = None,
) -> None:
    """Settings of every command: flags win over INVENGINE_* variables, those over one TOML file."""
    context.obj = config_file


serve.register(app)
dev.register(app)
doctor.register(app)
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(stock.app, name="stock")
holds.register(app)
app.add_typer(events.app, name="events")
status.register(app)
check.register(app)
copies.register(app)
app.add_typer(backup.app, name="backup")
app.add_typer(config.app, name="config")


@app.command("simulate", context_settings=_PASS_ON, add_help_option=False)
def simulate(context: typer.Context) -> Any:
    """Promotion weekend and flash sale, with a report: `invengine simulate --help`."""
    return _pass_on(context, "simulate")


@app.command("bench", context_settings=_PASS_ON, add_help_option=False)
def bench(context: typer.Context) -> Any:
    """Benchmarks by id, one JSON object a line: `invengine bench --help`."""
    return _pass_on(context, "bench")


def run(arguments: list[str]) -> int:
    """Runs one command line and gives its exit code, which tells what was done even if nothing can be printed."""
    as_json = "--json" in arguments
    forget_key()
    with guarded() as out:
        code = _run(arguments, as_json)
        out.flush()
        if code == ExitCode.OK and out.failure:
            code = ExitCode.UNPRINTED
            # A reader that has seen enough is no news, unless what was done must be told.
            if key_of_run() or not out.reader_left:
                _report(UnprintedError(out.failure, key_of_run()), as_json)
    return code


def _run(arguments: list[str], as_json: bool) -> int:
    try:
        result = typer.main.get_command(app)(arguments, prog_name="invengine", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except _RaisedError as carried:
        return _report(carried.error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(as_json)
    except Exception as raised:
        return _report(raised, as_json)


def _interrupted(as_json: bool) -> int:
    key = key_of_run()
    return _report(InterruptedCommandError(key), as_json) if key else ExitCode.INTERRUPTED


def _report(error: BaseException, as_json: bool) -> int:
    if isinstance(error, KeyboardInterrupt):
        return _interrupted(as_json)
    if isinstance(error, typer.TyperException):
        error = UsageProblemError(f"{error.format_message()} (try --help)")
    error = core_error(error)
    code = code_of(error)
    if os.environ.get("INVENGINE_LOG_LEVEL") == "debug":
        traceback.print_exception(error)
    print(line_of(error, as_json=as_json), file=sys.stderr)
    return code


def _pass_on(context: typer.Context, name: str) -> Any:
    try:
        module = importlib.import_module(f"invengine.{name}.cli")
    except ModuleNotFoundError as error:
        raise UsageProblemError(
            f"`invengine {name}` needs the module {error.name}: run `pip install 'invengine[{name}]'`"
        ) from None
    command = typer.main.get_command(module.app)
    return command(context.args, prog_name=f"invengine {name}", standalone_mode=False)
