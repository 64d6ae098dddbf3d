//! Runs the ledger alone, for profilers and instruction counts: `cargo run --release -p invengine-load --example ledger -- 2000000 100000`,
//! and another run than the growing one with its name at the end.

use invengine_load::{LedgerRun, bench_ledger};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let operations = arguments.next().map_or(2_000_000, |text| text.parse().expect("a number of operations"));
    let levels = arguments.next().map_or(100_000, |text| text.parse().expect("a number of levels"));
    let run = arguments.next().map_or(LedgerRun::Growing, |name| name.parse().expect("the name of a run"));
    let report = bench_ledger(operations, levels, run).expect("a run");
    let (rate, faults) = (report.operations as f64 / report.seconds, report.page_faults);
    println!("{} operations, {rate:.0} a second, {faults} page faults, checks {}", report.operations, report.checks);
}
