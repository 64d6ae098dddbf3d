//! Snapshots of a real engine on a real directory: written alongside it, used by recovery, followed by archiving.

use std::time::Instant;

use crate::engine_harness::{digest, fill, in_time, names, receive, reserve, settings};
use invengine_node::engine::{Engine, EngineSettings, EventQuery};

// case: B13, E11
#[test]
fn a_restart_begins_with_the_newest_good_snapshot_and_reaches_the_same_state() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut before = None;
    for round in 0..4 {
        let engine = Engine::open(&settings(path)).unwrap();
        if let Some(before) = before {
            assert_eq!(digest(&engine), before, "round {round}");
        }
        fill(&engine, round);
        let written = engine.create_snapshot(in_time()).unwrap();
        assert!(written as i64 == digest(&engine).1, "everything was durable");
        reserve(&engine, &format!("tail{round}"));
        before = Some(digest(&engine));
    }
    assert_eq!(names(path, "snapshot-").len(), 2, "two are kept");
    assert!(!names(&path.join("archive"), "journal-").is_empty(), "older journal files are archived");
    let engine = Engine::open(&settings(path)).unwrap();
    assert_eq!(Some(digest(&engine)), before);
    assert!(engine.read_events(&EventQuery::every(1, 10)).is_ok(), "the archive is still read");
    drop(engine);

    // If the newest is damaged, the older one and a longer tail are used; if both are, every frame.
    for name in names(path, "snapshot-").iter().rev() {
        let mut bytes = std::fs::read(path.join(name)).unwrap();
        bytes[5_000] ^= 1;
        std::fs::write(path.join(name), bytes).unwrap();
        let engine = Engine::open(&settings(path)).unwrap();
        assert_eq!(Some(digest(&engine)), before, "{name} damaged");
    }

    // Without its archive there is nothing left to begin with.
    std::fs::remove_dir_all(path.join("archive")).unwrap();
    let refused = Engine::open(&settings(path)).map(drop).unwrap_err().to_string();
    assert!(refused.contains("missing"), "{refused}");
}

// case: E11
#[test]
fn an_archive_may_be_deleted_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut before = None;
    for round in 0..3 {
        let engine = Engine::open(&settings(path)).unwrap();
        fill(&engine, round);
        engine.create_snapshot(in_time()).unwrap();
        before = Some(digest(&engine));
    }
    std::fs::remove_dir_all(path.join("archive")).unwrap();
    let engine = Engine::open(&settings(path)).unwrap();
    assert_eq!(Some(digest(&engine)), before);
    let refused = engine.read_events(&EventQuery::every(1, 10)).unwrap_err();
    assert_eq!(refused.reason, "HISTORY_TRIMMED");
    let first: u64 = refused.metadata["limit"].parse().unwrap();
    assert!(first > 1 && engine.read_events(&EventQuery::every(first, 10)).is_ok());
}

// case: E12
#[test]
fn what_cannot_be_recovered_is_refused_until_it_is_set_aside_and_never_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let epoch = |engine: &Engine| {
        let stats: serde_json::Value = serde_json::from_str(&engine.stats()).unwrap();
        stats["writer_epoch"].as_u64().unwrap()
    };
    for round in 0..3 {
        let engine = Engine::open(&settings(path)).unwrap();
        fill(&engine, round);
        engine.create_snapshot(in_time()).unwrap();
    }
    // Both snapshots and the head of the journal are gone.
    for name in names(path, "snapshot-") {
        std::fs::remove_file(path.join(name)).unwrap();
    }
    std::fs::remove_dir_all(path.join("archive")).unwrap();
    let left = names(path, "journal-");
    let refused = Engine::open(&settings(path)).map(drop).unwrap_err().to_string();
    assert!(refused.contains("--force-empty"), "{refused}");
    assert_eq!(names(path, "journal-"), left, "nothing was written");

    let forced = EngineSettings { force_empty: true, ..settings(path) };
    let engine = Engine::open(&forced).unwrap();
    assert_eq!(digest(&engine).1, 0);
    assert!(epoch(&engine) > 3, "no earlier reservation id is issued again");
    assert_eq!(names(&path.join("set-aside-1"), "journal-"), left);
    reserve_after(&engine);
    let before = digest(&engine);
    drop(engine);
    assert_eq!(digest(&Engine::open(&settings(path)).unwrap()), before);
}

fn reserve_after(engine: &Engine) {
    receive(engine, "again", 5);
    reserve(engine, "again-2");
}

#[test]
fn snapshots_are_written_automatically_when_the_journal_grows() {
    let directory = tempfile::tempdir().unwrap();
    let grown = EngineSettings { snapshot_journal_bytes: 100_000, ..settings(directory.path()) };
    let engine = Engine::open(&grown).unwrap();
    fill(&engine, 0);
    let until = in_time();
    while names(directory.path(), "snapshot-").is_empty() {
        assert!(Instant::now() < until, "no snapshot was written");
        std::thread::yield_now();
    }
}
