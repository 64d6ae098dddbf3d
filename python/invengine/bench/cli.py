"""`invengine bench`: runs benchmarks and prints figures whose checks passed, one JSON object a line or a table."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from invengine.bench import benchmarks, figures, machine, rounds
from invengine.bench.benchmarks import BENCHMARKS, Benchmark
from invengine.bench.figures import Figure
from invengine.cli.exits import ExitCode, UsageProblemError, code_of, core_error, line_of
from invengine.cli.machine_load import Load, Watch, load_before, verdict
from invengine.cli.options import Json
from invengine.cli.output import print_json, print_line, print_table
from invengine.cli.streams import unread

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

DIRECTORY = Path("bench-report")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure and how to print."""

    directory: Path
    rounds: int
    seconds: float
    as_json: bool


@app.command()
def bench(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="P2; or P2.ratio_bare for one figure.")
    ] = None,
    run_all: Annotated[bool, typer.Option("--all", help="Run every benchmark.")] = False,
    show_list: Annotated[bool, typer.Option("--list", help="Say which benchmarks there are.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Few and short rounds: to try it out, not to quote.")] = False,
    round_count: Annotated[int | None, typer.Option("--rounds", min=1, max=1000, help="Rounds of each.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, max=600, help="Length of a run.")] = None,
    directory: Annotated[
        Path, typer.Option("--room", help="Where journals are written; its disk is measured.")
    ] = DIRECTORY,
    as_json: Json = False,
) -> int:
    """Run benchmarks and print their figures; one that fails a check prints none, and the exit code says so.

    A figure is the median of its rounds. What each means and what it must be is in docs/benchmarks.md.
    """
    if show_list:
        _print_list(as_json=as_json)
        return ExitCode.OK
    names = [benchmark.id for benchmark in BENCHMARKS] if run_all else ids or []
    if not names:
        raise UsageProblemError("name a benchmark, such as P2, or give --all; --list says which there are")
    try:
        chosen = benchmarks.chosen(names)
    except KeyError as unknown:
        raise UsageProblemError(f"there is no benchmark {unknown.args[0]!r}: --list says which there are") from None
    settings = Settings(
        directory,
        round_count or (rounds.QUICK_ROUNDS if quick else rounds.ROUNDS),
        seconds or (rounds.QUICK_SECONDS if quick else rounds.SECONDS),
        as_json,
    )
    return run(chosen, names, settings)


def run(chosen: list[Benchmark], names: list[str], settings: Settings) -> ExitCode:
    """Runs benchmarks one after the other and returns the exit code of the first that failed."""
    cores = machine.cores()
    _notice(load_before(), as_json=settings.as_json)
    code = ExitCode.OK
    for benchmark in chosen:
        watch = Watch()
        try:
            with _run_directory(settings.directory) as directory, _steps(benchmark) as step:
                plan = rounds.Plan(directory, cores, settings.rounds, settings.seconds, step)
                found = benchmark.run(plan)
        except Exception as raised:
            error = core_error(raised)
            code = code or code_of(error)
            _print_failure(benchmark, error, as_json=settings.as_json)
            continue
        load = watch.load()
        _show(benchmark, benchmarks.wanted(found, names), load, as_json=settings.as_json)
        for table in plan.tables:
            _explain(benchmark, table, as_json=settings.as_json)
        for name, needs in plan.not_run:
            _leave_out(name, needs, as_json=settings.as_json)
        if unread():
            break
    return code


@contextmanager
def _run_directory(parent: Path) -> Iterator[Path]:
    """A directory for the journals of one benchmark, removed at its end."""
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=parent)).absolute()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _steps(benchmark: Benchmark) -> Iterator[Callable[[str], None]]:
    """Shows what is running now if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{benchmark.id}: {benchmark.title}") as status:
        yield lambda text: status.update(f"{benchmark.id}: {text}")


def _show(benchmark: Benchmark, found: list[Figure], load: Load | None, *, as_json: bool) -> None:
    if as_json:
        for each in found:
            print_json({**each.as_json(), "machine": None if load is None else load.as_json()})
        return
    print_line(f"{benchmark.id}: {benchmark.title}")
    quiet = load is not None and load.quiet
    print_table(figures.COLUMNS, [figures.row(each, judged=quiet) for each in found])
    if not quiet:
        print_line(verdict(load))
    print_line("")


def _explain(benchmark: Benchmark, table: rounds.Table, *, as_json: bool) -> None:
    if as_json:
        for row in table.rows:
            print_json({"id": benchmark.id, **row})
        return
    print_table(table.columns, [[row[column] for column in table.columns] for row in table.rows])
    print_line("")


def _notice(load: Load | None, *, as_json: bool) -> None:
    """Reports before anything is measured that the machine is busy, so that a person may wait."""
    text = verdict(load)
    if text:
        _print_stderr(json.dumps({"notice": text}) if as_json else text)


def _print_failure(benchmark: Benchmark, error: Exception, *, as_json: bool) -> None:
    line = line_of(error, as_json=as_json)
    _print_stderr(json.dumps({"id": benchmark.id, **json.loads(line)}) if as_json else f"{benchmark.id}: {line}")


def _leave_out(name: str, needs: str, *, as_json: bool) -> None:
    _print_stderr(json.dumps({"not_run": name, "needs": needs}) if as_json else f"not run: {name} (needs {needs})")


def _print_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_list(*, as_json: bool) -> None:
    if as_json:
        for benchmark in BENCHMARKS:
            print_json({"id": benchmark.id, "title": benchmark.title})
        return
    print_table(("id", "title"), [[benchmark.id, benchmark.title] for benchmark in BENCHMARKS])
