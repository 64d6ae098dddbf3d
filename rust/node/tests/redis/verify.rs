//! Verification of the Redis journal of a real engine: intact parts are verified, damage is explained by the id of its entry,
//! and nothing is written.

use crate::engine_harness::{digest, in_time, receive, redis_settings, reserve};
use crate::journal_redis::{Entries, Kind, Redis, entries_of, put};
use invengine_node::engine::Engine;
use invengine_node::journal::{JournalError, RedisOptions};
use invengine_node::verify::{DamageReport, VerifyReport, verify_redis};

both!(
    an_intact_journal_verifies_its_snapshots_and_a_trimmed_one_begins_with_one,
    damage_is_reported_by_its_entry_with_what_is_lost_and_what_is_not,
    entries_missing_at_an_end_are_reported,
    damage_before_a_good_snapshot_loses_history_and_no_state,
    without_beginning_and_snapshot_nothing_is_intact,
);

const FRAMES: &str = "invengine:{main}:frames";
const STATE: &str = "invengine:{main}:state";

fn engine_on(server: &Redis, archive_bytes_max: u64) -> Engine {
    let settings = redis_settings(server.url(), &server.directory().join("engine"), archive_bytes_max);
    Engine::open(&settings).unwrap()
}

/// Writes a snapshot in each round, with commands before and after it; returns digest and sequence of the end.
fn grown(server: &Redis, archive_bytes_max: u64, rounds: usize) -> (String, u64) {
    let mut end = (String::new(), 0);
    for round in 0..rounds {
        let engine = engine_on(server, archive_bytes_max);
        receive(&engine, &format!("r{round}"), 1_000);
        for number in 0..60 {
            reserve(&engine, &format!("{round}-{number}"));
        }
        engine.create_snapshot(in_time()).unwrap();
        reserve(&engine, &format!("tail {round}"));
        let (digest, sequence) = digest(&engine);
        end = (digest, sequence as u64);
    }
    end
}

/// Verifies, and requires that nothing was changed.
fn check(server: &Redis) -> VerifyReport {
    let all = || -> Vec<String> {
        let keys = ["state", "frames", "snapshot:0", "snapshot:1", "snapshot:2"];
        keys.iter().map(|key| server.run(&format!("DEBUG DIGEST-VALUE invengine:{{main}}:{key}"))).collect()
    };
    let before = all();
    let report = verify_redis(&options(server), None).unwrap();
    assert_eq!(all(), before, "it writes nothing");
    report
}

fn options(server: &Redis) -> RedisOptions {
    server.options("main")
}

fn damage_of(report: &VerifyReport) -> &DamageReport {
    report.damage.as_ref().expect("there is damage")
}

/// First and last sequence of the events of an entry.
fn sequences(entries: &Entries, index: usize) -> (u64, u64) {
    let number = |at: usize| u64::from_le_bytes(entries[index].1[1][at..at + 8].try_into().unwrap());
    (number(16), number(24))
}

fn newest(server: &Redis) -> String {
    let begun: u64 = server.run(&format!("HGET {STATE} begun")).parse().unwrap();
    format!("invengine:{{main}}:snapshot:{}", (begun + 2) % 3)
}

// case: E11
fn an_intact_journal_verifies_its_snapshots_and_a_trimmed_one_begins_with_one(kind: Kind) {
    for archive_bytes_max in [0, 1] {
        let server = Redis::start(&kind);
        let (digest, sequence) = grown(&server, archive_bytes_max, 4);
        let report = check(&server);
        assert!(report.damage.is_none() && report.backup.is_none() && report.torn_tail.is_none(), "{report:?}");
        assert_eq!((&report.digest, report.sequence, report.last_sequence), (&digest, sequence, sequence));
        assert_eq!(report.first_sequence == 1, archive_bytes_max == 0);
        assert_eq!(report.counts["entries"].to_string(), server.run(&format!("XLEN {FRAMES}")));
        assert_eq!(report.snapshots.len(), 2);
        assert!(report.snapshots.iter().all(|each| each.bad.is_none() && each.compared), "{:?}", report.snapshots);
        assert!(report.invariants.values().all(|holds| *holds));
        let early = verify_redis(&options(&server), Some(report.snapshots[0].sequence)).unwrap();
        assert!(early.snapshots[0].compared && !early.snapshots[1].compared, "{:?}", early.snapshots);
        assert_eq!(early.sequence, report.snapshots[0].sequence);
        let first = verify_redis(&options(&server), Some(1));
        assert_eq!(
            matches!(first, Err(JournalError::NoPosition { sequence: 1, .. })),
            archive_bytes_max == 1,
            "{first:?}"
        );
        for at in [0, sequence + 1, 99_999] {
            let refused = verify_redis(&options(&server), Some(at)).map(drop).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("sequence {at} is no position in this journal, which ")), "{refused}");
            assert!(refused.contains(&format!("ends at sequence {sequence};")), "{refused}");
        }
        // A bad snapshot is reported, and is not damage of the journal.
        server.run_words(&["HSET", &newest(&server), "0", "damaged"]);
        let report = check(&server);
        assert!(report.damage.is_none() && report.digest == digest);
        let bad: Vec<bool> = report.snapshots.iter().map(|each| each.bad.is_some()).collect();
        assert_eq!(bad, [false, true], "{:?}", report.snapshots);
    }
}

// case: E03, E04
fn damage_is_reported_by_its_entry_with_what_is_lost_and_what_is_not(kind: Kind) {
    let server = Redis::start(&kind);
    let engine = engine_on(&server, 0);
    receive(&engine, "r", 1_000);
    (0..40).for_each(|number| reserve(&engine, &format!("k{number}")));
    let (_, end) = digest(&engine);
    drop(engine);
    let good = entries_of(&server, FRAMES);
    let (first, last) = sequences(&good, 20);
    let behind = |report: &VerifyReport| {
        let damage = damage_of(report);
        assert_eq!((damage.last_sequence_behind, damage.offset), (end as u64, 0));
        assert!(damage.file.starts_with(FRAMES), "{}", damage.file);
        assert!(damage.start_refused.as_ref().is_some_and(|why| why.contains("corrupt")), "{damage:?}");
        let whole = verify_redis(&options(&server), Some(damage.whole_sequence)).unwrap();
        assert!(whole.damage.is_none() && whole.digest == report.digest, "everything up to there is verified");
        (damage.entry.clone().unwrap(), damage.unreadable_bytes, damage.frames_behind, damage.first_sequence_behind)
    };
    let (length, rest) = (good[20].1[1].len() as u64, good.len() as u64 - 21);
    for at in [0, 10, 20, 30, 40, 50, 60, 70] {
        let mut entries = good.clone();
        entries[20].1[1][at] ^= 1;
        put(&server, FRAMES, &entries);
        let report = check(&server);
        assert_eq!(report.sequence, first - 1);
        assert_eq!(behind(&report), (good[20].0.clone(), length, rest, last + 1), "byte {at}");
    }
    // Not a frame at all; then a missing one.
    let mut entries = good.clone();
    entries[20].1 = vec![b"other".to_vec(), b"x".to_vec()];
    put(&server, FRAMES, &entries);
    assert_eq!(behind(&check(&server)), (good[20].0.clone(), 0, rest, last + 1));
    entries.remove(20);
    put(&server, FRAMES, &entries);
    let report = check(&server);
    assert_eq!((report.sequence, behind(&report)), (first - 1, (good[21].0.clone(), 0, rest, last + 1)));
    put(&server, FRAMES, &good);
    assert!(check(&server).damage.is_none());
}

fn entries_missing_at_an_end_are_reported(kind: Kind) {
    let server = Redis::start(&kind);
    let (_, end) = grown(&server, 0, 1);
    let good = entries_of(&server, FRAMES);
    let mut entries = good.clone();
    entries.pop();
    put(&server, FRAMES, &entries);
    let report = check(&server);
    let damage = damage_of(&report);
    assert_eq!((damage.entry.as_ref(), damage.whole_sequence), (Some(&entries.last().unwrap().0), end - 1));
    assert!(damage.why.contains("gone") && damage.frames_behind == 0 && damage.start_refused.is_some(), "{damage:?}");
    let mut entries = good.clone();
    entries.remove(0);
    put(&server, FRAMES, &entries);
    let report = check(&server);
    let damage = damage_of(&report);
    assert_eq!((damage.entry.as_ref(), damage.whole_sequence), (Some(&entries[0].0), 0));
    assert_eq!(damage.start_sequence, Some(end), "the snapshot is after it");
    put(&server, FRAMES, &good);
    server.run(&format!("HSET {STATE} chain 0123456789abcdef"));
    let report = check(&server);
    assert!(damage_of(&report).why.contains("state does not match"), "{report:?}");
}

// case: E04
fn damage_before_a_good_snapshot_loses_history_and_no_state(kind: Kind) {
    let server = Redis::start(&kind);
    let (_, sequence) = grown(&server, 0, 2);
    let mut entries = entries_of(&server, FRAMES);
    entries[5].1[1][70] ^= 1;
    put(&server, FRAMES, &entries);
    let report = check(&server);
    let damage = damage_of(&report);
    assert_eq!((damage.start_sequence, damage.start_refused.as_deref()), (Some(sequence), None));
    assert!(damage.start_snapshot.is_some() && damage.whole_sequence < sequence);
    assert!(report.snapshots.iter().all(|each| each.bad.is_none() && !each.compared), "{:?}", report.snapshots);
}

// case: E12
fn without_beginning_and_snapshot_nothing_is_intact(kind: Kind) {
    let server = Redis::start(&kind);
    let (_, sequence) = grown(&server, 1, 4);
    for place in 0..3 {
        server.run(&format!("HSET invengine:{{main}}:snapshot:{place} 0 damaged"));
    }
    let report = check(&server);
    assert!(report.snapshots.iter().all(|each| each.bad.is_some()));
    let damage = damage_of(&report);
    assert_eq!((damage.whole_sequence, damage.last_sequence_behind), (0, sequence));
    assert!(damage.why.contains("were trimmed") && damage.start_refused.is_some(), "{damage:?}");
    assert_eq!(damage.entry, Some(entries_of(&server, FRAMES)[0].0.clone()));
}
