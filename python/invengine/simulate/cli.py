"""`invengine simulate`: the engine's main jobs, simulated on a real server."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from invengine.cli.exits import CheckFailedError, UsageProblemError
from invengine.cli.keys import changes_something
from invengine.cli.machine_load import Watch, load_before, verdict
from invengine.cli.options import Json
from invengine.cli.output import print_json, print_line
from invengine.cli.progress import progress

app = typer.Typer(
    name="simulate",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def root() -> None:
    """Play the engine's main jobs on a real server, and check everything afterwards."""
    # SIGTERM is handled like SIGINT, so that the processes it started are ended first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@app.command("promotion")
def promotion(
    out: Annotated[Path, typer.Option("--out", help="Where the report, the journal and the logs go.")] = Path(
        "demo-report"
    ),
    full: Annotated[bool, typer.Option("--full", help="The whole year; about half an hour.")] = False,
    time_scale: Annotated[
        float | None,
        typer.Option("--time-scale", min=1.0, max=100_000.0, help="Run engine time this many times faster."),
    ] = None,
    flash_callers: Annotated[int, typer.Option("--flash-callers", min=1, help="Callers of the flash sale.")] = 100_000,
    flash_units: Annotated[int, typer.Option("--flash-units", min=1, help="Units that it has.")] = 2_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same customers.")] = 1,
    as_json: Json = False,
) -> int:
    """A promotion weekend on real baskets: five channels, a flash sale, late payments, and a server that is killed.

    Takes two to three minutes. Code 4 if a check fails; the report says which.
    """
    from invengine.simulate.promotion import run as job
    from invengine.simulate.promotion.assumptions import FlashSale
    from invengine.simulate.promotion.baskets import MissingBasketsError
    from invengine.simulate.promotion.screen import show_promotion

    flash = FlashSale(callers=flash_callers, units=flash_units)
    options = job.PromotionOptions(directory=out, full=full, scale=time_scale, seed=seed, flash=flash)
    _speaker(as_json)(verdict(load_before()))
    try:
        report = job.run(options, _speaker(as_json), progress)
    except MissingBasketsError as error:
        raise UsageProblemError(str(error)) from None
    changes_something()
    if as_json:
        print_json(report)
    else:
        show_promotion(report, _console(), report["notice"])
        print_line(f"\n{out / 'report.html'}\n{out / 'report.json'}")
    return _verdict(report["checks"])


@app.command("flash-sale")
def flash_sale(
    target: Annotated[
        str | None, typer.Option("--target", help="Server to call, HOST:PORT; else one is started for it.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where the report goes.")] = Path("demo-report/flash-sale"),
    times: Annotated[
        float, typer.Option("--times", min=1.0, max=1_000.0, help="Offer this many times the capacity.")
    ] = 10.0,
    rush_s: Annotated[float, typer.Option("--rush-s", min=1.0, max=600.0, help="How long the rush lasts.")] = 5.0,
    connections: Annotated[int, typer.Option("--connections", min=1, max=1_000, help="Connections of callers.")] = 16,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same callers.")] = 1,
    as_json: Json = False,
) -> int:
    """Far more callers than a server can answer, nearly all for one item: it must answer as many as ever, and sell all.

    Takes half a minute. Code 4 if a check fails. Items and keys have names of their own, so nothing else is touched.
    """
    from invengine.simulate.flash_sale import sale as job
    from invengine.simulate.flash_sale import view
    from invengine.simulate.server import Server

    out.mkdir(parents=True, exist_ok=True)
    settings = job.FlashSaleSettings(
        target=target or "", times=times, rush_ms=round(rush_s * 1000), connections=connections, seed=seed
    )
    before = load_before()
    _speaker(as_json)(verdict(before))
    watch = Watch()
    with ExitStack() as stack:
        if target is None:
            server = stack.enter_context(Server(Path(stack.enter_context(TemporaryDirectory(prefix="invengine-")))))
            server.start()
            settings = replace(settings, target=server.address, journal=server.directory, watch_pid=server.pid)
        on_step = stack.enter_context(view.live(settings, shown=not as_json))
        result = job.run(settings, on_step)
    # A server that somebody else started counts as one of the others once it is called.
    load = watch.load() if target is None else before
    result, notice = job.judged_on(result, load), verdict(load)
    report = view.report_of(result, settings, load)
    view.write(out, result, report, notice)
    changes_something()
    if as_json:
        print_json(report)
    else:
        view.show(result, report, _console(), notice)
        print_line(f"\n{out / 'flash-sale.html'}\n{out / 'flash-sale.json'}")
    return _verdict(report["checks"])


def _console() -> Any:
    """Where reports are printed: as wide as the terminal, or wide enough to read where there is none."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=120)


def _speaker(as_json: bool) -> Callable[[str], None]:
    """Prints a line to stderr; with --json it prints nothing."""

    def speak(line: str) -> None:
        if line and not as_json:
            print(line, file=sys.stderr, flush=True)

    return speak


def _verdict(checks: list[dict[str, Any]]) -> int:
    broken = [f"{check['name']} ({check['found']})" for check in checks if check["judged"] and not check["holds"]]
    if broken:
        raise CheckFailedError(f"{len(broken)} of {len(checks)} checks failed: {'; '.join(broken)[:800]}")
    return 0
