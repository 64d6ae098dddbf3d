//! Prefetching: what the next records of a journal need is read before the first of them is applied. One by one, each record
//! would wait for the cache misses of its hold, its levels and its key; read together, these misses overlap. Nothing read here
//! affects the result.

use crate::event::Event;
use crate::ids::ReservationId;
use crate::keys::KeyHash;
use crate::ledger::Ledger;
use crate::level::Level;
use crate::record::Record;

/// Records that are decoded before the first of them is applied.
pub(crate) const RECORDS_PREFETCHED: usize = 64;

impl Ledger {
    /// Prefetches for these records and returns the hash of each record's key. The loops are short, so that many reads overlap.
    pub(crate) fn prefetch(&mut self, records: &[Record<'_>]) -> [Option<KeyHash>; RECORDS_PREFETCHED] {
        let events = records.iter().flat_map(|record| record.events.iter());
        std::hint::black_box(events.fold(0, |read, event| read ^ self.touch(event)));
        let mut keys = [None; RECORDS_PREFETCHED];
        for (record, key) in records.iter().zip(&mut keys) {
            let origin = record.origin.as_ref().filter(|origin| !origin.key.is_empty());
            *key = origin.map(|origin| self.keys.hash_of(origin.scope(), origin.key));
        }
        keys.iter().flatten().for_each(|hash| self.keys.prefetch(*hash));
        keys
    }

    /// Reads a value from everything that an event changes.
    fn touch(&self, event: &Event) -> i64 {
        let hold = |id: ReservationId| {
            self.slab.at(id.slot).map_or(0, |hold| (hold.sequence as i64) ^ (hold.lines.len() as i64))
        };
        let level = |level| self.levels.get(level).map_or(0, Level::touch);
        let read = |one: i64, other: i64| one ^ other;
        match event.hold() {
            Some((id, lines)) => lines.units().map(|line| level(line.level)).fold(hold(id), read),
            None => match event {
                Event::StockChanged { item, location, .. } => self.levels.find(*item, *location).map_or(0, level),
                _ => 0,
            },
        }
    }
}
