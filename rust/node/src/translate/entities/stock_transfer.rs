//! Stock transfers: shipped, received and closed by commands of their own; read, listed and deleted as all entities are.

use invengine_ledger::command::Body;
use invengine_ledger::stock_transfer::{
    Arrival, ArrivalLine, Remainder, ShipmentLine, StockTransfer, TransferCommand, TransferState,
};
use invengine_ledger::{Context, EntityKind, EntityValue, Ledger};
use invengine_wire::v1;

use super::super::answer::Accepted;
use super::super::check::Violations;
use super::super::command::{CommandRequest, shared_fields};
use super::super::read::{ReadAnswer, ReadRequest, View};
use super::super::shape::timestamp;
use super::super::stock::{check_units, collect, known_state};
use super::{Entity, delete, distinct, entity_requests, expected_version, get, list};
use crate::refusal::Refusal;

entity_requests! {
    METHODS of "InventoryService": StockTransfer [versions];
    get GetStockTransferRequest { transfer } -> GetStockTransferResponse { stock_transfer } of COMMAND_ANSWER_BYTES_MAX;
    list ListStockTransfersRequest -> ListStockTransfersResponse { stock_transfers };
    delete DeleteStockTransfersRequest { stock_transfers } -> DeleteStockTransfersResponse;
}

impl Entity for v1::StockTransfer {
    const KIND: EntityKind = EntityKind::StockTransfers;

    fn name(&self) -> &str {
        &self.transfer
    }

    fn of(ledger: &Ledger, name: &str, version: u64, value: &EntityValue) -> Self {
        match value {
            EntityValue::StockTransfer(transfer) => message(ledger, name, version, transfer),
            _ => Self::default(),
        }
    }
}

/// A stock transfer of this name and version.
pub(in super::super) fn message(ledger: &Ledger, name: &str, version: u64, value: &StockTransfer) -> v1::StockTransfer {
    let location = |handle| ledger.locations().name(handle).to_owned();
    let lines = value.lines.iter().map(|line| v1::TransferLine {
        sku: ledger.items().name(line.item).to_owned(),
        shipped: line.shipped,
        received: line.received,
        lost: line.lost,
        sent_back: line.sent_back,
        in_transit: line.in_transit(),
    });
    v1::StockTransfer {
        transfer: name.to_owned(),
        from_location: location(value.route.origin),
        to_location: location(value.route.destination),
        ship_time: Some(timestamp(value.ship_ms)),
        state: state(value.state()) as i32,
        lines: lines.collect(),
        version: Some(version as i64),
    }
}

fn state(state: TransferState) -> v1::StockTransferState {
    match state {
        TransferState::Shipped => v1::StockTransferState::Shipped,
        TransferState::PartlyReceived => v1::StockTransferState::PartlyReceived,
        TransferState::Received => v1::StockTransferState::Received,
        TransferState::ClosedShort => v1::StockTransferState::ClosedShort,
        TransferState::Lost => v1::StockTransferState::Lost,
        TransferState::Cancelled => v1::StockTransferState::Cancelled,
    }
}

impl CommandRequest for v1::ShipTransferRequest {
    type Answer = v1::ShipTransferResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        found.name(&self.transfer, format_args!("transfer"));
        found.name(&self.from_location, format_args!("from_location"));
        found.name(&self.to_location, format_args!("to_location"));
        let moves = self.from_location.is_empty() || self.from_location != self.to_location;
        found.require(moves, format_args!("to_location"), "another location than from_location");
        let mut lines = collect(&self.lines, found, |number, line, found| {
            check_units(number, line.quantity, found);
            found.name(&line.sku, format_args!("lines[{number}].sku"));
            ShipmentLine { sku: &line.sku, quantity: line.quantity }
        });
        distinct(lines.iter().map(|line| line.sku), "lines", ".sku", found);
        lines.sort_unstable_by_key(|line| line.sku);
        let (transfer, from, to) = (&self.transfer, &self.from_location, &self.to_location);
        Body::StockTransfer(TransferCommand::Ship { transfer, from, to, lines })
    }

    fn answer(accepted: &Accepted<'_>) -> v1::ShipTransferResponse {
        v1::ShipTransferResponse {
            receipt: accepted.receipt(),
            transfer: accepted.transfer(),
            look_alikes: accepted.look_alikes(),
        }
    }
}

impl CommandRequest for v1::ReceiveTransferRequest {
    type Answer = v1::ReceiveTransferResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        found.name(&self.transfer, format_args!("transfer"));
        let expected_version = expected_version(self.expected_version, found);
        let arrival = if self.whole {
            found.require(self.lines.is_empty(), format_args!("lines"), "none with `whole`: either, not both");
            Arrival::Whole
        } else {
            Arrival::Lines(arriving(&self.lines, found))
        };
        Body::StockTransfer(TransferCommand::Receive { transfer: &self.transfer, expected_version, arrival })
    }

    fn answer(accepted: &Accepted<'_>) -> v1::ReceiveTransferResponse {
        v1::ReceiveTransferResponse { receipt: accepted.receipt(), transfer: accepted.transfer() }
    }
}

fn arriving<'a>(given: &'a [v1::ArrivalLine], found: &mut Violations) -> Vec<ArrivalLine<'a>> {
    let before = found.len();
    let mut lines = collect(given, found, |number, line, found| {
        check_units(number, line.quantity, found);
        found.name(&line.sku, format_args!("lines[{number}].sku"));
        let state = known_state(number, "state", line.state, found).unwrap_or(invengine_ledger::StockState::OnHand);
        ArrivalLine { sku: &line.sku, quantity: line.quantity, state }
    });
    if found.len() == before {
        found.distinct(lines.iter().map(|line| (line.sku, line.state as u8)), "lines", "");
    }
    lines.sort_unstable_by_key(|line| (line.sku, line.state));
    lines
}

impl CommandRequest for v1::CloseTransferRequest {
    type Answer = v1::CloseTransferResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        found.name(&self.transfer, format_args!("transfer"));
        let expected_version = expected_version(self.expected_version, found);
        let remainder = match v1::TransferRemainder::try_from(self.remainder) {
            Ok(v1::TransferRemainder::Lost) => Some(Remainder::Lost),
            Ok(v1::TransferRemainder::SentBack) => Some(Remainder::SentBack),
            _ => None,
        };
        found.require(remainder.is_some(), format_args!("remainder"), "lost or sent back");
        let remainder = remainder.unwrap_or(Remainder::Lost);
        Body::StockTransfer(TransferCommand::Close { transfer: &self.transfer, expected_version, remainder })
    }

    fn answer(accepted: &Accepted<'_>) -> v1::CloseTransferResponse {
        v1::CloseTransferResponse { receipt: accepted.receipt(), transfer: accepted.transfer() }
    }
}
