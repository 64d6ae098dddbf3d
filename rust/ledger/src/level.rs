//! Inventory levels: the quantities of one item at one location, found by a dense handle.
//!
//! Reserved units that have expired are still counted in `reserved` until their Expired event is written. Each level counts its
//! units due per tick, so that a read or a decision subtracts expired units immediately. What a decision reads of a level is
//! one cache line; what only stock commands and the digest need is stored elsewhere.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::chunks::Chunks;
use crate::event::{LevelIndex, StockState};
use crate::index::{Index, Tag};
use crate::names::{Handle, Names};
use crate::one_or_many::OneOrMany;
use crate::outcome::LevelFigures;
use crate::planted;
use crate::stable_hash::StableHash;

/// One level, as the journal describes it so far.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Level {
    /// The item.
    pub item: Handle,
    /// The location.
    pub location: Handle,
    pub(crate) on_hand: i64,
    /// The part of on_hand that cannot be sold.
    unsellable: i64,
    pub(crate) reserved: i64,
    pub(crate) allocated: i64,
    due: DueUnits,
}

const _: () = assert!(size_of::<Level>() == 64, "a level is one cache line");

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
        self.reserved ^ self.due.rest.as_ref().and_then(|rest| rest.back()).map_or(0, |tick| tick.0)
    }

    #[inline]
    fn free(&self, now_ms: i64) -> i64 {
        let allocated = if planted::is("free_ignores_allocated") { 0 } else { self.allocated };
        self.on_hand - self.unsellable - allocated - self.reserved + self.due.over(now_ms)
    }
}

/// The physical stock of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantities {
    pub on_hand: i64,
    pub damaged: i64,
    pub returned: i64,
    pub quality_control: i64,
}

impl Quantities {
    /// One part of the stock, or all of it.
    pub fn of(&self, state: StockState) -> i64 {
        match state {
            StockState::OnHand => self.on_hand,
            StockState::Damaged => self.damaged,
            StockState::Returned => self.returned,
            StockState::QualityControl => self.quality_control,
        }
    }

    /// The part of on_hand that cannot be sold.
    fn unsellable(&self) -> i64 {
        self.damaged + self.returned + self.quality_control
    }

    /// Changes a part of the stock; a part of on_hand changes on_hand too.
    pub fn change(&mut self, state: StockState, delta: i64) {
        self.on_hand += delta;
        match state {
            StockState::OnHand => {}
            StockState::Damaged => self.damaged += delta,
            StockState::Returned => self.returned += delta,
            StockState::QualityControl => self.quality_control += delta,
        }
    }
}

/// True for quantities that a ledger can reach: commands are limited to far less. A journal with larger quantities was not
/// written by a ledger, and must not make a sum overflow.
#[inline]
pub(crate) fn in_range(units: i64) -> bool {
    const UNITS_MAX: i64 = 1 << 60;
    (-UNITS_MAX..=UNITS_MAX).contains(&units)
}

/// Reserved units of one level by the tick at which they expire, in order of time. The earliest tick is stored in the level
/// itself, because most levels have no other.
#[derive(Clone, Debug, Default)]
#[expect(clippy::box_collection, reason = "a level is one cache line, and one_or_many have more than one tick")]
struct DueUnits {
    first: (i64, i64),
    /// Never `Some` and empty.
    rest: Option<Box<VecDeque<(i64, i64)>>>,
}

impl DueUnits {
    /// Adds units that expire at this time, or removes them if negative.
    #[inline]
    fn add(&mut self, expire_ms: i64, units: i64) {
        if units == 0 {
            return;
        }
        if self.first.1 == 0 {
            self.first = (expire_ms, units);
        } else if self.first.0 == expire_ms {
            self.first.1 += units;
            if self.first.1 == 0 && self.rest.is_some() {
                self.first = self.rest.as_mut().and_then(|rest| rest.pop_front()).unwrap_or_default();
                self.drop_if_empty();
            }
        } else {
            self.add_another(expire_ms, units);
        }
    }

    #[cold]
    fn add_another(&mut self, expire_ms: i64, units: i64) {
        let rest = self.rest.get_or_insert_default();
        if expire_ms < self.first.0 {
            return rest.push_front(std::mem::replace(&mut self.first, (expire_ms, units)));
        }
        let position = match rest.back() {
            Some(last) if last.0 == expire_ms => rest.len() - 1,
            Some(last) if last.0 > expire_ms => rest.partition_point(|tick| tick.0 < expire_ms),
            _ => return rest.push_back((expire_ms, units)),
        };
        if rest[position].0 != expire_ms {
            return rest.insert(position, (expire_ms, units));
        }
        rest[position].1 += units;
        if rest[position].1 == 0 {
            rest.remove(position);
        }
        self.drop_if_empty();
    }

    fn drop_if_empty(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.is_empty()) {
            self.rest = None;
        }
    }

    /// Units that have expired at this time.
    #[inline]
    fn over(&self, now_ms: i64) -> i64 {
        if self.first.0 > now_ms || self.first.1 == 0 {
            return 0;
        }
        self.first.1 + self.later().take_while(|tick| tick.0 <= now_ms).map(|tick| tick.1).sum::<i64>()
    }

    /// All units, expired or not.
    fn total(&self) -> i64 {
        self.first.1 + self.later().map(|tick| tick.1).sum::<i64>()
    }

    fn later(&self) -> impl Iterator<Item = &(i64, i64)> {
        self.rest.iter().flat_map(|rest| rest.iter())
    }
}

/// All levels of a ledger.
#[derive(Default)]
pub(crate) struct Levels {
    levels: Chunks<Level>,
    quantities: Vec<Quantities>,
    /// The hash of each level that is part of the digest.
    hashes: Vec<u128>,
    /// A bit for each level that is listed in `changed`.
    is_changed: Vec<u64>,
    /// Levels that changed since the digest was updated.
    changed: Vec<LevelIndex>,
    index: Index,
    /// By the names of item and location, by which commands identify levels.
    by_name: Index,
    hasher: DefaultHashBuilder,
    by_item: Vec<OneOrMany<LevelIndex>>,
}

/// Handles follow the order of the journal and are not chosen from outside, so a fixed hash is sufficient.
#[inline]
fn tag_of(item: Handle, location: Handle) -> Tag {
    let position = u64::from(item) | (u64::from(location) << 32);
    Tag::of((position ^ (position >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Levels {
    /// Number of levels.
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// The level of an item at a location, if anything was ever recorded there.
    #[inline]
    pub fn find(&self, item: Handle, location: Handle) -> Option<LevelIndex> {
        self.index.find(tag_of(item, location), |level| {
            self.get(level).is_some_and(|found| found.item == item && found.location == location)
        })
    }

    /// The same by name; `is_it` compares the names behind the handles.
    #[inline]
    pub fn find_named(&self, sku: &str, location: &str, is_it: impl Fn(&Level) -> bool) -> Option<LevelIndex> {
        self.by_name.find(self.tag_of_names(sku, location), |level| self.get(level).is_some_and(&is_it))
    }

    #[inline]
    fn tag_of_names(&self, sku: &str, location: &str) -> Tag {
        Tag::of(self.hasher.hash_one((sku, location)))
    }

    /// The levels of an item, in the order in which they were first recorded.
    pub fn of_item(&self, item: Handle) -> &[LevelIndex] {
        self.by_item.get(item as usize).map_or(&[], |levels| levels)
    }

    /// A level by its index.
    #[inline]
    pub fn get(&self, level: LevelIndex) -> Option<&Level> {
        self.levels.get(level as usize)
    }

    /// The same, mutable; marks the level as changed.
    #[inline]
    pub fn get_mut(&mut self, level: LevelIndex) -> Option<&mut Level> {
        let found = self.levels.get_mut(level as usize)?;
        let (bits, bit) = (&mut self.is_changed[level as usize / 64], 1 << (level % 64));
        if *bits & bit == 0 {
            *bits |= bit;
            self.changed.push(level);
        }
        Some(found)
    }

    /// The physical stock of a level.
    pub fn quantities(&self, level: LevelIndex) -> Quantities {
        let on_hand = self.get(level).map_or(0, |found| found.on_hand);
        Quantities { on_hand, ..self.quantities.get(level as usize).copied().unwrap_or_default() }
    }

    /// Changes the physical stock. Returns false, and changes nothing, if the result is out of range.
    pub fn change(&mut self, level: LevelIndex, state: StockState, delta: i64) -> bool {
        let mut after = self.quantities(level);
        after.change(state, delta);
        let fits = in_range(after.on_hand) && in_range(after.of(state));
        if fits && let Some(found) = self.get_mut(level) {
            found.on_hand = after.on_hand;
            found.unsellable = after.unsellable();
            self.quantities[level as usize] = after;
        }
        fits
    }

    /// The level of an item at a location, created if necessary. The handles come with their names.
    pub fn find_or_add(&mut self, (item, sku): (Handle, &str), (location, position): (Handle, &str)) -> LevelIndex {
        if let Some(level) = self.find(item, location) {
            return level;
        }
        let level = self.append(item, location, Quantities::default());
        self.index.insert(tag_of(item, location), level);
        self.by_name.insert(self.tag_of_names(sku, position), level);
        level
    }

    /// Appends the next level of an image. It cannot be found until `index_all` is called, which also checks that it is new.
    pub fn append(&mut self, item: Handle, location: Handle, there: Quantities) -> LevelIndex {
        let level = LevelIndex::try_from(self.levels.len()).expect("Invariant: fewer than 2^32 levels");
        let (on_hand, unsellable) = (there.on_hand, there.unsellable());
        self.levels.push(Level { item, location, on_hand, unsellable, ..Level::default() });
        self.quantities.push(there);
        self.hashes.push(0);
        self.is_changed.resize(self.levels.len().div_ceil(64), 0);
        self.is_changed[level as usize / 64] |= 1 << (level % 64);
        self.changed.push(level);
        if self.by_item.len() <= item as usize {
            self.by_item.resize_with(item as usize + 1, OneOrMany::default);
        }
        self.by_item[item as usize].push(level);
        level
    }

    /// Indexes all levels in one go; `None` if one occurs twice. The names are those of the handles.
    pub fn index_all(&mut self, items: &Names, locations: &Names) -> Option<()> {
        let position = |level: &Level| (level.item, level.location);
        let tags = self.levels.iter().map(|level| tag_of(level.item, level.location));
        let index = Index::of(tags, |one, other| self.get(one).map(position) == self.get(other).map(position))?;
        let by_name = |level: &Level| self.tag_of_names(items.name(level.item), locations.name(level.location));
        // Different levels have different names.
        self.by_name = Index::of(self.levels.iter().map(by_name), |_, _| false)?;
        self.index = index;
        Some(())
    }

    /// Units that nobody holds at this time; negative if more is held than is in stock.
    #[inline]
    pub fn free(&self, level: LevelIndex, now_ms: i64) -> i64 {
        self.get(level).map_or(0, |found| found.free(now_ms))
    }

    /// The quantities at this time.
    #[inline]
    pub fn figures(&self, level: LevelIndex, now_ms: i64) -> Option<LevelFigures> {
        let found = self.get(level)?;
        let parts = self.quantities(level);
        Some(LevelFigures {
            level,
            on_hand: found.on_hand,
            reserved: found.reserved - found.due.over(now_ms),
            allocated: found.allocated,
            damaged: parts.damaged,
            returned: parts.returned,
            quality_control: parts.quality_control,
        })
    }

    /// All units due of a level, for the audit.
    pub fn due_total(&self, level: LevelIndex) -> i64 {
        self.get(level).map_or(0, |found| found.due.total())
    }

    /// Number of levels that changed since the digest was updated.
    pub fn unhashed(&self) -> usize {
        self.changed.len()
    }

    fn hash(found: &Level, parts: &Quantities) -> u128 {
        StableHash::new(2)
            .word((u64::from(found.item) << 32) | u64::from(found.location))
            .signed(found.on_hand)
            .signed(found.reserved)
            .signed(if planted::is("digest_misses_a_field") { 0 } else { found.allocated })
            .signed(parts.damaged)
            .signed(parts.returned)
            .signed(parts.quality_control)
            .digest()
    }

    /// Calls `f(old, new)` with the hashes of each level that changed since the last time.
    pub fn bring_up_to_date(&mut self, mut f: impl FnMut(u128, u128)) {
        let mut changed = std::mem::take(&mut self.changed);
        for level in changed.drain(..) {
            let Some(found) = self.levels.get(level as usize) else { continue };
            let new = Self::hash(found, &self.quantities[level as usize]);
            self.is_changed[level as usize / 64] &= !(1 << (level % 64));
            f(std::mem::replace(&mut self.hashes[level as usize], new), new);
        }
        self.changed = changed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_due_are_counted_exactly_per_tick() {
        let mut due = DueUnits::default();
        due.add(300, 2);
        due.add(100, 1);
        due.add(200, 5);
        due.add(300, 1);
        assert_eq!([99, 100, 199, 200, 299, 300].map(|now| due.over(now)), [0, 1, 1, 6, 6, 9]);
        due.add(200, -5);
        due.add(300, -3);
        assert_eq!(due.over(i64::MAX), 1);
        due.add(100, -1);
        assert_eq!((due.total(), due.first.1, due.rest.is_none()), (0, 0, true));
    }
}
