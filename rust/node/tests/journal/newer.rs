//! A build that is older than the journal: it refuses, names what it found, and changes nothing.

use crate::journal_disk::{Disk, Sum, TestStorage, append_next, recover, snapshot};
use invengine_node::journal::{Journal, JournalError, JournalPosition};

const VERSION_AT: usize = 8;
const HEADER_BYTES: usize = 4096;

/// A journal with two snapshots, and the last sequence.
fn written() -> (Disk, u64) {
    let storage = TestStorage::default();
    let (mut journal, _) = recover(&storage).unwrap();
    let (mut position, mut sum) = (JournalPosition::start("main"), Sum::default());
    for _ in 0..2 {
        for _ in 0..50 {
            append_next(&mut journal, false).unwrap();
        }
        snapshot(&journal, &mut position, &mut sum).unwrap();
    }
    append_next(&mut journal, false).unwrap();
    (storage.disk(), journal.durable_sequence())
}

/// Changes a snapshot to a later version with a correct checksum, as a newer build would have written it.
fn of_version(disk: &mut Disk, name: &str, version: u32) {
    let bytes = disk.bytes_mut(name);
    bytes[VERSION_AT..VERSION_AT + 4].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

// case: E11, E16
#[test]
fn a_snapshot_of_a_newer_version_is_refused_without_falling_back() {
    let (disk, last) = written();
    let snapshots = disk.names_with("snapshot-");
    assert_eq!(snapshots.len(), 2);
    for name in &snapshots {
        let mut newer = disk.clone();
        of_version(&mut newer, name, 2);
        let storage = TestStorage::on(newer);
        match recover(&storage) {
            Err(JournalError::NewerFormat { file, found: 2, known: 1 }) => assert!(file.contains(name), "{file}"),
            other => panic!("{name} of version 2: {:?}", other.map(|(_, rebuilt)| rebuilt.sum)),
        }
        assert_eq!(storage.calls().len(), 0, "something was written");
    }
    // A version that only seems newer is damage, for which the older snapshot is used.
    let mut flipped = disk.clone();
    flipped.bytes_mut(&snapshots[1])[VERSION_AT] ^= 2;
    let (_, rebuilt) = recover(&TestStorage::on(flipped)).unwrap();
    assert_eq!((rebuilt.sum, rebuilt.notes.len()), (Sum::at(last), 1));
}

// case: E16
#[test]
fn the_refusal_says_what_to_do() {
    let (mut disk, _) = written();
    let name = disk.names_with("snapshot-").remove(1);
    of_version(&mut disk, &name, 7);
    let refused = recover(&TestStorage::on(disk)).map(drop).unwrap_err().to_string();
    assert!(refused.contains(&name) && refused.contains('7') && !refused.contains('\n'), "{refused}");
    assert!(refused.contains("start the newer version"), "{refused}");
}
