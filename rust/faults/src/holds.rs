//! The parts of the reference model: a level, a hold, its lines.

use std::collections::BTreeMap;

use invengine_ledger::{CountsAs, StockState};

use crate::model::Violation;

/// The quantities of one level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelState {
    pub item: u32,
    pub location: u32,
    pub on_hand: i64,
    /// Units in each state but the sellable one.
    pub other_states: BTreeMap<StockState, i64>,
    pub reserved: i64,
    pub allocated: i64,
    /// Reserved units by the time at which they expire.
    pub units_by_expiry: BTreeMap<i64, i64>,
}

impl LevelState {
    /// Adds units to the holds of this level; negative numbers take them out.
    ///
    /// # Errors
    /// More was taken out than was held.
    pub fn hold(&mut self, reserved: i64, allocated: i64, expire_ms: i64) -> Result<(), Violation> {
        self.reserved += reserved;
        self.allocated += allocated;
        if reserved != 0 {
            let units_by_expiry = self.units_by_expiry.entry(expire_ms).or_default();
            *units_by_expiry += reserved;
            let left = *units_by_expiry;
            if left == 0 {
                self.units_by_expiry.remove(&expire_ms);
            }
            if left < 0 {
                return Violation::err("no negative counter", format!("{self:?}"));
            }
        }
        if self.reserved < 0 || self.allocated < 0 {
            return Violation::err("no negative counter", format!("{self:?}"));
        }
        Ok(())
    }

    /// Changes the physical stock.
    ///
    /// # Errors
    /// A quantity would become negative.
    pub fn change(&mut self, state: StockState, delta: i64) -> Result<(), Violation> {
        if state.counts_as() != CountsAs::Outside {
            self.on_hand += delta;
        }
        if state.counts_as() != CountsAs::Sellable {
            *self.other_states.entry(state).or_default() += delta;
        }
        if self.on_hand < 0 || self.other_states.values().any(|units| *units < 0) {
            return Violation::err("no negative counter", format!("{self:?}"));
        }
        Ok(())
    }

    /// Units reserved at this time; expired ones do not count.
    pub fn reserved_at(&self, now_ms: i64) -> i64 {
        self.units_by_expiry.range(now_ms + 1..).map(|units_by_expiry| units_by_expiry.1).sum()
    }

    /// Units that nobody holds at this time; negative if more is held than is in stock.
    pub fn free(&self, now_ms: i64) -> i64 {
        let unsellable = |state: &StockState| state.counts_as() == CountsAs::Unsellable;
        let parts: i64 = self.other_states.iter().filter(|(state, _)| unsellable(state)).map(|(_, units)| units).sum();
        self.on_hand - parts - self.reserved_at(now_ms) - self.allocated
    }
}

/// One line of a hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldLine {
    pub level: u32,
    pub reserved: i64,
    pub allocated: i64,
    pub released: i64,
    pub expired: i64,
    pub fulfilled: i64,
}

impl HoldLine {
    /// Whether more left this line than was in it.
    pub fn is_negative(&self) -> bool {
        [self.reserved, self.allocated, self.released, self.expired, self.fulfilled].iter().any(|units| *units < 0)
    }
}

/// One hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    pub expire_ms: i64,
    pub key: String,
    pub lines: Vec<HoldLine>,
}

impl Hold {
    /// The line of a level, created if absent.
    pub fn line(&mut self, level: u32) -> &mut HoldLine {
        let index = self.lines.iter().position(|line| line.level == level).unwrap_or_else(|| {
            self.lines.push(HoldLine { level, ..HoldLine::default() });
            self.lines.len() - 1
        });
        &mut self.lines[index]
    }
}
