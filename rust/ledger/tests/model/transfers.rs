//! Stock transfers: units are counted line by line, and nothing is stored that could be counted.

use std::collections::BTreeMap;

use invengine_ledger::command::QUANTITY_MAX;
use invengine_ledger::stock_transfer::{Arrival, ArrivalLine, Remainder, ShipmentLine, TransferCommand};
use invengine_ledger::{CountsAs, EntityKind, Reason, StockState};

use super::holds::insufficient_stock;
use super::{LevelKey, Model};
use crate::harness::answers::{Outcome, Refusal};

/// One item: units that left, arrived, are lost, are at the origin again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferLine {
    pub shipped: i64,
    pub received: i64,
    pub lost: i64,
    pub sent_back: i64,
}

/// A stock transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub from: String,
    pub to: String,
    pub lines: BTreeMap<String, TransferLine>,
}

impl TransferLine {
    fn open(&self) -> i64 {
        (self.shipped - self.received - self.lost - self.sent_back).max(0)
    }
}

impl Transfer {
    pub fn is_open(&self) -> bool {
        self.lines.values().any(|line| line.open() > 0)
    }

    pub fn state(&self) -> &'static str {
        let any = |of: fn(&TransferLine) -> i64| self.lines.values().any(|line| of(line) > 0);
        let arrived = any(|line| line.received);
        if self.is_open() {
            return if arrived { "PARTLY_RECEIVED" } else { "SHIPPED" };
        }
        if !any(|line| line.lost + line.sent_back) {
            "RECEIVED"
        } else if arrived {
            "CLOSED_SHORT"
        } else if any(|line| line.lost) {
            "LOST"
        } else {
            "CANCELLED"
        }
    }

    /// As text, to be compared.
    pub fn described(&self) -> Vec<String> {
        let line = |(sku, line): (&String, &TransferLine)| {
            format!("{sku} {} {} {} {}", line.shipped, line.received, line.lost, line.sent_back)
        };
        [self.from.clone(), self.to.clone()].into_iter().chain(self.lines.iter().map(line)).collect()
    }
}

const RANGE: &str = "the units of a level in one state must stay at or below 2^53 - 1";

fn out_of_range(field: String) -> Refusal {
    Refusal::new(Reason::InvalidField).fact("field", field).fact("description", RANGE)
}

impl Model {
    pub fn stock_transfer(&mut self, command: &TransferCommand<'_>) -> Result<Outcome, Refusal> {
        match command {
            TransferCommand::Ship { transfer, from, to, lines } => self.ship(transfer, from, to, lines)?,
            TransferCommand::Receive { transfer, expected_version, arrival } => {
                self.arrive(transfer, *expected_version, arrival)?;
            }
            TransferCommand::Close { transfer, expected_version, remainder } => {
                self.close(transfer, *expected_version, *remainder)?;
            }
        }
        self.sequence += 1;
        let name = command.transfer();
        let value = self.transfers[name].described();
        let version = self.entities.change(EntityKind::StockTransfers, name, Some(value.clone()));
        Ok(Outcome::Transfer(name.to_owned(), version, value))
    }

    fn sellable(&self, place: &LevelKey) -> i64 {
        let stock = self.at(place);
        let unsellable = StockState::all().filter(|state| state.counts_as() == CountsAs::Unsellable);
        stock.part(StockState::OnHand) - unsellable.map(|state| stock.part(state)).sum::<i64>()
    }

    /// The items in the order of their creation, which is the order in which levels are made.
    fn in_order(&self, mut skus: Vec<String>) -> Vec<String> {
        let order: Vec<&str> = self.entities.ever(EntityKind::Items).map(|(name, _)| name).collect();
        skus.sort_by_key(|sku| order.iter().position(|known| known == sku));
        skus
    }

    fn ship(&mut self, name: &str, from: &str, to: &str, lines: &[ShipmentLine<'_>]) -> Result<(), Refusal> {
        for line in lines {
            if self.entities.get(EntityKind::Items, line.sku).is_none() {
                return Err(Refusal::new(Reason::UnknownSku).fact("sku", line.sku));
            }
        }
        self.place(lines[0].sku, from)?;
        self.place(lines[0].sku, to)?;
        if self.entities.get(EntityKind::StockTransfers, name).is_some() {
            let state = self.transfers[name].state();
            return Err(Refusal::new(Reason::TransferState).fact("transfer", name).fact("state", state));
        }
        let mut shipped = BTreeMap::new();
        for (number, line) in lines.iter().enumerate() {
            let place = (line.sku.to_owned(), from.to_owned());
            let there = self.sellable(&place).max(0);
            if there < line.quantity {
                return Err(insufficient_stock(&place, line.quantity, there));
            }
            let on_its_way = self.at(&(line.sku.to_owned(), to.to_owned())).part(StockState::InTransit);
            if on_its_way + line.quantity > QUANTITY_MAX {
                return Err(out_of_range(format!("lines[{number}].quantity")));
            }
            shipped.insert(line.sku.to_owned(), TransferLine { shipped: line.quantity, ..TransferLine::default() });
        }
        for sku in self.in_order(shipped.keys().cloned().collect()) {
            let units = shipped[&sku].shipped;
            self.at_mut(&(sku.clone(), from.to_owned())).take(units);
            self.at_mut(&(sku, to.to_owned())).add(StockState::InTransit, units);
        }
        let transfer = Transfer { from: from.to_owned(), to: to.to_owned(), lines: shipped };
        self.transfers.insert(name.to_owned(), transfer);
        Ok(())
    }

    fn known_transfer(&self, name: &str, expected: Option<u64>) -> Result<Transfer, Refusal> {
        if self.entities.get(EntityKind::StockTransfers, name).is_none() {
            let refusal = Refusal::new(Reason::EntityNotFound).fact("kind", "stock_transfer");
            return Err(refusal.fact("name", name));
        }
        self.expect_version(EntityKind::StockTransfers, name, expected)?;
        Ok(self.transfers[name].clone())
    }

    fn arrive(&mut self, name: &str, expected: Option<u64>, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        let named: &[ArrivalLine<'_>] = if let Arrival::Lines(lines) = arrival { lines } else { &[] };
        if let Some(line) = named.iter().find(|line| self.entities.get(EntityKind::Items, line.sku).is_none()) {
            return Err(Refusal::new(Reason::UnknownSku).fact("sku", line.sku));
        }
        let mut transfer = self.known_transfer(name, expected)?;
        let state = StockState::OnHand;
        let open: Vec<(String, i64)> =
            transfer.lines.iter().map(|(sku, line)| (sku.clone(), line.open())).filter(|open| open.1 > 0).collect();
        let lines: Vec<ArrivalLine<'_>> = match arrival {
            Arrival::Lines(lines) => lines.clone(),
            Arrival::Whole if open.is_empty() => {
                let refusal = Refusal::new(Reason::TransferState).fact("transfer", name);
                return Err(refusal.fact("state", transfer.state()));
            }
            Arrival::Whole => {
                open.iter().map(|(sku, quantity)| ArrivalLine { sku, quantity: *quantity, state }).collect()
            }
        };
        for (number, line) in lines.iter().enumerate() {
            let (destination, origin) =
                ((line.sku.to_owned(), transfer.to.clone()), (line.sku.to_owned(), transfer.from.clone()));
            let known = transfer.lines.entry(line.sku.to_owned()).or_default();
            known.received += line.quantity;
            let field = if *arrival == Arrival::Whole { "whole".into() } else { format!("lines[{number}].quantity") };
            if self.at(&destination).part(StockState::OnHand) + line.quantity > QUANTITY_MAX
                || known.received > QUANTITY_MAX
            {
                return Err(out_of_range(field));
            }
            // Unit by unit would be slow for large numbers; this is the same.
            let mut rest = line.quantity;
            let on_its_way = (known.shipped - (known.received - line.quantity) - known.lost - known.sent_back).max(0);
            let taken = on_its_way.min(rest);
            rest -= taken;
            self.at_mut(&destination).add(StockState::InTransit, -taken);
            let found = known.lost.min(rest);
            known.lost -= found;
            rest -= found;
            let back = known.sent_back.min(rest).min(self.sellable(&origin).max(0));
            known.sent_back -= back;
            if back > 0 {
                self.at_mut(&origin).take(back);
            }
            let stock = self.at_mut(&destination);
            match line.state {
                StockState::OnHand => stock.take(-line.quantity),
                state => stock.add(state, line.quantity),
            }
        }
        self.transfers.insert(name.to_owned(), transfer);
        Ok(())
    }

    fn close(&mut self, name: &str, expected: Option<u64>, remainder: Remainder) -> Result<(), Refusal> {
        let mut transfer = self.known_transfer(name, expected)?;
        if !transfer.is_open() {
            let refusal = Refusal::new(Reason::TransferState).fact("transfer", name);
            return Err(refusal.fact("state", transfer.state()));
        }
        let (from, to) = (transfer.from.clone(), transfer.to.clone());
        for (sku, line) in &mut transfer.lines {
            let units = line.open();
            if units == 0 {
                continue;
            }
            self.at_mut(&(sku.clone(), to.clone())).add(StockState::InTransit, -units);
            match remainder {
                Remainder::Lost => line.lost += units,
                Remainder::SentBack => {
                    line.sent_back += units;
                    let origin = (sku.clone(), from.clone());
                    if self.at(&origin).part(StockState::OnHand) + units > QUANTITY_MAX {
                        return Err(out_of_range("remainder".into()));
                    }
                    self.at_mut(&origin).take(-units);
                }
            }
        }
        self.transfers.insert(name.to_owned(), transfer);
        Ok(())
    }
}
