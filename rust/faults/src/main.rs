//! `simulate-faults`: runs seeds until so many hours or recoveries are simulated, or one of them fails.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use invengine_faults::faults::Mask;
use invengine_faults::planted::Planted;
use invengine_faults::report::Report;
use invengine_faults::shrink::shrink;
use invengine_faults::swarm::Pace;
use invengine_faults::world::World;

const USAGE: &str = "simulate-faults [--seed N | --seeds A..B] [--hours H] [--recoveries N] [--minutes-max M] [--threads T] \
                     [--short] [--planted NAME] [--coverage]";

struct Options {
    first: u64,
    last: u64,
    hours: f64,
    recoveries: u64,
    minutes_max: u64,
    threads: u64,
    pace: Pace,
    planted: Option<Planted>,
    coverage: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        first: 0,
        last: u64::MAX,
        hours: 0.0,
        recoveries: 0,
        minutes_max: 60,
        threads: 1,
        pace: Pace::Hours,
        planted: None,
        coverage: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--short" => options.pace = Pace::Recoveries,
            "--coverage" => options.coverage = true,
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

/// Runs seeds on several threads; the first failure, and everything added up.
fn simulate(options: &Options) -> (Report, Option<Report>) {
    let next = AtomicU64::new(options.first);
    let until = Instant::now() + Duration::from_secs(60 * options.minutes_max);
    let sum = Mutex::new((Report::default(), None::<Report>));
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.last || Instant::now() > until || is_enough(options, &sum) {
                        break;
                    }
                    let run = || World::new(seed, options.pace, Mask::default(), options.planted, false).run();
                    let report = std::panic::catch_unwind(run).unwrap_or_else(|_| panicked(seed));
                    let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    sum.0.add(&report);
                    if report.breach.is_some() && sum.1.is_none() {
                        sum.1 = Some(report);
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn panicked(seed: u64) -> Report {
    let breach = invengine_faults::model::Breach::new("nothing panics", "see above");
    Report { seed, breach: Some(breach), ..Report::default() }
}

fn is_enough(options: &Options, sum: &Mutex<(Report, Option<Report>)>) -> bool {
    let sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let hours = options.hours > 0.0 && sum.0.hours >= options.hours;
    let recoveries = options.recoveries > 0 && sum.0.recoveries >= options.recoveries;
    sum.1.is_some() || hours || recoveries
}

fn explain(options: &Options, failed: &Report) {
    let Some(breach) = &failed.breach else { return };
    println!("seed {}: {}: {}; looking for fewer faults", failed.seed, breach.rule, breach.found);
    let (mask, last) = shrink(failed.seed, options.pace, options.planted, breach.rule);
    let shown = if last.breach.is_some() { &last } else { failed };
    println!("{}", shown.recent.join("\n"));
    println!("{}\nsettings: {}", shown.state, shown.swarm);
    let left: Vec<String> = shown.log.iter().map(|(class, number)| format!("{} #{number}", class.name())).collect();
    println!("faults that it takes ({} left out): {}", mask.faults.len(), left.join(", "));
    println!("FAILED seed {}: {}: {}", failed.seed, breach.rule, breach.found);
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let (sum, failed) = simulate(&options);
    if let Some(failed) = &failed {
        explain(&options, failed);
    }
    println!("{}", sum.text());
    let missing = sum.missing();
    if options.coverage && !missing.is_empty() {
        println!("FAILED: these never happened: {}", missing.join(", "));
    }
    if failed.is_some() || (options.coverage && !missing.is_empty()) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
