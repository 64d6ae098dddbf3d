//! `simulate-faults`: runs seeds until the wanted hours or recoveries are simulated, or a seed fails.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use invengine_faults::faults::{Class, Fault, Mask};
use invengine_faults::planted::Planted;
use invengine_faults::report::Report;
use invengine_faults::shrink::shrink;
use invengine_faults::simulation::Simulation;
use invengine_faults::swarm::Profile;

/// Up to this many faults are listed one by one.
const FAULTS_LISTED: usize = 60;
const USAGE: &str = "simulate-faults [--seed N | --seeds A..B] [--hours H] [--recoveries N] [--minutes-max M] [--threads T] \
                     [--short] [--planted NAME] [--long] [--json]";

struct Options {
    first: u64,
    last: u64,
    hours: f64,
    recoveries: u64,
    minutes_max: u64,
    threads: u64,
    pace: Profile,
    planted: Option<Planted>,
    /// Fails unless every class of faults and every mark was hit.
    long: bool,
    json: bool,
}

fn defaults() -> Options {
    Options {
        first: 0,
        last: u64::MAX,
        hours: 0.0,
        recoveries: 0,
        minutes_max: 60,
        threads: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
        pace: Profile::Hours,
        planted: None,
        long: false,
        json: false,
    }
}

fn options() -> Result<Options, String> {
    let mut options = defaults();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--short" => options.pace = Profile::Recoveries,
            "--long" | "--coverage" => options.long = true,
            "--json" => options.json = true,
            _ => option(&mut options, &word, &words.next().ok_or(USAGE)?)?,
        }
    }
    if options.last == u64::MAX && options.hours == 0.0 && options.recoveries == 0 {
        return Err(USAGE.into());
    }
    Ok(options)
}

fn option(options: &mut Options, name: &str, value: &str) -> Result<(), String> {
    let bad = |_| format!("{name} {value}: not a number; {USAGE}");
    match name {
        "--seed" => {
            options.first = value.parse().map_err(bad)?;
            options.last = options.first + 1;
        }
        "--seeds" => {
            let (first, last) = value.split_once("..").ok_or(USAGE)?;
            (options.first, options.last) = (first.parse().map_err(bad)?, last.parse().map_err(bad)?);
        }
        "--hours" => options.hours = value.parse().map_err(|_| format!("--hours {value}: not a number"))?,
        "--recoveries" => options.recoveries = value.parse().map_err(bad)?,
        "--minutes-max" => options.minutes_max = value.parse().map_err(bad)?,
        "--threads" => options.threads = value.parse().map_err(bad)?,
        "--planted" => options.planted = Some(Planted::find(value).ok_or_else(|| format!("no planted bug {value}"))?),
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

/// The results so far. Seeds are added up in their order until they are enough, so the figures of a run are the same with any
/// number of threads. Seeds beyond that were run in vain, but a failure of one of them counts.
struct RunTotals {
    total: Report,
    failed: Option<Report>,
    /// The first seed that is not in the total.
    next: u64,
    /// Reports of later seeds, which have to wait for it.
    waiting: BTreeMap<u64, Report>,
}

impl RunTotals {
    fn take(&mut self, report: Report, options: &Options) {
        if report.violation.is_some() && self.failed.as_ref().is_none_or(|failed| report.seed < failed.seed) {
            self.failed = Some(report.clone());
        }
        self.waiting.insert(report.seed, report);
        while !self.is_enough(options)
            && let Some(report) = self.waiting.remove(&self.next)
        {
            self.total.add(&report);
            self.next += 1;
        }
    }

    fn is_enough(&self, options: &Options) -> bool {
        let hours = options.hours > 0.0 && self.total.hours >= options.hours;
        let recoveries = options.recoveries > 0 && self.total.recoveries >= options.recoveries;
        hours || recoveries
    }
}

/// Runs seeds on several threads until they are enough, or one fails.
fn simulate(options: &Options) -> RunTotals {
    let next = AtomicU64::new(options.first);
    let until = Instant::now() + Duration::from_secs(60 * options.minutes_max);
    let sum = RunTotals { total: Report::default(), failed: None, next: options.first, waiting: BTreeMap::new() };
    let sum = Mutex::new(sum);
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let has_ended = {
                        let sum = lock(&sum);
                        sum.failed.is_some() || sum.is_enough(options)
                    };
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if has_ended || seed >= options.last || Instant::now() > until {
                        break;
                    }
                    let run = || Simulation::new(seed, options.pace, Mask::default(), options.planted, false).run();
                    let report = std::panic::catch_unwind(run).unwrap_or_else(|_| panicked(seed));
                    lock(&sum).take(report, options);
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock(sum: &Mutex<RunTotals>) -> MutexGuard<'_, RunTotals> {
    sum.lock().unwrap_or_else(PoisonError::into_inner)
}

fn panicked(seed: u64) -> Report {
    let violation = invengine_faults::model::Violation::new("nothing panics", "see above");
    Report { seed, violation: Some(violation), ..Report::default() }
}

fn explain(options: &Options, failed: &Report) {
    let Some(violation) = &failed.violation else { return };
    println!("seed {}: {}: {}; looking for fewer faults", failed.seed, violation.rule, violation.found);
    let (mask, last) = shrink(failed.seed, options.pace, options.planted, violation.rule);
    let shown = if last.violation.is_some() { &last } else { failed };
    println!("{}", shown.recent.join("\n"));
    println!("{}\nsettings: {}", shown.state, shown.swarm);
    println!("faults that it takes ({} left out): {}", mask.faults.len(), describe_faults(&shown.log));
    println!("commit: {}", commit());
    println!("FAILED seed {}: {}: {}", failed.seed, violation.rule, violation.found);
}

/// Lists faults one by one, or counts them by class if there are too many.
fn describe_faults(log: &[Fault]) -> String {
    if log.len() <= FAULTS_LISTED {
        let each: Vec<String> = log.iter().map(|(class, number)| format!("{} #{number}", class.name())).collect();
        return each.join(", ");
    }
    let count = |class: &Class| log.iter().filter(|(of, _)| of == class).count();
    let counts = Class::ALL.iter().map(|class| (class.name(), count(class))).filter(|(_, count)| *count > 0);
    counts.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// The commit that is checked out, if any.
fn commit() -> String {
    let rev_parse = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output();
    let output = rev_parse
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).into());
    output.map_or_else(|| "unknown".into(), |output: String| output.trim().into())
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let RunTotals { total: sum, failed, next: last, .. } = simulate(&options);
    if let Some(failed) = &failed {
        explain(&options, failed);
    }
    println!("{}", sum.text());
    let missing = if options.long { sum.missing() } else { Vec::new() };
    if !missing.is_empty() {
        println!("FAILED: these never happened: {}", missing.join(", "));
    }
    if options.json {
        let violation = failed.as_ref().and_then(|failed| failed.violation.clone());
        println!("{}", Report { violation, ..sum }.json((options.first, last)));
    }
    if failed.is_some() || !missing.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(seeds: &[u64], failing: u64) -> RunTotals {
        let options = Options { hours: 3.0, ..defaults() };
        let mut sum = RunTotals { total: Report::default(), failed: None, next: 0, waiting: BTreeMap::new() };
        for seed in seeds {
            let mut report = Report { seed: *seed, hours: 1.0, digest: 1 << seed, ..Report::default() };
            report.violation = (*seed >= failing).then(|| invengine_faults::model::Violation::new("a rule", ""));
            sum.take(report, &options);
        }
        sum
    }

    #[test]
    fn the_order_in_which_seeds_end_changes_nothing() {
        for seeds in [[0, 1, 2, 3, 4], [4, 2, 0, 3, 1], [2, 1, 4, 3, 0]] {
            let sum = sum_of(&seeds, 9);
            assert_eq!((sum.total.hours, sum.total.digest, sum.next), (3.0, 0b111, 3), "{seeds:?}");
            assert!(sum.failed.is_none());
            let failed = sum_of(&seeds, 3).failed.expect("a seed that was begun in vain may fail");
            assert_eq!(failed.seed, 3, "{seeds:?}");
        }
    }
}
