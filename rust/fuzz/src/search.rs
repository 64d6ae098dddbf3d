//! The search: mutates what is known, keeps what came to something new, and stops at the first broken promise.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::mutate::{Chance, mutate};
use crate::{Seen, Target};

/// Most inputs that are kept to mutate.
const POOL_MAX: usize = 4_096;

/// How memory is watched: what is taken now, and the most since the last `reset`.
#[derive(Clone, Copy)]
pub struct Meter {
    /// Bytes taken now.
    pub current: fn() -> usize,
    /// Most bytes taken since `reset`.
    pub peak: fn() -> usize,
    /// Starts a new measurement.
    pub reset: fn(),
}

/// What a search did.
#[derive(Debug)]
pub struct Report {
    /// Inputs that were run.
    pub executions: u64,
    /// How long it took.
    pub took: Duration,
    /// Inputs that came to something new, in the order they were found, seeds first.
    pub pool: Vec<Vec<u8>>,
    /// Most memory that one input took, bytes.
    pub peak_bytes: usize,
}

/// An input that broke a promise.
#[derive(Debug)]
pub struct Failure {
    /// The input.
    pub input: Vec<u8>,
    /// What broke.
    pub why: String,
}

/// Memory that one input may take: what a target needs for its surroundings, and a multiple of the input's length.
pub fn memory_max(input: &[u8]) -> usize {
    (8 << 20) + 1_024 * input.len()
}

/// Runs one input: no panic, bounded memory.
///
/// # Errors
/// The promise that broke.
pub fn check(target: &Target, input: &[u8], meter: Meter) -> Result<(Seen, usize), Failure> {
    let failure = |why: String| Failure { input: input.to_vec(), why };
    let before = (meter.current)();
    (meter.reset)();
    let seen = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        failure(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })?;
    let taken = (meter.peak)().saturating_sub(before);
    if taken > memory_max(input) {
        return Err(failure(format!("{} bytes of input took {taken} bytes of memory", input.len())));
    }
    Ok((seen, taken))
}

/// How long a search goes on after the inputs that are known: to whichever of both comes first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Inputs, the known ones included.
    pub executions: u64,
    /// Time.
    pub time: Duration,
}

/// Inputs between two looks at the clock.
const LOOK_EVERY: u64 = 64;

/// Runs known inputs, then mutations of them.
///
/// # Errors
/// The first input that broke a promise.
pub fn search(
    target: &Target,
    known: Vec<Vec<u8>>,
    limits: Limits,
    seed: u64,
    meter: Meter,
) -> Result<Report, Failure> {
    // What a target prepares once is not the memory of its first input.
    (target.run)(&[]);
    let started = Instant::now();
    let mut chance = Chance::new(seed);
    let mut all = HashSet::new();
    let mut report = Report { executions: 0, took: Duration::ZERO, pool: Vec::new(), peak_bytes: 0 };
    let mut run = |report: &mut Report, input: &[u8]| -> Result<(), Failure> {
        let (seen, taken) = check(target, input, meter)?;
        report.executions += 1;
        report.peak_bytes = report.peak_bytes.max(taken);
        if all.insert(seen) && report.pool.len() < POOL_MAX {
            report.pool.push(input.to_vec());
        }
        Ok(())
    };
    for input in known {
        run(&mut report, &input)?;
    }
    let mut input = Vec::new();
    while report.executions < limits.executions {
        if report.executions.is_multiple_of(LOOK_EVERY) && started.elapsed() >= limits.time {
            break;
        }
        input.clear();
        if let Some(from) = pick(&report.pool, &mut chance) {
            input.extend_from_slice(from);
        }
        let other = pick(&report.pool, &mut chance).unwrap_or_default();
        mutate(&mut input, other, &mut chance);
        run(&mut report, &input)?;
    }
    report.took = started.elapsed();
    Ok(report)
}

fn pick<'p>(pool: &'p [Vec<u8>], chance: &mut Chance) -> Option<&'p [u8]> {
    (!pool.is_empty()).then(|| &pool[chance.below(pool.len())][..])
}
