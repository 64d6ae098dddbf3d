//! A slow proof that the state is consistent: every counter is recomputed from the reservations.

use crate::authority::{Claim, ClaimKey};
use crate::ids::{Handle, LevelIndex};
use hashbrown::HashMap;

use crate::conservation::{Conservation, UnitFlows};
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
const CLAIMS: &str = "claims_are_counted_and_have_a_place";

/// Checks a fold: counts oversold units and the units of each item record by record, and verifies all counters on demand.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    before: Vec<(LevelIndex, i64)>,
    oversold_by_holds: i64,
    conservation: Conservation,
}

impl Audit {
    /// The rules that [`Audit::check`] verifies.
    pub const RULES: [&'static str; 4] = [SUMS, NEGATIVE, DUE, CLAIMS];

    /// The rule that [`Audit::check_units`] verifies.
    pub const UNITS: &'static str = "units_are_conserved";

    /// Remembers the free units of the levels on which a record takes holds, and the units that it brings in and takes out.
    pub fn before(&mut self, ledger: &Ledger, record: &Record<'_>) {
        self.conservation.before(ledger, record);
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

    /// The items whose units on hand and in transit are not what they had at the start of the fold, and what came in and left
    /// since.
    pub fn check_units(&self, ledger: &Ledger) -> Vec<BrokenInvariant> {
        let broken = |item| BrokenInvariant { rule: Self::UNITS, at: ledger.items().name(item).to_owned() };
        self.conservation.broken(ledger).map(broken).collect()
    }

    /// The units of all items together that came in and left since the start of the fold.
    pub fn units(&self, ledger: &Ledger) -> UnitFlows {
        self.conservation.total(ledger)
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
        broken.extend(Self::check_claims(ledger));
        broken
    }

    /// Claims whose writer, level or event does not exist, and writers with another number of claims than was counted.
    fn check_claims(ledger: &Ledger) -> impl Iterator<Item = BrokenInvariant> {
        let writer_of = |writer: Option<Handle>| match writer.map(|source| ledger.sources.get(source)) {
            None => "operator".to_owned(),
            Some(source) => source.map_or_else(|| "no source".to_owned(), |source| source.name.to_string()),
        };
        let is_lost = |key: &ClaimKey, claim: &Claim| {
            key.source.is_some_and(|source| ledger.sources.get(source).is_none())
                || ledger.levels.get(key.level).is_none()
                || claim.sequence > ledger.sequence
        };
        let lost = ledger.claims_after(None).filter(move |(key, claim)| is_lost(key, claim)).map(|(key, _)| key.source);
        let broken = lost.chain(ledger.authority.claims.miscounted());
        broken.map(move |writer| BrokenInvariant { rule: CLAIMS, at: writer_of(writer) })
    }
}
