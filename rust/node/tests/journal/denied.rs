//! A directory that becomes unwritable at any moment of a run: the journal stops, says what to do, and loses nothing.

use crate::journal_disk::{FILE_BYTES, Fault, TestStorage, append_next, assert_prefix, open, written};
use invengine_node::journal::JournalError;

const FRAMES: usize = 120;

/// Runs until the first error; the last acknowledged sequence and the error.
fn run(storage: &TestStorage) -> (u64, Option<JournalError>) {
    let mut journal = match open(storage, FILE_BYTES) {
        Ok((journal, _)) => journal,
        Err(error) => return (0, Some(error)),
    };
    let mut acknowledged = 0;
    for _ in 0..FRAMES {
        match append_next(&mut journal, false) {
            Ok(sequence) => acknowledged = sequence,
            Err(error) => {
                for _ in 0..2 {
                    assert!(matches!(append_next(&mut journal, false), Err(JournalError::Poisoned)), "after {error}");
                }
                return (acknowledged, Some(error));
            }
        }
    }
    (acknowledged, None)
}

// case: E14
#[test]
fn a_directory_that_becomes_unwritable_stops_the_journal_and_loses_nothing() {
    let calls = written(FRAMES, FILE_BYTES, false).count();
    for fault in [Fault::ReadOnly, Fault::Denied] {
        for at in 0..calls {
            let storage = TestStorage::default();
            storage.freeze_at(at, fault);
            let (acknowledged, error) = run(&storage);
            // The last calls are those of closing, which reports no errors.
            assert!(error.is_some() || at + 3 > calls, "{fault:?} from call {at} of {calls} on: no error was reported");
            if let Some(error) = error {
                assert!(error.to_string().contains("fix the disk or its permissions"), "{error}");
            }
            let before = storage.calls().len();
            let refused = open(&storage, FILE_BYTES).map(drop).expect_err("nothing can be claimed here");
            assert!(refused.to_string().contains("permissions, then try again"), "{refused}");
            assert_eq!(storage.calls().len(), before, "{fault:?} from call {at} on: something was written");
            storage.thaw();
            let (_, frames) = open(&storage, FILE_BYTES).unwrap();
            assert!(assert_prefix(&frames, false) >= acknowledged, "{fault:?} from call {at} on");
        }
    }
}

// case: E14
#[test]
fn a_directory_without_write_access_is_refused_before_anything_is_claimed_in_it() {
    let storage = TestStorage::default();
    let (mut journal, _) = open(&storage, FILE_BYTES).unwrap();
    append_next(&mut journal, false).unwrap();
    drop(journal);
    let before = storage.calls().len();
    storage.deny_names(true);
    let refused = open(&storage, FILE_BYTES).map(drop).expect_err("its next file could not be created");
    assert!(refused.to_string().contains("permissions, then try again"), "{refused}");
    assert_eq!(storage.calls().len(), before, "something was written");
    storage.deny_names(false);
    open(&storage, FILE_BYTES).unwrap();
}
