//! What a command on a stock transfer asks for, and what its fingerprint consists of.

use super::TransferChange;
use crate::command::Context;
use crate::entity::EntityKind;
use crate::fingerprint::{CONTEXT, Fields, PARTS_MAX, expected, text};
use crate::ledger::Ledger;
use crate::stable_hash::StableHash;
use crate::states::StockState;

/// Units of an item that leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShipmentLine<'a> {
    /// Item.
    pub sku: &'a str,
    /// Units, at least 1.
    pub quantity: i64,
}

/// Units of an item that arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalLine<'a> {
    /// Item.
    pub sku: &'a str,
    /// Units, at least 1.
    pub quantity: i64,
    /// The state that they arrive in.
    pub state: StockState,
}

/// What arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// All units that are on their way, sellable.
    Whole,
    /// These units, by item and state, each pair once.
    Lines(Vec<ArrivalLine<'a>>),
}

/// What becomes of the units that have not arrived when a transfer is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Remainder {
    /// They are lost.
    Lost = 1,
    /// They are at the origin again.
    SentBack = 2,
}

/// A command on a stock transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferCommand<'a> {
    /// Goods leave: a new transfer.
    Ship {
        /// Its name.
        transfer: &'a str,
        /// The location that they leave.
        from: &'a str,
        /// Another location.
        to: &'a str,
        /// Lines by item, each once.
        lines: Vec<ShipmentLine<'a>>,
    },
    /// Goods arrive.
    Receive {
        /// The transfer.
        transfer: &'a str,
        /// The version that it must have; absent if any will do.
        expected_version: Option<u64>,
        /// What arrives.
        arrival: Arrival<'a>,
    },
    /// What has not arrived will not arrive.
    Close {
        /// The transfer.
        transfer: &'a str,
        /// The version that it must have; absent if any will do.
        expected_version: Option<u64>,
        /// What becomes of it.
        remainder: Remainder,
    },
}

impl<'a> TransferCommand<'a> {
    /// The command's name, as in the contract.
    pub fn name(&self) -> &'static str {
        match self {
            TransferCommand::Ship { .. } => "ShipTransfer",
            TransferCommand::Receive { .. } => "ReceiveTransfer",
            TransferCommand::Close { .. } => "CloseTransfer",
        }
    }

    /// The stock transfer that it is about.
    pub fn transfer(&self) -> &'a str {
        match self {
            TransferCommand::Ship { transfer, .. }
            | TransferCommand::Receive { transfer, .. }
            | TransferCommand::Close { transfer, .. } => transfer,
        }
    }

    /// The items and locations that it names, which must exist.
    pub fn mentions(&self) -> (Vec<&'a str>, Vec<&'a str>) {
        match self {
            TransferCommand::Ship { from, to, lines, .. } => {
                (lines.iter().map(|line| line.sku).collect(), vec![from, to])
            }
            TransferCommand::Receive { arrival: Arrival::Lines(lines), .. } => {
                (lines.iter().map(|line| line.sku).collect(), Vec::new())
            }
            TransferCommand::Receive { .. } | TransferCommand::Close { .. } => (Vec::new(), Vec::new()),
        }
    }

    /// The number of each kind of command in a fingerprint; it never changes.
    pub(crate) fn fingerprint_kind(&self) -> u64 {
        match self {
            TransferCommand::Ship { .. } => 20,
            TransferCommand::Receive { .. } => 21,
            TransferCommand::Close { .. } => 22,
        }
    }

    /// The fields that a fingerprint keeps apart, and the hash of each.
    pub(crate) fn fingerprint_parts(&self, context: &Context<'_>) -> (&'static Fields, [u64; PARTS_MAX]) {
        let hash = StableHash::new(12);
        let (reason, reference) = (text(context.reason_code), text(context.reference));
        let others = hash.word(text(context.order_ref)).word(text(context.holder)).short();
        let transfer = text(self.transfer());
        match self {
            TransferCommand::Ship { from, to, lines, .. } => {
                let lines =
                    lines.iter().fold(hash, |hash, line| hash.bytes(line.sku.as_bytes()).signed(line.quantity)).short();
                (&SHIP, [transfer, text(from), text(to), lines, reason, reference, others])
            }
            TransferCommand::Receive { expected_version, arrival, .. } => {
                let lines = match arrival {
                    Arrival::Whole => 0,
                    Arrival::Lines(lines) => lines
                        .iter()
                        .fold(hash.word(lines.len() as u64), |hash, line| {
                            hash.bytes(line.sku.as_bytes()).signed(line.quantity).word(line.state as u64)
                        })
                        .short(),
                };
                let version = hash.word(expected(*expected_version)).short();
                (&RECEIVE, [transfer, version, lines, reason, reference, others, 0])
            }
            TransferCommand::Close { expected_version, remainder, .. } => {
                let version = hash.word(expected(*expected_version)).short();
                (&CLOSE, [transfer, version, *remainder as u64, reason, reference, others, 0])
            }
        }
    }
}

impl Ledger {
    /// The field in which a command differs from the one that led to this change, where the change shows it.
    pub(crate) fn difference_of_transfer(
        &self,
        change: &TransferChange,
        command: &TransferCommand<'_>,
    ) -> Option<&'static str> {
        if self.entities(EntityKind::StockTransfers).names().name(change.transfer) != command.transfer() {
            return Some("transfer");
        }
        let TransferCommand::Ship { from, to, lines, .. } = command else { return None };
        let value = &change.value;
        let is_at = |location, name: &str| self.locations().name(location) == name;
        if !is_at(value.route.origin, from) || !is_at(value.route.destination, to) {
            return Some(if is_at(value.route.origin, from) { "to_location" } else { "from_location" });
        }
        let shipped = |line: &ShipmentLine<'_>| {
            let item = self.items().find(line.sku);
            item.and_then(|item| value.line(item)).is_some_and(|known| known.shipped == line.quantity)
        };
        (value.lines.len() != lines.len() || !lines.iter().all(shipped)).then_some("lines")
    }
}

const REASON: &str = "context.reason_code";
const REFERENCE: &str = "context.reference";
const SHIP: [(&str, u32); 7] = [
    ("transfer", 5),
    ("from_location", 4),
    ("to_location", 4),
    ("lines", 5),
    (REASON, 4),
    (REFERENCE, 4),
    (CONTEXT, 4),
];
const RECEIVE: [(&str, u32); 6] =
    [("transfer", 5), ("expected_version", 5), ("lines", 6), (REASON, 5), (REFERENCE, 5), (CONTEXT, 4)];
const CLOSE: [(&str, u32); 6] =
    [("transfer", 6), ("expected_version", 6), ("remainder", 3), (REASON, 5), (REFERENCE, 5), (CONTEXT, 5)];
