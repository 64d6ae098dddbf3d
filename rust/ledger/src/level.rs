//! Inventory levels: the quantities of one item at one location, found by a dense handle.
//!
//! What is reserved and past its end is still counted in `reserved` until its Expired event is written. The units due are
//! counted per tick beside the level, so that a read or a decision subtracts them at once.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::event::{LevelIndex, StockState};
use crate::few::Few;
use crate::mix::Mix;
use crate::names::Handle;
use crate::outcome::LevelFigures;

/// One level as the journal has it so far.
#[derive(Clone, Debug, Default)]
pub struct Level {
    /// The item.
    pub item: Handle,
    /// The location.
    pub location: Handle,
    pub(crate) on_hand: i64,
    pub(crate) reserved: i64,
    pub(crate) allocated: i64,
    pub(crate) damaged: i64,
    pub(crate) returned: i64,
    pub(crate) quality_control: i64,
    hash: u128,
    changed: bool,
}

impl Level {
    pub(crate) fn quantity(&self, state: StockState) -> i64 {
        match state {
            StockState::OnHand => self.on_hand,
            StockState::Damaged => self.damaged,
            StockState::Returned => self.returned,
            StockState::QualityControl => self.quality_control,
        }
    }

    /// Changes a part of the stock; a part of on_hand changes on_hand too. False if no ledger ever gets there.
    pub(crate) fn change(&mut self, state: StockState, delta: i64) -> bool {
        let fits = [self.on_hand, self.quantity(state)].into_iter().all(|units| possible(units + delta));
        if fits {
            self.on_hand += delta;
            match state {
                StockState::OnHand => {}
                StockState::Damaged => self.damaged += delta,
                StockState::Returned => self.returned += delta,
                StockState::QualityControl => self.quality_control += delta,
            }
        }
        fits
    }

    /// Changes what is held. False if no ledger ever gets there.
    #[inline]
    pub(crate) fn hold(&mut self, reserved: i64, allocated: i64) -> bool {
        let fits = possible(self.reserved + reserved) && possible(self.allocated + allocated);
        if fits {
            self.reserved += reserved;
            self.allocated += allocated;
        }
        fits
    }

    fn hash(&self) -> u128 {
        Mix::new(2)
            .word((u64::from(self.item) << 32) | u64::from(self.location))
            .signed(self.on_hand)
            .signed(self.reserved)
            .signed(self.allocated)
            .signed(self.damaged)
            .signed(self.returned)
            .signed(self.quality_control)
            .digest()
    }
}

/// True for units that a ledger can come to: commands stop long before. A journal that goes beyond was not written by one, and
/// must not make a sum overflow.
#[inline]
pub(crate) fn possible(units: i64) -> bool {
    const UNITS_MAX: i64 = 1 << 60;
    (-UNITS_MAX..=UNITS_MAX).contains(&units)
}

/// Reserved units of one level by the tick at which they are over, in order of time. The earliest tick lies with the level
/// itself: most levels have no other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Due {
    first: (i64, i64),
    rest: VecDeque<(i64, i64)>,
}

impl Due {
    /// Adds units (or, below 0, takes them out) that are over at this time.
    #[inline]
    pub fn add(&mut self, expire_ms: i64, units: i64) {
        if units == 0 {
            return;
        }
        if self.first.1 == 0 {
            self.first = (expire_ms, units);
        } else if self.first.0 == expire_ms {
            self.first.1 += units;
            if self.first.1 == 0 {
                self.first = self.rest.pop_front().unwrap_or_default();
            }
        } else if expire_ms < self.first.0 {
            self.rest.push_front(std::mem::replace(&mut self.first, (expire_ms, units)));
        } else {
            self.add_later(expire_ms, units);
        }
    }

    fn add_later(&mut self, expire_ms: i64, units: i64) {
        let place = match self.rest.back() {
            Some(last) if last.0 == expire_ms => self.rest.len() - 1,
            Some(last) if last.0 > expire_ms => self.rest.partition_point(|tick| tick.0 < expire_ms),
            _ => return self.rest.push_back((expire_ms, units)),
        };
        if self.rest[place].0 != expire_ms {
            return self.rest.insert(place, (expire_ms, units));
        }
        self.rest[place].1 += units;
        if self.rest[place].1 == 0 {
            self.rest.remove(place);
        }
    }

    /// Units that are over at this time.
    #[inline]
    pub fn over(&self, now_ms: i64) -> i64 {
        if self.first.0 > now_ms || self.first.1 == 0 {
            return 0;
        }
        self.first.1 + self.rest.iter().take_while(|tick| tick.0 <= now_ms).map(|tick| tick.1).sum::<i64>()
    }

    /// All units, over or not.
    pub fn total(&self) -> i64 {
        self.first.1 + self.rest.iter().map(|tick| tick.1).sum::<i64>()
    }
}

/// All levels of a ledger.
#[derive(Default)]
pub(crate) struct Levels {
    levels: Vec<(Level, Due)>,
    index: HashMap<u64, LevelIndex>,
    by_item: Vec<Few<LevelIndex>>,
    changed: Vec<LevelIndex>,
}

#[inline]
fn place(item: Handle, location: Handle) -> u64 {
    (u64::from(item) << 32) | u64::from(location)
}

impl Levels {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// The level of an item at a location, if anything was ever recorded there.
    #[inline]
    pub fn find(&self, item: Handle, location: Handle) -> Option<LevelIndex> {
        self.index.get(&place(item, location)).copied()
    }

    /// The levels of an item, in the order they were first recorded.
    pub fn of_item(&self, item: Handle) -> &[LevelIndex] {
        self.by_item.get(item as usize).map_or(&[], |levels| levels)
    }

    /// One level of this ledger.
    #[inline]
    pub fn get(&self, level: LevelIndex) -> Option<&Level> {
        self.levels.get(level as usize).map(|found| &found.0)
    }

    /// The same to change it.
    #[inline]
    pub fn get_mut(&mut self, level: LevelIndex) -> Option<(&mut Level, &mut Due)> {
        let (found, due) = self.levels.get_mut(level as usize)?;
        if !found.changed {
            found.changed = true;
            self.changed.push(level);
        }
        Some((found, due))
    }

    /// The level of an item at a location, made if need be.
    pub fn find_or_add(&mut self, item: Handle, location: Handle) -> LevelIndex {
        if let Some(level) = self.find(item, location) {
            return level;
        }
        let level = LevelIndex::try_from(self.levels.len()).expect("Invariant: fewer than 2^32 levels");
        self.levels.push((Level { item, location, changed: true, ..Level::default() }, Due::default()));
        self.index.insert(place(item, location), level);
        self.changed.push(level);
        if self.by_item.len() <= item as usize {
            self.by_item.resize_with(item as usize + 1, Few::default);
        }
        self.by_item[item as usize].push(level);
        level
    }

    /// Units that nobody holds at this time; below 0 if more is held than is there.
    #[inline]
    pub fn free(&self, level: LevelIndex, now_ms: i64) -> i64 {
        self.figures(level, now_ms).map_or(0, |figures| figures.free())
    }

    /// The quantities at this time.
    #[inline]
    pub fn figures(&self, level: LevelIndex, now_ms: i64) -> Option<LevelFigures> {
        let (found, due) = self.levels.get(level as usize)?;
        Some(LevelFigures {
            level,
            on_hand: found.on_hand,
            reserved: found.reserved - due.over(now_ms),
            allocated: found.allocated,
            damaged: found.damaged,
            returned: found.returned,
            quality_control: found.quality_control,
        })
    }

    /// Units in the due queue of a level, for the audit.
    pub fn due_total(&self, level: LevelIndex) -> i64 {
        self.levels[level as usize].1.total()
    }

    /// Levels that changed since the digest was brought up to date.
    pub fn unhashed(&self) -> usize {
        self.changed.len()
    }

    /// Calls `f(old, new)` with the hashes of each level that changed since the last time.
    pub fn bring_up_to_date(&mut self, mut f: impl FnMut(u128, u128)) {
        for level in self.changed.drain(..) {
            let found = &mut self.levels[level as usize].0;
            found.changed = false;
            let new = found.hash();
            f(found.hash, new);
            found.hash = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_due_are_counted_to_the_tick() {
        let mut due = Due::default();
        due.add(300, 2);
        due.add(100, 1);
        due.add(200, 5);
        due.add(300, 1);
        assert_eq!([99, 100, 199, 200, 299, 300].map(|now| due.over(now)), [0, 1, 1, 6, 6, 9]);
        due.add(200, -5);
        due.add(300, -3);
        assert_eq!(due.over(i64::MAX), 1);
        due.add(100, -1);
        assert_eq!((due.total(), due.first.1, due.rest.len()), (0, 0, 0));
    }
}
