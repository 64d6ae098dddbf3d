//! The ledger alone, without journal or door: how many commands one core decides.

use std::time::{Duration, Instant};

use invengine_ledger::command::{Catalogue, Line, StockLine, TTL_MS_DEFAULT, Target, TargetBy, Upsert};
use invengine_ledger::event::{StockKind, StockState};
use invengine_ledger::{
    Answer, Audit, Command, Context, Effect, Ledger, LedgerOptions, Payload, ReservationId, command::Body,
};
use serde::Serialize;

use crate::LoadError;
use crate::chance::mix;

const LOCATION: &str = "dc-1";
const START_MS: i64 = 1_800_000_000_000;
/// Commands in one frame, as under load. Engine time goes on with each.
const FRAME_COMMANDS: usize = 1_000;
const FRAME_MS: i64 = 1;
const FRAME_BYTES_MAX: usize = 8 << 20;
const CATALOGUE_BATCH: usize = 1_000;
const KEY_BYTES: usize = 18;

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct LedgerReport {
    /// Commands executed.
    pub operations: u64,
    /// What they took; not what the levels took.
    pub seconds: f64,
    /// "passed", or what was wrong.
    pub checks: String,
}

/// Reserves and allocates in turn: `operations` commands over `levels` levels in random order, with keys and expiry on.
///
/// # Errors
/// `operations` or `levels` is 0, or too many to count.
pub fn bench_ledger(operations: u64, levels: u32) -> Result<LedgerReport, LoadError> {
    let pairs = usize::try_from(operations.div_ceil(2)).unwrap_or(0);
    if pairs == 0 || levels == 0 {
        return Err(LoadError::Spec("operations and levels must be at least 1".to_owned()));
    }
    let skus: Vec<String> = (0..levels).map(|number| format!("sku-{number:07}")).collect();
    let mut bench = Bench::new(&skus);
    let mut took = Duration::ZERO;
    for from in (0..pairs).step_by(FRAME_COMMANDS / 2) {
        let pairs = from..pairs.min(from + FRAME_COMMANDS / 2);
        let keys = keys(&pairs);
        let began = Instant::now();
        bench.frame(&keys, pairs.start);
        took += began.elapsed();
    }
    let checks = bench.problem().unwrap_or_else(|| "passed".to_owned());
    Ok(LedgerReport { operations: 2 * pairs as u64, seconds: took.as_secs_f64(), checks })
}

/// The keys of the reserves with these numbers, then of their allocates, one after the other.
fn keys(pairs: &std::ops::Range<usize>) -> String {
    let key = |kind: char| pairs.clone().map(move |number| format!("{kind}-{number:016x}"));
    key('r').chain(key('a')).collect()
}

struct Bench<'s> {
    ledger: Ledger,
    skus: &'s [String],
    payload: Payload,
    now_ms: i64,
    holds: Vec<ReservationId>,
    pairs_by_level: Vec<i64>,
    refused: u64,
}

impl<'s> Bench<'s> {
    fn new(skus: &'s [String]) -> Self {
        let mut bench = Self {
            ledger: Ledger::new(LedgerOptions::new("bench")),
            skus,
            payload: Payload::default(),
            now_ms: START_MS,
            holds: Vec::with_capacity(FRAME_COMMANDS / 2),
            pairs_by_level: vec![0; skus.len()],
            refused: 0,
        };
        bench.ledger.set_epoch(1);
        bench.upsert(Catalogue::Locations, &[LOCATION.to_owned()]);
        for part in skus.chunks(CATALOGUE_BATCH) {
            bench.upsert(Catalogue::Items, part);
            bench.stock(part);
        }
        bench
    }

    fn upsert(&mut self, catalogue: Catalogue, names: &[String]) {
        let entries = names.iter().map(|name| Upsert { name, display_name: "", gs1: "" }).collect();
        let key = format!("upsert-{catalogue:?}-{}", names[0]);
        self.execute(&key, Body::Upsert { catalogue, entries });
    }

    fn stock(&mut self, skus: &[String]) {
        let line = |sku| StockLine {
            sku,
            location: LOCATION,
            quantity: 1_000_000_000,
            state: StockState::OnHand,
            expected: None,
        };
        let lines = skus.iter().map(|sku| line(sku.as_str())).collect();
        self.execute(&format!("stock-{}", skus[0]), Body::Stock { kind: StockKind::Received, lines });
    }

    fn execute(&mut self, key: &str, body: Body<'_>) {
        let context = Context { key, issue_time_ms: self.now_ms, ..Context::default() };
        self.payload.clear(FRAME_BYTES_MAX);
        let command = Command { context, body };
        let executed = self.ledger.execute(&command, self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
        self.refused += u64::from(matches!(executed.answer, Answer::Rejected(_)));
    }

    fn level_of(&self, pair: usize) -> usize {
        usize::try_from(mix(pair as u64) % self.skus.len() as u64).unwrap_or(0)
    }

    /// One frame: half of it reserves, then the allocates of those holds.
    fn frame(&mut self, keys: &str, first_pair: usize) {
        let (reserve_keys, allocate_keys) = keys.split_at(keys.len() / 2);
        self.payload.clear(FRAME_BYTES_MAX);
        self.now_ms += FRAME_MS;
        self.reserve(reserve_keys, first_pair);
        self.allocate(allocate_keys);
        self.ledger.sweep(self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
        self.ledger.forget_keys(self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
    }

    fn reserve(&mut self, keys: &str, first_pair: usize) {
        self.holds.clear();
        let context = Context { issue_time_ms: self.now_ms, ..Context::default() };
        let lines = vec![Line { sku: "", location: LOCATION, quantity: 1 }];
        let body = Body::Reserve { lines, ttl_ms: TTL_MS_DEFAULT, allow_partial: false, replace_own: false };
        let mut command = Command { context, body };
        for (at, pair) in (first_pair..first_pair + keys.len() / KEY_BYTES).enumerate() {
            let level = self.level_of(pair);
            command.context.key = &keys[at * KEY_BYTES..(at + 1) * KEY_BYTES];
            if let Body::Reserve { lines, .. } = &mut command.body {
                lines[0].sku = &self.skus[level];
            }
            let executed = self.ledger.execute(&command, self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
            let Answer::Accepted { effect, replayed: false, .. } = executed.answer else {
                self.refused += 1;
                continue;
            };
            let Effect::Reserved(hold) = self.ledger.effect(effect) else { continue };
            self.holds.push(hold.id);
            self.pairs_by_level[level] += 1;
        }
    }

    fn allocate(&mut self, keys: &str) {
        for (at, id) in self.holds.iter().enumerate() {
            let key = &keys[at * KEY_BYTES..(at + 1) * KEY_BYTES];
            let context = Context { key, issue_time_ms: self.now_ms, ..Context::default() };
            let target = Target { by: TargetBy::Id(*id), lines: Vec::new(), expected_version: 0 };
            let command = Command { context, body: Body::Allocate(target) };
            let executed = self.ledger.execute(&command, self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
            let accepted = matches!(executed.answer, Answer::Accepted { replayed: false, .. });
            self.refused += u64::from(!accepted);
        }
    }

    /// What is wrong with the ledger, if anything.
    fn problem(&self) -> Option<String> {
        if self.refused > 0 {
            return Some(format!("{} commands were refused", self.refused));
        }
        if let Some(broken) = Audit::check(&self.ledger).first() {
            return Some(format!("{} is broken at {}", broken.rule, broken.at));
        }
        let location = self.ledger.locations().find(LOCATION)?;
        for (sku, pairs) in self.skus.iter().zip(&self.pairs_by_level) {
            let level = self.ledger.items().find(sku).and_then(|item| self.ledger.find_level(item, location));
            let figures = level.map(|level| self.ledger.figures(level, self.now_ms)).unwrap_or_default();
            if (figures.reserved, figures.allocated) != (0, *pairs) || figures.oversold() != 0 {
                return Some(format!("{sku} must have {pairs} units allocated, but has {figures:?}"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Bench, bench_ledger};

    #[test]
    fn every_pair_is_executed_and_checked() {
        let report = bench_ledger(2_501, 7).unwrap();
        assert_eq!((report.operations, report.checks.as_str()), (2_502, "passed"));
        assert!(report.seconds > 0.0);
    }

    #[test]
    fn a_ledger_that_differs_from_what_was_done_has_a_problem() {
        let skus = ["sku-0".to_owned(), "sku-1".to_owned()];
        let mut bench = Bench::new(&skus);
        bench.frame(&super::keys(&(0..10)), 0);
        assert_eq!(bench.problem(), None);
        bench.pairs_by_level[1] += 1;
        assert!(bench.problem().unwrap().starts_with("sku-1 must have"));
        bench.refused = 3;
        assert_eq!(bench.problem().unwrap(), "3 commands were refused");
    }

    #[test]
    fn nothing_to_do_is_refused() {
        assert!(bench_ledger(0, 1).is_err());
        assert!(bench_ledger(1, 0).is_err());
    }
}
