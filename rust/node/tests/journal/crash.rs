//! Crashes: whatever was acknowledged is recovered, and what is recovered is a prefix of what was
//! written.

use crate::journal_disk::{
    Call, Disk, Fault, Left, TestStorage, append_next, assert_prefix, open, sectors_of, written,
};
use invengine_node::journal::{Journal, scan_on};

const FILE_BYTES: u64 = 16 << 10;

/// All states a crash can leave just before a call, and half way through a write.
fn crashes(disk: &Disk, call: &Call) -> Vec<Disk> {
    let mut states = vec![disk.after_crash(&Left::Nothing), disk.after_crash(&Left::Everything)];
    if let Call::Write(_, offset, data) = call {
        let mut half_way = disk.clone();
        half_way.apply(call);
        let sectors = sectors_of(*offset, data);
        for cut in 1..sectors {
            states.push(half_way.after_crash(&Left::Sectors(0..cut)));
            states.push(half_way.after_crash(&Left::Sectors(cut..sectors)));
        }
    }
    states
}

/// Recovers, checks the guarantee, continues and recovers again.
fn check(disk: Disk, acknowledged: u64, attempted: u64) {
    let storage = TestStorage::on(disk);
    let (mut journal, frames) = open(&storage, FILE_BYTES).unwrap();
    let last = assert_prefix(&frames, true);
    assert!((acknowledged..=attempted).contains(&last), "{last} is not in {acknowledged}..={attempted}");
    assert_eq!(journal.durable_sequence(), last);
    let appended = append_next(&mut journal, true).unwrap();
    let epoch = journal.writer_epoch();
    drop(journal);
    let after = TestStorage::on(storage.disk().after_crash(&Left::Nothing));
    let summary = scan_on(after.shared(), &mut |_| true).unwrap();
    assert_eq!((summary.last_sequence, summary.writer_epoch, summary.torn_tail), (appended, epoch, None));
}

/// The highest sequence that a point of the run may have reached: the next acknowledgement.
fn next_acknowledged(calls: &[Call], from: usize) -> u64 {
    let mut acknowledged = calls[from..].iter().filter_map(|call| match call {
        Call::Acknowledged(sequence) => Some(*sequence),
        _ => None,
    });
    acknowledged.next().unwrap_or(u64::MAX)
}

// case: E02
#[test]
fn a_crash_at_any_call_of_a_run_loses_nothing_acknowledged() {
    let calls = written(500, FILE_BYTES, true).calls();
    let mut disk = Disk::default();
    let (mut acknowledged, mut states) = (0, 0);
    for (index, call) in calls.iter().enumerate() {
        if let Call::Acknowledged(sequence) = call {
            acknowledged = *sequence;
            continue;
        }
        for state in crashes(&disk, call) {
            check(state, acknowledged, next_acknowledged(&calls, index));
            states += 1;
        }
        disk.apply(call);
    }
    check(disk.after_crash(&Left::Nothing), acknowledged, acknowledged);
    assert!(calls.len() > 1_500 && states > 2_500, "{} calls, {states} states", calls.len());
}

/// Recovers from a crashed disk, crashing again at every call of the recovery, `deep` levels deep.
fn crash_in_recovery(disk: &Disk, acknowledged: u64, attempted: u64, deep: u32, states: &mut u32) {
    *states += 1;
    let storage = TestStorage::on(disk.clone());
    let (journal, frames) = open(&storage, FILE_BYTES).unwrap();
    let last = assert_prefix(&frames, true);
    assert!((acknowledged..=attempted).contains(&last), "{last} is not in {acknowledged}..={attempted}");
    drop(journal);
    if deep == 0 {
        return;
    }
    let mut half_way = disk.clone();
    for call in storage.calls() {
        for state in crashes(&half_way, &call) {
            // Once a recovery has begun to write, every later one must replay what it replayed.
            crash_in_recovery(&state, last, last, deep - 1, states);
        }
        half_way.apply(&call);
    }
}

// case: E05
#[test]
fn crashes_during_recovery_three_deep_change_nothing() {
    let calls = written(50, FILE_BYTES, true).calls();
    let long_write = |call: &Call| matches!(call, Call::Write(_, offset, data) if sectors_of(*offset, data) == 4);
    let torn = calls.iter().rposition(long_write).unwrap();
    let mut disk = Disk::default();
    calls[..=torn].iter().for_each(|call| disk.apply(call));
    let acknowledged = calls[..torn].iter().rev().find_map(|call| match call {
        Call::Acknowledged(sequence) => Some(*sequence),
        _ => None,
    });
    let attempted = next_acknowledged(&calls, torn);
    let mut states = 0;
    for left in [Left::Nothing, Left::Everything, Left::Sectors(0..2), Left::Sectors(1..4), Left::Sectors(2..3)] {
        let crashed = disk.after_crash(&left);
        crash_in_recovery(&crashed, acknowledged.unwrap(), attempted, 3, &mut states);
    }
    assert!(states > 1_000, "{states} states");
}

// case: E06
#[test]
fn what_recovery_showed_after_a_failed_sync_survives_the_next_power_cut() {
    let clean = written(20, FILE_BYTES, true);
    let first_append = 20;
    for at in first_append..clean.count() {
        let storage = TestStorage::default();
        storage.fail_at(at, Fault::Eio);
        let (mut journal, _) = match open(&storage, FILE_BYTES) {
            Ok(opened) => opened,
            Err(_) => continue,
        };
        while journal.durable_sequence() < 40 && append_next(&mut journal, true).is_ok() {}
        drop(journal);
        // The process starts again on the running machine, whose page cache still shows the lost
        // write.
        let (journal, shown) = open(&storage, FILE_BYTES).unwrap();
        drop(journal);
        let after = TestStorage::on(storage.disk().after_crash(&Left::Nothing));
        let (_, kept) = open(&after, FILE_BYTES).unwrap();
        assert_eq!(kept, shown, "sync failed at call {at}");
    }
}

/// A journal whose file has room for 32 more bytes, after a last append whose sync may fail.
fn nearly_full(sync_fails: bool) -> (TestStorage, String) {
    let storage = TestStorage::default();
    let (mut journal, _) = open(&storage, 8 << 10).unwrap();
    if sync_fails {
        storage.fail_at(storage.count() + 1, Fault::Eio);
    }
    let payload = vec![7; (8 << 10) - 4096 - 64 - 64 - 32];
    assert_eq!(journal.append(1, 1, 0, &payload).is_err(), sync_fails);
    let name = storage.disk().journals().remove(0);
    (storage, name)
}

#[test]
fn a_repaired_file_is_durable_before_the_next_one_begins() {
    let (storage, name) = nearly_full(true);
    drop(open(&storage, 8 << 10).unwrap());
    let after = TestStorage::on(storage.disk().after_crash(&Left::Nothing));
    assert_eq!(open(&after, 8 << 10).unwrap().1.len(), 1);
    assert_eq!(after.disk().bytes(&name).len(), 8 << 10);

    let (storage, name) = nearly_full(false);
    let mut disk = storage.disk();
    let mut garbled = disk.bytes(&name).to_vec();
    garbled[(8 << 10) - 20..].fill(0xEE);
    disk.put(&name, garbled);
    let storage = TestStorage::on(disk);
    drop(open(&storage, 8 << 10).unwrap());
    let after = TestStorage::on(storage.disk().after_crash(&Left::Nothing));
    assert_eq!(open(&after, 8 << 10).unwrap().1.len(), 1);
}

#[test]
fn recovery_makes_a_file_name_durable_that_an_earlier_process_left_unsynced() {
    let calls = written(1, FILE_BYTES, true).calls();
    let renamed = calls.iter().position(|call| matches!(call, Call::Rename(..))).unwrap();
    let mut disk = Disk::default();
    calls[..=renamed].iter().for_each(|call| disk.apply(call));
    // Only the process ended: the name is visible and not yet durable.
    let storage = TestStorage::on(disk);
    let (mut journal, _) = open(&storage, FILE_BYTES).unwrap();
    let sequence = append_next(&mut journal, true).unwrap();
    drop(journal);
    let after = TestStorage::on(storage.disk().after_crash(&Left::Nothing));
    assert_eq!(assert_prefix(&open(&after, FILE_BYTES).unwrap().1, true), sequence);
}
