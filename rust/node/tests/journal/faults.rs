//! Disks that fail: a failure poisons the journal and is never retried, lack of space is reported before
//! anything is decided.

use crate::journal_disk::{Fault, TestStorage, append_next, assert_prefix, open, small, written};
use invengine_node::journal::{EveryFrame, FileJournal, FileOptions, Journal, JournalError};

const FILE_BYTES: u64 = 8 << 10;
const FRAMES: usize = 120;

/// The shape of a run: frames, the size of its files, whether some frames are long.
#[derive(Clone, Copy, Debug)]
struct Shape {
    frames: usize,
    file_bytes: u64,
    long: bool,
}

const USUAL: Shape = Shape { frames: FRAMES, file_bytes: FILE_BYTES, long: false };

impl Shape {
    /// From the seed in INVENGINE_SEED, for the long run; the default one if it is not set.
    fn from_seed() -> Self {
        let Some(seed) = std::env::var("INVENGINE_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()) else {
            return USUAL;
        };
        let frames = 40 + (seed % 120) as usize;
        Shape { frames, file_bytes: (8 + 4 * (seed / 120 % 7)) << 10, long: seed / 840 % 2 == 1 }
    }

    fn written(self) -> TestStorage {
        written(self.frames, self.file_bytes, self.long)
    }
}

/// Runs until the first error; returns the last acknowledged sequence and that error.
fn run(storage: &TestStorage, shape: Shape) -> (u64, Option<JournalError>) {
    let (mut journal, frames) = match open(storage, shape.file_bytes) {
        Ok(opened) => opened,
        Err(error) => return (0, Some(error)),
    };
    assert_eq!(frames, []);
    let mut acknowledged = 0;
    for _ in 0..shape.frames {
        match append_next(&mut journal, shape.long) {
            Ok(sequence) => acknowledged = sequence,
            Err(error) => {
                let full = matches!(error, JournalError::Full { .. });
                let again = append_next(&mut journal, shape.long);
                assert!(full || matches!(again, Err(JournalError::Poisoned)), "{again:?} after {error}");
                assert!(!full || again.is_ok(), "{again:?} after {error}");
                acknowledged = again.unwrap_or(acknowledged);
                return (acknowledged, Some(error));
            }
        }
    }
    (acknowledged, None)
}

// case: E06, E07, E08
#[test]
fn any_failing_call_poisons_and_loses_nothing_acknowledged() {
    let shape = Shape::from_seed();
    let calls = shape.written().count();
    let (mut failures, mut runs) = (0, 0);
    for fault in [Fault::Eio, Fault::NoSpace, Fault::ShortThenEio] {
        for at in 0..calls {
            let storage = TestStorage::default();
            storage.fail_at(at, fault);
            let (acknowledged, error) = run(&storage, shape);
            runs += 1;
            failures += u32::from(error.is_some());
            assert!(!storage.disk().has("spare") || error.is_none(), "{fault:?} at call {at} keeps space");
            let (_, frames) = open(&storage, shape.file_bytes).unwrap();
            let last = assert_prefix(&frames, shape.long);
            let unknown = error.is_some_and(|error| !matches!(error, JournalError::Full { .. }));
            assert!(last == acknowledged || (unknown && last > acknowledged), "{fault:?} at call {at}");
        }
    }
    println!("runs with a failing call: {runs}");
    assert!(failures > 2 * calls as u32, "{failures} failures in {calls} calls");
}

// case: E08
#[test]
fn short_and_interrupted_writes_are_completed() {
    let calls = USUAL.written();
    let writes = calls.calls();
    let whole = writes.iter().filter(|call| matches!(call, crate::journal_disk::Call::Write(..))).count();
    let mut completed = 0;
    for fault in [Fault::Short, Fault::Interrupted] {
        for at in 0..calls.count() {
            let storage = TestStorage::default();
            storage.fail_at(at, fault);
            let (acknowledged, error) = run(&storage, USUAL);
            completed += usize::from(error.is_none());
            let (_, frames) = open(&storage, FILE_BYTES).unwrap();
            assert!(assert_prefix(&frames, false) >= acknowledged);
        }
    }
    assert!(completed >= 2 * whole, "{completed} of {}", 2 * whole);
}

// case: E07
#[test]
fn lack_of_space_is_reported_before_and_ends_when_there_is_space() {
    for preallocate in [false, true] {
        let storage = TestStorage::default();
        let mut options = small(FILE_BYTES);
        options.preallocate = preallocate;
        let mut journal =
            FileJournal::recover_on(storage.shared(), &options, &mut EveryFrame(&mut |_| Ok(()))).unwrap();
        storage.set_full(true);
        let refused = loop {
            if let Err(error) = journal.ensure_room(200) {
                break error;
            }
            append_next(&mut journal, false).unwrap();
        };
        assert!(matches!(refused, JournalError::Full { bytes: FILE_BYTES, .. }), "{refused}");
        for _ in 0..3 {
            assert!(matches!(journal.ensure_room(4_000), Err(JournalError::Full { .. })));
            assert!(matches!(
                journal.append(journal.durable_sequence() + 1, 9_999, 0, &[0; 4_000]),
                Err(JournalError::Full { .. })
            ));
        }
        let before = journal.durable_sequence();
        storage.set_full(false);
        journal.ensure_room(4_000).unwrap();
        assert!(append_next(&mut journal, false).unwrap() > before);
        drop(journal);
        let (_, frames) = open(&storage, FILE_BYTES).unwrap();
        assert!(assert_prefix(&frames, false) > before);
        assert!(!storage.disk().journals().is_empty());
    }
}

#[test]
fn no_space_for_the_first_file_is_full() {
    let storage = TestStorage::default();
    storage.set_full(true);
    assert!(matches!(open(&storage, FILE_BYTES), Err(JournalError::Full { .. })));
    storage.set_full(false);
    assert!(open(&storage, FILE_BYTES).is_ok());
}

// case: E13
#[test]
fn a_second_writer_is_refused_and_learns_who_is_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = FileOptions::new(directory.path(), "main");
    options.journal_file_bytes = 1 << 20;
    let mut first = FileJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(()))).unwrap();
    let Err(refused) = FileJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(()))) else { panic!("opened twice") };
    assert!(matches!(refused, JournalError::Locked { .. }));
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    first.close().unwrap();
    let second = FileJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(()))).unwrap();
    assert_eq!(second.writer_epoch(), 2);
}

#[test]
fn options_out_of_range_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = FileOptions::new(directory.path(), "main");
    options.journal_file_bytes = (1 << 20) - 1;
    let refused = FileJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(())));
    assert!(matches!(refused, Err(JournalError::BadOption { option: "journal_file_bytes", .. })));
    for ledger in [String::new(), "x".repeat(129)] {
        let options = FileOptions::new(directory.path(), ledger);
        let refused = FileJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(())));
        assert!(matches!(refused, Err(JournalError::BadOption { option: "ledger", .. })));
    }
}

#[test]
fn a_refusing_replay_stops_the_open_and_changes_nothing() {
    let storage = written(10, FILE_BYTES, false);
    let before = storage.count();
    let refuse = &mut |frame: invengine_node::journal::Frame<'_>| match frame.is_claim() {
        true => Ok(()),
        false => Err("unknown event".to_string()),
    };
    let Err(refused) = FileJournal::recover_on(storage.shared(), &small(FILE_BYTES), &mut EveryFrame(refuse)) else {
        panic!("opened")
    };
    assert!(matches!(refused, JournalError::Replay { offset: 4160, .. }), "{refused}");
    assert_eq!(storage.count(), before);
}
