//! The results of a run: the callers' ledger of units, counts by reason, latencies, and the timeline.

use std::collections::BTreeMap;

use base64::Engine as _;
use hdrhistogram::Histogram;
use invengine_wire::rpc;
use prost::Message;
use serde::Serialize;

use crate::report::latencies;

const KEYS_KEPT: usize = 256;
/// The key of one in this many accepted reserves is kept, to be looked up after a recovery.
const KEY_STRIDE: u64 = 512;

/// Units of one item as the callers know them.
#[derive(Debug, Default, Clone, Copy)]
pub struct Units {
    pub accepted: u64,
    pub allocated: u64,
    pub released: u64,
    /// Left to expire.
    pub abandoned: u64,
}

/// One step of the timeline. It counts calls, except that for batches it counts reserves.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Interval {
    pub at_ms: u64,
    pub arrived: u64,
    pub gave_up: u64,
    pub accepted: u64,
    pub refused: u64,
    /// Neither accepted nor rejected by the ledger: overload, faults.
    pub failed: u64,
    pub late: u64,
    pub allocated: u64,
    pub released: u64,
    pub latency_us_p50: u64,
    pub latency_us_p99: u64,
}

/// Counts of everything that was measured.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Window {
    pub seconds: f64,
    /// Reserves that arrived, whether or not they could be sent.
    pub arrived: u64,
    pub gave_up: u64,
    pub accepted: u64,
    pub refused: u64,
    pub failed: u64,
    /// Answered after the caller's timeout; also counted above.
    pub late: u64,
    /// Accepted or rejected by the ledger in time: reserves and the calls that followed them.
    pub good: u64,
    pub allocated: u64,
    pub released: u64,
}

/// The ledger of the callers.
#[derive(Debug)]
pub struct Tally {
    pub units: Vec<Units>,
    pub by_reason: BTreeMap<String, u64>,
    /// Answers that violate the contract: no receipt, replayed, or not durable.
    pub broken: u64,
    pub sequence_max: i64,
    pub accepted_keys: Vec<u64>,
    pub accepted: u64,
    pub window: Window,
    pub latency: Histogram<u64>,
    pub interval: Interval,
    interval_latency: Histogram<u64>,
    pub measuring: bool,
}

/// The classification of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// Rejected by the ledger.
    Refused,
    /// No decision was made.
    Failed,
}

impl Tally {
    /// An empty ledger of `items` items.
    pub fn new(items: u32) -> Self {
        Self {
            units: vec![Units::default(); items as usize],
            by_reason: BTreeMap::new(),
            broken: 0,
            sequence_max: 0,
            accepted_keys: Vec::new(),
            accepted: 0,
            window: Window::default(),
            latency: latencies(),
            interval: Interval::default(),
            interval_latency: latencies(),
            measuring: false,
        }
    }

    /// Counts the reason of an answer and classifies it.
    pub fn verdict(&mut self, code: u8, reason: &str) -> Verdict {
        const DECISIONS: [u8; 3] = [5, 9, 10]; // NOT_FOUND, FAILED_PRECONDITION, ABORTED
        let name = if reason.is_empty() { format!("CODE_{code}") } else { reason.to_owned() };
        *self.by_reason.entry(name).or_default() += 1;
        if DECISIONS.contains(&code) { Verdict::Refused } else { Verdict::Failed }
    }

    /// Records an accepted reserve.
    pub fn accept(&mut self, number: u64, items: impl Iterator<Item = u32>) {
        self.accepted += 1;
        items.for_each(|item| self.units[item as usize].accepted += 1);
        if (number.is_multiple_of(KEY_STRIDE) || self.accepted <= 8) && self.accepted_keys.len() < KEYS_KEPT {
            self.accepted_keys.push(number);
        }
    }

    /// Counts `count` answers to reserves.
    pub fn count(&mut self, verdict: Verdict, count: u64, late: bool) {
        let good = if verdict == Verdict::Failed || late { 0 } else { count };
        for (accepted, refused, failed, lates) in [
            (
                &mut self.interval.accepted,
                &mut self.interval.refused,
                &mut self.interval.failed,
                &mut self.interval.late,
            ),
            (&mut self.window.accepted, &mut self.window.refused, &mut self.window.failed, &mut self.window.late),
        ]
        .into_iter()
        .take(if self.measuring { 2 } else { 1 })
        {
            match verdict {
                Verdict::Accepted => *accepted += count,
                Verdict::Refused => *refused += count,
                Verdict::Failed => *failed += count,
            }
            *lates += if late { count } else { 0 };
        }
        self.window.good += if self.measuring { good } else { 0 };
    }

    /// Records the latency of a call.
    pub fn took(&mut self, latency_ns: u64, intervals: bool) {
        if self.measuring {
            self.latency.saturating_record(latency_ns);
        }
        if intervals {
            self.interval_latency.saturating_record(latency_ns);
        }
    }

    /// Ends a step of the timeline and returns it.
    pub fn end_interval(&mut self, next_at_ms: u64) -> Interval {
        let mut ended = std::mem::replace(&mut self.interval, Interval { at_ms: next_at_ms, ..Interval::default() });
        if !self.interval_latency.is_empty() {
            ended.latency_us_p50 = self.interval_latency.value_at_quantile(0.5) / 1_000;
            ended.latency_us_p99 = self.interval_latency.value_at_quantile(0.99) / 1_000;
            self.interval_latency.reset();
        }
        ended
    }
}

/// The reason in `grpc-status-details-bin`; empty if there is none.
pub fn reason(details: &[u8]) -> String {
    let coded = details.strip_suffix(b"==").or_else(|| details.strip_suffix(b"=")).unwrap_or(details);
    let decoded = base64::engine::general_purpose::STANDARD_NO_PAD.decode(coded).unwrap_or_default();
    let Ok(status) = rpc::Status::decode(&*decoded) else { return String::new() };
    status
        .details
        .iter()
        .find(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo"))
        .and_then(|detail| rpc::ErrorInfo::decode(&*detail.value).ok())
        .map_or_else(String::new, |info| info.reason)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use invengine_wire::rpc;
    use prost::Message;

    use super::{Tally, Verdict, reason};

    #[test]
    fn the_reason_of_a_refusal_is_read_from_its_details() {
        let info =
            rpc::ErrorInfo { reason: "INSUFFICIENT_STOCK".into(), domain: "invengine".into(), ..Default::default() };
        let detail = prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".into(),
            value: info.encode_to_vec(),
        };
        let status = rpc::Status { code: 9, message: "no".into(), details: vec![detail] };
        let padded = base64::engine::general_purpose::STANDARD.encode(status.encode_to_vec());
        assert_eq!(reason(padded.as_bytes()), "INSUFFICIENT_STOCK");
        assert_eq!(reason(padded.trim_end_matches('=').as_bytes()), "INSUFFICIENT_STOCK");
        assert_eq!(reason(b"***"), "");
    }

    #[test]
    fn only_what_was_measured_is_in_the_window() {
        let mut tally = Tally::new(1);
        tally.count(Verdict::Accepted, 1, false);
        tally.measuring = true;
        tally.count(Verdict::Refused, 2, false);
        tally.count(Verdict::Accepted, 4, true);
        assert_eq!((tally.window.accepted, tally.window.refused, tally.window.late, tally.window.good), (4, 2, 4, 2));
        assert_eq!((tally.interval.accepted, tally.interval.refused), (5, 2));
    }
}
