//! Replay: the records of a journal are folded into the state. What the next records need is read before the first of them is
//! applied: one by one, each record would wait for the cache misses of its hold, its levels and its key; read together, these
//! misses overlap. Nothing read here affects the result.

use crate::codec::Malformed;
use crate::event::Event;
use crate::keys::KeyHash;
use crate::ledger::Ledger;
use crate::record::{Record, RecordReader};

/// Records that are decoded before the first of them is applied.
const RECORDS_AHEAD: usize = 64;

impl Ledger {
    /// Folds the records of one journal frame.
    ///
    /// # Errors
    /// The payload is not of this version, or its events do not apply to the state: nothing after it can be trusted.
    pub fn fold(&mut self, payload: &[u8], frame_time_ms: i64, writer_epoch: u64) -> Result<(), Malformed> {
        self.fold_with(payload, frame_time_ms, writer_epoch, &mut |_, _| true, &mut |_, _| true).map(|_| ())
    }

    /// The same, and calls `before` and `after` around each record; either ends the fold by returning false, `before` without
    /// the record. Returns whether the payload was folded to its end.
    ///
    /// # Errors
    /// As `fold`.
    pub fn fold_with(
        &mut self,
        payload: &[u8],
        frame_time_ms: i64,
        writer_epoch: u64,
        before: &mut dyn FnMut(&Ledger, &Record<'_>) -> bool,
        after: &mut dyn FnMut(&Ledger, &Record<'_>) -> bool,
    ) -> Result<bool, Malformed> {
        self.epoch = u32::try_from(writer_epoch).map_err(|_| Malformed("a writer epoch is out of range"))?;
        let mut reader = RecordReader::new(payload, frame_time_ms)?;
        let mut records = Vec::new();
        loop {
            let (count, more) = reader.read_some(&mut records, RECORDS_AHEAD);
            let keys = self.prefetch(&records[..count]);
            for (record, key) in records[..count].iter().zip(keys) {
                if record.time_ms < self.time_ms {
                    return Err(Malformed("the time of a record goes back"));
                }
                if !before(self, record) {
                    return Ok(false);
                }
                self.apply(record, key);
                if self.inapplicable_events > 0 {
                    return Err(Malformed("an event does not fit the state before it"));
                }
                if !after(self, record) {
                    return Ok(false);
                }
            }
            if !more? {
                return Ok(true);
            }
        }
    }

    /// Reads what these records change and returns the hash of each record's key. The loops are short, so that many reads
    /// overlap.
    fn prefetch(&self, records: &[Record<'_>]) -> [Option<KeyHash>; RECORDS_AHEAD] {
        let events = records.iter().flat_map(|record| record.events.iter());
        std::hint::black_box(events.fold(0, |read, event| read ^ self.touch_event(event)));
        let mut keys = [None; RECORDS_AHEAD];
        for (record, key) in records.iter().zip(&mut keys) {
            let origin = record.origin.as_ref().filter(|origin| !origin.key.is_empty());
            *key = origin.map(|origin| self.keys.hash_of(origin.scope(), origin.key));
        }
        std::hint::black_box(keys.iter().flatten().fold(0, |read, hash| read ^ self.keys.touch(*hash)));
        keys
    }

    fn touch_event(&self, event: &Event) -> i64 {
        match event.hold() {
            Some((id, lines)) => {
                let levels = lines.units().map(|line| self.levels.touch(line.level));
                levels.fold(self.slab.touch(id.slot), |read, level| read ^ level)
            }
            None => {
                let level = event.stock().and_then(|(item, location)| self.levels.find(item, location));
                level.map_or(0, |level| self.levels.touch(level))
            }
        }
    }
}
