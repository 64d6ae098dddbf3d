//! Backups of the file journal: complete or refused, after any crash, failure or bit rot; and never two writers of one epoch.

use crate::journal_disk::state::{crashes, run};
use crate::journal_disk::{
    Call, Disk, FILE_BYTES, Fault, Left, Rebuilt, Sum, TestStorage, append_next, recover, small,
};
use invengine_node::backup::epoch_for;
use invengine_node::journal::backup::{BackupManifest, BackupPlan, FileRestore, check, read_manifest};
use invengine_node::journal::{EveryFrame, FileJournal, Journal, JournalError};

const EPOCH: u64 = 1_000;
const MANIFEST: &str = "backup.json";

fn back_up(source: &TestStorage, target: &TestStorage, archive: bool) -> Result<BackupManifest, JournalError> {
    let mut rebuilt = Rebuilt::default();
    let plan = BackupPlan::prepare(&source.shared(), archive, &mut rebuilt)?;
    plan.write(&target.shared(), &rebuilt.sum.digest(), 7)
}

fn restore(backup: &TestStorage, target: &TestStorage) -> Result<u64, JournalError> {
    let storage = backup.shared();
    let manifest = read_manifest(storage.as_ref())?;
    check(storage.as_ref(), &manifest)?;
    let mut options = small(FILE_BYTES);
    options.writer_epoch_min = EPOCH;
    let mut rebuilt = Rebuilt::default();
    let restore_in_progress =
        FileRestore::install(storage.as_ref(), &manifest, &target.shared(), &options, &mut rebuilt)?;
    restore_in_progress.finish(&rebuilt.sum.digest())
}

/// A source of `frames` frames, and a finished backup of it.
fn backed_up(frames: usize, archive: bool) -> (TestStorage, TestStorage, BackupManifest) {
    let (source, backup) = (TestStorage::default(), TestStorage::default());
    let (last, _) = run(&source, frames);
    let manifest = back_up(&source, &backup, archive).unwrap();
    assert_eq!((manifest.facts.sequence, manifest.facts.digest.clone()), (last, Sum::at(last).digest()));
    (source, backup, manifest)
}

fn is_refused(storage: &TestStorage) -> bool {
    matches!(recover(storage), Err(JournalError::NoJournal { .. }))
}

/// Opens a restored journal: the state of the manifest, under a higher epoch.
fn assert_restored(storage: &TestStorage, manifest: &BackupManifest) {
    let (mut journal, rebuilt) = recover(storage).unwrap();
    assert_eq!(rebuilt.sum, Sum::at(manifest.facts.sequence));
    assert!(journal.writer_epoch() > EPOCH, "{}", journal.writer_epoch());
    append_next(&mut journal, false).unwrap();
}

// case: I03
#[test]
fn a_restore_recovers_the_state_under_a_higher_epoch() {
    for (frames, archive) in [(0, false), (30, false), (120, false), (320, false), (320, true)] {
        let (source, backup, manifest) = backed_up(frames, archive);
        assert_eq!(manifest.facts.snapshot_sequence.is_some(), frames >= 50, "{frames} frames");
        let journals = |storage: &TestStorage| storage.disk().names_with("journal-").len();
        let archived = source.disk().names_with("archive/journal-").len();
        assert!(archive == (archived > 0 && journals(&backup) > journals(&source)) || frames < 300);
        let target = TestStorage::default();
        assert_eq!(restore(&backup, &target).unwrap(), EPOCH, "{frames} frames");
        assert_restored(&target, &manifest);
        assert!(is_refused(&backup), "a backup is never opened as a journal");
    }
}

// case: I03
#[test]
fn a_backup_is_created_beside_a_writer_and_leaves_its_files_alone() {
    let source = TestStorage::default();
    let (mut journal, _) = recover(&source).unwrap();
    for _ in 0..100 {
        append_next(&mut journal, false).unwrap();
        let (before, backup) = (source.calls().len(), TestStorage::default());
        let manifest = back_up(&source, &backup, false).unwrap();
        assert_eq!(manifest.facts.sequence, journal.durable_sequence());
        assert!(source.calls()[before..].iter().all(|call| matches!(call, Call::Sync(_))), "it writes nothing");
        assert_eq!(recover(&backup).is_err(), recover(&source).is_err(), "neither can be opened now");
    }
}

#[test]
fn a_torn_tail_is_not_copied_and_damage_is_refused() {
    let (source, _, manifest) = backed_up(30, false);
    let mut disk = source.disk();
    let name = disk.journals().pop().unwrap();
    let end = disk.bytes(&name).iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut torn = disk.clone();
    torn.bytes_mut(&name)[end.next_multiple_of(8)..][..4].copy_from_slice(&[0xFE, b'I', b'V', b'F']);
    let backup = TestStorage::default();
    assert_eq!(back_up(&TestStorage::on(torn), &backup, false).unwrap(), manifest);
    disk.bytes_mut(&name)[4_096 + 20] ^= 1;
    let untouched = TestStorage::default();
    let refused = back_up(&TestStorage::on(disk), &untouched, false);
    assert!(matches!(refused, Err(JournalError::Corrupt { .. })), "{refused:?}");
    assert_eq!(untouched.calls().len(), 0, "nothing is written before the source was read");
}

#[test]
fn a_bad_newest_snapshot_gives_way_to_the_older_one() {
    let (source, _, manifest) = backed_up(120, false);
    let mut disk = source.disk();
    let newest = disk.names_with("snapshot-").pop().unwrap();
    disk.bytes_mut(&newest)[4_200] ^= 1;
    let backup = TestStorage::default();
    let older = back_up(&TestStorage::on(disk), &backup, false).unwrap();
    assert!(older.facts.snapshot_sequence < manifest.facts.snapshot_sequence);
    assert_eq!((older.facts.sequence, &older.facts.digest), (manifest.facts.sequence, &manifest.facts.digest));
    assert!(!backup.disk().has(&newest));
}

// case: I03, E02
#[test]
fn a_crash_at_any_call_of_a_backup_leaves_an_invalid_or_a_complete_backup() {
    let (source, backup, manifest) = backed_up(120, false);
    let (mut disk, mut refused, mut whole) = (Disk::default(), 0, 0);
    let mut judge = |state: Disk| {
        let left = TestStorage::on(state);
        assert!(left.disk().journals().is_empty() || is_refused(&left), "an unfinished backup is not a journal");
        let target = TestStorage::default();
        match restore(&left, &target) {
            Ok(_) => assert_restored(&target, &manifest),
            Err(JournalError::BadBackup { .. }) => assert_eq!(target.count(), 0),
            Err(other) => panic!("{other}"),
        }
        if left.disk().has(MANIFEST) {
            whole += 1;
        } else {
            // The next attempt begins again in the same directory.
            assert_eq!(back_up(&source, &left, false).unwrap(), manifest);
            refused += 1;
        }
    };
    for call in backup.calls() {
        crashes(&disk, &call).into_iter().for_each(&mut judge);
        disk.apply(&call);
    }
    judge(disk.after_crash(&Left::Nothing));
    assert!(refused > 20 && whole > 1, "{refused} refused, {whole} whole");
}

// case: I03, E02, E05
#[test]
fn a_crash_at_any_call_of_a_restore_leaves_a_refused_or_a_complete_journal() {
    let (_, backup, manifest) = backed_up(120, false);
    let target = TestStorage::default();
    restore(&backup, &target).unwrap();
    let (mut disk, mut refused, mut whole) = (Disk::default(), 0, 0);
    let mut judge = |state: Disk| {
        let left = TestStorage::on(state);
        if left.disk().has("restore.unfinished") {
            assert!(is_refused(&left));
            refused += 1;
        } else if left.disk().journals().is_empty() {
            assert_eq!(left.disk().names_with(""), Vec::<String>::new(), "nothing was written before the marker");
        } else {
            whole += 1;
            return assert_restored(&left, &manifest);
        }
        assert_eq!(restore(&backup, &left).unwrap(), EPOCH, "the next attempt begins again");
        assert_restored(&left, &manifest);
    };
    for call in target.calls() {
        crashes(&disk, &call).into_iter().for_each(&mut judge);
        disk.apply(&call);
    }
    judge(disk.after_crash(&Left::Nothing));
    assert!(refused > 50 && whole > 1, "{refused} refused, {whole} whole");
}

// case: I03, E07, E08
#[test]
fn a_failing_call_of_backup_or_restore_is_reported_and_the_next_attempt_succeeds() {
    let (source, backup, manifest) = backed_up(60, false);
    let whole = TestStorage::default();
    restore(&backup, &whole).unwrap();
    for fault in [Fault::Eio, Fault::NoSpace, Fault::Short, Fault::ShortThenEio, Fault::Interrupted] {
        for at in 0..backup.count() {
            let target = TestStorage::default();
            target.fail_at(at, fault);
            if back_up(&source, &target, false).is_err() && !target.disk().has(MANIFEST) {
                assert!(target.disk().journals().is_empty() || is_refused(&target), "{fault:?} at {at}");
                assert_eq!(back_up(&source, &target, false).unwrap(), manifest, "{fault:?} at {at}");
            }
            assert_eq!(read_manifest(target.shared().as_ref()).unwrap(), manifest, "{fault:?} at {at}");
        }
        for at in 0..whole.count() {
            let target = TestStorage::default();
            target.fail_at(at, fault);
            if restore(&backup, &target).is_err() && target.disk().has("restore.unfinished") {
                assert!(is_refused(&target), "{fault:?} at {at}");
                restore(&backup, &target).unwrap();
            }
            if target.disk().journals().is_empty() {
                restore(&backup, &target).unwrap();
            }
            assert_restored(&target, &manifest);
        }
    }
}

// case: I03, E04
#[test]
fn a_backup_that_is_flipped_or_cut_at_any_byte_or_lacks_a_file_is_refused() {
    let (_, backup, manifest) = backed_up(60, false);
    let disk = backup.disk();
    let refused = |changed: Disk, what: String| {
        let target = TestStorage::default();
        let outcome = restore(&TestStorage::on(changed), &target);
        assert!(matches!(outcome, Err(JournalError::BadBackup { .. })), "{what}: {outcome:?}");
        assert_eq!(target.count(), 0, "{what}: nothing was written");
    };
    let mut names: Vec<String> = manifest.files.iter().map(|file| file.name.clone()).collect();
    names.push(MANIFEST.into());
    for name in &names {
        let bytes = disk.bytes(name).to_vec();
        for at in 0..bytes.len() {
            let mut flipped = disk.clone();
            flipped.bytes_mut(name)[at] ^= 1 << (at % 8);
            refused(flipped, format!("{name}, byte {at} flipped"));
        }
        for cut in (0..bytes.len()).step_by(61) {
            let mut shorter = disk.clone();
            shorter.put(name, bytes[..cut].to_vec());
            refused(shorter, format!("{name} cut at {cut}"));
        }
        let mut lacking = disk.clone();
        lacking.remove(name);
        refused(lacking, format!("{name} is missing"));
    }
    let mut more = disk;
    more.put("journal-00000000000fffff-000000ff", vec![0; 99]);
    refused(more, "a file that is not listed".into());
}

#[test]
fn only_an_empty_directory_is_written_to() {
    let (source, backup, _) = backed_up(30, false);
    for name in ["journal-0000000000000001-00000000", "notes.txt", "archive/snapshot-1", "backup.unfinished"] {
        let mut disk = Disk::default();
        disk.put(name, vec![1]);
        let target = TestStorage::on(disk);
        let refused = restore(&backup, &target);
        assert!(matches!(refused, Err(JournalError::NotEmpty { .. })), "{name}: {refused:?}");
        assert_eq!(target.calls().len(), 0, "{name}: it was left alone");
    }
    let refused = back_up(&source, &backup, false);
    assert!(matches!(refused, Err(JournalError::NotEmpty { .. })), "{refused:?}");
    let twice = back_up(&backup, &TestStorage::default(), false);
    assert!(matches!(twice, Err(JournalError::NoJournal { .. })), "{twice:?}");
    let nothing = back_up(&TestStorage::default(), &TestStorage::default(), false);
    assert!(matches!(nothing, Err(JournalError::NoJournal { .. })), "{nothing:?}");
}

#[test]
fn a_restore_with_a_different_state_is_not_valid() {
    let (_, backup, manifest) = backed_up(60, false);
    let target = TestStorage::default();
    let mut rebuilt = Rebuilt::default();
    let storage = backup.shared();
    let options = small(FILE_BYTES);
    let restore_in_progress =
        FileRestore::install(storage.as_ref(), &manifest, &target.shared(), &options, &mut rebuilt).unwrap();
    assert!(matches!(recover(&target), Err(JournalError::Locked { .. })), "no other process opens it meanwhile");
    assert!(matches!(restore_in_progress.finish("another"), Err(JournalError::BadBackup { .. })));
    assert!(is_refused(&target));
}

// case: I03
#[test]
fn a_restored_epoch_is_above_every_epoch_that_was_or_may_have_been_claimed() {
    let second = 1_800_000_000;
    assert_eq!(epoch_for(3, 0, second * 1_000).unwrap(), second as u64);
    assert_eq!(epoch_for(second as u64 - 5, 0, second * 1_000).unwrap(), second as u64 - 5 + (1 << 17));
    assert_ne!(epoch_for(3, 0, second * 1_000).unwrap(), epoch_for(3, 0, (second + 1) * 1_000).unwrap());
    assert!(epoch_for(3, 0, -5).unwrap() > 3, "a clock before 1970");
    assert_eq!(epoch_for(3, 4, second * 1_000).unwrap(), 4);
    for (backup, asked) in [(3, 3), (3, 2), (3, u64::from(u32::MAX)), (u64::MAX, 0), (u64::from(u32::MAX), 0)] {
        let refused = epoch_for(backup, asked, second * 1_000);
        assert!(matches!(refused, Err(JournalError::BadOption { .. })), "{backup}, {asked}: {refused:?}");
    }
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let (_, backup, _) = backed_up(1, false);
    let mut disk = backup.disk();
    let text = String::from_utf8(disk.bytes(MANIFEST).to_vec()).unwrap();
    let json = text.lines().next().unwrap().replace("\"format\":1", "\"format\":2,\"more\":true");
    let sum = crc32c::crc32c(json.as_bytes());
    disk.put(MANIFEST, format!("{json}\ncrc32c {sum:08x}\n").into_bytes());
    let refused = read_manifest(&TestStorage::on(disk));
    assert!(matches!(refused, Err(JournalError::NewerFormat { found: 2, known: 1, .. })), "{refused:?}");
}

#[test]
fn a_server_that_opens_the_journal_while_it_is_copied_is_not_held_up() {
    let (source, _, _) = backed_up(60, false);
    let mut rebuilt = Rebuilt::default();
    let plan = BackupPlan::prepare(&source.shared(), false, &mut rebuilt).unwrap();
    let journal =
        FileJournal::recover_on(source.shared(), &small(FILE_BYTES), &mut EveryFrame(&mut |_| Ok(()))).unwrap();
    let target = TestStorage::default();
    let manifest = plan.write(&target.shared(), &rebuilt.sum.digest(), 7).unwrap();
    assert!(manifest.facts.writer_epoch < journal.writer_epoch(), "it holds what was durable when it began");
    drop(journal);
    let restored = TestStorage::default();
    restore(&target, &restored).unwrap();
    assert_restored(&restored, &manifest);
}
