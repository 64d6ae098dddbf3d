//! How the callers process answers: they count them, keep their own ledger, and decide what buyers do next.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use prost::Message;

use crate::chance::{Choice, fraction, mix};
use crate::connection::Caller;
use crate::spec::{Buyers, Spec};
use crate::tally::{Tally, Verdict, reason};

/// A call in progress.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub kind: Kind,
    pub connection: u16,
    /// The number of its reserve, or of the first in its batch.
    pub number: u64,
    pub count: u32,
    /// When it should have been sent.
    pub due_ns: u64,
    /// Whether a valid message has arrived.
    pub is_valid: bool,
}

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Reserve,
    Allocate,
    Release,
    Batch,
    /// The stream that carries batches.
    Stream,
}

/// A planned action of a buyer: when, what, with which reserve.
pub type Plan = Reverse<(u64, Kind, u64)>;

/// The callers of one run.
#[derive(Debug)]
pub struct Answers {
    pub tally: Tally,
    pub choice: Choice,
    /// Connections that can take another call, one entry for each.
    pub free: VecDeque<u16>,
    /// Batches in progress on the stream of each connection.
    pub batches: Vec<VecDeque<Call>>,
    pub plans: BinaryHeap<Plan>,
    pub in_flight: u64,
    pub now_ns: u64,
    buyers: Option<Buyers>,
    timeout_ns: u64,
    intervals: bool,
    seed: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Receipt {
    #[prost(int64, tag = "1")]
    sequence: i64,
    #[prost(int64, tag = "2")]
    durable_sequence: i64,
    #[prost(bool, tag = "3")]
    replayed: bool,
}

/// The part of every command's answer that the callers read.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    receipt: Option<Receipt>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Rejection {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Outcome {
    #[prost(message, optional, tag = "1")]
    receipt: Option<Receipt>,
    #[prost(message, optional, tag = "4")]
    rejection: Option<Rejection>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BatchAnswer {
    #[prost(message, repeated, tag = "1")]
    outcomes: Vec<Outcome>,
    #[prost(int64, tag = "2")]
    durable_sequence: i64,
}

impl Answers {
    /// The callers of a run, before their first call.
    pub fn new(spec: &Spec) -> Self {
        let connections = usize::from(spec.connections);
        let free = (0..spec.streams).flat_map(|_| 0..spec.connections).collect();
        Self {
            tally: Tally::new(spec.skus.count),
            choice: Choice::new(&spec.skus, spec.seed),
            free,
            batches: vec![VecDeque::new(); connections],
            plans: BinaryHeap::new(),
            in_flight: 0,
            now_ns: 0,
            buyers: spec.buyers,
            timeout_ns: if spec.patience_ms == 0 { u64::MAX } else { spec.patience_ms * 1_000_000 },
            intervals: spec.interval_ms > 0,
            seed: mix(spec.seed ^ 0x5eed),
        }
    }

    fn is_valid(&mut self, receipt: Option<&Receipt>) -> bool {
        let kept = receipt.filter(|receipt| {
            receipt.sequence > 0 && receipt.durable_sequence >= receipt.sequence && !receipt.replayed
        });
        if let Some(receipt) = kept {
            self.tally.sequence_max = self.tally.sequence_max.max(receipt.sequence);
        }
        kept.is_some()
    }

    /// Ends a call and frees its place on the connection. Returns whether it was late.
    fn done(&mut self, call: &Call) -> bool {
        let latency_ns = self.now_ns.saturating_sub(call.due_ns);
        self.tally.took(latency_ns, self.intervals);
        self.free.push_back(call.connection);
        self.in_flight -= 1;
        latency_ns > self.timeout_ns
    }

    fn end_reserve(&mut self, call: &Call, status: u8, details: &[u8]) {
        let late = self.done(call);
        if status != 0 || !call.is_valid {
            let verdict = self.rejection_verdict(status, details);
            return self.tally.count(verdict, 1, late);
        }
        self.tally.accept(call.number, self.choice.items(call.number));
        self.tally.count(Verdict::Accepted, 1, late);
        self.plan(call.number);
    }

    fn rejection_verdict(&mut self, status: u8, details: &[u8]) -> Verdict {
        if status == 0 {
            self.tally.broken += 1;
            return self.tally.verdict(status, "BROKEN_ANSWER");
        }
        self.tally.verdict(status, &reason(details))
    }

    fn plan(&mut self, number: u64) {
        let Some(buyers) = self.buyers else { return };
        let drawn = |which: u64| fraction(self.seed ^ mix(number ^ (which << 56)));
        let pays = self.tally.accepted > buyers.abandon_until || drawn(1) >= buyers.abandon_share;
        let kind = match (pays, drawn(2) < buyers.release_share) {
            (true, _) => Kind::Allocate,
            (false, true) => Kind::Release,
            (false, false) => {
                self.tally.units[self.choice.sku(number) as usize].abandoned += 1;
                return;
            }
        };
        let spread_ms = buyers.after_ms_max.saturating_sub(buyers.after_ms_min) as f64;
        let after_ns = buyers.after_ms_min * 1_000_000 + (drawn(3) * spread_ms * 1e6) as u64;
        self.plans.push(Reverse((self.now_ns + after_ns, kind, number)));
    }

    fn end_follow_up(&mut self, call: &Call, status: u8, details: &[u8]) {
        let late = self.done(call);
        if status != 0 || !call.is_valid {
            let verdict = self.rejection_verdict(status, details);
            self.tally.window.good += u64::from(self.tally.measuring && verdict == Verdict::Refused && !late);
            if verdict == Verdict::Failed {
                // The buyer retries with the same key until there is a decision.
                const AGAIN_NS: u64 = 50_000_000;
                self.plans.push(Reverse((self.now_ns + AGAIN_NS, call.kind, call.number)));
            }
            return;
        }
        let measuring = u64::from(self.tally.measuring);
        let units = &mut self.tally.units[self.choice.sku(call.number) as usize];
        if call.kind == Kind::Allocate {
            units.allocated += 1;
            self.tally.interval.allocated += 1;
            self.tally.window.allocated += measuring;
        } else {
            units.released += 1;
            self.tally.interval.released += 1;
            self.tally.window.released += measuring;
        }
        self.tally.window.good += if late { 0 } else { measuring };
    }

    fn take_batch(&mut self, call: &Call, message: &[u8]) -> bool {
        let Ok(answer) = BatchAnswer::decode(message) else { return false };
        if answer.outcomes.len() != call.count as usize {
            return false;
        }
        let late = self.now_ns.saturating_sub(call.due_ns) > self.timeout_ns;
        for (number, outcome) in (call.number..).zip(&answer.outcomes) {
            let verdict = match (&outcome.rejection, &outcome.receipt) {
                (Some(rejection), _) => {
                    self.tally.verdict(u8::try_from(rejection.code).unwrap_or(u8::MAX), &rejection.reason)
                }
                (None, receipt) if self.is_valid(receipt.as_ref()) => {
                    self.tally.accept(number, self.choice.items(number));
                    Verdict::Accepted
                }
                _ => self.rejection_verdict(0, &[]),
            };
            self.tally.count(verdict, 1, late);
        }
        true
    }

    fn end_batch(&mut self, call: &Call, status: u8, details: &[u8]) {
        let late = self.done(call);
        if status != 0 || !call.is_valid {
            let verdict = self.rejection_verdict(status, details);
            self.tally.count(verdict, u64::from(call.count), late);
        }
    }
}

impl Caller<Call> for Answers {
    fn message(&mut self, call: &mut Call, message: &[u8]) {
        match call.kind {
            Kind::Stream => {
                let Some(mut batch) = self.batches[usize::from(call.connection)].pop_front() else { return };
                batch.is_valid = self.take_batch(&batch, message);
                self.end_batch(&batch, 0, &[]);
            }
            Kind::Batch => call.is_valid = self.take_batch(call, message),
            Kind::Reserve | Kind::Allocate | Kind::Release => {
                let answer = Answer::decode(message).unwrap_or_default();
                // The answer to a buyer's retry may be a replay.
                let again =
                    call.kind != Kind::Reserve && answer.receipt.as_ref().is_some_and(|receipt| receipt.replayed);
                call.is_valid = again || self.is_valid(answer.receipt.as_ref());
            }
        }
    }

    fn ended(&mut self, call: Call, status: u8, details: &[u8]) {
        match call.kind {
            Kind::Reserve => self.end_reserve(&call, status, details),
            Kind::Allocate | Kind::Release => self.end_follow_up(&call, status, details),
            Kind::Batch => self.end_batch(&call, status, details),
            Kind::Stream => {
                while let Some(batch) = self.batches[usize::from(call.connection)].pop_front() {
                    self.end_batch(&batch, if status == 0 { 2 } else { status }, details);
                }
            }
        }
    }
}
