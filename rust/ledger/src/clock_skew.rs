//! Writers whose clock is ahead of engine time. The issue time of such a writer's command is later than its execution, so a
//! repeat would look younger than the forgotten key. The latest issue time of each such writer therefore outlives its keys.

use std::collections::BTreeMap;

use crate::codec::{Malformed, Reader, put, put_signed};

/// The furthest that the issue time of a command without a number may be ahead of engine time.
pub const ISSUE_TIME_SKEW_MAX_MS: i64 = 7 * 24 * 3_600 * 1_000;

/// The latest issue time of each writer whose clock was ahead, by its scope.
#[derive(Default)]
pub(crate) struct ClockSkews(BTreeMap<u64, i64>);

impl ClockSkews {
    /// Records an issue time that is ahead of engine time.
    pub fn note(&mut self, scope: u64, issue_time_ms: i64) {
        let latest = self.0.entry(scope).or_insert(issue_time_ms);
        *latest = issue_time_ms.max(*latest);
    }

    /// True if no writer's clock was ahead.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latest issue time of a writer whose clock was ahead.
    pub fn latest(&self, scope: u64) -> Option<i64> {
        self.0.get(&scope).copied()
    }

    /// Merges the entries of a dropped window, and drops those that are covered by the age of the other window.
    pub fn absorb(&mut self, dropped: ClockSkews, since_ms: i64) {
        dropped.0.into_iter().for_each(|(scope, latest)| self.note(scope, latest));
        self.0.retain(|_, latest| *latest > since_ms);
    }

    /// Encodes the entries.
    pub fn put(&self, out: &mut Vec<u8>) {
        put(out, self.0.len() as u64);
        for (scope, latest) in &self.0 {
            put(out, *scope);
            put_signed(out, *latest);
        }
    }

    /// Decodes the entries.
    pub fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut clock_skews = ClockSkews::default();
        for _ in 0..from.count(2)? {
            clock_skews.note(from.number()?, from.signed()?);
        }
        Ok(clock_skews)
    }
}
