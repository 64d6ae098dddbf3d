//! What the archive keeps: limited by age and size, and never less than what a snapshot needs.

use crate::journal_disk::{FILE_BYTES, Sum, TestStorage, append_next, expected, recover_with, small, snapshot};
use invengine_node::journal::{FileOptions, Frame, Journal, JournalError, JournalPosition};

const ROUNDS: usize = 12;
const FRAMES_A_ROUND: usize = 50;
/// Rounds whose journal files are kept for the snapshots themselves, whatever the retention: two snapshots, and the spacing of
/// those in the archive.
const SNAPSHOTS_KEPT_ROUNDS: usize = 5;
/// Files that are kept for the same reason.
const SPACING_FILES: usize = 6;

fn options(archive_ms: u64, archive_bytes_max: u64) -> FileOptions {
    FileOptions { archive_ms, archive_bytes_max, ..small(FILE_BYTES) }
}

/// A journal with a snapshot and a trim after every round; the bytes that each trim removed.
fn run(options: &FileOptions) -> (TestStorage, u64, Vec<u64>) {
    let storage = TestStorage::default();
    let (mut journal, _) = recover_with(&storage, options).unwrap();
    let (mut position, mut sum, mut removed) = (JournalPosition::start("main"), Sum::default(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..FRAMES_A_ROUND {
            append_next(&mut journal, false).unwrap();
        }
        removed.push(snapshot(&journal, &mut position, &mut sum).unwrap().removed_bytes);
    }
    (storage, journal.durable_sequence(), removed)
}

fn archived(storage: &TestStorage) -> usize {
    storage.disk().names_with("archive/journal-").len()
}

/// The first sequence of a name `archive/journal-<sequence>-<number>`.
fn first_sequence(name: &str) -> u64 {
    u64::from_str_radix(&name["archive/journal-".len()..][..16], 16).unwrap()
}

/// Checks that the rest is complete: it begins at a snapshot, everything from there is readable, anything before it is refused
/// as trimmed, and a recovery reaches the same state.
fn check_complete(storage: &TestStorage, options: &FileOptions, last: u64) -> u64 {
    let files = storage.disk().names_with("archive/journal-");
    let first = files.first().map_or(1, |name| first_sequence(name));
    let (journal, rebuilt) = recover_with(storage, options).unwrap();
    assert_eq!((rebuilt.sum, rebuilt.notes.len()), (Sum::at(last), 0));
    let mut next = first;
    let read = &mut |frame: Frame<'_>| {
        if !frame.is_claim() {
            assert_eq!((frame.first_sequence, frame.payload), (next, &expected(next, false).payload[..]));
            next = frame.last_sequence + 1;
        }
        true
    };
    journal.reader().unwrap().read_from(first, read).unwrap();
    assert_eq!(next, last + 1);
    if first > 1 {
        let refused = journal.reader().unwrap().read_from(first - 1, &mut |_| true);
        assert!(matches!(refused, Err(JournalError::Trimmed { .. })), "{refused:?}");
        let snapshots = storage.disk().names_with("archive/snapshot-");
        let sequence_of = |name: &String| u64::from_str_radix(&name["archive/snapshot-".len()..][..16], 16).unwrap();
        let oldest = snapshots.iter().map(sequence_of).min();
        assert!(oldest.is_none_or(|sequence| sequence + 1 >= first), "a snapshot is before the first event");
    }
    first
}

#[test]
fn without_a_limit_the_archive_keeps_everything() {
    let all = options(0, 0);
    let (storage, last, removed) = run(&all);
    assert_eq!(removed, [0; ROUNDS]);
    assert!(archived(&storage) > 5);
    assert_eq!(check_complete(&storage, &all, last), 1);
}

#[test]
fn old_journal_files_are_removed_and_young_ones_stay() {
    // Frames are one millisecond apart for each sequence.
    for archive_ms in [200, 400] {
        let aged = options(archive_ms, 0);
        let (storage, last, removed) = run(&aged);
        assert!(removed.iter().sum::<u64>() > 0);
        let first = check_complete(&storage, &aged, last);
        assert!(first > 1);
        let (oldest, now) = (expected(first, false).time_ms, expected(last, false).time_ms);
        // What is kept beyond that is what the last snapshots and whole files need.
        assert!(now - oldest >= archive_ms as i64, "journal of {} ms was removed", now - oldest);
        let more = (SNAPSHOTS_KEPT_ROUNDS * FRAMES_A_ROUND * 2) as i64;
        assert!(now - oldest < archive_ms as i64 + more, "journal of {} ms is kept", now - oldest);
    }
}

#[test]
fn an_archive_that_is_too_large_loses_its_oldest_files() {
    let (unlimited, _, _) = run(&options(0, 0));
    let mut before = archived(&unlimited) - 1;
    for files in [6, 3, 1] {
        let small = options(0, files * FILE_BYTES);
        let (storage, last, removed) = run(&small);
        assert!(removed.iter().sum::<u64>() > 0);
        assert!(check_complete(&storage, &small, last) > 1);
        let kept = archived(&storage);
        assert!(kept <= before, "a smaller archive keeps {kept} files, a larger one {before}");
        assert!(kept <= files as usize + SPACING_FILES, "{kept} files in an archive of {files}");
        before = kept;
    }
}

#[test]
fn a_restart_with_another_retention_removes_more() {
    let all = options(0, 0);
    let (storage, _, _) = run(&all);
    let files = archived(&storage);
    let aged = options(100, 0);
    let (mut journal, rebuilt) = recover_with(&storage, &aged).unwrap();
    let (mut position, mut sum) = (JournalPosition::start("main"), Sum::default());
    assert_eq!(rebuilt.sum.last, journal.durable_sequence());
    append_next(&mut journal, false).unwrap();
    let last = journal.durable_sequence();
    assert!(snapshot(&journal, &mut position, &mut sum).unwrap().removed_bytes > 0);
    drop(journal);
    assert!(archived(&storage) < files);
    assert!(check_complete(&storage, &aged, last) > 1);
}
