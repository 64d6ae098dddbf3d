//! Writers whose clock is ahead of engine time. A repeat that says it was issued later than its first was executed would look
//! younger than the forgotten key; so the latest issue time of each such writer outlives its keys.

use std::collections::BTreeMap;

use crate::codec::{Malformed, RecordReader, put, put_signed};

/// How far ahead of engine time a command without a number may say that it was issued.
pub const ISSUE_LEAD_MAX_MS: i64 = 7 * 24 * 3_600 * 1_000;

/// The latest issue time of each writer that was ahead, by its scope.
#[derive(Default)]
pub(crate) struct Leads(BTreeMap<u64, i64>);

impl Leads {
    /// Remembers an issue time that is ahead of engine time.
    pub fn note(&mut self, scope: u64, issue_time_ms: i64) {
        let latest = self.0.entry(scope).or_insert(issue_time_ms);
        *latest = issue_time_ms.max(*latest);
    }

    /// True if no writer was ahead.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latest issue time of a writer.
    pub fn latest(&self, scope: u64) -> Option<i64> {
        self.0.get(&scope).copied()
    }

    /// Takes in those of a window that is dropped, and lets go what the other window's age covers.
    pub fn take_in(&mut self, dropped: Leads, since_ms: i64) {
        dropped.0.into_iter().for_each(|(scope, latest)| self.note(scope, latest));
        self.0.retain(|_, latest| *latest > since_ms);
    }

    /// Writes them down.
    pub fn put(&self, out: &mut Vec<u8>) {
        put(out, self.0.len() as u64);
        for (scope, latest) in &self.0 {
            put(out, *scope);
            put_signed(out, *latest);
        }
    }

    /// Reads them back.
    pub fn read(from: &mut RecordReader<'_>) -> Result<Self, Malformed> {
        let mut leads = Leads::default();
        for _ in 0..from.count(2)? {
            leads.note(from.number()?, from.signed()?);
        }
        Ok(leads)
    }
}
