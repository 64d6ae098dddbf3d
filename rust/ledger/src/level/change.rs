//! What an event did to one level, without the ledger of that time: how the history of a level is read from the journal, newest
//! event first. Handles never change their meaning, so those of the present name the level in any earlier event.
//!
//! Reserved units count here until an event gives them back. What has expired by time alone is not known from one event.

use crate::event::{Event, LevelUnits, LineMove};
use crate::ids::{Handle, LevelIndex};
use crate::one_or_many::OneOrMany;
use crate::states::{Quantities, StockState};
use crate::stock_transfer::{ArrivedUnits, ItemUnits, Remainder, Route};

/// What identifies a level in events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelPlace {
    pub(crate) level: LevelIndex,
    pub(crate) item: Handle,
    pub(crate) location: Handle,
    /// All levels of its item, in ascending order.
    pub(crate) of_item: Box<[LevelIndex]>,
}

/// What one event did to one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelChange {
    /// Units that each state gained; negative if it lost some.
    pub stock: Quantities,
    /// The change of the reserved units.
    pub reserved: ReservedChange,
    /// Allocated units gained.
    pub allocated: i64,
}

/// What one event did to the reserved units of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedChange {
    /// They changed by this many.
    By(i64),
    /// The hold of the event has this many now. How many it had follows from its earlier events.
    To(i64),
}

impl Default for ReservedChange {
    fn default() -> Self {
        ReservedChange::By(0)
    }
}

impl LevelPlace {
    /// The level.
    pub fn level(&self) -> LevelIndex {
        self.level
    }

    fn is_named(&self, item: Handle, location: Handle) -> bool {
        (item, location) == (self.item, self.location)
    }

    /// Whether units that leave a level for a location arrive here.
    fn gets(&self, from: LevelIndex, to_location: Handle) -> bool {
        to_location == self.location && self.of_item.binary_search(&from).is_ok()
    }
}

impl LevelChange {
    fn held(reserved: i64, allocated: i64) -> Self {
        LevelChange { reserved: ReservedChange::By(reserved), allocated, ..Self::default() }
    }

    fn of_stock(changes: &[(StockState, i64)]) -> Self {
        let mut change = Self::default();
        changes.iter().for_each(|(state, units)| change.stock.change(*state, *units));
        change
    }
}

impl Event {
    /// What it did to a level; `None` if it changed no quantity there.
    pub fn change_at(&self, place: &LevelPlace) -> Option<LevelChange> {
        let here = |lines: &[LevelUnits]| lines.iter().find(|line| line.level == place.level).map(|line| line.units);
        let left = |lines: &[LineMove]| lines.iter().find(|line| line.level == place.level).copied();
        Some(match self {
            Event::Reserved { lines, .. } => LevelChange::held(here(lines)?, 0),
            Event::Amended { lines, .. } => {
                LevelChange { reserved: ReservedChange::To(here(lines)?), ..LevelChange::default() }
            }
            Event::Allocated { lines, .. } => here(lines).map(|units| LevelChange::held(-units, units))?,
            Event::Reacquired { lines, .. } => LevelChange::held(0, here(lines)?),
            Event::Expired { lines, .. } => LevelChange::held(-here(lines)?, 0),
            Event::Released { lines, .. } => {
                left(lines).map(|line| LevelChange::held(-line.reserved, -line.allocated))?
            }
            Event::Fulfilled { lines, .. } => left(lines).map(|line| LevelChange {
                stock: LevelChange::of_stock(&[(StockState::OnHand, -line.reserved - line.allocated)]).stock,
                ..LevelChange::held(-line.reserved, -line.allocated)
            })?,
            Event::Transferred { to_location, lines, .. } => transferred(place, *to_location, lines)?,
            Event::StockChanged { item, location, state, delta, .. } if place.is_named(*item, *location) => {
                LevelChange::of_stock(&[(*state, delta.0)])
            }
            Event::StockMoved { item, location, from, to, units } if place.is_named(*item, *location) => {
                LevelChange::of_stock(&[(*from, -units.0), (*to, units.0)])
            }
            Event::TransferShipped { route, lines, .. } => {
                let units = units_of(place, lines)?;
                let origin = [(StockState::OnHand, -units)];
                at_an_end(place, route, &origin, &[(StockState::InTransit, units)])?
            }
            Event::TransferClosed { route, remainder, lines, .. } => {
                let units = units_of(place, lines)?;
                let back = [(StockState::OnHand, units)];
                let origin = if *remainder == Remainder::SentBack { &back[..] } else { &[] };
                at_an_end(place, route, origin, &[(StockState::InTransit, -units)])?
            }
            Event::TransferReceived { route, lines, .. } => arrived(place, route, lines)?,
            _ => return None,
        })
    }

    /// The same event with those of its lines that change a level.
    pub fn only_at(&self, place: &LevelPlace) -> Event {
        let mut event = self.clone();
        match &mut event {
            Event::Reserved { lines, .. }
            | Event::Amended { lines, .. }
            | Event::Allocated { lines, .. }
            | Event::Reacquired { lines, .. }
            | Event::Expired { lines, .. } => retain(lines, |line| line.level == place.level),
            Event::Released { lines, .. } | Event::Fulfilled { lines, .. } => {
                retain(lines, |line| line.level == place.level);
            }
            Event::Transferred { to_location, lines, .. } => {
                let to = *to_location;
                retain(lines, |line| line.level == place.level || place.gets(line.level, to));
            }
            Event::TransferShipped { lines, .. } | Event::TransferClosed { lines, .. } => {
                retain(lines, |line| line.item == place.item);
            }
            Event::TransferReceived { lines, .. } => retain(lines, |line| line.item == place.item),
            _ => {}
        }
        event
    }
}

/// Units of a level's item in a stock transfer.
fn units_of(place: &LevelPlace, lines: &[ItemUnits]) -> Option<i64> {
    lines.iter().find(|line| line.item == place.item).map(|line| line.units)
}

/// What a stock transfer did to a level at one of its ends; `None` if nothing.
fn at_an_end(
    place: &LevelPlace,
    route: &Route,
    origin: &[(StockState, i64)],
    destination: &[(StockState, i64)],
) -> Option<LevelChange> {
    let changes = match place.location {
        location if location == route.origin => origin,
        location if location == route.destination => destination,
        _ => return None,
    };
    (!changes.is_empty()).then(|| LevelChange::of_stock(changes))
}

/// The same for units that arrived, some of which may have been thought to be at the origin again.
fn arrived(place: &LevelPlace, route: &Route, lines: &[ArrivedUnits]) -> Option<LevelChange> {
    let of_item = || lines.iter().filter(|line| line.item == place.item);
    let sent_back: i64 = of_item().map(|line| line.sent_back).sum();
    let origin = [(StockState::OnHand, -sent_back)];
    let origin = if sent_back > 0 { &origin[..] } else { &[] };
    let there = of_item().flat_map(|line| [(StockState::InTransit, -line.in_transit), (line.state, line.units)]);
    at_an_end(place, route, origin, &there.collect::<Vec<_>>())
}

/// Promises that were moved away from a level, and those that were moved to it; `None` without either.
fn transferred(place: &LevelPlace, to_location: Handle, lines: &[LineMove]) -> Option<LevelChange> {
    let (mut found, mut reserved, mut allocated) = (false, 0, 0);
    for line in lines {
        let leaves = line.level == place.level;
        let arrives = place.gets(line.level, to_location);
        let sign = i64::from(arrives) - i64::from(leaves);
        found |= leaves || arrives;
        reserved += sign * line.reserved;
        allocated += sign * line.allocated;
    }
    found.then(|| LevelChange::held(reserved, allocated))
}

fn retain<T: Copy>(lines: &mut OneOrMany<T>, keep: impl Fn(&T) -> bool) {
    *lines = lines.iter().filter(|line| keep(line)).copied().collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::LevelFigures;

    #[test]
    fn figures_before_a_change_are_those_without_it() {
        let mut after = LevelFigures { reserved: 5, allocated: 3, ..LevelFigures::default() };
        after.stock.change(StockState::OnHand, 10);
        after.stock.change(StockState::Damaged, 2);
        let change = LevelChange {
            stock: LevelChange::of_stock(&[(StockState::OnHand, -4), (StockState::Damaged, 2)]).stock,
            ..LevelChange::held(-1, 3)
        };
        let before = after.before(&change, -1);
        assert_eq!((before.reserved, before.allocated), (6, 0));
        assert_eq!((before.stock.sellable(), before.stock.of(StockState::Damaged)), (14, 0));
    }
}
