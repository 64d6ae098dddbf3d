//! The parts of the slow bookkeeping: a level, a hold, its lines.

use std::collections::BTreeMap;

use invengine_ledger::event::StockState;

use crate::model::Breach;

/// The quantities of one level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelState {
    pub item: u32,
    pub location: u32,
    pub on_hand: i64,
    /// Damaged, returned, in quality control.
    pub unsellable: [i64; 3],
    pub reserved: i64,
    pub allocated: i64,
    /// Reserved units by when they are due.
    pub due: BTreeMap<i64, i64>,
}

impl LevelState {
    /// Moves units into holds, or out of them if negative.
    ///
    /// # Errors
    /// More came out than was in.
    pub fn hold(&mut self, reserved: i64, allocated: i64, expire_ms: i64) -> Result<(), Breach> {
        self.reserved += reserved;
        self.allocated += allocated;
        if reserved != 0 {
            let due = self.due.entry(expire_ms).or_default();
            *due += reserved;
            let left = *due;
            if left == 0 {
                self.due.remove(&expire_ms);
            }
            if left < 0 {
                return Breach::err("no negative counter", format!("{self:?}"));
            }
        }
        if self.reserved < 0 || self.allocated < 0 {
            return Breach::err("no negative counter", format!("{self:?}"));
        }
        Ok(())
    }

    /// Changes what is physically there.
    ///
    /// # Errors
    /// Less than nothing would be there.
    pub fn change(&mut self, state: StockState, delta: i64) -> Result<(), Breach> {
        self.on_hand += delta;
        match state {
            StockState::OnHand => {}
            StockState::Damaged => self.unsellable[0] += delta,
            StockState::Returned => self.unsellable[1] += delta,
            StockState::QualityControl => self.unsellable[2] += delta,
        }
        if self.on_hand < 0 || self.unsellable.iter().any(|units| *units < 0) {
            return Breach::err("no negative counter", format!("{self:?}"));
        }
        Ok(())
    }

    /// Units reserved at this time: what is over does not count.
    pub fn reserved_at(&self, now_ms: i64) -> i64 {
        self.due.range(now_ms + 1..).map(|due| due.1).sum()
    }

    /// What nobody holds at this time; below 0 if more is held than is there.
    pub fn free(&self, now_ms: i64) -> i64 {
        self.on_hand - self.unsellable.iter().sum::<i64>() - self.reserved_at(now_ms) - self.allocated
    }
}

/// One line of a hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub level: u32,
    pub reserved: i64,
    pub allocated: i64,
    pub released: i64,
    pub expired: i64,
    pub fulfilled: i64,
}

impl Line {
    /// Whether more left it than was in it.
    pub fn is_negative(&self) -> bool {
        [self.reserved, self.allocated, self.released, self.expired, self.fulfilled].iter().any(|units| *units < 0)
    }
}

/// One hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    pub expire_ms: i64,
    pub key: String,
    pub lines: Vec<Line>,
}

impl Hold {
    /// The line of a level, made if there is none.
    pub fn line(&mut self, level: u32) -> &mut Line {
        let place = self.lines.iter().position(|line| line.level == level).unwrap_or_else(|| {
            self.lines.push(Line { level, ..Line::default() });
            self.lines.len() - 1
        });
        &mut self.lines[place]
    }
}
