//! Replays the committed corpus and runs a short search of each target: no panic, no unknown answer, bounded memory.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use invengine_fuzz::search::{Limits, MemoryMeter, search};
use invengine_fuzz::{TARGETS, corpus, find};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const METER: MemoryMeter = MemoryMeter {
    current: || MEMORY.current_usage(),
    peak: || MEMORY.peak_usage(),
    reset: || MEMORY.reset_peak_usage(),
};
/// One target at a time: memory is counted for the whole process.
static TURN: Mutex<()> = Mutex::new(());

fn replay(name: &str, executions: u64) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let target = find(name).unwrap();
    let known: Vec<Vec<u8>> = corpus::read(name).unwrap().into_iter().chain((target.seeds)()).collect();
    assert!(known.len() > 2, "{name} has no corpus");
    let seeds = known.len() as u64;
    let limits = Limits { executions: seeds + executions, time: Duration::MAX };
    let report = search(target, known, limits, 1, METER)
        .unwrap_or_else(|failure| panic!("{name}: {}\n{}", failure.why, corpus::hex(&failure.input)));
    assert_eq!(report.executions, seeds + executions);
    assert!(report.pool.len() > 3, "{name}: every input has the same signature");
}

// case: H17
#[test]
fn frames() {
    replay("frames", 20_000);
}

// case: H17
#[test]
fn records() {
    replay("records", 2_000);
}

// case: H17, E11
#[test]
fn images() {
    replay("images", 5_000);
}

// case: H04
#[test]
fn calls() {
    replay("calls", 2_000);
}

// case: H17
#[test]
fn files() {
    replay("files", 2_000);
}

// case: H17, E11
#[test]
fn snapshots() {
    replay("snapshots", 2_000);
}

#[test]
fn every_target_is_replayed() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let source = include_str!("corpus.rs");
    assert!(names.iter().all(|name| source.contains(&format!("replay(\"{name}\""))), "{names:?}");
}

#[test]
fn a_corpus_line_can_be_read_back() {
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(corpus::bytes(&corpus::hex(&bytes)), Some(bytes));
    assert_eq!((corpus::bytes("0"), corpus::bytes("0g")), (None, None));
}

#[test]
fn a_search_ends_when_its_time_limit_is_reached() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = Limits { executions: u64::MAX, time: Duration::from_millis(1) };
    let report = search(find("frames").unwrap(), Vec::new(), limits, 1, METER).unwrap();
    assert!(report.took >= limits.time);
}
