"""The tree of commands, and the conversion of errors to a line and an exit code.

It has the name and the first help sentence of each command, whose module is loaded when it is called. So `--help` loads
no client and no server, and a command loads only what it needs itself.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from invengine.cli import lifespan
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
from invengine.cli.keys import forget_run, has_changed, key_of_run
from invengine.cli.lean import lean
from invengine.cli.streams import RED, guarded, readable, styled
from invengine.text import is_encodable

EPILOG = "Exit codes: " + "; ".join(f"{int(code)} {meaning}" for code, meaning in MEANINGS.items()) + "."
_HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class Entry(NamedTuple):
    """The module of a command, and the first sentence of its help."""

    module: str
    help: str


COMMANDS: dict[str, Entry] = {
    "serve": Entry("cli.serve", "Serve a ledger until SIGTERM or Ctrl-C."),
    "dev": Entry("cli.dev", "Serve a throw-away ledger with a sample catalogue."),
    "doctor": Entry("cli.doctor", "Check what a server with the same flags would depend on."),
    "catalogue": Entry("cli.catalogue", "Items, locations and channels: list, add, import, export, delete."),
    "policies": Entry("cli.policies", "Location groups: add, list, show, delete."),
    "sources": Entry("cli.sources", "Sources, systems outside: register, list, claims, profile, and their messages."),
    "authority": Entry("cli.authority", "Rules of authority: add, list, show, delete, owners, preset."),
    "stock": Entry(
        "cli.stock", "Stock: receive, return, adjust, set, count, move, show, list, at, history, import, export."
    ),
    "stock-transfers": Entry("cli.stock_transfers", "Stock transfers: ship, receive, close, list, show, delete."),
    "orders": Entry("cli.orders", "Orders under way in CSV files: import, export."),
    "reserve": Entry("cli.holds", "Take a timed hold on every line, or on none of them."),
    "allocate": Entry("cli.holds", "Turn a timed hold into a hard one of an order, without expiry."),
    "release": Entry("cli.holds", "Give units back, or cancel a key not yet seen."),
    "fulfill": Entry("cli.holds", "Goods leave the building."),
    "extend": Entry("cli.holds", "Move the expiry of what is still reserved."),
    "amend": Entry("cli.holds", "Set new reserved quantities of a hold, in one step."),
    "transfer": Entry("cli.holds", "Move a promise to another location that has room."),
    "reservation": Entry("cli.lookups", "Show one reservation, or every one of an order."),
    "holds": Entry("cli.lookups", "List holds, of a --holder, of an --order or all."),
    "outcome": Entry("cli.lookups", "Report what the command with this KEY did."),
    "availability": Entry("cli.status", "Units that may be held now."),
    "explain": Entry(
        "cli.history", "Say why a level is what it is: in sentences, and with a table of its latest changes."
    ),
    "events": Entry("cli.events", "Events of the journal."),
    "status": Entry("cli.status", "The server, its guarantees, its digest, its counters, states without an owner."),
    "version": Entry("cli.status", "The versions of the package and of its core."),
    "verify": Entry("cli.check", "Replay a journal and check its invariants."),
    "snapshot": Entry("cli.snapshots", "Have the server write a snapshot and wait for it."),
    "backup": Entry("cli.backup", "Backups of a journal, in files or in Redis: create, restore."),
    "config": Entry("cli.config", "The effective settings and the origin of each."),
    "simulate": Entry("simulate.cli", "Play a promotion weekend or a flash sale, with a report."),
    "bench": Entry("bench.cli", "Run benchmarks by id."),
}


class _RaisedError(Exception):
    """Carries an error through typer, which would exit with code 1 for some: that code means a rejection."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _Root(TyperGroup):
    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except (OSError, EOFError) as error:
            raise _RaisedError(error) from error
        except KeyboardInterrupt as error:
            raise typer.Abort from error


class _LazyCommand(TyperCommand):
    """A command whose module is loaded when it is called."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        command = loaded(str(self.name))
        lifespan.loaded()
        return command.make_context(info_name, args, parent=parent, **extra)


def _version_and_end(wanted: bool) -> None:
    if wanted:
        from invengine.cli.status import package_version

        print(f"invengine {package_version()}")
        raise typer.Exit


app = typer.Typer(
    name="invengine",
    cls=_Root,
    help="An inventory reservation engine: serve it, call it, look into it.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=_HELP_NAMES,
)


@app.callback()
def root(
    context: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", help="TOML file with settings; else INVENGINE_CONFIG, else ./invengine.toml."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_version_and_end, is_eager=True)
    ] = False,
) -> None:
    """Settings of every command: flags win over INVENGINE_* variables, those over one TOML file."""
    context.obj = config_file


def tree() -> Any:
    """Returns the root with every command; none of them is loaded."""
    group: Any = lean(typer.main.get_command(app))
    for name, entry in COMMANDS.items():
        group.add_command(lean(_LazyCommand(name, help=entry.help, rich_markup_mode=None)))
    return group


def loaded(name: str) -> Any:
    """Loads a command with its module."""
    entry = COMMANDS[name]
    try:
        module = importlib.import_module(f"invengine.{entry.module}")
    except ModuleNotFoundError as error:
        extra = entry.module.partition(".")[0]
        raise UsageProblemError(
            f"`invengine {name}` needs the module {error.name}: run `pip install 'invengine[{extra}]'`"
        ) from None
    register: Callable[[typer.Typer], None] | None = getattr(module, "register", None)
    if register is None:
        return lean(typer.main.get_command(module.app))
    holder = typer.Typer(rich_markup_mode=None)
    register(holder)
    # A module may have several commands; only the called one is built.
    holder.registered_commands = [each for each in holder.registered_commands if each.name == name]
    return lean(typer.main.get_group(holder).commands[name])


def every_command() -> Iterator[tuple[str, Any]]:
    """Yields every command that can be called, loaded, with its words."""

    def walk(command: Any, words: str) -> Iterator[tuple[str, Any]]:
        children = getattr(command, "commands", None)
        if children is None:
            yield words, command
            return
        for name, child in children.items():
            yield from walk(child, f"{words} {name}")

    for name in COMMANDS:
        yield from walk(loaded(name), name)


def run(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code, which is right even if nothing can be printed."""
    as_json = "--json" in arguments
    forget_run()
    with guarded() as out:
        code = _run(arguments, as_json)
        out.flush()
        if code == ExitCode.OK and out.failure:
            code = ExitCode.UNPRINTED
            # A reader that closes the pipe is normal, unless the command changed something.
            if has_changed() or not out.reader_closed:
                _report(UnprintedError(out.failure, key_of_run()), as_json)
    return code


def _run(arguments: list[str], as_json: bool) -> int:
    try:
        check_encoding(arguments)
        result = tree().main(arguments, prog_name="invengine", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except _RaisedError as carried:
        return _report(carried.error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(as_json)
    except Exception as raised:
        return _report(raised, as_json)


def check_encoding(arguments: Iterable[str]) -> None:
    """Refuses an argument that is no text: Python reads its bytes as halves of surrogate pairs, which nothing can send.

    This holds for every argument of every command, for paths too: reports and messages name them.
    """
    for number, argument in enumerate(arguments, 1):
        if not is_encodable(argument):
            raise UsageProblemError(
                f"argument {number} is no text: {readable(argument)}; write it in UTF-8, and in a locale of UTF-8"
            )


def _interrupted(as_json: bool) -> int:
    return _report(InterruptedCommandError(key_of_run()), as_json) if has_changed() else ExitCode.INTERRUPTED


def _report(error: Exception, as_json: bool) -> int:
    if isinstance(error, typer.TyperException):
        if error.format_message().startswith("Usage:"):
            # A group was called without a command: print its help.
            print(error.format_message())
            return ExitCode.USAGE
        error = UsageProblemError(f"{error.format_message()} (try --help)")
    error = core_error(error)
    code = code_of(error)
    if os.environ.get("INVENGINE_LOG_LEVEL") == "debug":
        traceback.print_exception(error)
    line = line_of(error, as_json=as_json)
    print(line if as_json else styled(line, RED, sys.stderr), file=sys.stderr)
    return code
