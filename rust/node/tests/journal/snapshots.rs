//! Snapshots and archive of the file journal: crashes, failing calls and damage anywhere give the same state or a reason.

use crate::journal_disk::state::{crashes, run};
use crate::journal_disk::{
    Call, Disk, FILE_BYTES, Fault, Left, Sum, TestStorage, append_next, expected, recover, small, snapshot,
};
use invengine_node::journal::{EveryFrame, FileJournal, Frame, Journal, JournalError, JournalPosition};

// case: E02
#[test]
fn a_crash_at_any_call_of_a_run_with_snapshots_loses_nothing_acknowledged() {
    let storage = TestStorage::default();
    let (last, failed) = run(&storage, 500);
    assert_eq!(failed, 0);
    assert_eq!(storage.disk().names_with("snapshot-").len(), 2);
    assert!(!storage.disk().names_with("archive/journal-").is_empty());
    let (mut disk, mut acknowledged, mut states, mut with_snapshot) = (Disk::default(), 0, 0, 0);
    for call in storage.calls() {
        if let Call::Acknowledged(sequence) = call {
            acknowledged = sequence;
            continue;
        }
        for state in crashes(&disk, &call) {
            let (_, rebuilt) = recover(&TestStorage::on(state)).unwrap();
            let attempted = expected(acknowledged + 1, false).last_sequence;
            assert!((acknowledged..=attempted).contains(&rebuilt.sum.last));
            assert_eq!(rebuilt.sum, Sum::at(rebuilt.sum.last));
            assert_eq!(rebuilt.notes, Vec::<String>::new());
            (states, with_snapshot) = (states + 1, with_snapshot + usize::from(rebuilt.from_snapshot));
        }
        disk.apply(&call);
    }
    assert_eq!(acknowledged, last);
    assert!(states > 2_500 && with_snapshot > 1_000, "{states} states, {with_snapshot} with a snapshot");
}

// case: E06, E07, E08
#[test]
fn a_failing_snapshot_never_stops_the_writer() {
    let whole = TestStorage::default();
    let (last, _) = run(&whole, 150);
    let (mut failing, mut recovered) = (0, 0);
    for fault in [Fault::Eio, Fault::NoSpace, Fault::Short, Fault::ShortThenEio, Fault::Interrupted] {
        for at in 0..whole.count() {
            let storage = TestStorage::default();
            storage.fail_at(at, fault);
            let (acknowledged, failed) = run(&storage, 150);
            if failed > 0 {
                failing += 1;
                assert_eq!(acknowledged, last, "call {at}: a snapshot failed and the writer stopped");
                recovered += usize::from(storage.disk().names_with("snapshot-").len() >= 2);
            }
            let after = TestStorage::on(storage.disk().after_crash(&Left::Nothing));
            let (_, rebuilt) = recover(&after).unwrap();
            assert!(rebuilt.sum.last >= acknowledged);
            assert_eq!(rebuilt.sum, Sum::at(rebuilt.sum.last));
        }
    }
    assert!(
        failing > 20 && recovered > 10,
        "{failing} runs had a failed snapshot, {recovered} of them with two later ones"
    );
}

// case: E11
#[test]
fn a_newest_snapshot_cut_or_flipped_anywhere_gives_the_same_state() {
    let storage = TestStorage::default();
    let (last, _) = run(&storage, 120);
    let disk = storage.disk();
    let newest = disk.names_with("snapshot-").pop().unwrap();
    let bytes = disk.bytes(&newest).to_vec();
    let same = |changed: Vec<u8>, what: String| {
        let mut damaged = disk.clone();
        damaged.put(&newest, changed);
        let (_, rebuilt) = recover(&TestStorage::on(damaged)).unwrap();
        assert_eq!(rebuilt.sum, Sum::at(last), "{what}");
        assert!(rebuilt.from_snapshot && !rebuilt.notes.is_empty(), "{what}");
    };
    for cut in 0..bytes.len() {
        same(bytes[..cut].to_vec(), format!("cut at {cut}"));
    }
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        same(flipped, format!("bit {bit}"));
    }
}

// case: E11, E12
#[test]
fn without_a_good_snapshot_the_whole_journal_is_replayed_or_refused_and_never_empty() {
    let storage = TestStorage::default();
    let (last, _) = run(&storage, 300);
    let mut disk = storage.disk();
    for name in disk.names_with("snapshot-") {
        disk.bytes_mut(&name)[0] ^= 1;
    }
    let (_, rebuilt) = recover(&TestStorage::on(disk.clone())).unwrap();
    assert_eq!((rebuilt.sum, rebuilt.from_snapshot, rebuilt.notes.len()), (Sum::at(last), false, 2));
    for name in disk.names_with("archive/") {
        disk.remove(&name);
    }
    assert!(matches!(recover(&TestStorage::on(disk.clone())), Err(JournalError::Corrupt { .. })));
    for name in disk.journals() {
        disk.remove(&name);
    }
    assert!(matches!(recover(&TestStorage::on(disk)), Err(JournalError::Corrupt { .. })));
}

#[test]
fn the_archive_may_be_deleted_by_hand() {
    let storage = TestStorage::default();
    let (last, _) = run(&storage, 300);
    let mut disk = storage.disk();
    let archived = disk.names_with("archive/");
    assert!(!archived.is_empty());
    archived.iter().for_each(|name| disk.remove(name));
    let (journal, rebuilt) = recover(&TestStorage::on(disk)).unwrap();
    assert_eq!((rebuilt.sum, rebuilt.notes.len()), (Sum::at(last), 0));
    let refused = journal.reader().unwrap().read_from(1, &mut |_| true);
    assert!(matches!(refused, Err(JournalError::Trimmed { sequence: 1, .. })), "{refused:?}");
}

/// Recovers from a crashed disk, crashing again at every call of the recovery, `deep` levels deep.
fn crash_in_recovery(disk: &Disk, wanted: Sum, deep: u32, states: &mut u32) {
    *states += 1;
    let storage = TestStorage::on(disk.clone());
    let (journal, rebuilt) = recover(&storage).unwrap();
    assert_eq!((rebuilt.sum, rebuilt.from_snapshot), (wanted, true));
    drop(journal);
    if deep == 0 {
        return;
    }
    let mut half_way = disk.clone();
    for call in storage.calls() {
        for state in crashes(&half_way, &call) {
            crash_in_recovery(&state, wanted, deep - 1, states);
        }
        half_way.apply(&call);
    }
}

// case: E05
#[test]
fn crashes_during_recovery_from_a_snapshot_three_deep_change_nothing() {
    let storage = TestStorage::default();
    let (last, _) = run(&storage, 50);
    let mut disk = storage.disk().after_crash(&Left::Everything);
    disk.put("draft", vec![1; 900]);
    let mut states = 0;
    crash_in_recovery(&disk, Sum::at(last), 3, &mut states);
    assert!(states > 300, "{states} states");
}

// case: E10, E11
#[test]
fn a_piece_of_another_snapshot_or_a_snapshot_of_another_ledger_is_refused() {
    let storage = TestStorage::default();
    let (last, _) = run(&storage, 120);
    let mut disk = storage.disk();
    let snapshots = disk.names_with("snapshot-");
    let (older, newest) = (disk.bytes(&snapshots[0]).to_vec(), disk.bytes(&snapshots[1]).to_vec());
    let mut mixed = newest.clone();
    mixed[4096..].copy_from_slice(&older[4096..]);
    disk.put(&snapshots[1], mixed);
    let (_, rebuilt) = recover(&TestStorage::on(disk.clone())).unwrap();
    assert_eq!((rebuilt.sum, rebuilt.notes.len()), (Sum::at(last), 1));

    let foreign = TestStorage::default();
    let mut options = small(FILE_BYTES);
    options.ledger = "other".into();
    let journal = FileJournal::recover_on(foreign.shared(), &options, &mut EveryFrame(&mut |_| Ok(()))).unwrap();
    snapshot(&journal, &mut JournalPosition::start("other"), &mut Sum::default()).unwrap();
    let name = foreign.disk().names_with("snapshot-").remove(0);
    disk.put(&snapshots[1], newest);
    disk.put(&name, foreign.disk().bytes(&name).to_vec());
    let (_, rebuilt) = recover(&TestStorage::on(disk)).unwrap();
    assert_eq!((rebuilt.sum, rebuilt.from_snapshot), (Sum::at(last), true));
    assert!(rebuilt.notes[0].contains("other"), "{:?}", rebuilt.notes);
}

#[test]
fn a_gap_after_the_snapshot_is_refused() {
    let storage = TestStorage::default();
    run(&storage, 300);
    let mut disk = storage.disk();
    let files = disk.journals();
    assert!(files.len() > 2);
    disk.remove(&files[files.len() - 2]);
    assert!(matches!(recover(&TestStorage::on(disk)), Err(JournalError::Corrupt { .. })));
}

#[test]
fn a_reader_goes_through_archive_and_journal_while_files_move() {
    let storage = TestStorage::default();
    let (mut journal, _) = recover(&storage).unwrap();
    let mut reader = journal.reader().unwrap();
    let (mut position, mut sum, mut seen) = (JournalPosition::start("main"), Sum::default(), Sum::default());
    for round in 0..8 {
        for _ in 0..50 {
            append_next(&mut journal, false).unwrap();
        }
        snapshot(&journal, &mut position, &mut sum).unwrap();
        // Only some frames of each round, so that the reader falls behind into the archive.
        let mut left = 30;
        reader
            .read_from(seen.last + 1, &mut |frame| {
                if left > 0 && !frame.is_claim() {
                    seen.fold(frame.last_sequence, frame.payload);
                    left -= 1;
                }
                left > 0
            })
            .unwrap();
        assert_eq!(seen, Sum::at(seen.last), "round {round}");
    }
    let mut from_the_start = Sum::default();
    let all = &mut |frame: Frame<'_>| {
        if !frame.is_claim() {
            from_the_start.fold(frame.last_sequence, frame.payload);
        }
        true
    };
    journal.reader().unwrap().read_from(1, all).unwrap();
    assert_eq!(from_the_start, sum);
    assert!(!storage.disk().names_with("archive/journal-").is_empty());
}

// case: E12
#[test]
fn force_empty_sets_everything_aside_and_no_epoch_is_used_twice() {
    let storage = TestStorage::default();
    run(&storage, 300);
    let mut disk = storage.disk();
    let mut lost = disk.names_with("snapshot-");
    lost.push(disk.journals().remove(0));
    lost.extend(disk.names_with("archive/"));
    lost.iter().for_each(|name| disk.remove(name));
    let Err(refused) = recover(&TestStorage::on(disk.clone())) else { panic!("opened without its head") };
    assert!(refused.to_string().contains("--force-empty"), "{refused}");
    let (before, storage) = (disk.journals(), TestStorage::on(disk));
    let mut options = small(FILE_BYTES);
    options.force_empty = true;
    let journal = FileJournal::recover_on(storage.shared(), &options, &mut EveryFrame(&mut |_| Ok(()))).unwrap();
    assert!(journal.durable_sequence() == 0 && journal.writer_epoch() > 1);
    let aside = storage.disk().names_with("set-aside-1/");
    assert_eq!(aside, before.iter().map(|name| format!("set-aside-1/{name}")).collect::<Vec<_>>());
    let epoch = journal.writer_epoch();
    drop(journal);
    assert_eq!(recover(&storage).unwrap().0.writer_epoch(), epoch + 1);
}
