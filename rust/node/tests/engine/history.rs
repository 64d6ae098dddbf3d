//! The past of a real journal on a real directory, across snapshots, restarts and what was trimmed.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::engine_harness::{ask, fill, in_time, open, receive, reserve, settings};
use invengine_ledger::{Ledger, LedgerOptions};
use invengine_node::engine::{Call, Engine, EngineSettings, JournalKind};
use invengine_node::journal::scan;
use invengine_node::refusal::Refusal;
use invengine_wire::v1;
use invengine_wire::v1::get_state_at_request::{At, Wanted};
use prost::Message;

const STATE_AT: &str = "/invengine.v1.JournalService/GetStateAt";
const HISTORY: &str = "/invengine.v1.JournalService/ListInventoryHistory";
const AMEND: &str = "/invengine.v1.ReservationService/Amend";

fn call<A: Message + Default>(
    engine: &Engine,
    path: &str,
    request: &impl Message,
    deadline: Instant,
) -> Result<A, Refusal> {
    let payload = request.encode_to_vec();
    let call = Call { path, payload: &payload, key: "", ledger: "", deadline: Some(deadline) };
    engine.call_waiting(&call).map(|answer| A::decode(&answer[..]).expect("an answer of its type"))
}

fn state_request(at: At) -> v1::GetStateAtRequest {
    let level = v1::LevelName { sku: "A".into(), location: "L".into() };
    v1::GetStateAtRequest { at: Some(at), wanted: Some(Wanted::Level(level)) }
}

fn state_at(engine: &Engine, sequence: u64) -> Result<v1::GetStateAtResponse, Refusal> {
    call(engine, STATE_AT, &state_request(At::Sequence(sequence as i64)), in_time())
}

fn history_page(engine: &Engine, page_size: i32, page_token: &str) -> v1::ListInventoryHistoryResponse {
    let (sku, location, page_token) = ("A".into(), "L".into(), page_token.into());
    let request = v1::ListInventoryHistoryRequest { sku, location, page_size, page_token };
    call(engine, HISTORY, &request, in_time()).expect("a page")
}

/// All lines, and the first sequence that is kept.
fn history(engine: &Engine) -> (Vec<v1::InventoryHistoryLine>, i64) {
    let (mut lines, mut token) = (Vec::new(), String::new());
    loop {
        let page = history_page(engine, 1_000, &token);
        lines.extend(page.lines);
        token = page.next_page_token;
        if token.is_empty() {
            return (lines, page.first_sequence);
        }
    }
}

/// The level at a sequence, folded from the first frame of the directory: on_hand, reserved, allocated.
fn folded(directory: &Path, sequence: u64) -> (u64, i64, i64) {
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    scan(directory, &mut |frame| {
        let mut until = |ledger: &Ledger, _: &invengine_ledger::Record<'_>| ledger.sequence() < sequence;
        frame.is_claim()
            || ledger
                .fold_with(frame.payload, frame.time_ms, frame.writer_epoch, &mut until, &mut |_, _| true)
                .expect("a frame of its own")
    })
    .expect("a whole journal");
    let level = ledger
        .items()
        .find("A")
        .zip(ledger.locations().find("L"))
        .and_then(|(item, location)| ledger.find_level(item, location));
    let figures = level.map(|level| ledger.figures(level, ledger.time_ms())).unwrap_or_default();
    (ledger.sequence(), figures.stock.on_hand(), figures.reserved)
}

/// An engine whose journal has many files, several snapshots, some of them archived, and several writers.
fn aged(directory: &Path) -> Engine {
    for round in 0..6 {
        let engine = open(directory);
        fill(&engine, round);
        engine.create_snapshot(in_time()).unwrap();
        reserve(&engine, &format!("tail{round}"));
    }
    open(directory)
}

#[test]
fn the_state_at_a_sequence_is_the_fold_of_the_journal_from_whichever_snapshot_it_begins() {
    let directory = tempfile::tempdir().unwrap();
    let engine = aged(directory.path());
    let end = engine.durable().sequence;
    let step = end / 29;
    for sequence in (4..end).step_by(step as usize).chain([end]) {
        let answer = state_at(&engine, sequence).unwrap();
        let level = &answer.levels[0];
        let found = (answer.position.unwrap().sequence as u64, level.on_hand, level.reserved);
        assert_eq!(found, folded(directory.path(), sequence), "{sequence}");
    }
    let beyond = state_at(&engine, end + 1).unwrap_err();
    assert_eq!((beyond.reason, &*beyond.metadata["head_sequence"]), ("POSITION_NOT_IN_HISTORY", &*end.to_string()));
}

#[test]
fn a_state_that_is_not_kept_is_refused_with_the_first_one_that_is() {
    let directory = tempfile::tempdir().unwrap();
    drop(aged(directory.path()));
    std::fs::remove_dir_all(directory.path().join("archive")).unwrap();
    let engine = open(directory.path());
    let refused = state_at(&engine, 10).unwrap_err();
    assert_eq!(refused.reason, "HISTORY_TRIMMED");
    let first: u64 = refused.metadata["limit"].parse().unwrap();
    assert!(first > 10);
    let before = state_at(&engine, first - 1).unwrap_err();
    assert_eq!((before.reason, &*before.metadata["limit"]), ("HISTORY_TRIMMED", &*first.to_string()));
    assert_eq!(state_at(&engine, first).unwrap().position.unwrap().sequence as u64, first);
    let early = call::<v1::GetStateAtResponse>(
        &engine,
        STATE_AT,
        &state_request(At::Time(prost_types::Timestamp { seconds: 1, nanos: 0 })),
        in_time(),
    );
    assert_eq!(early.unwrap_err().reason, "HISTORY_TRIMMED");
}

#[test]
fn a_state_that_takes_longer_than_its_caller_waits_goes_on_when_it_is_asked_for_again() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    (0..4).for_each(|round| fill(&engine, round));
    let end = engine.durable().sequence;
    let mut refusals = 0;
    let answer = loop {
        let deadline = Instant::now() + Duration::from_millis(2);
        match call::<v1::GetStateAtResponse>(&engine, STATE_AT, &state_request(At::Sequence(end as i64)), deadline) {
            Ok(answer) => break answer,
            Err(refused) => assert_eq!(refused.reason, "DEADLINE"),
        }
        refusals += 1;
        assert!(refusals < 10_000, "it never gets there");
    };
    assert!(refusals > 0, "two milliseconds were enough for {end} events");
    assert_eq!(answer.levels[0].on_hand, 400_000);
}

#[test]
fn a_journal_in_memory_has_a_past_too() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(&EngineSettings { journal: JournalKind::Memory, ..settings(directory.path()) }).unwrap();
    (0..9).for_each(|number| receive(&engine, &format!("r{number}"), 1));
    let end = engine.durable().sequence;
    for (units, sequence) in (0..9).rev().zip((0..end).rev()) {
        assert_eq!(state_at(&engine, sequence).map(|found| found.levels[0].on_hand).unwrap_or(0), units, "{sequence}");
    }
    assert_eq!(history(&engine).0.len(), 9);
}

#[test]
fn the_history_of_a_level_spans_files_restarts_and_the_archive() {
    let directory = tempfile::tempdir().unwrap();
    let engine = aged(directory.path());
    let (lines, first_sequence) = history(&engine);
    assert_eq!(first_sequence, 1);
    assert_eq!(lines.len(), 6 * 12_002, "6 rounds of a receipt, 12,000 reserves in batches and one more");
    let unknown = v1::InventoryLevel { sku: "A".into(), location: "L".into(), ..Default::default() };
    assert_eq!(lines.last().unwrap().before, Some(unknown), "before the first change there was nothing");
    for pair in lines.windows(2) {
        assert_eq!(pair[0].before, pair[1].after, "{:?}", pair[0].event);
        assert!(pair[0].event.as_ref().unwrap().sequence > pair[1].event.as_ref().unwrap().sequence);
    }
    let now = lines[0].after.as_ref().unwrap();
    assert_eq!((now.on_hand, now.reserved), (600_000, 6 * 18_001));

    // What the archive had is not listed any more.
    drop(engine);
    std::fs::remove_dir_all(directory.path().join("archive")).unwrap();
    let engine = open(directory.path());
    let (kept, first_sequence) = history(&engine);
    assert!(first_sequence > 1);
    assert_eq!(
        kept,
        lines.into_iter().filter(|line| line.event.as_ref().unwrap().sequence >= first_sequence).collect::<Vec<_>>()
    );
}

fn amend(engine: &Engine, key: &str, quantity: i64) {
    let line = v1::LineSelection { sku: "A".into(), location: "L".into(), quantity };
    let target = v1::HoldTarget { by: Some(v1::hold_target::By::ReservationKey("held".into())), ..Default::default() };
    let request = v1::AmendRequest { target: Some(target), lines: vec![line], ..Default::default() };
    ask(engine, AMEND, key, &request.encode_to_vec());
}

/// A hold of 1 unit that got 5, then 2 in later journal files.
fn amended(directory: &Path) -> Engine {
    let engine = open(directory);
    receive(&engine, "in", 1_000);
    reserve(&engine, "held");
    fill(&engine, 0);
    engine.create_snapshot(in_time()).unwrap();
    amend(&engine, "more", 5);
    fill(&engine, 1);
    engine.create_snapshot(in_time()).unwrap();
    amend(&engine, "less", 2);
    fill(&engine, 2);
    engine.create_snapshot(in_time()).unwrap();
    engine
}

fn amendments(lines: &[v1::InventoryHistoryLine]) -> Vec<(Option<i64>, Option<i64>)> {
    let reserved = |level: &Option<v1::InventoryLevel>| level.as_ref().map(|level| level.reserved);
    lines
        .iter()
        .filter(|line| matches!(line.event.as_ref().unwrap().fact, Some(v1::event::Fact::Amended(_))))
        .map(|line| (reserved(&line.before), reserved(&line.after)))
        .collect()
}

#[test]
fn an_amendment_is_told_by_the_earlier_events_of_its_hold_however_far_back() {
    let directory = tempfile::tempdir().unwrap();
    let engine = amended(directory.path());
    let (lines, _) = history(&engine);
    let (first, second) = (18_001, 18_001 + 4 + 18_000);
    assert_eq!(amendments(&lines), [(Some(second), Some(second - 3)), (Some(first), Some(first + 4))]);

    // The event that made the hold is not kept: what the first amendment changed is unknown, and all before it.
    drop(engine);
    std::fs::remove_dir_all(directory.path().join("archive")).unwrap();
    let engine = open(directory.path());
    let (lines, first_sequence) = history(&engine);
    assert!(first_sequence > 3, "{first_sequence}");
    let told = amendments(&lines);
    assert_eq!(told.last().unwrap().0, None, "{told:?}");
    let unknown = lines.iter().position(|line| line.before.is_none()).unwrap();
    assert!(lines[unknown].after.is_some());
    assert!(lines[unknown + 1..].iter().all(|line| line.before.is_none() && line.after.is_none()));
    assert!(lines[..unknown].iter().all(|line| line.before.is_some() && line.after.is_some()));
}

#[test]
fn calls_of_the_past_wait_and_no_others_do() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    for path in [STATE_AT, HISTORY] {
        let decision = engine.call(&Call { path, payload: &[], key: "", ledger: "", deadline: None });
        assert_eq!(decision.reply.unwrap_err().reason, "UNIMPLEMENTED", "{path} would read a disk");
    }
    let refused = call::<v1::GetDigestResponse>(
        &engine,
        "/invengine.v1.JournalService/GetDigest",
        &v1::GetDigestRequest {},
        in_time(),
    );
    assert_eq!(refused.unwrap_err().reason, "UNIMPLEMENTED");
}
