//! The long search: `invengine-fuzz [TARGET…] [--executions N] [--seconds N] [--seed N] [--grow]`; limits are per target.
//!
//! Prints one line per target. An input that violates a guarantee is printed as a line for the corpus, and the exit code is 1.
#![forbid(unsafe_code)]

use std::panic;
use std::process::ExitCode;
use std::time::Duration;

use invengine_fuzz::search::{Limits, MemoryMeter, Report, search};
use invengine_fuzz::{TARGETS, Target, corpus, find};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const METER: MemoryMeter = MemoryMeter {
    current: || MEMORY.current_usage(),
    peak: || MEMORY.peak_usage(),
    reset: || MEMORY.reset_peak_usage(),
};
/// Longer inputs are not kept in the corpus, which people read and which is part of the repository.
const CORPUS_INPUT_BYTES_MAX: usize = 400;
const CORPUS_INPUTS_MAX: usize = 48;
/// The default limits of a target.
const LIMITS: Limits = Limits { executions: 100_000, time: Duration::MAX };

struct Options {
    targets: Vec<&'static Target>,
    limits: Limits,
    seed: u64,
    grow: bool,
}

fn options() -> Result<Options, String> {
    let (mut executions, mut seconds) = (None, None);
    let mut options = Options { targets: Vec::new(), limits: LIMITS, seed: 1, grow: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().unwrap_or_default();
            value.replace('_', "").parse::<u64>().map_err(|_| format!("{word} needs a number, not '{value}'"))
        };
        match word.as_str() {
            "--executions" => executions = Some(number()?),
            "--seconds" => seconds = Some(number()?),
            "--seed" => options.seed = number()?,
            "--grow" => options.grow = true,
            name => options.targets.push(find(name).ok_or_else(|| {
                let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                format!("no target is called '{name}'; there are {}", names.join(", "))
            })?),
        }
    }
    if let Some(seconds) = seconds {
        options.limits = Limits { executions: u64::MAX, time: Duration::from_secs(seconds) };
    }
    options.limits.executions = executions.unwrap_or(options.limits.executions);
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("invengine-fuzz: {why}");
            return ExitCode::from(2);
        }
    };
    panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let ok = options.targets.iter().all(|target| run(target, &options));
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(target: &Target, options: &Options) -> bool {
    let mut known = (target.seeds)();
    known.extend(corpus::read(target.name).unwrap_or_default());
    match search(target, known, options.limits, options.seed, METER) {
        Ok(report) => {
            print_report(target, &report);
            !options.grow || grow(target, &report)
        }
        Err(failure) => {
            eprintln!("{}: {}", target.name, failure.why);
            eprintln!("add this line to {}:", corpus::file(target.name).display());
            eprintln!("{}", corpus::hex(&failure.input));
            false
        }
    }
}

fn print_report(target: &Target, report: &Report) {
    println!(
        "{}: {} executions, {:.0} per second, {} signatures, at most {:.1} MiB per input",
        target.name,
        report.executions,
        report.executions as f64 / report.took.as_secs_f64().max(1e-9),
        report.pool.len(),
        report.peak_bytes as f64 / f64::from(1 << 20),
    );
}

/// Writes the shortest new inputs to the corpus; seeds are not part of it.
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
