//! Stock transfers in the reference model: units are followed from the origin to the destination, one event at a time.

use invengine_ledger::stock_transfer::{ArrivedUnits, ItemUnits, Remainder, Route};
use invengine_ledger::{EntityKind, StockState};

use crate::model::{Model, Violation};

const KIND: EntityKind = EntityKind::StockTransfers;

impl Model {
    fn change(&mut self, item: u32, location: u32, state: StockState, units: i64) -> Result<(), Violation> {
        let level = self.level_at(item, location) as usize;
        self.levels[level].change(state, units)
    }

    /// The name of an entity that is or was; empty if there is none.
    pub(crate) fn entity_name(&self, kind: EntityKind, handle: u32) -> String {
        self.entities[kind as usize].get(handle as usize).map_or_else(String::new, |known| known.name.clone())
    }

    /// The version of an entity that is or was.
    fn entity_version(&self, kind: EntityKind, name: &str) -> u64 {
        self.entities[kind as usize].iter().find(|known| known.name == name).map_or(0, |known| known.version)
    }

    /// One more version of a transfer, which must exist if it is named by its handle.
    fn transfer_changed(&mut self, name: &str) -> Result<i64, Violation> {
        let version = self.entity_version(KIND, name) + 1;
        self.entity_changed(KIND, name, version, false)
    }

    pub(crate) fn shipped(&mut self, name: &str, route: Route, lines: &[ItemUnits]) -> Result<i64, Violation> {
        self.transfer_changed(name)?;
        let transfer = self.handle(KIND, name).ok_or_else(|| Violation::new("names exist", name))?;
        // A name that comes back is another document.
        self.given_up.retain(|(known, _), _| *known != transfer);
        for line in lines {
            self.change(line.item, route.origin, StockState::OnHand, -line.units)?;
            self.change(line.item, route.destination, StockState::InTransit, line.units)?;
            self.given_up.insert((transfer, line.item), [0, 0]);
            if self.on_their_way.insert((transfer, line.item), line.units).is_some_and(|units| units != 0) {
                return Violation::err("a transfer is shipped once", name);
            }
        }
        Ok(lines.iter().map(|line| line.units).sum())
    }

    pub(crate) fn arrived(&mut self, transfer: u32, route: Route, lines: &[ArrivedUnits]) -> Result<i64, Violation> {
        let name = self.entity_name(KIND, transfer);
        self.transfer_changed(&name)?;
        for line in lines {
            let position = (transfer, line.item);
            let open = self.on_their_way.entry(position).or_default();
            *open -= line.in_transit;
            let [lost, sent_back] = self.given_up.entry(position).or_default();
            (*lost, *sent_back) = (*lost - line.lost, *sent_back - line.sent_back);
            // Nothing counts as a surplus while units are on their way or lost.
            let surplus = line.units - line.in_transit - line.lost - line.sent_back;
            let early = surplus > 0 && (*open > 0 || *lost > 0);
            if *open < 0 || *lost < 0 || *sent_back < 0 || surplus < 0 || early {
                return Violation::err("what arrives was shipped, or is a surplus", format!("{name}: {line:?}"));
            }
            self.change(line.item, route.destination, StockState::InTransit, -line.in_transit)?;
            if line.sent_back > 0 {
                self.change(line.item, route.origin, StockState::OnHand, -line.sent_back)?;
            }
            self.change(line.item, route.destination, line.state, line.units)?;
        }
        Ok(lines.iter().map(|line| line.units).sum())
    }

    pub(crate) fn closed(
        &mut self,
        transfer: u32,
        route: Route,
        remainder: Remainder,
        lines: &[ItemUnits],
    ) -> Result<i64, Violation> {
        let name = self.entity_name(KIND, transfer);
        self.transfer_changed(&name)?;
        for line in lines {
            let position = (transfer, line.item);
            if self.on_their_way.insert(position, 0) != Some(line.units) {
                return Violation::err("a transfer is closed as a whole", format!("{name}: {line:?}"));
            }
            let [lost, sent_back] = self.given_up.entry(position).or_default();
            match remainder {
                Remainder::Lost => *lost += line.units,
                Remainder::SentBack => *sent_back += line.units,
            }
            self.change(line.item, route.destination, StockState::InTransit, -line.units)?;
            if remainder == Remainder::SentBack {
                self.change(line.item, route.origin, StockState::OnHand, line.units)?;
            }
        }
        Ok(lines.iter().map(|line| line.units).sum())
    }
}
