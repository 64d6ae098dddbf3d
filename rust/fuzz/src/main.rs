//! The long search: `invengine-fuzz [TARGET…] [--executions N] [--seconds N] [--seed N] [--grow]`, limits a target.
//!
//! Prints a line a target. An input that breaks a promise is printed as a line for the corpus, and the exit code is 1.
#![forbid(unsafe_code)]

use std::panic;
use std::process::ExitCode;
use std::time::Duration;

use invengine_fuzz::search::{Limits, Meter, Report, search};
use invengine_fuzz::{TARGETS, Target, corpus, find};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const METER: Meter =
    Meter { current: || MEMORY.current_usage(), peak: || MEMORY.peak_usage(), reset: || MEMORY.reset_peak_usage() };
/// Inputs longer than this are not kept in the corpus: it is read by people and lives in the repository.
const CORPUS_INPUT_BYTES_MAX: usize = 400;
const CORPUS_INPUTS_MAX: usize = 48;
/// What a target does unless it is told otherwise.
const LIMITS: Limits = Limits { executions: 100_000, time: Duration::MAX };

struct Asked {
    targets: Vec<&'static Target>,
    limits: Limits,
    seed: u64,
    grow: bool,
}

fn asked() -> Result<Asked, String> {
    let (mut executions, mut seconds) = (None, None);
    let mut asked = Asked { targets: Vec::new(), limits: LIMITS, seed: 1, grow: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().unwrap_or_default();
            value.replace('_', "").parse::<u64>().map_err(|_| format!("{word} needs a number, not '{value}'"))
        };
        match word.as_str() {
            "--executions" => executions = Some(number()?),
            "--seconds" => seconds = Some(number()?),
            "--seed" => asked.seed = number()?,
            "--grow" => asked.grow = true,
            name => asked.targets.push(find(name).ok_or_else(|| {
                let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                format!("no target is called '{name}'; there are {}", names.join(", "))
            })?),
        }
    }
    if let Some(seconds) = seconds {
        asked.limits = Limits { executions: u64::MAX, time: Duration::from_secs(seconds) };
    }
    asked.limits.executions = executions.unwrap_or(asked.limits.executions);
    if asked.targets.is_empty() {
        asked.targets = TARGETS.iter().collect();
    }
    Ok(asked)
}

fn main() -> ExitCode {
    let asked = match asked() {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("invengine-fuzz: {why}");
            return ExitCode::from(2);
        }
    };
    panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let ok = asked.targets.iter().all(|target| run(target, &asked));
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(target: &Target, asked: &Asked) -> bool {
    let mut known = (target.seeds)();
    known.extend(corpus::read(target.name).unwrap_or_default());
    match search(target, known, asked.limits, asked.seed, METER) {
        Ok(report) => {
            tell(target, &report);
            !asked.grow || grow(target, &report)
        }
        Err(failure) => {
            eprintln!("{}: {}", target.name, failure.why);
            eprintln!("add this line to {}:", corpus::file(target.name).display());
            eprintln!("{}", corpus::hex(&failure.input));
            false
        }
    }
}

fn tell(target: &Target, report: &Report) {
    println!(
        "{}: {} executions, {:.0} a second, {} ways, at most {:.1} MiB an input",
        target.name,
        report.executions,
        report.executions as f64 / report.took.as_secs_f64().max(1e-9),
        report.pool.len(),
        report.peak_bytes as f64 / f64::from(1 << 20),
    );
}

/// Keeps the shorter half of what was found; what seeds make again need not be kept.
fn grow(target: &Target, report: &Report) -> bool {
    let seeds = (target.seeds)();
    let mut inputs: Vec<Vec<u8>> = report.pool.iter().filter(|input| !seeds.contains(input)).cloned().collect();
    inputs.retain(|input| input.len() <= CORPUS_INPUT_BYTES_MAX);
    inputs.sort_by_key(Vec::len);
    inputs.truncate(CORPUS_INPUTS_MAX);
    match corpus::write(target.name, &inputs) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("{}: {error}", corpus::file(target.name).display());
            false
        }
    }
}
