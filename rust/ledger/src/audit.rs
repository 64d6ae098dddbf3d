//! Proof, the slow way, that the state is what it must be: every counter is recomputed from the reservations.

use hashbrown::HashMap;

use crate::event::{Event, LevelIndex};
use crate::ledger::Ledger;
use crate::record::Record;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which rule.
    pub rule: &'static str,
    /// Where: a level or a reservation.
    pub at: String,
}

/// The rules, by the names that reports use.
const SUMS: &str = "counters_equal_their_parts";
const NEGATIVE: &str = "nothing_is_negative";
const DUE: &str = "units_due_equal_reserved";

/// Looks at a fold step by step: oversold units and the order of time, then all counters on demand.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    before: Vec<(LevelIndex, i64)>,
    oversold_by_holds: i64,
}

impl Audit {
    /// The rules that [`Audit::check`] looks at.
    pub const RULES: [&'static str; 3] = [SUMS, NEGATIVE, DUE];

    /// Remembers how much is free of the levels that a record takes holds on.
    pub fn before(&mut self, ledger: &Ledger, record: &Record<'_>) {
        self.before.clear();
        for event in record.events.iter() {
            let mut note = |level: LevelIndex| self.before.push((level, ledger.levels.free(level, record.time_ms)));
            match event {
                Event::Reserved { lines, .. }
                | Event::Amended { lines, .. }
                | Event::Allocated { reacquired: true, lines, .. } => lines.iter().for_each(|line| note(line.level)),
                Event::Transferred { to_location, lines, .. } => lines.iter().for_each(|line| {
                    let item = ledger.levels.get(line.level).map(|found| found.item);
                    if let Some(level) = item.and_then(|item| ledger.levels.find(item, *to_location)) {
                        note(level);
                    }
                }),
                _ => {}
            }
        }
        self.before.sort_unstable();
        self.before.dedup();
    }

    /// Counts the units by which the record made a level oversold, or more oversold.
    pub fn after(&mut self, ledger: &Ledger, record: &Record<'_>) {
        for (level, before) in &self.before {
            let after = ledger.levels.free(*level, record.time_ms);
            self.oversold_by_holds += ((-after).max(0) - (-before).max(0)).max(0);
        }
    }

    /// Units that holds took beyond what was there; 0 in every ledger that keeps its promise.
    pub fn oversold_by_holds(&self) -> i64 {
        self.oversold_by_holds
    }

    /// Recomputes every counter from the reservations, and answers what does not agree.
    pub fn check(ledger: &Ledger) -> Vec<Broken> {
        let mut parts: HashMap<LevelIndex, (i64, i64)> = HashMap::new();
        let mut broken = Vec::new();
        for reservation in ledger.slab.iter() {
            for line in reservation.lines.iter() {
                let sums = parts.entry(line.level).or_default();
                sums.0 += line.reserved;
                sums.1 += line.allocated;
                let units = [line.reserved, line.allocated, line.released, line.expired, line.fulfilled];
                if units.iter().any(|units| *units < 0) {
                    broken.push(Broken { rule: NEGATIVE, at: ledger.token(reservation.id) });
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
                broken.push(Broken { rule: SUMS, at: at() });
            }
            let there = ledger.levels.quantities(level);
            let quantities =
                [there.on_hand, found.reserved, found.allocated, there.damaged, there.returned, there.quality_control];
            if quantities.iter().any(|units| *units < 0) {
                broken.push(Broken { rule: NEGATIVE, at: at() });
            }
            if ledger.levels.due_total(level) != found.reserved {
                broken.push(Broken { rule: DUE, at: at() });
            }
        }
        broken
    }
}
