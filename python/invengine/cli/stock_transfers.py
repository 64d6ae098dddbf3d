"""`invengine stock-transfers`: goods that leave one location for another, and arrive there."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import typer

from invengine.cli.entities import EntityKind, entity_commands, print_look_alikes
from invengine.cli.exits import UsageProblemError
from invengine.cli.keys import command_key
from invengine.cli.options import (
    Actor,
    ExpectedVersion,
    Json,
    Key,
    ReasonCode,
    Reference,
    Target,
    TimeoutMs,
    connected,
    units_of,
)
from invengine.cli.output import plain, print_facts, print_json, print_line, print_rows
from invengine.client import Client, StockState, StockTransfer, TransferChange, TransferRemainder

app = typer.Typer(
    help="Stock transfers: ship, receive, close, list, show, delete.", no_args_is_help=True, add_completion=False
)

STOCK_TRANSFERS = EntityKind(
    "stock transfers",
    StockTransfer,
    ("transfer", "version", "from_location", "to_location", "state", "ship_time"),
    None,
    Client.list_stock_transfers,
    Client.delete_stock_transfers,
)
LINE_COLUMNS = ("sku", "shipped", "received", "lost", "sent_back", "in_transit")

Transfer = Annotated[str, typer.Argument(metavar="TRANSFER", help="The name of the document.")]
Remainder = enum.StrEnum("Remainder", {each.name: each.name.lower() for each in TransferRemainder})  # type: ignore[misc]


@app.callback()
def root() -> None:
    """Stock transfers: ship, receive, close, list, show, delete."""


def _print(change: TransferChange, key: str | None, as_json: bool) -> None:
    facts = {"sequence": change.receipt.sequence, "replayed": change.receipt.replayed, "key": key}
    if as_json:
        print_json({**facts, "transfer": plain(change.transfer), "look_alikes": change.look_alikes})
    else:
        _print_transfer(change.transfer, facts)
        print_look_alikes(change.look_alikes)


def _print_transfer(transfer: StockTransfer, facts: dict[str, Any]) -> None:
    """For people: where it stands, then its lines as a table."""
    about = plain(transfer)
    del about["lines"]
    print_facts({**about, **facts}, as_json=False)
    print_line("")
    print_rows(transfer.lines, LINE_COLUMNS, as_json=False)


@app.command("ship")
def ship(
    context: typer.Context,
    transfer: Transfer,
    lines: Annotated[list[str], typer.Argument(metavar="LINE...", help="SKU=QUANTITY, once or more.")],
    from_location: Annotated[str, typer.Option("--from", help="The location that the goods leave.")],
    to_location: Annotated[str, typer.Option("--to", help="The location that they go to.")],
    key: Key = None,
    reason_code: ReasonCode = None,
    reference: Reference = None,
    actor: Actor = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Ship goods: `stock-transfers ship T-17 MUG=12 --from berlin --to lyon`. What is not there is refused."""
    wanted = [_line(line) for line in lines]
    if any(len(line) > 2 for line in wanted):
        raise UsageProblemError("goods that leave have no state: write SKU=QUANTITY, it is sellable stock")
    key = command_key(key)
    fields: dict[str, Any] = {"key": key, "reason_code": reason_code, "reference": reference, "actor": actor}
    with connected(context, target, timeout_ms) as client:
        change = client.ship_transfer(transfer, wanted, from_location=from_location, to_location=to_location, **fields)
    _print(change, key, as_json)


@app.command("receive")
def receive(
    context: typer.Context,
    transfer: Transfer,
    lines: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LINE]...", help="SKU=QUANTITY, or SKU=QUANTITY:damaged for another state."),
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Everything on its way arrived and can be sold.")] = False,
    expected_version: ExpectedVersion = None,
    key: Key = None,
    reason_code: ReasonCode = None,
    reference: Reference = None,
    actor: Actor = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Receive goods: the lines that arrived, or --whole. More than was shipped is accepted."""
    if bool(lines) is whole:
        raise UsageProblemError("name the lines that arrived, or --whole for all that is on its way; one of them")
    arrived: Any = None if whole else [_line(line) for line in lines or ()]
    key = command_key(key)
    fields: dict[str, Any] = {"key": key, "reason_code": reason_code, "reference": reference, "actor": actor}
    with connected(context, target, timeout_ms) as client:
        change = client.receive_transfer(transfer, arrived, whole=whole, expected_version=expected_version, **fields)
    _print(change, key, as_json)


@app.command("close")
def close(
    context: typer.Context,
    transfer: Transfer,
    remainder: Annotated[
        Remainder, typer.Option("--remainder", help="What becomes of the units that have not arrived.")
    ],
    expected_version: ExpectedVersion = None,
    key: Key = None,
    reason_code: ReasonCode = None,
    reference: Reference = None,
    actor: Actor = None,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Close a transfer: what has not arrived is lost, or was sent back to its origin."""
    key = command_key(key)
    fields: dict[str, Any] = {"key": key, "reason_code": reason_code, "reference": reference, "actor": actor}
    with connected(context, target, timeout_ms) as client:
        change = client.close_transfer(
            transfer, TransferRemainder[remainder.name], expected_version=expected_version, **fields
        )
    _print(change, key, as_json)


@app.command("show")
def show(
    context: typer.Context,
    transfer: Transfer,
    target: Target = None,
    timeout_ms: TimeoutMs = None,
    as_json: Json = False,
) -> None:
    """Show one stock transfer with its lines."""
    with connected(context, target, timeout_ms) as client:
        found = client.get_stock_transfer(transfer)
    if as_json:
        print_json(found)
    else:
        _print_transfer(found, {})


def _line(text: str) -> Any:
    """SKU=QUANTITY, or SKU=QUANTITY:STATE. A sku may contain both signs."""
    sku, _, rest = text.rpartition("=")
    quantity, colon, state = rest.partition(":")
    if not sku:
        raise UsageProblemError(f"{text!r} is not SKU=QUANTITY or SKU=QUANTITY:STATE")
    units = units_of(quantity, text)
    if not colon:
        return sku, units
    known = {each.field: each for each in StockState}
    if state not in known:
        raise UsageProblemError(f"{text!r}: the state is one of {', '.join(known)}")
    return sku, units, known[state]


entity_commands(app, STOCK_TRANSFERS)
