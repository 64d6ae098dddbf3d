//! Batches of reserves through the engine, without a network and without a disk, for `tools/instructions.py` and any
//! profiler. Usage: `submit [BATCHES] [LINES_OF_A_RESERVE]`.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Engine, EngineSettings, JournalKind};
use invengine_node::journal::{Journal, MemoryJournal};
use invengine_wire::v1;
use prost::Message;

const COMMANDS: usize = 1_000;
/// The digits of a key.
const ZEROS: &str = "000000000000000000";
const START_MS: i64 = 1_700_000_000_000;
const LOCATION: &str = "dc-1";
const SUBMIT: &str = "/invengine.v1.ReservationService/Submit";

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse().expect("a number"));
    let (batches, lines) = (arguments.next().unwrap_or(20), arguments.next().unwrap_or(1));
    let mut now = Instant::now();
    let engine = engine(now);
    stock(&engine, lines, now);
    let command = reserve(lines);
    let mut took = Duration::ZERO;
    for number in 0..batches {
        let payload = batch(number, &command);
        let began = Instant::now();
        submit_batch(&engine, &payload, now);
        took += began.elapsed();
        now += Duration::from_millis(1);
        engine.step(now);
    }
    let accepted = batches * COMMANDS;
    let expected = format!(r#""Reserve":{{"accepted":{accepted},"replayed":0,"rejected":{{}}}}"#);
    assert!(engine.stats().contains(&expected), "a reserve was not accepted");
    let each = took.as_secs_f64() * 1e9 / accepted as f64;
    println!("{accepted} reserves of {lines} lines, {each:.0} ns each, checks passed");
}

/// What is counted.
#[inline(never)]
fn submit_batch(engine: &Engine, payload: &[u8], now: Instant) -> Vec<u8> {
    call(engine, SUBMIT, payload, now)
}

fn call(engine: &Engine, path: &str, payload: &[u8], now: Instant) -> Vec<u8> {
    let call = Call { path, payload, key: "", ledger: "", deadline: None };
    engine.call_at(&call, now).reply.expect("an answer")
}

/// An engine that advances only when it is told to.
fn engine(now: Instant) -> Engine {
    let (journal, wall_time_ms) = (JournalKind::Memory, Some(START_MS));
    let settings = EngineSettings { journal, wall_time_ms, ..EngineSettings::default() };
    let mut journal = Some(Box::new(MemoryJournal::new("main")) as Box<dyn Journal>);
    Engine::open_driven(&settings, now, &mut |_| Ok(journal.take().expect("opened once"))).expect("it opens")
}

fn context(key: String) -> Option<v1::CommandContext> {
    let issue_time = Some(prost_types::Timestamp { seconds: START_MS / 1_000, nanos: 0 });
    Some(v1::CommandContext { idempotency_key: key, issue_time, ..v1::CommandContext::default() })
}

fn sku(line: usize) -> String {
    format!("sku-{line:07}")
}

/// Creates the items and their stock.
fn stock(engine: &Engine, lines: usize, now: Instant) {
    let item = |line| v1::Item { sku: sku(line), ..v1::Item::default() };
    let items = v1::UpsertItemsRequest { context: context("items".into()), items: (0..lines).map(item).collect() };
    call(engine, "/invengine.v1.CatalogService/UpsertItems", &items.encode_to_vec(), now);
    let locations = vec![v1::Location { location: LOCATION.into(), ..v1::Location::default() }];
    let locations = v1::UpsertLocationsRequest { context: context("locations".into()), locations };
    call(engine, "/invengine.v1.CatalogService/UpsertLocations", &locations.encode_to_vec(), now);
    let line = |line| v1::StockLine { sku: sku(line), location: LOCATION.into(), quantity: 1 << 40, state: 0 };
    let receive = v1::ReceiveRequest { context: context("stock".into()), lines: (0..lines).map(line).collect() };
    call(engine, "/invengine.v1.InventoryService/Receive", &receive.encode_to_vec(), now);
    engine.step(now);
}

/// A batch of one reserve, with a key of zeros.
fn reserve(lines: usize) -> Vec<u8> {
    let line = |line| v1::LineRequest { sku: sku(line), location: LOCATION.into(), quantity: 1, ..Default::default() };
    let lines = (0..lines).map(line).collect();
    let reserve = v1::ReserveRequest { context: context(ZEROS.into()), lines, ..Default::default() };
    let command = v1::Command { command: Some(v1::command::Command::Reserve(reserve)) };
    v1::SubmitRequest { commands: vec![command] }.encode_to_vec()
}

/// The reserve many times, each with a key of its own. Nothing is allocated for one of them, so that the allocations of a
/// profile are those of the engine.
fn batch(number: usize, command: &[u8]) -> Vec<u8> {
    let key = command.windows(ZEROS.len()).position(|bytes| bytes == ZEROS.as_bytes()).expect("a key");
    let mut batch = command.repeat(COMMANDS);
    for (place, command) in batch.chunks_exact_mut(command.len()).enumerate() {
        let mut rest = number * COMMANDS + place;
        for digit in command[key..key + ZEROS.len()].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    batch
}
