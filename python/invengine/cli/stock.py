"""`invengine stock`: physical changes of the stock, and its levels."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Annotated, Any

import typer

from invengine.cli.exits import UsageProblemError
from invengine.cli.history import register_stock
from invengine.cli.keys import command_key
from invengine.cli.options import (
    Actor,
    Json,
    Key,
    ReasonCode,
    Reference,
    Target,
    TimeoutMs,
    connected,
    one_level,
    quantities,
)
from invengine.cli.output import print_facts, print_json, print_line, print_rows, print_table
from invengine.cli.stock_files import register as register_files
from invengine.client import Client, StockChanges, StockState

LEVEL_COLUMNS = (
    "sku",
    "location",
    "available",
    "on_hand",
    "reserved",
    "allocated",
    *(state.field for state in StockState if state.is_unsellable),
    "oversold",
)

app = typer.Typer(
    help="Stock: receive, return, adjust, set, count, move, show, list, at, history, import, export.",
    no_args_is_help=True,
    add_completion=False,
)


Part = enum.StrEnum("Part", {state.name: state.field for state in StockState})  # type: ignore[misc]


Lines = Annotated[list[str], typer.Argument(metavar="LINE...", help="SKU@LOCATION=QUANTITY, once or more.")]
State = Annotated[Part | None, typer.Option("--state", help="Part of the stock; on_hand if not given.")]


def _physical(name: str, send: Callable[..., StockChanges], text: str) -> None:
    """Adds a command that takes lines and prints levels."""

    @app.command(name, help=text)
    def command(
        context: typer.Context,
        lines: Lines,
        state: State = None,
        key: Key = None,
        reason_code: ReasonCode = None,
        reference: Reference = None,
        actor: Actor = None,
        target: Target = None,
        timeout_ms: TimeoutMs = None,
        as_json: Json = False,
    ) -> None:
        wanted = quantities(lines)
        key = command_key(key)
        fields = {"key": key, "reason_code": reason_code, "reference": reference, "actor": actor}
        with connected(context, target, timeout_ms) as client:
            changes = send(client, wanted, state=_state(state), **fields)
        _print(changes, key, as_json)


_physical("receive", Client.receive, "Record received goods.")
_physical("return", Client.return_, "Record returned goods; --state says whether they can be sold again.")
_physical("adjust", Client.adjust, "Record a difference, up or down: MUG@berlin=-2. Below zero is refused.")
_physical("count", Client.count, "Record a physical count. Below what is held it is accepted and shows as oversold.")


@app.command("set")
def set_quantity(
    context: typer.Context,
    lines: Lines,
    expected: Annotated[
        int | None, typer.Option("--expected", help="Only if this is the quantity before; one line only.")
    ] = None,
    state: State = None,
    key: Key = None,
    reason_code: ReasonCode = None,
    reference: Reference = None,
    actor: Actor = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Set an absolute quantity, with --expected only if it has not changed in between."""
    wanted: list[Any] = [*quantities(lines)]
    if expected is not None:
        if len(wanted) != 1:
            raise UsageProblemError("--expected requires exactly one line: set the others in separate commands")
        wanted = [(*wanted[0], expected)]
    key = command_key(key)
    fields: dict[str, Any] = {"key": key, "reason_code": reason_code, "reference": reference, "actor": actor}
    with connected(context, target, timeout_ms) as client:
        changes = client.set_quantity(wanted, state=_state(state), **fields)
    _print(changes, key, as_json)


@app.command("move")
def move_quantity(
    context: typer.Context,
    lines: Lines,
    from_state: Annotated[
        Part | None, typer.Option("--from", help="The state that they are in; on_hand: sellable.")
    ] = None,
    to_state: Annotated[Part | None, typer.Option("--to", help="The state that they get; on_hand: sellable.")] = None,
    key: Key = None,
    reason_code: ReasonCode = None,
    reference: Reference = None,
    actor: Actor = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Move units to another state: `stock move MUG@berlin=2 --to damaged`. What is not there is refused."""
    wanted = quantities(lines)
    states = [_state(part) or StockState.ON_HAND for part in (from_state, to_state)]
    if states[0] is states[1]:
        raise UsageProblemError("--to must name another state than --from; each is on_hand if not given")
    key = command_key(key)
    fields: dict[str, Any] = {"key": key, "reason_code": reason_code, "reference": reference, "actor": actor}
    with connected(context, target, timeout_ms) as client:
        changes = client.move_quantity(wanted, from_state=states[0], to_state=states[1], **fields)
    _print(changes, key, as_json)


@app.command("show")
def show(
    context: typer.Context,
    what: Annotated[
        list[str],
        typer.Argument(metavar="SKU@LOCATION", help="The level; SKU and LOCATION as two words work as well."),
    ],
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Show one level: every quantity of one item at one location."""
    sku, location = one_level(what, "show")
    with connected(context, target, timeout_ms) as client:
        level = client.get_level(sku, location)
    print_facts({name: getattr(level, name) for name in (*LEVEL_COLUMNS, "in_transit")}, as_json=as_json)


@app.command("list")
def list_levels(
    context: typer.Context,
    sku: Annotated[str | None, typer.Option("--sku", help="Only of this item.")] = None,
    location: Annotated[str | None, typer.Option("--location", help="Only at this location.")] = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """List levels, in the order they were first recorded."""
    with connected(context, target, timeout_ms) as client:
        print_rows(client.list_levels(sku=sku, location=location), LEVEL_COLUMNS, as_json=as_json)


register_stock(app)
register_files(app)


def _state(part: Part | None) -> StockState | None:
    return None if part is None else StockState[part.name]


def _print(changes: StockChanges, key: str, as_json: bool) -> None:
    if as_json:
        facts = {"receipt": changes.receipt, "levels": changes.levels, "claimed_lines": changes.claimed_lines}
        print_json({**facts, "key": key})
        return
    print_table(LEVEL_COLUMNS, [[getattr(level, name) for name in LEVEL_COLUMNS] for level in changes.levels])
    for level in [changes.levels[at] for at in changes.claimed_lines]:
        print_line(
            f"claim: {level.sku}@{level.location} is only recorded, nothing was changed: by the rules of authority "
            "another writer owns it, or the count is older than its last change (`invengine sources claims`)"
        )
    replayed = ", replayed" if changes.receipt.replayed else ""
    print_line(f"sequence {changes.receipt.sequence}, key {key}{replayed}")
