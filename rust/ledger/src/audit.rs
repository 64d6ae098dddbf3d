//! A slow proof that the state is consistent: every counter is recomputed from the reservations.

use crate::ids::LevelIndex;
use hashbrown::HashMap;

use crate::event::Event;
use crate::ledger::Ledger;
use crate::record::Record;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenInvariant {
    /// Which rule.
    pub rule: &'static str,
    /// The level or reservation.
    pub at: String,
}

/// The rules, by their names in reports.
const SUMS: &str = "counters_equal_their_parts";
const NEGATIVE: &str = "nothing_is_negative";
const DUE: &str = "units_due_equal_reserved";

/// Checks a fold: counts oversold units record by record, and verifies all counters on demand.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    before: Vec<(LevelIndex, i64)>,
    oversold_by_holds: i64,
}

impl Audit {
    /// The rules that [`Audit::check`] verifies.
    pub const RULES: [&'static str; 3] = [SUMS, NEGATIVE, DUE];

    /// Remembers the free units of the levels on which a record takes holds.
    pub fn before(&mut self, ledger: &Ledger, record: &Record<'_>) {
        self.before.clear();
        for event in record.events.iter() {
            let mut note = |level: LevelIndex| self.before.push((level, ledger.levels.free(level, record.time_ms)));
            if event.takes_units() {
                event.lines().units().for_each(|line| note(line.level));
            }
            if let Event::Transferred { to_location, lines, .. } = event {
                for line in lines.iter() {
                    let item = ledger.levels.get(line.level).map(|found| found.item);
                    item.and_then(|item| ledger.levels.find(item, *to_location)).into_iter().for_each(&mut note);
                }
            }
        }
        self.before.sort_unstable();
        self.before.dedup();
    }

    /// Counts the units by which the record made a level oversold or more oversold.
    pub fn after(&mut self, ledger: &Ledger, record: &Record<'_>) {
        for (level, before) in &self.before {
            let after = ledger.levels.free(*level, record.time_ms);
            self.oversold_by_holds += ((-after).max(0) - (-before).max(0)).max(0);
        }
    }

    /// Units that holds took beyond the stock; 0 in every correct ledger.
    pub fn oversold_by_holds(&self) -> i64 {
        self.oversold_by_holds
    }

    /// Recomputes every counter from the reservations and returns the differences.
    pub fn check(ledger: &Ledger) -> Vec<BrokenInvariant> {
        let mut parts: HashMap<LevelIndex, (i64, i64)> = HashMap::new();
        let mut broken = Vec::new();
        for reservation in ledger.slab.iter() {
            for line in reservation.lines.iter() {
                let sums = parts.entry(line.level).or_default();
                sums.0 += line.reserved;
                sums.1 += line.allocated;
                let units = [line.reserved, line.allocated, line.released, line.expired, line.fulfilled];
                if units.iter().any(|units| *units < 0) {
                    broken.push(BrokenInvariant { rule: NEGATIVE, at: ledger.token(reservation.id) });
                }
            }
        }
        for level in 0..ledger.levels.len() as LevelIndex {
            let Some(found) = ledger.levels.get(level) else { continue };
            let at = || {
                let (sku, location) = ledger.level_names(level);
                format!("{sku}@{location}")
            };
            let (reserved, allocated) = parts.get(&level).copied().unwrap_or_default();
            if (reserved, allocated) != (found.reserved, found.allocated) {
                broken.push(BrokenInvariant { rule: SUMS, at: at() });
            }
            let there = ledger.levels.quantities(level);
            let quantities = [there.on_hand(), found.reserved, found.allocated];
            if quantities.into_iter().chain(there.others().map(|(_, units)| units)).any(|units| units < 0) {
                broken.push(BrokenInvariant { rule: NEGATIVE, at: at() });
            }
            if ledger.levels.due_total(level) != found.reserved {
                broken.push(BrokenInvariant { rule: DUE, at: at() });
            }
        }
        broken
    }
}
