//! The ledger alone, without a journal or a network: how many commands one core decides.

use invengine_ledger::StockState;
use std::ops::Range;
use std::time::{Duration, Instant};

use invengine_ledger::EntityKind;
use invengine_ledger::command::{Line, StockLine, TTL_MS_DEFAULT, Target, TargetBy, Upsert};
use invengine_ledger::event::StockKind;
use invengine_ledger::{
    Answer, Audit, Command, Context, Effect, Ledger, LedgerOptions, Payload, ReservationId, command::Body,
};
use serde::Serialize;

use crate::LoadError;
use crate::chance::mix;

const LOCATION: &str = "dc-1";
const START_MS: i64 = 1_800_000_000_000;
/// Number of reserves, and of allocates, in one frame. Engine time advances with each frame.
const FRAME_PAIRS: usize = 500;
const FRAME_MS: i64 = 1;
const FRAME_BYTES_MAX: usize = 8 << 20;
const CATALOGUE_BATCH: usize = 1_000;
const LEVELS_MAX: u32 = 9_999_999;
const KEY_BYTES: usize = 18;
const SKU_BYTES: usize = 11;

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct LedgerReport {
    /// Commands executed.
    pub operations: u64,
    /// Their duration, without the setup of the levels.
    pub seconds: f64,
    /// "passed", or the problem.
    pub checks: String,
}

/// Alternates reserves and allocates: `operations` commands over `levels` levels in random order, with keys and expiry enabled.
///
/// # Errors
/// `operations` or `levels` is 0, or `levels` is too large.
pub fn bench_ledger(operations: u64, levels: u32) -> Result<LedgerReport, LoadError> {
    let pairs = operations.div_ceil(2);
    if pairs == 0 || levels == 0 || levels > LEVELS_MAX {
        return Err(LoadError::Spec(format!("operations must be at least 1, levels 1 to {LEVELS_MAX}")));
    }
    let mut bench = Bench::new(levels);
    let mut took = Duration::ZERO;
    for first in (0..pairs).step_by(FRAME_PAIRS) {
        let texts = FrameTexts::new(first..pairs.min(first + FRAME_PAIRS as u64), levels);
        took += bench.frame(&texts);
    }
    let checks = bench.problem(pairs).unwrap_or_else(|| "passed".to_owned());
    Ok(LedgerReport { operations: 2 * pairs, seconds: took.as_secs_f64(), checks })
}

/// The level of a pair of commands.
fn level_of(pair: u64, levels: u32) -> u32 {
    u32::try_from(mix(pair) % u64::from(levels)).unwrap_or(0)
}

fn sku(level: u32) -> String {
    format!("sku-{level:07}")
}

/// The texts of one frame, stored contiguously as in the messages that commands come in.
struct FrameTexts {
    /// Key and sku of each reserve.
    reserves: String,
    /// Key of each allocate.
    allocates: String,
}

impl FrameTexts {
    fn new(pairs: Range<u64>, levels: u32) -> Self {
        let mut texts = Self { reserves: String::new(), allocates: String::new() };
        for pair in pairs {
            texts.reserves += &format!("r-{pair:016x}{}", sku(level_of(pair, levels)));
            texts.allocates += &format!("a-{pair:016x}");
        }
        texts
    }

    fn reserves(&self) -> impl Iterator<Item = (&str, &str)> {
        const BYTES: usize = KEY_BYTES + SKU_BYTES;
        let texts = (0..self.reserves.len() / BYTES).map(|at| &self.reserves[at * BYTES..(at + 1) * BYTES]);
        texts.map(|text| text.split_at(KEY_BYTES))
    }

    fn allocates(&self) -> impl Iterator<Item = &str> {
        (0..self.allocates.len() / KEY_BYTES).map(|at| &self.allocates[at * KEY_BYTES..(at + 1) * KEY_BYTES])
    }
}

fn reserve<'a>(key: &'a str, sku: &'a str, now_ms: i64) -> Command<'a> {
    let context = Context { key, issue_time_ms: Some(now_ms), ..Context::default() };
    let lines = vec![Line { sku, location: LOCATION, quantity: 1 }];
    Command { context, body: Body::Reserve { lines, ttl_ms: TTL_MS_DEFAULT, allow_partial: false, replace_own: false } }
}

struct Bench {
    ledger: Ledger,
    levels: u32,
    payload: Payload,
    now_ms: i64,
    holds: Vec<ReservationId>,
    refused: u64,
}

impl Bench {
    fn new(levels: u32) -> Self {
        let mut bench = Self {
            ledger: Ledger::new(LedgerOptions::new("bench")),
            levels,
            payload: Payload::default(),
            now_ms: START_MS,
            holds: Vec::with_capacity(FRAME_PAIRS),
            refused: 0,
        };
        bench.ledger.set_epoch(1);
        bench.upsert(EntityKind::Locations, &[LOCATION.to_owned()]);
        for first in (0..levels).step_by(CATALOGUE_BATCH) {
            let skus: Vec<String> = (first..levels).take(CATALOGUE_BATCH).map(sku).collect();
            bench.upsert(EntityKind::Items, &skus);
            bench.stock(&skus);
        }
        bench
    }

    fn upsert(&mut self, catalogue: EntityKind, names: &[String]) {
        let entries = names.iter().map(|name| Upsert::labels(name, "", "")).collect();
        let key = format!("upsert-{catalogue:?}-{}", names[0]);
        self.execute(&key, Body::Upsert { kind: catalogue, entries });
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
        let context = Context { key, issue_time_ms: Some(self.now_ms), ..Context::default() };
        self.payload.clear(FRAME_BYTES_MAX);
        let command = Command { context, body };
        let executed = self.ledger.execute(&command, self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
        self.refused += u64::from(matches!(executed.answer, Answer::Rejected(_)));
    }

    /// One frame: reserves, then the allocates of those holds. Returns how long the ledger took.
    fn frame(&mut self, texts: &FrameTexts) -> Duration {
        self.payload.clear(FRAME_BYTES_MAX);
        self.now_ms += FRAME_MS;
        let reserves: Vec<_> = texts.reserves().map(|(key, sku)| reserve(key, sku, self.now_ms)).collect();
        let began = Instant::now();
        self.reserve(&reserves);
        self.allocate(texts);
        self.ledger.sweep(self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
        self.ledger.forget_keys(self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
        began.elapsed()
    }

    fn reserve(&mut self, commands: &[Command<'_>]) {
        self.holds.clear();
        let (holds, refused) = (&mut self.holds, &mut self.refused);
        self.ledger.execute_all(commands, self.now_ms, &mut self.payload, FRAME_BYTES_MAX, &mut |ledger, executed| {
            match executed.answer {
                Answer::Accepted { effect, replayed: false, .. } => {
                    if let Effect::Reserved(hold) = ledger.effect(effect) {
                        holds.push(hold.id);
                    }
                }
                _ => *refused += 1,
            }
        });
    }

    fn allocate(&mut self, texts: &FrameTexts) {
        let command = |(id, key)| {
            let context = Context { key, issue_time_ms: Some(self.now_ms), ..Context::default() };
            let target = Target { by: TargetBy::Id(id), lines: Vec::new(), expected_version: 0 };
            Command { context, body: Body::Allocate(target) }
        };
        let commands: Vec<_> = self.holds.iter().copied().zip(texts.allocates()).map(command).collect();
        let refused = &mut self.refused;
        self.ledger.execute_all(&commands, self.now_ms, &mut self.payload, FRAME_BYTES_MAX, &mut |_, executed| {
            let accepted = matches!(executed.answer, Answer::Accepted { replayed: false, .. });
            *refused += u64::from(!accepted);
        });
    }

    /// The problem of the ledger after `pairs` pairs, or `None`.
    fn problem(&self, pairs: u64) -> Option<String> {
        if self.refused > 0 {
            return Some(format!("{} commands were refused", self.refused));
        }
        if let Some(broken) = Audit::check(&self.ledger).first() {
            return Some(format!("{} is broken at {}", broken.rule, broken.at));
        }
        let mut expected = vec![0_i64; self.levels as usize];
        (0..pairs).for_each(|pair| expected[level_of(pair, self.levels) as usize] += 1);
        let location = self.ledger.locations().find(LOCATION)?;
        for (sku, allocated) in (0..self.levels).map(sku).zip(expected) {
            let level = self.ledger.items().find(&sku).and_then(|item| self.ledger.find_level(item, location));
            let figures = level.map(|level| self.ledger.figures(level, self.now_ms)).unwrap_or_default();
            if (figures.reserved, figures.allocated) != (0, allocated) || figures.oversold() != 0 {
                return Some(format!("{sku} must have {allocated} units allocated, but has {figures:?}"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Bench, FrameTexts, bench_ledger};

    #[test]
    fn every_pair_is_executed_and_checked() {
        let report = bench_ledger(2_501, 7).unwrap();
        assert_eq!((report.operations, report.checks.as_str()), (2_502, "passed"));
        assert!(report.seconds > 0.0);
    }

    #[test]
    fn a_ledger_in_an_unexpected_state_has_a_problem() {
        let mut bench = Bench::new(2);
        bench.frame(&FrameTexts::new(0..10, 2));
        assert_eq!(bench.problem(10), None);
        assert!(bench.problem(11).unwrap().contains("must have"));
        bench.frame(&FrameTexts::new(9..10, 2));
        assert_eq!(bench.problem(10).unwrap(), "1 commands were refused");
    }

    #[test]
    fn nothing_to_do_is_refused() {
        assert!(bench_ledger(0, 1).is_err());
        assert!(bench_ledger(1, 0).is_err());
        assert!(bench_ledger(1, 10_000_000).is_err());
    }
}
