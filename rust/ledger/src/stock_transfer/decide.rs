//! Decisions on stock transfers. What left and what arrived are facts, so holds refuse neither: only what is not there cannot
//! leave.

use hashbrown::HashMap;

use super::{
    Arrival, ArrivalLine, ArrivedUnits, ItemUnits, Remainder, Route, ShipmentLine, StockTransfer, TRANSFER_LINES_MAX,
    TransferCommand, TransferLine,
};
use crate::command::QUANTITY_MAX;
use crate::decide::no_stock;
use crate::entity::{EntityKind, EntityValue};
use crate::event::Event;
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::planted;
use crate::rejection::{Reason, Rejection};
use crate::states::StockState;

const KIND: EntityKind = EntityKind::StockTransfers;

impl Ledger {
    pub(crate) fn decide_stock_transfer(&self, command: &TransferCommand<'_>) -> Result<OneOrMany<Event>, Rejection> {
        Ok(OneOrMany::One(match command {
            TransferCommand::Ship { transfer, from, to, lines } => self.decide_shipment(transfer, [from, to], lines)?,
            TransferCommand::Receive { transfer, expected_version, arrival } => match arrival {
                Arrival::Whole => self.decide_whole_arrival(transfer, *expected_version)?,
                Arrival::Lines(lines) => self.decide_arrival(transfer, *expected_version, lines)?,
            },
            TransferCommand::Close { transfer, expected_version, remainder } => {
                self.decide_closing(transfer, *expected_version, *remainder)?
            }
        }))
    }

    fn decide_shipment(
        &self,
        transfer: &str,
        [from, to]: [&str; 2],
        lines: &[ShipmentLine<'_>],
    ) -> Result<Event, Rejection> {
        self.check_new_name(KIND, transfer, "transfer")?;
        let items = lines.iter().map(|line| self.item(line.sku)).collect::<Result<Vec<_>, _>>()?;
        let (origin, destination) = (self.location(from)?, self.location(to)?);
        if let Some(known) = self.stock_transfer(transfer) {
            return Err(wrong_state(transfer, known));
        }
        let mut shipped = Vec::with_capacity(lines.len());
        for (number, (line, item)) in lines.iter().zip(items).enumerate() {
            let there = self.units_at(item, origin, StockState::OnHand).max(0);
            if there < line.quantity {
                return Err(no_stock(line.sku, from, line.quantity, there));
            }
            let in_transit = self.units_at(item, destination, StockState::InTransit);
            check_quantity(in_transit.saturating_add(line.quantity), || format!("lines[{number}].quantity"))?;
            shipped.push(ItemUnits { item, units: line.quantity });
        }
        shipped.sort_unstable_by_key(|line| line.item);
        let lines = shipped.into_iter().collect();
        Ok(Event::TransferShipped { transfer: transfer.into(), route: Route { origin, destination }, lines })
    }

    fn decide_whole_arrival(&self, transfer: &str, expected_version: Option<u64>) -> Result<Event, Rejection> {
        let (handle, document) = self.known_transfer(transfer, expected_version)?;
        let mut lines = OneOrMany::default();
        for line in document.lines.iter().filter(|line| line.in_transit() > 0) {
            let units = line.in_transit();
            let (item, state) = (line.item, StockState::OnHand);
            self.check_on_hand(item, document.route.destination, units, || "whole".to_owned())?;
            lines.push(ArrivedUnits { item, state, units, in_transit: units, lost: 0, sent_back: 0 });
        }
        if lines.is_empty() {
            return Err(wrong_state(transfer, document));
        }
        Ok(Event::TransferReceived { transfer: handle, route: document.route, lines })
    }

    fn decide_arrival(
        &self,
        transfer: &str,
        expected_version: Option<u64>,
        lines: &[ArrivalLine<'_>],
    ) -> Result<Event, Rejection> {
        let items = lines.iter().map(|line| self.item(line.sku)).collect::<Result<Vec<_>, _>>()?;
        let (handle, document) = self.known_transfer(transfer, expected_version)?;
        let mut progress = Progress::of(self, document);
        let mut arrived = OneOrMany::default();
        for (number, (line, item)) in lines.iter().zip(items).enumerate() {
            let units = progress.arrive(item, line.state, line.quantity);
            let field = || format!("lines[{number}].quantity");
            let (total, received) = progress.totals(item);
            self.check_on_hand(item, document.route.destination, total, field)?;
            check_quantity(received, field)?;
            arrived.push(units);
        }
        if progress.lines.len() > TRANSFER_LINES_MAX {
            return Err(invalid("lines", &format!("a stock transfer has at most {TRANSFER_LINES_MAX} items")));
        }
        Ok(Event::TransferReceived { transfer: handle, route: document.route, lines: arrived })
    }

    fn decide_closing(
        &self,
        transfer: &str,
        expected_version: Option<u64>,
        remainder: Remainder,
    ) -> Result<Event, Rejection> {
        let (handle, document) = self.known_transfer(transfer, expected_version)?;
        let open = |line: &TransferLine| Some(ItemUnits { item: line.item, units: line.in_transit() });
        let lines: OneOrMany<ItemUnits> =
            document.lines.iter().filter(|line| line.in_transit() > 0).filter_map(open).collect();
        if lines.is_empty() {
            return Err(wrong_state(transfer, document));
        }
        if remainder == Remainder::SentBack {
            for line in lines.iter() {
                self.check_on_hand(line.item, document.route.origin, line.units, || "remainder".to_owned())?;
            }
        }
        Ok(Event::TransferClosed { transfer: handle, route: document.route, remainder, lines })
    }

    /// A stock transfer, by name.
    pub fn stock_transfer(&self, transfer: &str) -> Option<&StockTransfer> {
        let entities = self.entities(KIND);
        transfer_of(entities.value(entities.names().find(transfer)?)?)
    }

    /// True for a stock transfer with units that are still on their way.
    pub(crate) fn is_open_transfer(&self, transfer: Handle) -> bool {
        let value = self.entities(KIND).value(transfer).and_then(transfer_of);
        value.is_some_and(|document| document.state().is_open())
    }

    fn known_transfer(
        &self,
        transfer: &str,
        expected_version: Option<u64>,
    ) -> Result<(Handle, &StockTransfer), Rejection> {
        let entities = self.entities(KIND);
        let handle = entities.names().find(transfer).ok_or_else(|| KIND.not_found(transfer))?;
        self.check_version(KIND, transfer, expected_version)?;
        let document = entities.value(handle).and_then(transfer_of).ok_or_else(|| KIND.not_found(transfer))?;
        Ok((handle, document))
    }

    /// Units of an item in one state alone.
    fn units_at(&self, item: Handle, location: Handle, state: StockState) -> i64 {
        self.levels.find(item, location).map_or(0, |level| self.levels.quantities(level).alone(state))
    }

    /// Refuses if on_hand would be out of range with these units more.
    fn check_on_hand(
        &self,
        item: Handle,
        location: Handle,
        units: i64,
        field: impl Fn() -> String,
    ) -> Result<(), Rejection> {
        let on_hand = self.levels.find(item, location).map_or(0, |level| self.levels.quantities(level).on_hand());
        check_quantity(on_hand.saturating_add(units), field)
    }
}

/// The stock transfer that an entity is.
pub(super) fn transfer_of(value: &EntityValue) -> Option<&StockTransfer> {
    match value {
        EntityValue::StockTransfer(transfer) => Some(transfer),
        _ => None,
    }
}

/// What the lines of one command have changed so far.
struct Progress<'l> {
    ledger: &'l Ledger,
    origin: Handle,
    lines: HashMap<Handle, TransferLine>,
    /// Units that arrived, and sellable units that were taken from the origin again.
    moved: HashMap<Handle, (i64, i64)>,
}

impl<'l> Progress<'l> {
    fn of(ledger: &'l Ledger, document: &StockTransfer) -> Self {
        let lines = document.lines.iter().map(|line| (line.item, *line)).collect();
        Progress { ledger, origin: document.route.origin, lines, moved: HashMap::new() }
    }

    /// Units arrive: those in transit first, then those that were taken for lost, then those that should be at the origin
    /// again, as far as these can still be there. The rest is a surplus.
    fn arrive(&mut self, item: Handle, state: StockState, units: i64) -> ArrivedUnits {
        let line = self.lines.entry(item).or_insert(TransferLine { item, ..TransferLine::default() });
        let (arrived, taken) = self.moved.entry(item).or_default();
        let in_transit = line.in_transit().min(units);
        let lost = line.lost.min(units - in_transit);
        let at_origin = (self.ledger.units_at(item, self.origin, StockState::OnHand) - *taken).max(0);
        let sent_back = line.sent_back.min(units - in_transit - lost).min(at_origin);
        *arrived = arrived.saturating_add(units);
        *taken += sent_back;
        line.received = line.received.saturating_add(units);
        line.lost -= lost;
        line.sent_back -= sent_back;
        let lost = if planted::is("late_arrival_stays_lost") { 0 } else { lost };
        ArrivedUnits { item, state, units, in_transit, lost, sent_back }
    }

    /// Units of an item that arrived with this command, and with the transfer.
    fn totals(&self, item: Handle) -> (i64, i64) {
        let arrived = self.moved.get(&item).map_or(0, |moved| moved.0);
        (arrived, self.lines.get(&item).map_or(0, |line| line.received))
    }
}

fn wrong_state(transfer: &str, document: &StockTransfer) -> Rejection {
    Rejection::new(Reason::TransferState).text("transfer", transfer).text("state", document.state().name())
}

fn check_quantity(units: i64, field: impl Fn() -> String) -> Result<(), Rejection> {
    if units <= QUANTITY_MAX {
        return Ok(());
    }
    Err(invalid(&field(), "the units of a level in one state must stay at or below 2^53 - 1"))
}

fn invalid(field: &str, description: &str) -> Rejection {
    Rejection::new(Reason::InvalidField).text("field", field).text("description", description)
}
