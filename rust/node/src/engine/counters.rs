//! Counters of an engine, and their form as JSON (base units: seconds, bytes).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// Upper bounds of the histograms of time, seconds.
const SECONDS: [f64; 16] =
    [0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];
/// Upper bounds of the histogram of commands per frame.
const COMMANDS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 5_000.0, 20_000.0];

/// Counts of values by upper bound; the last count is of the values above all bounds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Histogram { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts one value `times` times.
    pub fn add(&mut self, value: f64, times: u64) {
        let index = self.bounds.partition_point(|bound| *bound < value);
        self.counts[index] += times;
        self.sum += value * times as f64;
    }

    /// Counts a time.
    pub fn add_time(&mut self, time: Duration, times: u64) {
        self.add(time.as_secs_f64(), times);
    }
}

/// Counts of one command.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct CommandCounts {
    pub accepted: u64,
    pub replayed: u64,
    pub rejected: BTreeMap<&'static str, u64>,
}

/// What the commit thread measures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CommitCounts {
    pub frames: u64,
    pub journal_bytes: u64,
    pub commit_seconds: Histogram,
    pub sync_seconds: Histogram,
    pub frame_commands: Histogram,
}

impl Default for CommitCounts {
    fn default() -> Self {
        CommitCounts {
            frames: 0,
            journal_bytes: 0,
            commit_seconds: Histogram::new(&SECONDS),
            sync_seconds: Histogram::new(&SECONDS),
            frame_commands: Histogram::new(&COMMANDS),
        }
    }
}

/// All counters, as `Engine::stats` returns them.
#[derive(Serialize)]
pub(super) struct Stats<'a> {
    pub commands: &'a BTreeMap<&'static str, CommandCounts>,
    pub sequence: u64,
    pub durable_sequence: u64,
    pub writer_epoch: u64,
    pub in_flight: u32,
    pub open_reservations: u64,
    pub keys: usize,
    pub key_bytes: usize,
    /// Refusals that are remembered at their callers' request.
    pub refusals: usize,
    pub refusal_bytes: usize,
    pub refusal_bytes_max: usize,
    pub levels: usize,
    pub expired: u64,
    pub engine_time_ms: i64,
    pub effective_window_ms: i64,
    pub effective_refusal_window_ms: i64,
    pub poisoned: bool,
    pub draining: bool,
    pub journal_full: bool,
    pub recovery_ms: f64,
    pub recovered_events: u64,
    /// Acknowledged events that the journal no longer had at the start.
    pub lost_events: u64,
    pub wall_clock_drift_ms: i64,
    pub wall_clock_jumps: u64,
    pub snapshots: super::snapshots::SnapshotStatus,
    #[serde(flatten)]
    pub commits: &'a CommitCounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_their_bounds() {
        let mut histogram = Histogram::new(&COMMANDS);
        histogram.add(1.0, 2);
        histogram.add(1.5, 1);
        histogram.add(1e9, 1);
        assert_eq!((histogram.counts[0], histogram.counts[1], histogram.counts[12]), (2, 1, 1));
        assert!((histogram.sum - (3.5 + 1e9)).abs() < 1e-6);
    }
}
