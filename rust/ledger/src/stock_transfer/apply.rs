//! Events of stock transfers become state.

use super::decide::transfer_of;
use super::{ArrivedUnits, ItemUnits, Remainder, Route, StockTransfer, TransferChange, TransferLine};
use crate::entity::{EntityKind, EntityValue};
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::planted;
use crate::record::Record;
use crate::states::StockState;

const KIND: EntityKind = EntityKind::StockTransfers;

/// Each returns the transfer after the event, or `None` for an event that does not apply to the state.
impl Ledger {
    pub(crate) fn apply_transfer_shipped(
        &mut self,
        name: &str,
        route: Route,
        lines: &OneOrMany<ItemUnits>,
        record: &Record<'_>,
    ) -> Option<TransferChange> {
        let Route { origin, destination } = route;
        let known = |location: Handle| (location as usize) < self.locations().len();
        if name.is_empty() || self.stock_transfer(name).is_some() || !known(origin) || !known(destination) {
            return None;
        }
        let mut shipped = Vec::with_capacity(lines.len());
        for line in lines.iter() {
            let ItemUnits { item, units } = *line;
            let from = self.levels.find(item, origin)?;
            let to = self.level_at(item, destination);
            self.conserving(0, |ledger| {
                let left = planted::is("transfer_counted_twice") || ledger.levels.take(from, StockState::OnHand, units);
                left && ledger.levels.change(to, StockState::InTransit, units)
            })?;
            shipped.push(TransferLine { item, shipped: units, ..TransferLine::default() });
        }
        let ship_ms = record.origin.and_then(|origin| origin.event_time_ms).unwrap_or(record.time_ms);
        let lines = shipped.into_iter().collect();
        let value = StockTransfer { route, ship_ms, lines };
        let version = self.entities(KIND).next_version(name);
        Some(self.put_transfer(name, version, value))
    }

    pub(crate) fn apply_transfer_received(
        &mut self,
        transfer: Handle,
        route: Route,
        lines: &OneOrMany<ArrivedUnits>,
    ) -> Option<TransferChange> {
        let mut value = self.transfer_value(transfer, route)?;
        let Route { origin, destination } = route;
        for arrived in lines.iter() {
            let line = line_of(&mut value, arrived.item);
            let surplus = arrived.surplus();
            if line.in_transit() < arrived.in_transit || surplus < 0 {
                return None;
            }
            line.received += arrived.units;
            line.lost -= arrived.lost;
            line.sent_back -= arrived.sent_back;
            if line.lost < 0 || line.sent_back < 0 || (arrived.item as usize) >= self.items().len() {
                return None;
            }
            self.conserving(surplus + arrived.lost, |ledger| {
                let to = ledger.level_at(arrived.item, destination);
                let from = ledger.levels.find(arrived.item, origin);
                let back = |from| ledger.levels.take(from, StockState::OnHand, arrived.sent_back);
                (arrived.sent_back == 0 || from.is_some_and(back))
                    && ledger.levels.take(to, StockState::InTransit, arrived.in_transit)
                    && ledger.levels.change(to, arrived.state, arrived.units)
            })?;
        }
        self.change_transfer(transfer, value)
    }

    pub(crate) fn apply_transfer_closed(
        &mut self,
        transfer: Handle,
        route: Route,
        remainder: Remainder,
        lines: &OneOrMany<ItemUnits>,
    ) -> Option<TransferChange> {
        let mut value = self.transfer_value(transfer, route)?;
        let Route { origin, destination } = route;
        for closed in lines.iter() {
            let ItemUnits { item, units } = *closed;
            let line = line_of(&mut value, item);
            if units == 0 || line.in_transit() < units {
                return None;
            }
            let to = self.levels.find(item, destination)?;
            match remainder {
                Remainder::Lost => {
                    line.lost += units;
                    self.conserving(-units, |ledger| ledger.levels.take(to, StockState::InTransit, units))?;
                }
                Remainder::SentBack => {
                    line.sent_back += units;
                    let from = self.levels.find(item, origin)?;
                    self.conserving(0, |ledger| {
                        ledger.levels.take(to, StockState::InTransit, units)
                            && ledger.levels.change(from, StockState::OnHand, units)
                    })?;
                }
            }
        }
        self.change_transfer(transfer, value)
    }

    fn transfer_value(&self, transfer: Handle, route: Route) -> Option<StockTransfer> {
        let value = self.entities(KIND).value(transfer).and_then(transfer_of)?;
        (value.route == route).then(|| value.clone())
    }

    fn change_transfer(&mut self, transfer: Handle, value: StockTransfer) -> Option<TransferChange> {
        let names = self.entities(KIND).names();
        let (name, version) = (names.name(transfer).to_owned(), names.version(transfer) + 1);
        Some(self.put_transfer(&name, version, value))
    }

    fn put_transfer(&mut self, name: &str, version: u64, value: StockTransfer) -> TransferChange {
        let entity = EntityValue::StockTransfer(value.clone());
        let transfer = self.entities[KIND as usize].put(KIND, name, version, entity, &mut self.digest);
        TransferChange { transfer, version, value }
    }

    /// Makes a change of one item's stock, and checks that exactly these units were gained by it. `None` if it cannot be made
    /// or units appeared or vanished.
    pub(crate) fn conserving(&mut self, gained: i64, change: impl FnOnce(&mut Self) -> bool) -> Option<()> {
        let before = self.levels.units();
        (change(self) && self.levels.units() - before == gained).then_some(())
    }
}

/// The line of an item, added if the item was never shipped.
fn line_of(transfer: &mut StockTransfer, item: Handle) -> &mut TransferLine {
    let at = match transfer.lines.binary_search_by_key(&item, |line| line.item) {
        Ok(at) => at,
        Err(at) => {
            let mut lines: Vec<TransferLine> = std::mem::take(&mut transfer.lines).into_iter().collect();
            lines.insert(at, TransferLine { item, ..TransferLine::default() });
            transfer.lines = lines.into_iter().collect();
            at
        }
    };
    &mut transfer.lines[at]
}
