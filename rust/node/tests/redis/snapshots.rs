//! Snapshots of the Redis journal: damage, crashes and old writers at every step give the same state or a reason.

use crate::journal_disk::Sum;
use crate::journal_fixture::{
    FRAMES, JournalFixture, STATE, all_of, append, field, newest_and_older, recover, short_memory,
};
use crate::journal_redis::{Kind, Proxy, Redis, free_port};
use invengine_node::journal::{Frame, Journal, JournalError, JournalPosition, SnapshotStore};

both!(
    a_damaged_snapshot_gives_way_to_the_older_one,
    a_snapshot_of_a_newer_version_is_refused_without_falling_back,
    without_a_good_snapshot_every_frame_is_replayed_or_the_open_refused,
    a_crash_between_any_two_steps_changes_nothing,
    lost_replies_change_nothing,
    a_fenced_writer_changes_nothing,
    a_server_without_the_frames_gets_no_snapshot_of_them,
);

/// Changes one bit of a field.
fn flip(server: &Redis, key: &str, field: &str, byte: usize) {
    let mut raw = server.connection();
    let mut bytes: Vec<u8> = redis::cmd("HGET").arg(key).arg(field).query(&mut raw).unwrap();
    bytes[byte] ^= 4;
    redis::cmd("HSET").arg(key).arg(field).arg(bytes).exec(&mut raw).unwrap();
}

const DAMAGES: &[&str] = &[
    "flip 0 0",
    "flip 0 5",
    "flip 0 20",
    "flip 1 200",
    "flip header 20",
    "flip header 4000",
    "flip manifest 0",
    "flip manifest 9",
    "flip manifest 30",
    "HDEL 0",
    "HDEL 1",
    "HDEL header",
    "HDEL manifest",
    "HDEL extent",
    "HSET 1 ",
    "HSET 1 x",
    "HSET manifest x",
    "HSET extent 1",
    "HSET extent x",
    "DEL",
];

fn damage(server: &Redis, key: &str, how: &str) {
    let words: Vec<&str> = how.split(' ').collect();
    match words[..] {
        ["flip", field, byte] => flip(server, key, field, byte.parse().unwrap()),
        [command, ref rest @ ..] => {
            server.run_words(&[&[command, key], rest].concat());
        }
        [] => unreachable!(),
    }
}

// case: E11
fn a_damaged_snapshot_gives_way_to_the_older_one(kind: Kind) {
    let server = Redis::start(&kind);
    let options = short_memory(&server);
    let mut fixture = JournalFixture::open(&options);
    fixture.rounds(3, 60);
    let last = append(&mut fixture.journal, 25);
    assert!(field(&server, "trimmed") > 0);
    drop(fixture);
    let (newest, _) = newest_and_older(&server).into();
    let good = server.run_words(&["DUMP", &newest]);
    assert!(!good.is_empty());
    for how in DAMAGES {
        let saved = save(&server, &newest);
        damage(&server, &newest, how);
        let (journal, rebuilt) = recover(&options).unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!((rebuilt.sum.last, rebuilt.from_snapshot), (last, true), "{how}");
        let gone = ["DEL", "HDEL manifest"].contains(how);
        assert_eq!(rebuilt.notes.len(), usize::from(!gone), "{how}: {:?}", rebuilt.notes);
        drop(journal);
        restore(&server, &newest, &saved);
        let (_, rebuilt) = recover(&options).unwrap();
        assert_eq!((rebuilt.sum.last, rebuilt.notes.len()), (last, 0), "{how}, repaired");
    }
}

// case: E11, E16
fn a_snapshot_of_a_newer_version_is_refused_without_falling_back(kind: Kind) {
    let server = Redis::start(&kind);
    let options = short_memory(&server);
    let mut fixture = JournalFixture::open(&options);
    fixture.rounds(3, 60);
    drop(fixture);
    for name in newest_and_older(&server) {
        let saved = save(&server, &name);
        let mut newer = saved.clone();
        let header = &mut newer.iter_mut().find(|(field, _)| field == b"header").unwrap().1;
        header[8..12].copy_from_slice(&2_u32.to_le_bytes());
        let end = header.len() - 4;
        let crc = crc32c::crc32c(&header[..end]);
        header[end..].copy_from_slice(&crc.to_le_bytes());
        restore(&server, &name, &newer);
        let before = all_of(&server);
        match recover(&options).map(drop) {
            Err(JournalError::NewerFormat { file, found: 2, known: 1 }) => assert!(file.contains(&name), "{file}"),
            other => panic!("{name} of version 2: {other:?}"),
        }
        assert_eq!(all_of(&server), before, "something was written");
        restore(&server, &name, &saved);
    }
    recover(&options).unwrap();
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn save(server: &Redis, key: &str) -> Fields {
    redis::cmd("HGETALL").arg(key).query(&mut server.connection()).unwrap()
}

fn restore(server: &Redis, key: &str, fields: &Fields) {
    let mut raw = server.connection();
    redis::cmd("DEL").arg(key).exec(&mut raw).unwrap();
    for (name, value) in fields {
        redis::cmd("HSET").arg(key).arg(name).arg(value).exec(&mut raw).unwrap();
    }
}

// case: E11, E12
fn without_a_good_snapshot_every_frame_is_replayed_or_the_open_refused(kind: Kind) {
    for options_of in [|server: &Redis| server.options("main"), short_memory] {
        let server = Redis::start(&kind);
        let options = options_of(&server);
        let mut fixture = JournalFixture::open(&options);
        fixture.rounds(3, 60);
        let last = append(&mut fixture.journal, 25);
        drop(fixture);
        for key in newest_and_older(&server) {
            damage(&server, &key, "flip 0 13");
        }
        let trimmed = field(&server, "trimmed");
        assert_eq!(trimmed > 0, options.archive_bytes_max == 1);
        let before = all_of(&server);
        match recover(&options) {
            Ok((_, rebuilt)) if trimmed == 0 => {
                assert_eq!((rebuilt.sum.last, rebuilt.from_snapshot, rebuilt.notes.len()), (last, false, 2));
            }
            Err(error @ JournalError::CorruptEntry { .. }) if trimmed > 0 => {
                assert!(error.to_string().contains("no snapshot is good"), "{error}");
                assert_eq!(all_of(&server), before, "nothing was written");
            }
            other => panic!("{trimmed} trimmed: {:?}", other.map(|(_, rebuilt)| rebuilt.sum)),
        }
        // Without its snapshots the journal would wrongly begin empty.
        server.run(&format!("DEL {STATE} {FRAMES}"));
        let refused = recover(&options).map(drop).unwrap_err();
        assert!(matches!(refused, JournalError::Foreign { .. }), "{refused}");
    }
}

/// Writes a snapshot up to a step and stops there: 0 begins, 1 and 2 write a piece, 3 commits, 4 trims.
fn steps(store: &mut dyn SnapshotStore, fixture: &JournalFixture, steps: usize) -> Result<(), JournalError> {
    let (mut position, mut sum) = (fixture.position, fixture.sum);
    position = store.frames_after(&position, &mut |frame: Frame<'_>| {
        if !frame.is_claim() {
            sum.fold(frame.last_sequence, frame.payload);
        }
        true
    })?;
    for step in 0..steps {
        one_step(store, step, &position, sum)?;
    }
    Ok(())
}

fn one_step(
    store: &mut dyn SnapshotStore,
    step: usize,
    position: &JournalPosition,
    sum: Sum,
) -> Result<(), JournalError> {
    match step {
        0 => store.begin(position),
        1 => store.piece(&[sum.last.to_le_bytes(), sum.hash.to_le_bytes()].concat()),
        2 => store.piece(&[7; 300]),
        3 => store.commit(&sum.digest()).map(drop),
        _ => store.trim(position.time_ms()).map(drop),
    }
}

// case: E11
fn a_crash_between_any_two_steps_changes_nothing(kind: Kind) {
    let mut server = Redis::start(&kind);
    let options = short_memory(&server);
    let mut fixture = JournalFixture::open(&options);
    for kill_server in [false, true] {
        for count in 0..=5 {
            append(&mut fixture.journal, 30);
            let mut store = fixture.journal.snapshot_store().unwrap().unwrap();
            steps(store.as_mut(), &fixture, count).unwrap();
            let last = append(&mut fixture.journal, 5);
            drop(store);
            if kill_server {
                server.restart();
            }
            let (journal, rebuilt) = recover(&options).unwrap();
            assert_eq!((rebuilt.sum.last, rebuilt.notes.len()), (last, 0), "after {count} steps");
            fixture.journal = journal;
            fixture.snapshot().unwrap();
            assert_eq!(
                fixture.journal.snapshot_store().unwrap().unwrap().snapshots().unwrap()[0].position,
                fixture.position
            );
        }
    }
}

// case: F06
fn lost_replies_change_nothing(kind: Kind) {
    let server = Redis::start(&kind);
    let proxy = Proxy::to(&server.socket());
    let mut options = short_memory(&server);
    options.url = proxy.url().into();
    let mut fixture = JournalFixture::open(&options);
    for function in ["invengine_clear", "invengine_begin", "invengine_piece", "invengine_commit", "invengine_trim"] {
        fixture.rounds(1, 40);
        append(&mut fixture.journal, 40);
        proxy.cut_replies_to(function, 1);
        fixture.snapshot().unwrap();
        assert!(proxy.has_cut(), "{function}");
        let last = append(&mut fixture.journal, 3);
        let (journal, rebuilt) = recover(&options).unwrap();
        assert_eq!((rebuilt.sum.last, rebuilt.from_snapshot, rebuilt.notes.len()), (last, true, 0), "{function}");
        fixture.journal = journal;
    }
}

// case: F05
fn a_fenced_writer_changes_nothing(kind: Kind) {
    let server = Redis::start(&kind);
    let options = short_memory(&server);
    let mut fixture = JournalFixture::open(&options);
    fixture.rounds(2, 40);
    for step in 0..5 {
        append(&mut fixture.journal, 40);
        let mut store = fixture.journal.snapshot_store().unwrap().unwrap();
        steps(store.as_mut(), &fixture, step).unwrap();
        let (journal, _) = recover(&options).unwrap();
        let before = all_of(&server);
        let refused = one_step(store.as_mut(), step, &fixture.position, fixture.sum);
        assert!(matches!(refused, Err(JournalError::Fenced { .. })), "step {step}: {refused:?}");
        assert_eq!(all_of(&server), before, "step {step}");
        fixture.journal = journal;
        fixture.snapshot().unwrap();
    }
}

fn a_server_without_the_frames_gets_no_snapshot_of_them(kind: Kind) {
    let port = free_port();
    let mut master = Redis::start_on_port(&kind, port, &[]);
    let replica = Redis::start(&kind);
    replica.run(&format!("REPLICAOF 127.0.0.1 {port}"));
    replica.wait_for("INFO replication", "master_link_status:up");
    let proxy = Proxy::to(&master.socket());
    let mut options = master.options("main");
    options.url = proxy.url().into();
    let mut fixture = JournalFixture::open(&options);
    let early = append(&mut fixture.journal, 10);
    replica.wait_for(&format!("HGET {STATE} last"), &early.to_string());
    replica.run("REPLICAOF NO ONE");
    let late = append(&mut fixture.journal, 10);
    let mut store = fixture.journal.snapshot_store().unwrap().unwrap();
    let mut sum = Sum::default();
    let fold = &mut |frame: Frame<'_>| {
        if !frame.is_claim() {
            sum.fold(frame.last_sequence, frame.payload);
        }
        true
    };
    let position = store.frames_after(&fixture.position, fold).unwrap();
    master.end();
    proxy.redirect_to(&replica.socket());
    // The writer has not connected to the replica yet, so that this lacks what the snapshot covers.
    for step in 0..3 {
        one_step(store.as_mut(), step, &position, sum).unwrap();
    }
    let refused = one_step(store.as_mut(), 3, &position, sum);
    assert!(matches!(refused, Err(JournalError::NoSnapshot { .. })), "{refused:?}");
    drop(store);
    let (journal, rebuilt) = recover(&replica.options("main")).unwrap();
    assert_eq!((rebuilt.sum.last, rebuilt.from_snapshot, rebuilt.notes.len()), (early, false, 0));
    assert!(early < late);
    drop(journal);
}
