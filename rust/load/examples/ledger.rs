//! Runs the ledger alone, for profilers and instruction counts: `cargo run --release -p invengine-load --example ledger -- 2000000 100000`,
//! and in a steady state with a third number.

use invengine_load::{LedgerRun, bench_ledger};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("operations and levels"));
    let (operations, levels) = (arguments.next().unwrap_or(2_000_000), arguments.next().unwrap_or(100_000));
    let run = if arguments.next().is_some() { LedgerRun::Steady } else { LedgerRun::Growing };
    let report = bench_ledger(operations, u32::try_from(levels).expect("fewer levels"), run).expect("a run");
    let (rate, faults) = (report.operations as f64 / report.seconds, report.page_faults);
    println!("{} operations, {rate:.0} a second, {faults} page faults, checks {}", report.operations, report.checks);
}
