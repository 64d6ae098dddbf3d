//! Backups of a journal in Redis beside a real engine that writes snapshots and trims: they hold everything that was
//! acknowledged, nothing is written in Redis, and what a start would refuse is refused.

use std::path::Path;

use crate::engine_harness::{
    assert_whole, backups_beside, digest, fill, in_time, names, open, receive, redis_settings, reserve,
};
use crate::journal_redis::{Kind, Redis, entries_of, free_port, put};
use invengine_node::backup::{create_from_redis, restore};
use invengine_node::engine::Engine;
use invengine_node::journal::JournalError;
use invengine_node::verify::{verify, verify_redis};

both!(
    a_backup_beside_an_engine_holds_all_that_was_acknowledged,
    older_frames_are_included_on_request,
    a_bad_newest_snapshot_gives_way_to_the_older_one,
    a_missing_journal_is_refused_before_anything_is_written,
    damage_is_refused_and_leaves_no_valid_backup,
    reading_needs_few_rights,
);

const FRAMES: &str = "invengine:{main}:frames";

fn engine_on(server: &Redis, archive_bytes_max: u64) -> Engine {
    let settings = redis_settings(server.url(), &server.directory().join("engine"), archive_bytes_max);
    Engine::open(&settings).unwrap()
}

/// Writes a snapshot in each round, with commands before and after it.
fn grow(engine: &Engine, rounds: usize) -> (String, i64) {
    for round in 0..rounds {
        receive(engine, &format!("r{round}"), 1_000);
        for number in 0..60 {
            reserve(engine, &format!("{round}-{number}"));
        }
        engine.create_snapshot(in_time()).unwrap();
        reserve(engine, &format!("tail {round}"));
    }
    digest(engine)
}

/// Everything that belongs to the ledger.
fn all_of(server: &Redis) -> Vec<String> {
    let keys = ["state", "frames", "snapshot:0", "snapshot:1", "snapshot:2"];
    keys.iter().map(|key| server.run(&format!("DEBUG DIGEST-VALUE invengine:{{main}}:{key}"))).collect()
}

// case: I03
fn a_backup_beside_an_engine_holds_all_that_was_acknowledged(kind: Kind) {
    let server = Redis::start(&kind);
    let backups = tempfile::tempdir().unwrap();
    let options = server.options("main");
    // Only what a recovery needs is kept: what a backup is reading may be trimmed.
    let engine = engine_on(&server, 1);
    let create = |number: usize, to: &Path| create_from_redis(&options, to, number % 2 == 1).unwrap();
    let made = backups_beside(&engine, backups.path(), create, || verify_redis(&options, None).unwrap());
    let at_end = create_from_redis(&options, &backups.path().join("end"), false).unwrap().manifest;
    assert_eq!((at_end.digest, at_end.sequence as i64), digest(&engine));
    assert_whole(made, 6);
}

/// The frames of a directory as bytes, one after the other.
fn frames_in(directory: &Path) -> Vec<u8> {
    let files = names(directory, "journal-").into_iter();
    files.flat_map(|name| std::fs::read(directory.join(name)).unwrap().split_off(4_096)).collect()
}

// case: I03
fn older_frames_are_included_on_request(kind: Kind) {
    for archive_bytes_max in [0, 1] {
        let server = Redis::start(&kind);
        let place = tempfile::tempdir().unwrap();
        drop(grow(&engine_on(&server, archive_bytes_max), 4));
        // A snapshot right after a claim: several positions have its sequence.
        let engine = engine_on(&server, archive_bytes_max);
        engine.create_snapshot(in_time()).unwrap();
        let before = digest(&engine);
        let options = server.options("main");
        let untouched = all_of(&server);
        let short = create_from_redis(&options, &place.path().join("short"), false).unwrap().manifest;
        let long = create_from_redis(&options, &place.path().join("long"), true).unwrap().manifest;
        assert_eq!(all_of(&server), untouched, "it writes nothing");
        assert_eq!((long.sequence, &long.digest), (short.sequence, &short.digest));
        let in_redis: Vec<u8> =
            entries_of(&server, FRAMES).into_iter().flat_map(|(_, fields)| fields[1].clone()).collect();
        assert!(frames_in(&place.path().join("long")) == in_redis, "the same bytes, all of them");
        assert!(in_redis.ends_with(&frames_in(&place.path().join("short"))));
        for (name, begins_with_first) in [("short", false), ("long", archive_bytes_max == 0)] {
            let at = place.path().join(format!("from {name}"));
            restore(&place.path().join(name), &at, 0).unwrap();
            let verified = verify(&at, None).unwrap();
            assert!(verified.damage.is_none() && verified.snapshots.iter().all(|each| each.compared), "{verified:?}");
            assert_eq!(
                (verified.first_sequence == 1, verified.digest),
                (begins_with_first, before.0.clone()),
                "{name}"
            );
            // It continues like any other journal, and archives the older files.
            let engine = open(&at);
            assert_eq!(digest(&engine), before);
            fill(&engine, 9);
            engine.create_snapshot(in_time()).unwrap();
            fill(&engine, 10);
            engine.create_snapshot(in_time()).unwrap();
            let after = digest(&engine);
            drop(engine);
            assert_eq!(digest(&open(&at)), after);
        }
    }
}

// case: E11
fn a_bad_newest_snapshot_gives_way_to_the_older_one(kind: Kind) {
    let server = Redis::start(&kind);
    let place = tempfile::tempdir().unwrap();
    let before = grow(&engine_on(&server, 1), 3);
    let options = server.options("main");
    let good = create_from_redis(&options, &place.path().join("good"), false).unwrap().manifest;
    let begun: u64 = server.run("HGET invengine:{main}:state begun").parse().unwrap();
    server.run(&format!("HSET invengine:{{main}}:snapshot:{} 0 damaged", (begun - 1) % 3));
    let older = create_from_redis(&options, &place.path().join("older"), false).unwrap();
    assert!(older.manifest.snapshot_sequence < good.snapshot_sequence);
    assert_eq!((older.manifest.digest, older.manifest.sequence as i64), before);
    assert_eq!(older.notes.len(), 1, "{:?}", older.notes);
    assert_eq!(names(&place.path().join("older"), "snapshot-").len(), 1, "nothing is left of the bad one");
    server.run(&format!("HSET invengine:{{main}}:snapshot:{} 0 damaged", (begun - 2) % 3));
    let refused = create_from_redis(&options, &place.path().join("none"), false);
    assert!(matches!(refused, Err(JournalError::CorruptEntry { .. })), "{refused:?}");
}

/// The error of backup and of verify, which is the same; neither creates a directory nor changes anything.
fn refused(server: &Redis, change: impl Fn(&mut invengine_node::journal::RedisOptions)) -> String {
    let place = tempfile::tempdir().unwrap();
    let before = all_of(server);
    let mut options = server.options("main");
    change(&mut options);
    let text = create_from_redis(&options, &place.path().join("backup"), false).map(drop).unwrap_err().to_string();
    assert_eq!(verify_redis(&options, None).map(drop).unwrap_err().to_string(), text);
    assert!(!place.path().join("backup").exists(), "{text}");
    assert!(!text.contains("s3cr-t") && !text.contains('\n'), "{text}");
    assert_eq!(all_of(server), before);
    text
}

fn a_missing_journal_is_refused_before_anything_is_written(kind: Kind) {
    let server = Redis::start(&kind);
    assert!(refused(&server, |_| ()).contains("no journal is there"));
    assert!(refused(&server, |options| options.url = "redis://127.0.0.1:1".into()).contains("cannot reach Redis"));
    let nobody = |options: &mut invengine_node::journal::RedisOptions| {
        (options.username, options.password) = ("nobody".into(), "s3cr-t".into())
    };
    assert!(refused(&server, nobody).contains("correct user and password"));
    server.run("SET invengine:{main}:state x");
    assert!(refused(&server, |_| ()).contains("does not fit a journal"));
    server.run("DEL invengine:{main}:state");
    drop(engine_on(&server, 0));
    server.run("COPY invengine:{main}:state invengine:{other}:state");
    server.run("COPY invengine:{main}:frames invengine:{other}:frames");
    assert!(refused(&server, |options| options.ledger = "other".into()).contains("belongs to ledger"));
    server.run("HSET invengine:{main}:state format 99");
    assert!(refused(&server, |_| ()).contains("start the newer version"));
    server.run("HSET invengine:{main}:state format 1");
    let port = free_port();
    let _master = Redis::start_on_port(&kind, port, &[]);
    server.run(&format!("REPLICAOF 127.0.0.1 {port}"));
    server.wait_for("INFO replication", "master_link_status:up");
    assert!(refused(&server, |_| ()).contains("it is a replica"));
}

// case: E04
fn damage_is_refused_and_leaves_no_valid_backup(kind: Kind) {
    let server = Redis::start(&kind);
    let place = tempfile::tempdir().unwrap();
    drop(grow(&engine_on(&server, 0), 1));
    let options = server.options("main");
    let good = entries_of(&server, FRAMES);
    let last = good.len() - 1;
    for (what, at, spoilt) in [("flipped", last, true), ("missing", last - 1, false), ("cut", last, false)] {
        let mut entries = good.clone();
        if spoilt {
            entries[at].1[1][70] ^= 1;
        } else {
            entries.remove(at);
        }
        // The snapshot is before the last frame.
        put(&server, FRAMES, &entries);
        let to = place.path().join(what);
        let refused = create_from_redis(&options, &to, true).map(drop);
        assert!(matches!(refused, Err(JournalError::CorruptEntry { .. })), "{what}: {refused:?}");
        assert!(restore(&to, &place.path().join("x"), 0).is_err(), "{what}");
        put(&server, FRAMES, &good);
        create_from_redis(&options, &to, true)
            .unwrap_or_else(|error| panic!("{what}: the next try begins again: {error}"));
    }
}

const READER: &str = "-@all +hgetall +hmget +info +type +xrange";

fn reading_needs_few_rights(kind: Kind) {
    let server = Redis::start(&kind);
    let place = tempfile::tempdir().unwrap();
    drop(grow(&engine_on(&server, 0), 2));
    let documents = include_str!("../../../../docs/operations.md");
    assert!(documents.contains(READER), "docs/operations.md lists other commands than are tested here");
    let mut options = server.options("main");
    (options.username, options.password) = ("reader".into(), "pass".into());
    let user = |rights: &str| server.run(&format!("ACL SETUSER reader reset on >pass ~invengine:* {rights}"));
    assert_eq!(user(READER), "OK");
    create_from_redis(&options, &place.path().join("made"), true).unwrap();
    assert!(verify_redis(&options, None).unwrap().damage.is_none());
    for missing in READER.split(' ').skip(1) {
        user(&READER.replace(&format!(" {missing}"), ""));
        let refused = create_from_redis(&options, &place.path().join("not made"), true).map(drop).unwrap_err();
        assert!(refused.to_string().contains("docs/operations.md"), "{missing}: {refused}");
    }
}
