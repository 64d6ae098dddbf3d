//! All levels of a ledger, with what is stored beside their lines.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::{HAS_OTHER_STATES, Level, LevelFigures, in_range};
use crate::chunks::Chunks;
use crate::ids::{Handle, LevelIndex};
use crate::index::{Index, Tag};
use crate::names::Names;
use crate::one_or_many::OneOrMany;
use crate::planted;
use crate::stable_hash::StableHash;
use crate::states::{Quantities, StockState};

/// All levels of a ledger.
#[derive(Default)]
pub(crate) struct Levels {
    levels: Chunks<Level>,
    /// The quantities of the levels that have units in other states than the sellable one.
    other_states: HashMap<LevelIndex, Quantities>,
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
    /// Number of levels of each location.
    at_location: Vec<u32>,
    /// All units of all levels, those in transit included.
    units: i64,
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

    /// The tag of the level with these names.
    #[inline]
    pub fn tag_of_names(&self, sku: &str, location: &str) -> Tag {
        Tag::of(self.hasher.hash_one((sku, location)))
    }

    /// The levels of an item, in the order in which they were first recorded.
    pub fn of_item(&self, item: Handle) -> &[LevelIndex] {
        self.by_item.get(item as usize).map_or(&[], |levels| levels)
    }

    /// Number of levels at a location.
    pub fn count_at(&self, location: Handle) -> usize {
        self.at_location.get(location as usize).map_or(0, |count| *count as usize)
    }

    /// A level by its index.
    #[inline]
    pub fn get(&self, level: LevelIndex) -> Option<&Level> {
        self.levels.get(level as usize)
    }

    /// Reads a value from everything that a change of the held units needs.
    #[inline]
    pub fn touch(&self, level: LevelIndex) -> i64 {
        self.get(level).map_or(0, Level::touch)
    }

    /// The level that a name most probably belongs to, if anything was ever recorded there: of levels with the same tag, the
    /// first.
    #[inline]
    pub fn guess(&self, tag: Tag) -> Option<LevelIndex> {
        self.by_name.first(tag)
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
    #[inline]
    pub fn quantities(&self, level: LevelIndex) -> Quantities {
        self.get(level).map_or_else(Quantities::default, |found| self.stock(level, found))
    }

    #[inline]
    fn stock(&self, level: LevelIndex, found: &Level) -> Quantities {
        let others = match found.flags & HAS_OTHER_STATES {
            0 => Quantities::default(),
            _ => self.other_states.get(&level).copied().unwrap_or_default(),
        };
        others.with_sellable(found.sellable)
    }

    /// Changes the physical stock. Returns false, and changes nothing, if the result is out of range.
    pub fn change(&mut self, level: LevelIndex, state: StockState, delta: i64) -> bool {
        let before = self.quantities(level);
        let mut after = before;
        after.change(state, delta);
        let fits = in_range(after.on_hand()) && in_range(after.of(state));
        if fits {
            self.set_stock(level, before, after);
        }
        fits
    }

    /// Takes units that are in this state. Returns false, and changes nothing, if there are not as many.
    pub fn take(&mut self, level: LevelIndex, state: StockState, units: i64) -> bool {
        units >= 0 && self.quantities(level).alone(state) >= units && self.change(level, state, -units)
    }

    /// Goods of a hold leave.
    #[inline]
    pub fn fulfill(&mut self, level: LevelIndex, units: i64) {
        if let Some(found) = self.get_mut(level) {
            found.sellable -= units - i64::from(planted::is("fulfilled_unit_stays"));
            self.units -= units;
        }
    }

    /// All units of all levels, those in transit included.
    #[inline]
    pub fn units(&self) -> i64 {
        self.units
    }

    /// Moves units from one state to another. Returns false, and changes nothing, if there are not as many in that state.
    pub fn move_units(&mut self, level: LevelIndex, from: StockState, to: StockState, units: i64) -> bool {
        let before = self.quantities(level);
        let mut after = before;
        let fits =
            units > 0 && from != to && after.alone(from) >= units && in_range(after.alone(to).saturating_add(units));
        if fits {
            after.change(from, -units);
            after.change(to, units);
            self.set_stock(level, before, after);
        }
        fits
    }

    fn set_stock(&mut self, level: LevelIndex, before: Quantities, stock: Quantities) {
        let Some(found) = self.get_mut(level) else { return };
        found.sellable = stock.sellable();
        if stock.has_others() {
            found.flags |= HAS_OTHER_STATES;
            self.other_states.insert(level, stock);
        } else if found.flags & HAS_OTHER_STATES != 0 {
            found.flags &= !HAS_OTHER_STATES;
            self.other_states.remove(&level);
        }
        self.units += stock.all() - before.all();
    }

    /// The level of an item at a location, created if necessary. The handles come with their names.
    pub fn find_or_add(&mut self, (item, sku): (Handle, &str), (location, position): (Handle, &str)) -> LevelIndex {
        if let Some(level) = self.find(item, location) {
            return level;
        }
        let level = self.append(item, location);
        // A level without anything is part of the digest, too.
        self.get_mut(level);
        self.index.insert(tag_of(item, location), level);
        self.by_name.insert(self.tag_of_names(sku, position), level);
        level
    }

    /// Appends the next level of an image and returns its hash, which is part of the digest as long as nothing is held there.
    /// It cannot be found until `index_all` is called, which also checks that it is new.
    pub fn restore(&mut self, item: Handle, location: Handle, stock: Quantities) -> u128 {
        let level = self.append(item, location);
        let found = self.levels.get_mut(level as usize).expect("Invariant: it was added just now");
        found.sellable = stock.sellable();
        if stock.has_others() {
            found.flags |= HAS_OTHER_STATES;
            self.other_states.insert(level, stock);
        }
        let hash = Self::hash(found, &stock);
        self.hashes[level as usize] = hash;
        self.units += stock.all();
        hash
    }

    /// Appends a level without stock, which is not marked as changed.
    fn append(&mut self, item: Handle, location: Handle) -> LevelIndex {
        let level = LevelIndex::try_from(self.levels.len()).expect("Invariant: fewer than 2^32 levels");
        self.levels.push(Level { item, location, ..Level::default() });
        self.hashes.push(0);
        if level % 64 == 0 {
            self.is_changed.push(0);
        }
        if self.by_item.len() <= item as usize {
            self.by_item.resize_with(item as usize + 1, OneOrMany::default);
        }
        self.by_item[item as usize].push(level);
        if self.at_location.len() <= location as usize {
            self.at_location.resize(location as usize + 1, 0);
        }
        self.at_location[location as usize] += 1;
        level
    }

    /// Indexes all levels in one go; `None` if one occurs twice. The names are those of the handles.
    pub fn index_all(&mut self, items: &Names, locations: &Names) -> Option<()> {
        let position = |level: &Level| (level.item, level.location);
        let tags = self.levels.iter().map(|level| tag_of(level.item, level.location));
        let index =
            Index::of(self.len(), tags, |one, other| self.get(one).map(position) == self.get(other).map(position))?;
        let by_name = |level: &Level| self.tag_of_names(items.name(level.item), locations.name(level.location));
        // Different levels have different names.
        self.by_name = Index::of(self.len(), self.levels.iter().map(by_name), |_, _| false)?;
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
        Some(LevelFigures {
            level,
            stock: self.stock(level, found),
            reserved: found.reserved - found.due.over(now_ms),
            allocated: found.allocated,
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

    fn hash(found: &Level, stock: &Quantities) -> u128 {
        let allocated = if planted::is("digest_misses_a_field") { 0 } else { found.allocated };
        let hash = StableHash::new(2).word((u64::from(found.item) << 32) | u64::from(found.location));
        stock.add_to(hash, found.reserved, allocated).digest()
    }

    /// Calls `f(old, new)` with the hashes of each level that changed since the last time.
    pub fn bring_up_to_date(&mut self, mut f: impl FnMut(u128, u128)) {
        let mut changed = std::mem::take(&mut self.changed);
        for level in changed.drain(..) {
            let Some(found) = self.levels.get(level as usize) else { continue };
            let new = Self::hash(found, &self.stock(level, found));
            self.is_changed[level as usize / 64] &= !(1 << (level % 64));
            f(std::mem::replace(&mut self.hashes[level as usize], new), new);
        }
        self.changed = changed;
    }
}
