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
fn batches() {
    replay("batches", 2_000);
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

/// The messages of an input of `calls`: two bytes, then for each call its method, its key, the length and the message.
fn messages(input: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = input.get(2..).unwrap_or_default();
    while let Some((&[_, _, low, high], after)) = rest.split_first_chunk::<4>() {
        let (message, after) = after.split_at(usize::from(u16::from_le_bytes([low, high])).min(after.len()));
        found.push(message);
        rest = after;
    }
    found
}

fn field(number: u8, message: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encode_length_delimiter(message.len(), &mut field).unwrap();
    field.extend(message);
    field
}

// case: H04
#[test]
fn every_known_message_is_read_alike_as_a_batch_and_as_each_of_its_commands() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let inputs: Vec<Vec<u8>> =
        corpus::read("calls").unwrap().into_iter().chain((find("calls").unwrap().seeds)()).collect();
    let run = find("batches").unwrap().run;
    let mut count = 0;
    for message in inputs.iter().flat_map(|input| messages(input)) {
        let commands = (1..8).map(|number| field(1, &field(number, message)));
        for batch in commands.chain([message.to_vec()]) {
            // After the whole day, so that there are holds.
            run(&[&[16][..], &(batch.len() as u16).to_le_bytes(), &batch].concat());
            count += 1;
        }
    }
    assert!(count > 400, "{count}");
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
