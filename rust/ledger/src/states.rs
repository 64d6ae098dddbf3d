//! The states of physical stock: one table. Quantities by state, the digest, the image and the audit walk it; nothing else
//! lists the states.

use crate::codec::{Decoded, Field, Malformed, Reader};
use crate::stable_hash::StableHash;

/// The state of physical units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum StockState {
    /// Sellable. Where a command states an absolute value, it is the value of the whole on_hand, all states together.
    OnHand = 1,
    /// Unsellable: damaged.
    Damaged = 2,
    /// Unsellable for now: returned.
    Returned = 3,
    /// Unsellable for now: being inspected.
    QualityControl = 4,
    /// On their way to the location by a stock transfer, which alone changes them: no command names this state.
    InTransit = 5,
}

/// What the units of a state count as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountsAs {
    /// Part of on_hand that can be sold. There is one such state, the first.
    Sellable,
    /// Part of on_hand that cannot be sold.
    Unsellable,
    /// No part of on_hand: units that are not at the location.
    Outside,
}

impl StockState {
    /// The table.
    pub const TABLE: [(StockState, CountsAs); 5] = [
        (StockState::OnHand, CountsAs::Sellable),
        (StockState::Damaged, CountsAs::Unsellable),
        (StockState::Returned, CountsAs::Unsellable),
        (StockState::QualityControl, CountsAs::Unsellable),
        (StockState::InTransit, CountsAs::Outside),
    ];

    /// All states.
    pub fn all() -> impl Iterator<Item = StockState> {
        Self::TABLE.into_iter().map(|(state, _)| state)
    }

    /// What its units count as.
    pub fn counts_as(self) -> CountsAs {
        Self::TABLE[self.row()].1
    }

    /// Its name in messages to people.
    pub fn name(self) -> &'static str {
        match self {
            StockState::OnHand => "ON_HAND",
            StockState::Damaged => "DAMAGED",
            StockState::Returned => "RETURNED",
            StockState::QualityControl => "QUALITY_CONTROL",
            StockState::InTransit => "IN_TRANSIT",
        }
    }

    /// Its row in the table: states are numbered from 1 in the order of the table.
    fn row(self) -> usize {
        self as usize - 1
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::all().find(|state| *state as u8 == byte)
    }
}

impl Field for StockState {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        StockState::from_byte(from.byte()?).ok_or(Malformed("an unknown state of stock"))
    }
}

/// States that every hash of quantities contains, zeros included. Later states add to a hash only where they have units, so
/// that what the first version could express keeps its digest.
const ALWAYS_HASHED: usize = 4;

/// Units of one level by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantities([i64; StockState::TABLE.len()]);

impl Quantities {
    /// Units that can be sold, if nobody holds them.
    #[inline]
    pub fn sellable(&self) -> i64 {
        self.0[0]
    }

    /// The whole physical stock.
    #[inline]
    pub fn on_hand(&self) -> i64 {
        self.sum(|counts_as| counts_as != CountsAs::Outside)
    }

    /// All units, those on their way here included.
    #[inline]
    pub fn all(&self) -> i64 {
        self.sum(|_| true)
    }

    /// Units in one state; for the sellable state the whole on_hand.
    #[inline]
    pub fn of(&self, state: StockState) -> i64 {
        if state.row() == 0 { self.on_hand() } else { self.0[state.row()] }
    }

    /// Units in one state alone: for the first state those that can be sold.
    #[inline]
    pub fn alone(&self, state: StockState) -> i64 {
        self.0[state.row()]
    }

    /// Units of each state alone.
    pub fn all_alone(&self) -> impl Iterator<Item = i64> {
        self.0.into_iter()
    }

    /// The quantities with these units, one for each state alone; `None` if there are fewer or more.
    pub fn of_alone(units: &[i64]) -> Option<Self> {
        units.try_into().ok().map(Quantities)
    }

    /// Units of each state but the sellable one.
    pub fn others(&self) -> impl Iterator<Item = (StockState, i64)> {
        StockState::all().zip(self.0).skip(1)
    }

    /// True if there are units in another state than the sellable one.
    #[inline]
    pub(crate) fn has_others(&self) -> bool {
        self.0[1..].iter().any(|units| *units != 0)
    }

    /// Changes the units of a state, and with it the whole that it is a part of.
    pub(crate) fn change(&mut self, state: StockState, delta: i64) {
        self.0[state.row()] += delta;
    }

    /// The units of each state less those of `change`.
    pub(crate) fn less(mut self, change: &Self) -> Self {
        self.0.iter_mut().zip(change.0).for_each(|(units, changed)| *units -= changed);
        self
    }

    /// The same with another number of sellable units.
    #[inline]
    pub(crate) fn with_sellable(mut self, units: i64) -> Self {
        self.0[0] = units;
        self
    }

    /// Adds the quantities of a level to a hash.
    #[inline]
    pub(crate) fn add_to(&self, hash: StableHash, reserved: i64, allocated: i64) -> StableHash {
        let mut hash = hash.signed(self.on_hand()).signed(reserved).signed(allocated);
        for (state, units) in self.others() {
            if state.row() < ALWAYS_HASHED {
                hash = hash.signed(units);
            } else if units != 0 {
                hash = hash.word(state as u64).signed(units);
            }
        }
        hash
    }

    #[inline]
    fn sum(&self, counted: impl Fn(CountsAs) -> bool) -> i64 {
        StockState::TABLE.iter().zip(self.0).filter(|((_, counts_as), _)| counted(*counts_as)).map(|row| row.1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_the_table_are_in_the_order_of_their_numbers() {
        for (row, state) in StockState::all().enumerate() {
            assert_eq!((state.row(), StockState::from_byte(row as u8 + 1)), (row, Some(state)));
        }
        let sellable = StockState::all().filter(|state| state.counts_as() == CountsAs::Sellable);
        assert_eq!(sellable.collect::<Vec<_>>(), [StockState::OnHand], "the first row, and no other");
        assert_eq!((StockState::from_byte(0), StockState::from_byte(StockState::TABLE.len() as u8 + 1)), (None, None));
    }

    #[test]
    fn a_part_of_on_hand_changes_the_whole() {
        let mut units = Quantities::default();
        assert!(!units.has_others());
        for state in StockState::all() {
            let before = units.on_hand();
            units.change(state, 3);
            let counted = if state.counts_as() == CountsAs::Outside { 0 } else { 3 };
            assert_eq!((units.on_hand() - before, units.sellable()), (counted, 3), "{state:?}");
            assert!(state == StockState::OnHand || units.of(state) == 3);
        }
        assert!(units.has_others());
    }
}
