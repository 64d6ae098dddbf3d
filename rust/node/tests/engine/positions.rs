//! A position is one event of one history: after a restore nobody can continue after an event that was replaced, and
//! every reader learns where both histories agree. Page tokens are bound to their history in the same way.

use std::path::Path;

use crate::engine_harness::{ask, fill, in_time, open, receive, reserve, settings};
use invengine_node::backup::{create, restore};
use invengine_node::engine::{Call, Engine, EngineSettings, EventQuery, JournalKind};
use invengine_node::refusal::Refusal;
use invengine_wire::v1;
use prost::Message;

const READ_EVENTS: &str = "/invengine.v1.JournalService/ReadEvents";
const LIST: &str = "/invengine.v1.ReservationService/ListReservations";
const AHEAD: u64 = 1 << 20;

fn begin(engine: &Engine, request: &v1::ReadEventsRequest) -> Result<u64, Refusal> {
    let payload = request.encode_to_vec();
    let call = Call { path: READ_EVENTS, payload: &payload, key: "", ledger: "", deadline: None };
    engine.begin_events(&call).map(|wanted| wanted.next)
}

fn after(engine: &Engine, writer_epoch: i64, sequence: i64) -> Result<u64, Refusal> {
    after_of(engine, "main", writer_epoch, sequence)
}

fn after_of(engine: &Engine, ledger: &str, writer_epoch: i64, sequence: i64) -> Result<u64, Refusal> {
    let after = Some(v1::JournalPosition { ledger: ledger.into(), writer_epoch, sequence });
    begin(engine, &v1::ReadEventsRequest { after, ..Default::default() })
}

fn from(engine: &Engine, from_sequence: u64) -> Result<u64, Refusal> {
    begin(engine, &v1::ReadEventsRequest { from_sequence: from_sequence as i64, ..Default::default() })
}

fn events(engine: &Engine, from: u64) -> Vec<v1::Event> {
    let answer =
        v1::ReadEventsResponse::decode(&engine.read_events(&EventQuery::every(from, 1_000)).unwrap().message[..])
            .unwrap();
    assert_eq!(answer.ledger, "main");
    answer.events
}

/// Epoch and sequence of the newest event.
fn newest(engine: &Engine) -> (i64, i64) {
    let event = events(engine, engine.durable().sequence).pop().unwrap();
    (event.writer_epoch, event.sequence)
}

/// Epoch and sequence of the last event that both histories have, as a refusal states it.
fn common(refused: Result<u64, Refusal>) -> (i64, i64) {
    let refusal = refused.expect_err("a position of another history");
    assert_eq!(refusal.reason, "POSITION_NOT_IN_HISTORY", "{}", refusal.message);
    let number = |name: &str| refusal.metadata[name].parse().unwrap();
    (number("last_common_epoch"), number("last_common_sequence"))
}

fn grow_to(engine: &Engine, sequence: u64) {
    while engine.durable().sequence < sequence {
        receive(engine, &format!("k{}", engine.durable().sequence), 1);
    }
}

/// A ledger that was backed up at 10, went on to 31 and was restored: the follower's position, and the new engine.
fn restored(directory: &Path) -> ((i64, i64), Engine) {
    let engine = open(&directory.join("old"));
    grow_to(&engine, 10);
    create(&directory.join("old"), &directory.join("backup"), false).unwrap();
    grow_to(&engine, 31);
    let followed = newest(&engine);
    assert_eq!(followed.1, 31);
    drop(engine);
    restore(&directory.join("backup"), &directory.join("new"), 0).unwrap();
    (followed, open(&directory.join("new")))
}

#[test]
fn a_position_beyond_a_restored_backup_is_refused_with_the_last_common_event() {
    let directory = tempfile::tempdir().unwrap();
    let (followed, engine) = restored(directory.path());
    // While the new history is shorter, and once it has grown beyond the position.
    for sequence in [10, 31, 40] {
        grow_to(&engine, sequence);
        let agreed = common(after(&engine, followed.0, followed.1));
        assert_eq!(agreed, (followed.0, 10), "at {sequence}");
        let next = after(&engine, agreed.0, agreed.1).unwrap();
        let found: Vec<i64> = if next > sequence {
            Vec::new()
        } else {
            events(&engine, next).iter().map(|event| event.sequence).collect()
        };
        assert_eq!(found, (11..=sequence as i64).collect::<Vec<_>>(), "everything of the new history");
    }
    let refused = after(&engine, followed.0, followed.1).unwrap_err();
    let head = newest(&engine);
    assert_eq!(refused.metadata["head_sequence"], head.1.to_string());
    assert_eq!(refused.metadata["head_epoch"], head.0.to_string());
    assert_eq!(after(&engine, head.0, head.1), Ok(41));
}

#[test]
fn every_position_of_a_history_is_known_after_restarts_and_snapshots() {
    let directory = tempfile::tempdir().unwrap();
    let mut positions = vec![(0, 0)];
    for round in 0..5 {
        let engine = open(directory.path());
        if round == 3 {
            fill(&engine, round);
        }
        for number in 0..3 {
            receive(&engine, &format!("{round} {number}"), 1);
            positions.push(newest(&engine));
        }
        if round % 2 == 1 {
            engine.create_snapshot(in_time()).unwrap();
        }
        for (epoch, sequence) in &positions {
            assert_eq!(after(&engine, *epoch, *sequence), Ok(*sequence as u64 + 1), "round {round}");
            if *sequence > 0 {
                // The right sequence with another writer's epoch.
                for epoch in [epoch + 1, epoch - 1] {
                    let refused = after(&engine, epoch, *sequence).unwrap_err();
                    let expected = if epoch == 0 { "INVALID_FIELD" } else { "POSITION_NOT_IN_HISTORY" };
                    assert_eq!(refused.reason, expected, "round {round}: {epoch} {sequence}");
                }
            }
        }
        drop(engine);
    }
    // A position beyond what its writer wrote, where that writer is older than any known to the newest snapshot.
    let engine = open(directory.path());
    assert_eq!(common(after(&engine, 1, AHEAD as i64)), positions[3]);
    assert_eq!(common(after(&engine, 3, AHEAD as i64)), positions[9]);
}

#[test]
fn a_position_that_cannot_be_compared_is_refused_as_trimmed() {
    let directory = tempfile::tempdir().unwrap();
    let mut positions = Vec::new();
    for round in 0..4 {
        let engine = open(directory.path());
        fill(&engine, round);
        positions.push(newest(&engine));
        engine.create_snapshot(in_time()).unwrap();
    }
    std::fs::remove_dir_all(directory.path().join("archive")).unwrap();
    let engine = open(directory.path());
    let (epoch, sequence) = positions[0];
    let refused = after(&engine, epoch, sequence).unwrap_err();
    assert_eq!(refused.reason, "HISTORY_TRIMMED");
    assert!(refused.metadata["limit"].parse::<i64>().unwrap() > sequence);
    let (epoch, sequence) = positions[3];
    assert_eq!(after(&engine, epoch, sequence), Ok(sequence as u64 + 1));
}

#[test]
fn a_sequence_detects_a_restore_only_while_it_is_ahead() {
    let directory = tempfile::tempdir().unwrap();
    let (_, engine) = restored(directory.path());
    for (sequence, is_good) in [(0, true), (1, true), (10, true), (11, true), (12, false), (32, false), (AHEAD, false)]
    {
        let found = from(&engine, sequence);
        let read = engine.read_events(&EventQuery::every(sequence, 1));
        assert_eq!(found.is_ok(), is_good, "{sequence}");
        assert_eq!(read.is_ok(), is_good, "{sequence}");
        if let Err(refusal) = found {
            assert_eq!((refusal.reason, &*refusal.metadata["head_sequence"]), ("POSITION_NOT_IN_HISTORY", "10"));
            assert_eq!(read.unwrap_err().reason, "POSITION_NOT_IN_HISTORY");
        }
    }
    grow_to(&engine, 40);
    assert_eq!(from(&engine, 32), Ok(32));
}

#[test]
fn a_position_belongs_to_its_ledger_and_must_be_complete() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    grow_to(&engine, 5);
    let (epoch, sequence) = newest(&engine);
    let other = after_of(&engine, "other", epoch, sequence).unwrap_err();
    assert_eq!((other.reason, &*other.metadata["ledger"]), ("POSITION_NOT_IN_HISTORY", "main"));
    for (ledger, epoch, sequence, field) in [
        ("", epoch, sequence, "after.ledger"),
        ("main", 0, sequence, "after.writer_epoch"),
        ("main", epoch, 0, "after.writer_epoch"),
        ("main", -1, sequence, "after.writer_epoch"),
        ("main", epoch, -1, "after.sequence"),
    ] {
        let refused = after_of(&engine, ledger, epoch, sequence).unwrap_err();
        assert_eq!((refused.reason, &*refused.violations[0].0), ("INVALID_FIELD", field));
    }
    let position = Some(v1::JournalPosition { ledger: "main".into(), writer_epoch: epoch, sequence });
    let both = begin(&engine, &v1::ReadEventsRequest { from_sequence: 1, after: position, ..Default::default() });
    assert_eq!(both.unwrap_err().violations[0].0, "from_sequence");
    let elsewhere = Call { path: READ_EVENTS, payload: &[], key: "", ledger: "other", deadline: None };
    assert_eq!(engine.begin_events(&elsewhere).unwrap_err().reason, "NOT_OWNER");
}

#[test]
fn every_start_of_a_ledger_in_memory_is_a_history_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Engine::open(&EngineSettings { journal: JournalKind::Memory, ..settings(directory.path()) }).unwrap();
    let engine = open();
    grow_to(&engine, 8);
    let followed = newest(&engine);
    assert_eq!(after(&engine, followed.0, followed.1), Ok(9));
    drop(engine);
    let engine = open();
    grow_to(&engine, 20);
    assert_eq!(common(after(&engine, followed.0, followed.1)), (0, 0));
}

fn page(engine: &Engine, page_token: &str) -> Result<v1::ListReservationsResponse, Refusal> {
    let payload = v1::ListReservationsRequest { page_size: 2, page_token: page_token.into(), ..Default::default() };
    let payload = payload.encode_to_vec();
    let decision = engine.call(&Call { path: LIST, payload: &payload, key: "", ledger: "", deadline: None });
    let answer = decision.reply?;
    assert!(engine.wait(decision.depends_on, in_time()).sequence >= decision.depends_on);
    Ok(v1::ListReservationsResponse::decode(&answer[..]).unwrap())
}

#[test]
fn a_page_token_survives_restarts_and_is_refused_by_a_history_that_was_restored() {
    let directory = tempfile::tempdir().unwrap();
    let path_of = |name: &str| directory.path().join(name);
    let engine = open(&path_of("old"));
    receive(&engine, "r", 100);
    (0..6).for_each(|number| reserve(&engine, &format!("before {number}")));
    let early = page(&engine, "").unwrap().next_page_token;
    create(&path_of("old"), &path_of("backup"), false).unwrap();
    (0..6).for_each(|number| reserve(&engine, &format!("lost {number}")));
    let late = page(&engine, "").unwrap().next_page_token;
    let expected = page(&engine, &late).unwrap();
    drop(engine);
    for _ in 0..3 {
        let engine = open(&path_of("old"));
        let found = page(&engine, &late).unwrap();
        assert_eq!(found.reservations, expected.reservations, "after a restart");
        assert_eq!(page(&engine, &early).unwrap().reservations, expected.reservations);
        engine.create_snapshot(in_time()).unwrap();
    }
    restore(&path_of("backup"), &path_of("new"), 0).unwrap();
    let engine = open(&path_of("new"));
    (0..9).for_each(|number| reserve(&engine, &format!("new {number}")));
    assert_eq!(page(&engine, &early).unwrap().reservations, expected.reservations, "a page from before the backup");
    let refused = page(&engine, &late).unwrap_err();
    assert_eq!((refused.reason, &*refused.violations[0].0), ("INVALID_FIELD", "page_token"));
}

#[test]
fn a_page_with_a_token_is_sent_once_what_it_was_read_from_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    receive(&engine, "r", 100);
    (0..3).for_each(|number| reserve(&engine, &format!("k{number}")));
    let payload = v1::ListReservationsRequest { page_size: 2, ..Default::default() }.encode_to_vec();
    let decision = engine.call(&Call { path: LIST, payload: &payload, key: "", ledger: "", deadline: None });
    assert_eq!(decision.depends_on, engine.durable().sequence);
    let whole = ask(&engine, LIST, "", &[]);
    assert_eq!(v1::ListReservationsResponse::decode(&whole[..]).unwrap().next_page_token, "");
    assert_eq!(engine.call(&Call { path: LIST, payload: &[], key: "", ledger: "", deadline: None }).depends_on, 0);
}
