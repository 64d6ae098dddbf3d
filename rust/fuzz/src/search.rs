//! The search: mutates known inputs, keeps those with a new signature, and stops at the first violated guarantee.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::mutate::{Random, mutate};
use crate::{Signature, Target};

/// Most inputs that are kept to mutate.
const POOL_MAX: usize = 4_096;

/// How memory is measured: what is allocated now, and the peak since the last `reset`.
#[derive(Clone, Copy)]
pub struct MemoryMeter {
    /// Bytes allocated now.
    pub current: fn() -> usize,
    /// Most bytes allocated since `reset`.
    pub peak: fn() -> usize,
    /// Starts a new measurement.
    pub reset: fn(),
}

/// The result of a search.
#[derive(Debug)]
pub struct Report {
    /// Inputs that were run.
    pub executions: u64,
    /// How long it took.
    pub took: Duration,
    /// Inputs with a new signature, in the order in which they were found, seeds first.
    pub pool: Vec<Vec<u8>>,
    /// Most memory that one input needed, bytes.
    pub peak_bytes: usize,
}

/// An input that violated a guarantee.
#[derive(Debug)]
pub struct Failure {
    /// The input.
    pub input: Vec<u8>,
    /// The violated guarantee.
    pub why: String,
}

/// Memory that one input may need: a constant for the target's environment, and a multiple of the input's length.
pub fn memory_max(input: &[u8]) -> usize {
    (8 << 20) + 1_024 * input.len()
}

/// Runs one input: no panic, bounded memory.
///
/// # Errors
/// The guarantee that was violated.
pub fn check(target: &Target, input: &[u8], meter: MemoryMeter) -> Result<(Signature, usize), Failure> {
    let failure = |why: String| Failure { input: input.to_vec(), why };
    let before = (meter.current)();
    (meter.reset)();
    let signature = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        failure(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })?;
    let taken = (meter.peak)().saturating_sub(before);
    if taken > memory_max(input) {
        return Err(failure(format!("{} bytes of input took {taken} bytes of memory", input.len())));
    }
    Ok((signature, taken))
}

/// How long a search runs: until the first of both limits is reached. Known inputs are always run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Inputs, the known ones included.
    pub executions: u64,
    /// Time.
    pub time: Duration,
}

/// Number of inputs between two checks of the clock.
const CLOCK_CHECK_EVERY: u64 = 64;

/// Runs known inputs, then mutations of them.
///
/// # Errors
/// The first input that violated a guarantee.
pub fn search(
    target: &Target,
    known: Vec<Vec<u8>>,
    limits: Limits,
    seed: u64,
    meter: MemoryMeter,
) -> Result<Report, Failure> {
    // Memory that a target allocates once must not count for its first input.
    (target.run)(&[]);
    let started = Instant::now();
    let mut random = Random::new(seed);
    let mut all = HashSet::new();
    let mut report = Report { executions: 0, took: Duration::ZERO, pool: Vec::new(), peak_bytes: 0 };
    let mut run = |report: &mut Report, input: &[u8]| -> Result<(), Failure> {
        let (signature, taken) = check(target, input, meter)?;
        report.executions += 1;
        report.peak_bytes = report.peak_bytes.max(taken);
        if all.insert(signature) && report.pool.len() < POOL_MAX {
            report.pool.push(input.to_vec());
        }
        Ok(())
    };
    for input in known {
        run(&mut report, &input)?;
    }
    let mut input = Vec::new();
    while report.executions < limits.executions {
        if report.executions.is_multiple_of(CLOCK_CHECK_EVERY) && started.elapsed() >= limits.time {
            break;
        }
        input.clear();
        if let Some(from) = pick(&report.pool, &mut random) {
            input.extend_from_slice(from);
        }
        let other = pick(&report.pool, &mut random).unwrap_or_default();
        mutate(&mut input, other, &mut random);
        run(&mut report, &input)?;
    }
    report.took = started.elapsed();
    Ok(report)
}

fn pick<'p>(pool: &'p [Vec<u8>], random: &mut Random) -> Option<&'p [u8]> {
    (!pool.is_empty()).then(|| &pool[random.below(pool.len())][..])
}
