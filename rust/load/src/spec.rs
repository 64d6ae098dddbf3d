//! The specification of a load run: a JSON object in which every field except the target has a default.

use serde::Deserialize;

/// One load run.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// The server, as host:port.
    pub target: String,
    /// Connections.
    pub connections: u16,
    /// Calls in flight on each connection; batches in flight for the batched calls.
    pub streams: u16,
    /// What is called.
    pub call: CallKind,
    /// Reserves in each batch.
    pub batch: u32,
    /// When calls are sent; without it a call is sent as soon as another was answered (closed loop).
    pub pace: Option<Pace>,
    /// What buyers do after their reserve was accepted; nothing if absent.
    pub buyers: Option<Buyers>,
    /// Which items are asked for.
    pub skus: Skus,
    /// The location.
    pub location: String,
    /// How long a hold lasts; 0 leaves it to the server.
    pub ttl_ms: u32,
    /// Deadline sent with every call; 0 sends none.
    pub deadline_ms: u64,
    /// Start of every idempotency key; two runs on one server need different ones.
    pub key_prefix: String,
    /// No call is sent after this many milliseconds.
    pub duration_ms: u64,
    /// No more reserves than this.
    pub reserves_max: u64,
    /// Nothing before this time is measured.
    pub measure_from_ms: u64,
    /// An answer that took longer counts as late; 0 means never.
    pub patience_ms: u64,
    /// How long to wait for answers after the last call was sent.
    pub drain_ms: u64,
    /// The core that this run is pinned to.
    pub core: Option<usize>,
    /// A process whose CPU time is measured over the same period, by thread.
    pub watch_pid: Option<u32>,
    /// Length of the steps of the timeline; 0 keeps none.
    pub interval_ms: u64,
    /// A file that gets each step of the timeline as one line of JSON.
    pub progress_file: Option<String>,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            target: String::new(),
            connections: 1,
            streams: 1,
            call: CallKind::Reserve,
            batch: 1,
            pace: None,
            buyers: None,
            skus: Skus::default(),
            location: "dc-1".to_owned(),
            ttl_ms: 900_000,
            deadline_ms: 0,
            key_prefix: "load".to_owned(),
            duration_ms: 1_000,
            reserves_max: u64::MAX,
            measure_from_ms: 0,
            patience_ms: 0,
            drain_ms: 10_000,
            core: None,
            watch_pid: None,
            interval_ms: 0,
            progress_file: None,
            seed: 1,
        }
    }
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// One Reserve per call.
    Reserve,
    /// Unary Submit with a batch.
    Submit,
    /// One SubmitStream per connection, one batch per message.
    SubmitStream,
}

/// When calls are sent, independently of earlier ones (open loop). Latency counts from the time when a call was due.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Phases, one after another; the run ends with the last.
    pub phases: Vec<Phase>,
    /// Random gaps, as between many independent callers; else even gaps.
    #[serde(default)]
    pub poisson: bool,
    /// A caller that finds every connection full for this long gives up without having called.
    #[serde(default = "queue_patience")]
    pub queue_patience_ms: u64,
}

fn queue_patience() -> u64 {
    1_000
}

/// A period in which the rate changes linearly.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Duration.
    pub ms: u64,
    /// Calls per second at its start.
    pub from_per_s: f64,
    /// Calls per second at its end.
    pub to_per_s: f64,
}

/// What buyers do once they hold units: most pay (Allocate), some change their mind.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buyers {
    /// The shortest time between the hold and the next step.
    pub after_ms_min: u64,
    /// The longest time.
    pub after_ms_max: u64,
    /// Share that does not pay.
    pub abandon_share: f64,
    /// Of those, the share that releases the hold; the others let it expire.
    pub release_share: f64,
    /// After this many accepted reserves everybody pays, so that units that were given back are finally sold.
    pub abandon_until: u64,
}

/// Which items are asked for. Item number 17 is called `<prefix>-0000017`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Skus {
    /// Start of their names.
    pub prefix: String,
    /// Number of items.
    pub count: u32,
    /// Exponent of the Zipf distribution; 0 is uniform.
    pub theta: f64,
    /// Share of the calls that ask for item 0, whatever the distribution of the others.
    pub hot_share: f64,
    /// Lines of each reserve, each of another item.
    pub lines: u32,
}

impl Default for Skus {
    fn default() -> Self {
        Self { prefix: "sku".to_owned(), count: 1, theta: 0.0, hot_share: 0.0, lines: 1 }
    }
}

impl Spec {
    /// The problem of the specification, or `None`.
    pub fn problem(&self) -> Option<&'static str> {
        let checks = [
            (self.connections >= 1 && self.streams >= 1, "connections and streams must be at least 1"),
            ((1..=1_000).contains(&self.batch), "batch must be 1 to 1,000"),
            (self.skus.count >= 1 && self.skus.count < 10_000_000, "skus.count must be 1 to 9,999,999"),
            (self.key_prefix.len() <= 100, "key_prefix must be at most 100 characters"),
            (
                (1..=self.skus.count.min(1_000)).contains(&self.skus.lines),
                "skus.lines must be 1 to 1,000 and skus.count",
            ),
            (
                self.buyers.is_none() || (self.call == CallKind::Reserve && self.skus.lines == 1),
                "buyers need unary reserves of one line",
            ),
            (
                self.pace.as_ref().is_none_or(|pace| pace.phases.iter().all(Phase::is_sound)),
                "the rates of a phase must be at least 0 and finite",
            ),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map(|(_, problem)| problem)
    }
}

impl Phase {
    fn is_sound(&self) -> bool {
        [self.from_per_s, self.to_per_s].iter().all(|rate| rate.is_finite() && *rate >= 0.0)
    }
}
