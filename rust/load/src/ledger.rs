//! The ledger alone, without a journal or a network: how many commands one core decides.

use invengine_ledger::StockState;
use std::hint::black_box;
use std::ops::Range;
use std::str::FromStr;
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
use crate::machine::page_faults;

const LOCATION: &str = "dc-1";
const START_MS: i64 = 1_800_000_000_000;
/// Number of reserves, and of allocates, in one frame. Engine time advances with each frame.
const FRAME_PAIRS: usize = 500;
const FRAME_MS: i64 = 1;
const FRAME_BYTES_MAX: usize = 8 << 20;
const CATALOGUE_BATCH: usize = 1_000;
/// Memory for keys of the run in a steady state: more than the caches of a processor hold.
const STEADY_KEY_BYTES: usize = 256 << 20;
/// How often keys are forgotten before such a run.
const FORGOTTEN_BEFORE: u64 = 2;
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
    /// Pages of memory touched for the first time during these.
    pub page_faults: u64,
    /// "passed", or the problem.
    pub checks: String,
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerRun {
    /// In a ledger that grows: every hold stays, and no key is forgotten.
    Growing,
    /// In a ledger that no longer grows: each hold is fulfilled after its frame, the memory for keys is small, and keys were
    /// forgotten twice before the first command counts. None of this is part of the time.
    Steady,
    /// Reserves that are never allocated: as time goes by, each level has units due at many ticks.
    Reserves,
    /// Only makes the texts of the commands, which an instrument that counts the whole program has to subtract.
    Texts,
}

impl FromStr for LedgerRun {
    type Err = LoadError;

    fn from_str(name: &str) -> Result<Self, LoadError> {
        match name {
            "growing" => Ok(LedgerRun::Growing),
            "steady" => Ok(LedgerRun::Steady),
            "reserves" => Ok(LedgerRun::Reserves),
            "texts" => Ok(LedgerRun::Texts),
            _ => Err(LoadError::Spec(format!("growing, steady, reserves or texts, not {name}"))),
        }
    }
}

/// Alternates reserves and allocates, if the run has these: `operations` commands over `levels` levels in random order, with
/// keys and expiry enabled.
///
/// # Errors
/// `operations` or `levels` is 0, or `levels` is too large.
pub fn bench_ledger(operations: u64, levels: u32, run: LedgerRun) -> Result<LedgerReport, LoadError> {
    let commands = if run == LedgerRun::Reserves { 1 } else { 2 };
    let pairs = operations.div_ceil(commands);
    if pairs == 0 || levels == 0 || levels > LEVELS_MAX {
        return Err(LoadError::Spec(format!("operations must be at least 1, levels 1 to {LEVELS_MAX}")));
    }
    let mut bench = Bench::new(levels, run);
    let mut warm = 0;
    while run == LedgerRun::Steady && bench.forgotten < FORGOTTEN_BEFORE {
        bench.frame(&FrameTexts::new(warm..warm + FRAME_PAIRS as u64, levels));
        warm += FRAME_PAIRS as u64;
    }
    let end = warm + pairs;
    (bench.took, bench.page_faults) = (Duration::ZERO, 0);
    for first in (warm..end).step_by(FRAME_PAIRS) {
        let texts = FrameTexts::new(first..end.min(first + FRAME_PAIRS as u64), levels);
        match run {
            LedgerRun::Texts => drop(black_box(texts)),
            _ => bench.frame(&texts),
        }
    }
    let executed = if run == LedgerRun::Texts { 0 } else { end };
    let checks = bench.problem(executed).unwrap_or_else(|| "passed".to_owned());
    let Bench { took, page_faults, .. } = bench;
    Ok(LedgerReport { operations: commands * pairs, seconds: took.as_secs_f64(), page_faults, checks })
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
    /// How often keys were forgotten.
    forgotten: u64,
    run: LedgerRun,
    took: Duration,
    page_faults: u64,
}

impl Bench {
    fn new(levels: u32, run: LedgerRun) -> Self {
        let mut options = LedgerOptions::new("bench");
        if run == LedgerRun::Steady {
            options.key_bytes_max = STEADY_KEY_BYTES;
        }
        let mut bench = Self {
            ledger: Ledger::new(options),
            levels,
            forgotten: 0,
            run,
            took: Duration::ZERO,
            page_faults: 0,
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

    /// One frame: reserves, then the allocates of those holds if the run has them.
    fn frame(&mut self, texts: &FrameTexts) {
        self.payload.clear(FRAME_BYTES_MAX);
        self.now_ms += FRAME_MS;
        let reserves: Vec<_> = texts.reserves().map(|(key, sku)| reserve(key, sku, self.now_ms)).collect();
        let (began, faults) = (Instant::now(), page_faults());
        self.reserve(&reserves);
        if self.run != LedgerRun::Reserves {
            self.allocate(texts);
        }
        self.ledger.sweep(self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
        let forgot = self.ledger.forget_keys(self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
        self.took += began.elapsed();
        self.page_faults += page_faults() - faults;
        self.forgotten += u64::from(forgot);
        if self.run == LedgerRun::Steady {
            self.fulfill();
        }
    }

    /// Ends the holds of the frame, without keys.
    fn fulfill(&mut self) {
        self.payload.clear(FRAME_BYTES_MAX);
        for id in self.holds.drain(..) {
            let target = Target { by: TargetBy::Id(id), lines: Vec::new(), expected_version: 0 };
            let command = Command { context: Context::default(), body: Body::Fulfill(target) };
            let executed = self.ledger.execute(&command, self.now_ms, &mut self.payload, FRAME_BYTES_MAX);
            self.refused += u64::from(matches!(executed.answer, Answer::Rejected(_)));
        }
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
        if self.run != LedgerRun::Steady {
            (0..pairs).for_each(|pair| expected[level_of(pair, self.levels) as usize] += 1);
        }
        let location = self.ledger.locations().find(LOCATION)?;
        for (sku, units) in (0..self.levels).map(sku).zip(expected) {
            let level = self.ledger.items().find(&sku).and_then(|item| self.ledger.find_level(item, location));
            let figures = level.map(|level| self.ledger.figures(level, self.now_ms)).unwrap_or_default();
            let held = if self.run == LedgerRun::Reserves { (units, 0) } else { (0, units) };
            if (figures.reserved, figures.allocated) != held || figures.oversold() != 0 {
                return Some(format!("{sku} must have {held:?} units reserved and allocated, but has {figures:?}"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Bench, FrameTexts, LedgerRun, bench_ledger};

    #[test]
    fn every_pair_is_executed_and_checked() {
        for run in ["growing", "steady", "reserves", "texts"] {
            let report = bench_ledger(2_501, 7, run.parse().unwrap()).unwrap();
            let operations = if run == "reserves" { 2_501 } else { 2_502 };
            assert_eq!((report.operations, report.checks.as_str()), (operations, "passed"));
            assert_eq!(report.seconds > 0.0, run != "texts");
        }
    }

    #[test]
    fn a_ledger_in_an_unexpected_state_has_a_problem() {
        let mut bench = Bench::new(2, LedgerRun::Growing);
        bench.frame(&FrameTexts::new(0..10, 2));
        assert_eq!(bench.problem(10), None);
        assert!(bench.problem(11).unwrap().contains("must have"));
        bench.frame(&FrameTexts::new(9..10, 2));
        assert_eq!(bench.problem(10).unwrap(), "1 commands were refused");
    }

    #[test]
    fn nothing_to_do_is_refused() {
        assert!(bench_ledger(0, 1, LedgerRun::Growing).is_err());
        assert!(bench_ledger(1, 0, LedgerRun::Growing).is_err());
        assert!(bench_ledger(1, 10_000_000, LedgerRun::Growing).is_err());
    }
}
