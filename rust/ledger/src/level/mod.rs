//! Inventory levels: the quantities of one item at one location, found by a dense handle.
//!
//! Reserved units that have expired are still counted in `reserved` until their Expired event is written. Each level counts its
//! units due per tick, so that a read or a decision subtracts expired units immediately. What a decision reads of a level is
//! one cache line; what only stock commands and the digest need is stored elsewhere.

mod change;
mod due;
mod levels;

pub use change::{LevelChange, LevelPlace, ReservedChange};
pub(crate) use levels::Levels;

use crate::ids::{Handle, LevelIndex};
use crate::planted;
use crate::states::Quantities;
use due::DueUnits;

/// One level, as the journal describes it so far.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Level {
    /// The item.
    pub item: Handle,
    /// The location.
    pub location: Handle,
    pub(crate) sellable: i64,
    pub(crate) reserved: i64,
    pub(crate) allocated: i64,
    /// What is special about the level. Most have 0, and need nothing but this line.
    flags: u32,
    due: DueUnits,
}

const _: () = assert!(size_of::<Level>() == 64, "a level is one cache line");

/// The level has units in other states than the sellable one; they are stored beside it.
const HAS_OTHER_STATES: u32 = 1;

impl Level {
    /// Changes the held units; reserved units are added or removed at the tick at which they expire. Returns false, and changes
    /// nothing, if the result is out of range.
    #[inline]
    pub(crate) fn hold(&mut self, reserved: i64, allocated: i64, expire_ms: i64) -> bool {
        let fits = in_range(self.reserved + reserved) && in_range(self.allocated + allocated);
        if fits {
            self.reserved += reserved;
            self.allocated += allocated;
            self.due.add(expire_ms, reserved);
        }
        fits
    }

    /// Moves reserved units to another expiry.
    #[inline]
    pub(crate) fn extend(&mut self, units: i64, before_ms: i64, expire_ms: i64) {
        self.due.add(before_ms, -units);
        self.due.add(expire_ms, units);
    }

    /// Reads a value from everything that a change of the held units needs.
    #[inline]
    pub(crate) fn touch(&self) -> i64 {
        self.reserved ^ self.due.last_of_rest().unwrap_or(0)
    }

    #[inline]
    fn free(&self, now_ms: i64) -> i64 {
        let allocated = if planted::is("free_ignores_allocated") { 0 } else { self.allocated };
        self.sellable - allocated - self.reserved + self.due.over(now_ms)
    }
}

/// The quantities of one level at one time. `on_hand + oversold = available + reserved + allocated` and the units of the
/// unsellable states; none is negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelFigures {
    /// The level.
    pub level: LevelIndex,
    /// The physical stock.
    pub stock: Quantities,
    /// Held with a time limit that has not passed.
    pub reserved: i64,
    /// Held for orders.
    pub allocated: i64,
}

impl LevelFigures {
    /// Units that nobody holds; negative if more is held than is in stock.
    #[inline]
    pub fn free(&self) -> i64 {
        self.stock.sellable() - self.reserved - self.allocated
    }

    /// Units that can still be held.
    #[inline]
    pub fn available(&self) -> i64 {
        self.free().max(0)
    }

    /// The quantities before a change, whose reserved units changed by `reserved`.
    pub fn before(&self, change: &LevelChange, reserved: i64) -> Self {
        LevelFigures {
            level: self.level,
            stock: self.stock.less(&change.stock),
            reserved: self.reserved - reserved,
            allocated: self.allocated - change.allocated,
        }
    }

    /// Units that are held beyond the stock.
    #[inline]
    pub fn oversold(&self) -> i64 {
        (-self.free()).max(0)
    }
}

/// True for quantities that a ledger can reach: commands are limited to far less. A journal with larger quantities was not
/// written by a ledger, and must not make a sum overflow.
#[inline]
pub(crate) fn in_range(units: i64) -> bool {
    const UNITS_MAX: i64 = 1 << 60;
    (-UNITS_MAX..=UNITS_MAX).contains(&units)
}
