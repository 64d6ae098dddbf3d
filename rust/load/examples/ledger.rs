//! Runs the ledger alone, for profilers and instruction counts: `cargo run --release -p invengine-load --example ledger -- 2000000 100000`.

use invengine_load::bench_ledger;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("operations and levels"));
    let (operations, levels) = (arguments.next().unwrap_or(2_000_000), arguments.next().unwrap_or(100_000));
    let report = bench_ledger(operations, u32::try_from(levels).expect("fewer levels")).expect("a run");
    let rate = report.operations as f64 / report.seconds;
    println!("{} operations, {rate:.0} a second, checks {}", report.operations, report.checks);
}
