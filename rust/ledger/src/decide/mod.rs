//! Decisions: each reads the state and returns events or a rejection. None changes anything.

mod entities;
mod holds;
mod move_holds;
pub(crate) mod reserve;
mod stock;

use crate::command::Line;
use crate::ids::{Handle, LevelIndex};
use crate::ledger::Ledger;
use crate::level::Level;
use crate::one_or_many::OneOrMany;
use crate::rejection::{Reason, Rejection};

/// Units that a command needs, by level.
#[derive(Default)]
pub(crate) struct RequestedUnits(OneOrMany<(LevelIndex, i64)>);

impl RequestedUnits {
    fn add(&mut self, level: LevelIndex, units: i64) {
        if units > 0 {
            self.0.push((level, units));
        }
    }

    /// Calls `f` once per level with the sum.
    fn check(mut self, mut f: impl FnMut(LevelIndex, i64) -> Result<(), Rejection>) -> Result<(), Rejection> {
        self.0.sort_unstable_by_key(|wanted| wanted.0);
        let mut rest = &self.0[..];
        while let Some((level, _)) = rest.first() {
            let count = rest.iter().take_while(|wanted| wanted.0 == *level).count();
            f(*level, rest[..count].iter().fold(0i64, |sum, wanted| sum.saturating_add(wanted.1)))?;
            rest = &rest[count..];
        }
        Ok(())
    }
}

impl Ledger {
    pub(crate) fn item(&self, sku: &str) -> Result<Handle, Rejection> {
        self.items().find(sku).ok_or_else(|| Rejection::new(Reason::UnknownSku).text("sku", sku))
    }

    pub(crate) fn location(&self, location: &str) -> Result<Handle, Rejection> {
        let unknown = || Rejection::new(Reason::UnknownLocation).text("location", location);
        self.locations().find(location).ok_or_else(unknown)
    }

    /// The level that a line names, if anything was ever recorded there; its item and location must exist.
    #[inline]
    fn level_named(&self, line: &Line<'_>) -> Result<Option<LevelIndex>, Rejection> {
        let is_it =
            |level: &Level| self.items().is(level.item, line.sku) && self.locations().is(level.location, line.location);
        let found = self.levels.find_named(line.sku, line.location, is_it);
        if found.is_none() {
            self.item(line.sku)?;
            self.location(line.location)?;
        }
        Ok(found)
    }

    /// The level of each line; names must exist, levels need not. An unknown item is reported before an unknown location,
    /// whatever the order of the lines.
    fn levels_of(&self, lines: &[Line<'_>]) -> Result<OneOrMany<Option<LevelIndex>>, Rejection> {
        let mut levels = OneOrMany::default();
        for line in lines {
            let level = self.level_named(line).map_err(|rejection| {
                let unknown_item = lines.iter().find_map(|line| self.item(line.sku).err());
                unknown_item.unwrap_or(rejection)
            })?;
            levels.push(level);
        }
        Ok(levels)
    }

    fn insufficient(&self, level: LevelIndex, requested: i64, available: i64) -> Rejection {
        let (sku, location) = self.level_names(level);
        no_stock(sku, location, requested, available)
    }

    /// Refuses unless every level has the units free.
    fn check_free(&self, wanted: RequestedUnits, now_ms: i64) -> Result<(), Rejection> {
        wanted.check(|level, units| {
            let free = self.levels.free(level, now_ms);
            if free >= units { Ok(()) } else { Err(self.insufficient(level, units, free.max(0))) }
        })
    }
}

pub(crate) fn no_stock(sku: &str, location: &str, requested: i64, available: i64) -> Rejection {
    Rejection::new(Reason::InsufficientStock)
        .text("sku", sku)
        .text("location", location)
        .number("requested", requested)
        .number("available", available)
}
