"""`invengine stock-transfers`: what is sent, and what is printed."""

from __future__ import annotations

import pytest

from invengine.v1 import inventory_service_pb2, types_pb2

from .scripted import CommandLine, ScriptedEngine

RECEIPT = types_pb2.Receipt(sequence=9, durable_sequence=9)


def transfer_of(state: types_pb2.StockTransferState.ValueType) -> types_pb2.StockTransfer:
    lines = [types_pb2.TransferLine(sku="MUG", shipped=12, received=6, in_transit=6)]
    found = types_pb2.StockTransfer(
        transfer="T-17", from_location="berlin", to_location="lyon", state=state, lines=lines, version=2
    )
    found.ship_time.FromJsonString("2026-11-27T09:30:00Z")
    return found


def test_stock_transfers_are_shipped_received_and_closed(line: CommandLine) -> None:
    transfer = transfer_of(types_pb2.STOCK_TRANSFER_STATE_PARTLY_RECEIVED)
    group = "stock-transfers"
    engine = ScriptedEngine(
        {"ShipTransfer": inventory_service_pb2.ShipTransferResponse(receipt=RECEIPT, transfer=transfer)}
    )
    ran = line.ask(engine, group, "ship", "T-17", "MUG=12", "A=B=3", "--from", "berlin", "--to", "lyon", "--key", "k")
    assert ran.code == 0, ran.err
    shipped = engine.request(inventory_service_pb2.ShipTransferRequest)
    assert (shipped.transfer, shipped.from_location, shipped.to_location) == ("T-17", "berlin", "lyon")
    assert [(each.sku, each.quantity) for each in shipped.lines] == [("MUG", 12), ("A=B", 3)]
    printed = [row.split() for row in ran.out.splitlines()]
    assert ["state", "partly_received"] in printed
    assert printed[-2:] == [
        ["sku", "shipped", "received", "lost", "sent", "back", "in", "transit"],
        ["MUG", "12", "6", "0", "0", "6"],
    ]

    answer = inventory_service_pb2.ReceiveTransferResponse(receipt=RECEIPT, transfer=transfer)
    engine = ScriptedEngine({"ReceiveTransfer": answer})
    ran = line.ask(engine, group, "receive", "T-17", "MUG=5", "MUG=1:damaged", "--expected-version", "1", "--json")
    arrived = engine.request(inventory_service_pb2.ReceiveTransferRequest)
    assert [(each.quantity, each.state) for each in arrived.lines] == [(5, 0), (1, types_pb2.STOCK_STATE_DAMAGED)]
    assert (arrived.expected_version, arrived.whole) == (1, False)
    assert ran.objects[0]["transfer"]["lines"][0]["in_transit"] == 6
    engine = ScriptedEngine({"ReceiveTransfer": answer})
    line.ask(engine, group, "receive", "T-17", "--whole")
    assert engine.request(inventory_service_pb2.ReceiveTransferRequest).whole

    engine = ScriptedEngine(
        {"CloseTransfer": inventory_service_pb2.CloseTransferResponse(receipt=RECEIPT, transfer=transfer)}
    )
    line.ask(engine, group, "close", "T-17", "--remainder", "sent_back")
    closed = engine.request(inventory_service_pb2.CloseTransferRequest)
    assert closed.remainder == types_pb2.TRANSFER_REMAINDER_SENT_BACK


def test_stock_transfers_are_listed_shown_and_deleted(line: CommandLine) -> None:
    transfer = transfer_of(types_pb2.STOCK_TRANSFER_STATE_LOST)
    script = {
        "ListStockTransfers": inventory_service_pb2.ListStockTransfersResponse(stock_transfers=[transfer]),
        "GetStockTransfer": inventory_service_pb2.GetStockTransferResponse(stock_transfer=transfer),
        "DeleteStockTransfers": inventory_service_pb2.DeleteStockTransfersResponse(receipt=RECEIPT),
    }
    rows = line.ask(ScriptedEngine({**script}), "stock-transfers", "list").out.splitlines()
    assert rows[1].split() == ["T-17", "2", "berlin", "lyon", "lost", "2026-11-27T09:30:00.000Z"]
    shown = line.ask(ScriptedEngine({**script}), "stock-transfers", "show", "T-17").out.splitlines()
    assert shown[-1].split() == ["MUG", "12", "6", "0", "0", "6"]
    engine = ScriptedEngine({**script})
    assert line.ask(engine, "stock-transfers", "delete", "T-17").code == 0
    assert engine.request(inventory_service_pb2.DeleteStockTransfersRequest).stock_transfers[0].name == "T-17"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ship", "T-17", "MUG", "--from", "berlin", "--to", "lyon"], "is not SKU=QUANTITY"),
        (["ship", "T-17", "MUG=x", "--from", "berlin", "--to", "lyon"], "not a whole number"),
        (["ship", "T-17", "MUG=1:damaged", "--from", "berlin", "--to", "lyon"], "have no state"),
        (["receive", "T-17", "MUG=1:broken"], "the state is one of on_hand, damaged, returned, quality_control"),
        (["receive", "T-17"], "--whole"),
        (["receive", "T-17", "MUG=1", "--whole"], "--whole"),
        (["close", "T-17", "--remainder", "gone"], "remainder"),
    ],
)
def test_a_stock_transfer_written_wrongly_is_a_mistake(line: CommandLine, arguments: list[str], words: str) -> None:
    ran = line.run("stock-transfers", *arguments)
    assert (ran.code, words in ran.err) == (2, True), ran
