"""Flags that several commands share, the notation of lines, and clients for the flags."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invengine.cli import lifespan
from invengine.cli.calls import CallSettings, call_settings
from invengine.cli.exits import UsageProblemError

if TYPE_CHECKING:
    from invengine.client import Client
    from invengine.settings import Loaded

_DEFAULT_TARGET = f"[default: {CallSettings().target}]"
_DEFAULT_TIMEOUT = f"[default: {CallSettings().timeout_ms}]"

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        help=f"Server to call, HOST:PORT or unix:PATH. {_DEFAULT_TARGET}",
    ),
]
TimeoutMs = Annotated[
    int | None,
    typer.Option(
        "--timeout-ms",
        help=f"How long to wait for the answer. {_DEFAULT_TIMEOUT}",
    ),
]
Source = Annotated[
    str | None,
    typer.Option("--source", help="Source whose message had that key, instead of a channel."),
]
Channel = Annotated[str | None, typer.Option("--channel", help="Sales channel of the command.")]
Key = Annotated[
    str | None,
    typer.Option("--key", help="Idempotency key; repeat it to repeat the same intention."),
]
Actor = Annotated[str | None, typer.Option("--actor", help="Who sends the command.")]
ReasonCode = Annotated[str | None, typer.Option("--reason-code", help="The reason, a code from your own list.")]
Reference = Annotated[str | None, typer.Option("--reference", help="The document behind it.")]
OrderRef = Annotated[str | None, typer.Option("--order-ref", help="The order it belongs to.")]
Holder = Annotated[str | None, typer.Option("--holder", help="The holder of the hold.")]
ExpectedVersion = Annotated[
    int | None, typer.Option("--expected-version", help="Only if the reservation has this version; any if not given.")
]
PutVersion = Annotated[
    int | None,
    typer.Option("--expected-version", min=0, help="Only if this is its version; 0 if there must be none."),
]

Line = tuple[str, str, int | None]


def settings_of(context: typer.Context, **flags: Any) -> Loaded:
    """Returns the effective settings of a command; flags that are None were not given."""
    from invengine.settings import load

    config: Path | None = context.obj
    return load(flags, config)


def journal_settings_of(context: typer.Context, **flags: Any) -> Loaded:
    """The same for a command that opens or reads a journal: a setting that the journal does not use is refused."""
    from invengine.settings import check_used

    return check_used(settings_of(context, **flags))


@contextmanager
def connected(
    context: typer.Context,
    target: str | None,
    timeout_ms: int | None,
    channel: str | None = None,
    *,
    in_channel: bool = True,
) -> Iterator[Client]:
    """Yields a client of the server that flags and settings name.

    Without `in_channel` it has no channel of its own, so that a command of none can be sent.
    """
    settings = call_settings(context.obj, target=target, timeout_ms=timeout_ms, channel=channel)
    from invengine.client import Client

    lifespan.only_asks()
    own_channel = settings.channel if in_channel else ""
    client = Client(settings.target, own_channel or None, timeout_s=settings.timeout_ms / 1000)
    # The command prints what the client would warn of; a program that logs still gets the warning.
    log, silent = logging.getLogger("invengine.client"), logging.NullHandler()
    log.addHandler(silent)
    try:
        with client:
            yield client
    finally:
        log.removeHandler(silent)


def parse_line(text: str) -> Line:
    """Reads SKU@LOCATION or SKU@LOCATION=QUANTITY; the last @ and the last = after it are the separators."""
    name, at, place = text.rpartition("@")
    if not at or not name or not place:
        raise UsageProblemError(f"{text!r} is not a line: write SKU@LOCATION=QUANTITY, such as MUG@berlin=2")
    location, equals, units = place.rpartition("=")
    if not equals:
        return name, place, None
    return name, location, units_of(units, text)


def units_of(units: str, text: str) -> int:
    """Reads the quantity in a line; `text` is the whole line."""
    # int() would also take "1_0", " 1" and digits of other scripts.
    if not re.fullmatch(r"[+-]?[0-9]+", units):
        raise UsageProblemError(f"{units!r} in {text!r} is not a whole number of units")
    return int(units)


def parse_level(text: str) -> tuple[str, str]:
    """Reads SKU@LOCATION, without a quantity."""
    sku, location, units = parse_line(text)
    if units is not None:
        raise UsageProblemError(f"{text!r} names a quantity, which is what is asked for: write {sku}@{location}")
    return sku, location


def one_level(what: list[str], command: str) -> tuple[str, str]:
    """Reads the one level of a command: SKU@LOCATION, or SKU and LOCATION as two words."""
    if len(what) == 2:
        # These are two lines: a location with an @ in its name would not be given as a separate word.
        if all("@" in text for text in what):
            raise UsageProblemError(f"{command} prints one level: use another command for the other, or `stock list`")
        return what[0], what[1]
    if len(what) > 2:
        raise UsageProblemError(f"{command} prints one level: write SKU@LOCATION, such as MUG@berlin")
    if "@" not in what[0]:
        raise UsageProblemError(
            f"{what[0]!r} names no location: write {what[0]}@LOCATION; all of its levels: stock list --sku {what[0]}"
        )
    return parse_level(what[0])


def quantities(texts: list[str], *, default: int | None = None) -> list[tuple[str, str, int]]:
    """Reads lines that need a quantity; `default` is used if none is written."""
    lines: list[tuple[str, str, int]] = []
    for text in texts:
        sku, location, units = parse_line(text)
        units = default if units is None else units
        if units is None:
            raise UsageProblemError(f"{text!r} needs a quantity: write {sku}@{location}=QUANTITY")
        lines.append((sku, location, units))
    if not lines:
        raise UsageProblemError("name at least one line: SKU@LOCATION=QUANTITY")
    return lines


def parts(texts: list[str]) -> list[tuple[str, str] | tuple[str, str, int]]:
    """Reads lines of a hold; without a quantity the whole line is meant, and 0 is refused."""
    found: list[tuple[str, str] | tuple[str, str, int]] = []
    for text in texts:
        sku, location, units = parse_line(text)
        if units is not None and units < 1:
            raise UsageProblemError(f"{text!r} names no units: for all of the line write {sku}@{location}")
        found.append((sku, location) if units is None else (sku, location, units))
    return found
