//! The report of a run, as printed.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::answers::Answers;
use crate::machine;
use crate::spec::Spec;
use crate::tally::{Interval, Window};
use crate::template::Templates;

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Reserves sent.
    pub sent: u64,
    /// Reserves accepted, in the whole run.
    pub accepted: u64,
    /// Calls without an answer at the end.
    pub unanswered: u64,
    /// Answers that violate the contract. Any number but 0 is a failed check.
    pub broken: u64,
    /// Answers that were not accepted, by reason, in the whole run.
    pub by_reason: BTreeMap<String, u64>,
    /// The highest position that an answer named.
    pub sequence_max: i64,
    /// The measured part.
    pub window: Window,
    /// Latency of calls in the measured part, in microseconds.
    pub latency_us: Latency,
    /// CPU of this run's thread in the measured part.
    pub client_cpu_s: f64,
    /// CPU of the watched process in the measured part, by thread.
    pub server_cpu_s: BTreeMap<String, f64>,
    /// The callers' own ledger: items of which they hold or held units.
    pub units: Vec<ItemUnits>,
    /// Keys of some accepted reserves.
    pub accepted_keys: Vec<String>,
    /// The steps of the run.
    pub timeline: Vec<Interval>,
}

/// Percentiles in microseconds.
#[derive(Debug, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub mean: f64,
}

/// The callers' ledger of one item.
#[derive(Debug, Serialize)]
pub struct ItemUnits {
    pub sku: String,
    pub accepted: u64,
    pub allocated: u64,
    pub released: u64,
    pub abandoned: u64,
}

/// Times and CPU at the ends of what is measured.
#[derive(Debug, Default)]
pub struct Usage {
    began: Option<Sample>,
    ended: Option<Sample>,
}

#[derive(Debug)]
struct Sample {
    at_ns: u64,
    client_s: f64,
    server_s: BTreeMap<String, f64>,
}

impl Sample {
    fn take(at_ns: u64, watch_pid: Option<u32>) -> Self {
        let server_s = watch_pid.map(machine::process_cpu_s).unwrap_or_default();
        Self { at_ns, client_s: machine::thread_cpu_s(), server_s }
    }
}

impl Usage {
    /// True once the measured part has begun.
    pub fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    /// The measured part begins.
    pub fn begin(&mut self, at_ns: u64, watch_pid: Option<u32>) {
        self.began = Some(Sample::take(at_ns, watch_pid));
    }

    /// The measured part ends.
    pub fn end(&mut self, at_ns: u64, watch_pid: Option<u32>) {
        self.ended = Some(Sample::take(at_ns, watch_pid));
    }
}

/// An empty histogram of nanoseconds up to ten minutes, exact to three digits.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3)
        .unwrap_or_else(|_| unreachable!("the bounds are constants that a histogram can have"))
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
            mean: histogram.mean() / 1e3,
        }
    }
}

impl Report {
    pub(crate) fn new(spec: &Spec, answers: Answers, usage: Usage, timeline: Vec<Interval>, sent: u64) -> Self {
        let tally = answers.tally;
        let mut window = tally.window;
        let mut client_cpu_s = 0.0;
        let mut server_cpu_s = BTreeMap::new();
        if let (Some(began), Some(ended)) = (usage.began, usage.ended) {
            window.seconds = (ended.at_ns - began.at_ns) as f64 / 1e9;
            client_cpu_s = ended.client_s - began.client_s;
            server_cpu_s = machine::used(&began.server_s, &ended.server_s);
        }
        let units =
            (0_u32..).zip(&tally.units).filter(|(_, units)| units.accepted > 0).map(|(item, units)| ItemUnits {
                sku: Templates::sku(spec, item),
                accepted: units.accepted,
                allocated: units.allocated,
                released: units.released,
                abandoned: units.abandoned,
            });
        Self {
            sent,
            accepted: tally.accepted,
            unanswered: answers.in_flight,
            broken: tally.broken,
            by_reason: tally.by_reason,
            sequence_max: tally.sequence_max,
            window,
            latency_us: Latency::from(&tally.latency),
            client_cpu_s,
            server_cpu_s,
            units: units.collect(),
            accepted_keys: tally.accepted_keys.iter().map(|number| Templates::key(spec, *number)).collect(),
            timeline,
        }
    }
}
