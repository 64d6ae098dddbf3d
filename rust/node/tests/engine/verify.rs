//! Verify on journals of a real engine: intact journals are proved, damage is explained, and nothing is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use crate::engine_harness::{digest, fill, in_time, names, open, receive, reserve, settings};
use invengine_node::engine::{Engine, EngineSettings};
use invengine_node::journal::JournalError;
use invengine_node::verify::{DamageReport, VerifyReport, verify};

/// Every file with its bytes and its modification time.
fn everything(directory: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for place in [directory.to_owned(), directory.join("archive")] {
        for name in names(&place, "") {
            let path = place.join(&name);
            if path.is_file() {
                let time = path.metadata().unwrap().modified().unwrap();
                found.insert(path.display().to_string(), (std::fs::read(path).unwrap(), time));
            }
        }
    }
    found
}

/// Verifies, and requires that no file was touched.
fn look(directory: &Path) -> VerifyReport {
    let before = everything(directory);
    let report = verify(directory, None).unwrap();
    assert!(everything(directory) == before, "it writes nothing");
    report
}

fn damage_of(report: &VerifyReport) -> &DamageReport {
    report.damage.as_ref().expect("there is damage")
}

/// Flips a bit of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Fills a directory with two snapshots, an archive and a tail; returns its digest and sequence.
fn grown(path: &Path) -> (String, i64) {
    let mut before = None;
    for round in 0..3 {
        let engine = open(path);
        fill(&engine, round);
        engine.create_snapshot(in_time()).unwrap();
        reserve(&engine, &format!("tail{round}"));
        before = Some(digest(&engine));
    }
    before.unwrap()
}

// case: E11
#[test]
fn a_whole_journal_proves_its_snapshots_and_a_trimmed_one_begins_with_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (digest, sequence) = grown(path);
    let report = look(path);
    assert!(report.damage.is_none() && report.backup.is_none() && report.torn_tail.is_none());
    assert_eq!((report.digest.clone(), report.sequence as i64, report.first_sequence), (digest.clone(), sequence, 1));
    assert!(report.snapshots.len() >= 2);
    assert!(report.snapshots.iter().all(|each| each.bad.is_none() && each.compared), "{:?}", report.snapshots);
    let early = verify(path, Some(report.snapshots[0].sequence)).unwrap();
    assert!(early.snapshots[0].compared && !early.snapshots[1].compared, "{:?}", early.snapshots);

    std::fs::remove_dir_all(path.join("archive")).unwrap();
    let trimmed = look(path);
    assert!(trimmed.damage.is_none() && trimmed.first_sequence > 1);
    assert_eq!((trimmed.digest, trimmed.sequence as i64), (digest, sequence));
    assert!(trimmed.snapshots.iter().all(|each| each.bad.is_none() && each.compared), "{:?}", trimmed.snapshots);
    let first = trimmed.snapshots[0].sequence;
    let gone = verify(path, Some(1)).map(drop).unwrap_err().to_string();
    assert!(gone.contains(&format!("is kept from sequence {first} on and ends at sequence {sequence};")), "{gone}");
}

#[test]
fn a_position_that_the_journal_does_not_have_is_no_proof() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    drop(Engine::open(&settings(path)).unwrap());
    let refused = |at| verify(path, Some(at)).map(drop).unwrap_err().to_string();
    assert!(
        refused(1).starts_with("sequence 1 is no position in this journal, which has no events;"),
        "{}",
        refused(1)
    );
    let (_, end) = grown(path);
    let end = end as u64;
    for at in [0, end + 1, 99_999, u64::MAX] {
        let text = format!("sequence {at} is no position in this journal, which ends at sequence {end};");
        assert!(refused(at).starts_with(&text), "{}", refused(at));
    }
    assert!(verify(path, Some(1)).unwrap().sequence >= 1);
    assert_eq!(verify(path, Some(end)).unwrap().sequence, end);
}

// case: E03, E04
#[test]
fn damage_is_reported_with_what_is_lost_and_what_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // Longer than any frame, so that one file holds them all.
    let engine = Engine::open(&EngineSettings { journal_file_bytes: 8 << 20, ..settings(path) }).unwrap();
    receive(&engine, "r", 1_000);
    for number in 0..40 {
        reserve(&engine, &format!("k{number}"));
    }
    let (digest_at_end, end) = digest(&engine);
    drop(engine);
    let file = path.join(&names(path, "journal-")[0]);
    let bytes = std::fs::read(&file).unwrap();
    let starts: Vec<usize> =
        (4096..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(&[0xFE, b'I', b'V', b'F'])).collect();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    // A frame in the middle: everything before it is intact, everything after it exists but cannot be trusted.
    let (start, next) = (starts[20], starts[21]);
    flip(&file, start + 70);
    let report = look(path);
    let damage = damage_of(&report);
    assert_eq!((damage.file.as_str(), damage.offset), (file.to_str().unwrap(), start as u64));
    assert_eq!((damage.whole_sequence, report.sequence), (number(start + 16) - 1, number(start + 16) - 1));
    assert_eq!(damage.unreadable_bytes, (next - start) as u64);
    assert_eq!(damage.frames_behind, starts.len() as u64 - 21);
    assert_eq!((damage.first_sequence_behind, damage.last_sequence_behind), (number(next + 16), end as u64));
    assert!(damage.start_refused.as_ref().is_some_and(|why| why.contains("corrupt")), "{damage:?}");
    let whole = verify(path, Some(damage.whole_sequence)).unwrap();
    assert!(whole.damage.is_none() && whole.digest == report.digest, "up to there everything is proved");
    flip(&file, start + 70);

    // The end of the journal is lost: a torn tail is not damage, and what a start would cut off is reported.
    let mut torn = bytes.clone();
    torn[starts[starts.len() - 1] + 70] ^= 1;
    std::fs::write(&file, torn).unwrap();
    let report = look(path);
    assert!(report.damage.is_none() && report.torn_tail.is_some() && report.sequence < end as u64);
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(look(path).digest, digest_at_end);
}

// case: E04, E12
#[test]
fn damage_before_a_good_snapshot_costs_history_and_no_state() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (_, sequence) = grown(path);
    let archived = names(&path.join("archive"), "journal-");
    flip(&path.join("archive").join(&archived[0]), 5_000);
    let report = look(path);
    let damage = damage_of(&report);
    assert_eq!((damage.start_sequence, damage.start_refused.as_deref()), (Some(sequence as u64), None));
    assert!(damage.start_snapshot.is_some() && damage.whole_sequence < sequence as u64);
    assert!(report.snapshots.iter().all(|each| each.bad.is_none() && !each.compared), "{:?}", report.snapshots);
    flip(&path.join("archive").join(&archived[0]), 5_000);

    // The header of a file: its frames exist, but they do not continue anything.
    let journals = names(path, "journal-");
    flip(&path.join(&journals[1]), 40);
    let report = look(path);
    let damage = damage_of(&report);
    assert!(damage.offset == 0 && damage.frames_behind > 0, "{damage:?}");
    assert_eq!(damage.start_sequence, Some(sequence as u64), "the newest snapshot lies after it");
    assert_eq!(damage.first_sequence_behind, damage.whole_sequence + 1);
    flip(&path.join(&journals[1]), 40);

    // A file in the middle is missing.
    let lost = path.join(&journals[journals.len() - 4]);
    std::fs::rename(&lost, directory.path().join("elsewhere")).unwrap();
    let report = look(path);
    let damage = damage_of(&report);
    assert!(damage.why.contains("missing") && damage.frames_behind > 0, "{damage:?}");
    assert!(damage.first_sequence_behind > damage.whole_sequence + 1);
    assert!(damage.start_refused.is_some());
    std::fs::rename(directory.path().join("elsewhere"), &lost).unwrap();

    // Neither the beginning nor a snapshot is left.
    std::fs::remove_dir_all(path.join("archive")).unwrap();
    names(path, "snapshot-").iter().for_each(|name| flip(&path.join(name), 4_200));
    let report = look(path);
    assert!(report.snapshots.iter().all(|each| each.bad.is_some()));
    let damage = damage_of(&report);
    assert_eq!((damage.whole_sequence, damage.last_sequence_behind), (0, sequence as u64));
    assert!(damage.start_refused.as_ref().is_some_and(|why| why.contains("--force-empty")), "{damage:?}");
}

// case: E11
#[test]
fn a_snapshot_of_another_history_is_found_by_its_digest() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (directory, quantity) in [(&one, 5), (&other, 6)] {
        let engine = open(directory.path());
        receive(&engine, "r", quantity);
        engine.create_snapshot(in_time()).unwrap();
    }
    let name = names(one.path(), "snapshot-").remove(0);
    assert_eq!(names(other.path(), "snapshot-")[0], name);
    std::fs::copy(other.path().join(&name), one.path().join(&name)).unwrap();
    let report = look(one.path());
    let bad = report.snapshots[0].bad.clone().unwrap();
    assert!(report.damage.is_none() && report.snapshots[0].compared && bad.contains("digest"), "{bad}");
}

#[test]
fn a_backup_is_verified_like_a_journal_and_by_its_manifest() {
    let (directory, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let before = grown(directory.path());
    invengine_node::backup::create(directory.path(), backup.path(), false).unwrap();
    let report = look(backup.path());
    assert_eq!((report.digest.clone(), report.sequence as i64), before);
    assert!(report.damage.is_none() && report.first_sequence > 1);
    assert_eq!(report.backup.as_deref(), Some("whole"));
    let name = names(backup.path(), "journal-").pop().unwrap();
    let bytes = std::fs::read(backup.path().join(&name)).unwrap();
    std::fs::write(backup.path().join(&name), &bytes[..bytes.len() - 8]).unwrap();
    assert!(look(backup.path()).backup.is_some_and(|why| why.contains("cannot be restored")));
    std::fs::rename(backup.path().join("backup.json"), backup.path().join("backup.unfinished")).unwrap();
    assert!(matches!(verify(backup.path(), None), Err(JournalError::NoJournal { .. })));
}
