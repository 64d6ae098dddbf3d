//! Every journal gives the same guarantees: one suite, run against each of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::journal_disk::{Kept, TestStorage, append_next, assert_prefix, small};
use crate::journal_redis::{Kind, Redis};
use invengine_node::journal::{
    EveryFrame, FileJournal, FileOptions, Journal, JournalError, JournalReader, MemoryJournal, RedisJournal, scan_on,
};
use invengine_node::positions::EventPosition;

type Factory<'f> = &'f dyn Fn() -> Box<dyn Journal>;

fn contract(factory: Factory<'_>) {
    starts_empty(factory);
    appends_and_reads_back(factory);
    refuses_what_does_not_continue(factory);
    refuses_what_is_too_large(factory);
    reader_keeps_its_position(factory);
    reader_waits_at_the_end_whatever_room_was_reserved(factory);
    reader_follows_a_writer_in_another_thread(factory);
    reader_reports_who_wrote_an_event(factory);
    close_ends_appends_but_not_reading(factory);
}

fn read(reader: &mut dyn JournalReader, sequence: u64) -> Vec<Kept> {
    let mut frames = Vec::new();
    let keep = &mut |frame: invengine_node::journal::Frame<'_>| {
        if !frame.is_claim() {
            frames.push(Kept::of(&frame));
        }
        true
    };
    reader.read_from(sequence, keep).unwrap();
    frames
}

fn starts_empty(factory: Factory<'_>) {
    let journal = factory();
    assert_eq!((journal.durable_sequence(), journal.writer_epoch()), (0, 1));
    assert!(["file", "memory", "redis"].contains(&journal.kind()));
    assert!(!journal.loss_window().is_empty());
    let mut claims = Vec::new();
    let mut reader = journal.reader().unwrap();
    let keep = &mut |frame: invengine_node::journal::Frame<'_>| {
        claims.push((frame.first_sequence, frame.last_sequence, frame.writer_epoch, frame.payload.len()));
        true
    };
    reader.read_from(0, keep).unwrap();
    assert_eq!(claims, [(1, 0, 1, 0)]);
    assert_eq!(read(reader.as_mut(), 1), []);
}

fn appends_and_reads_back(factory: Factory<'_>) {
    let mut journal = factory();
    let mut last = 0;
    for _ in 0..200 {
        journal.ensure_room(2_000).unwrap();
        last = append_next(journal.as_mut(), true).unwrap();
        assert_eq!(journal.durable_sequence(), last);
    }
    let mut reader = journal.reader().unwrap();
    let frames = read(reader.as_mut(), 0);
    assert_eq!((frames.len(), assert_prefix(&frames, true)), (200, last));
    for sequence in (0..=last + 2).rev() {
        let from = frames.partition_point(|frame| frame.last_sequence < sequence);
        let mut first = None;
        let take_one = &mut |frame: invengine_node::journal::Frame<'_>| {
            first = Some(Kept::of(&frame)).filter(|_| !frame.is_claim());
            frame.is_claim()
        };
        reader.read_from(sequence, take_one).unwrap();
        assert_eq!(first.as_ref(), frames.get(from), "from {sequence}");
    }
}

fn refuses_what_does_not_continue(factory: Factory<'_>) {
    for (first, last) in [(0, 0), (2, 2), (1, 0), (1, u64::MAX)] {
        let mut journal = factory();
        let refused = journal.append(first, last, 0, b"x");
        assert!(matches!(refused, Err(JournalError::OutOfOrder { expected: 1, .. })), "{first}..={last}");
        assert!(matches!(journal.append(1, 1, 0, b"x"), Err(JournalError::Poisoned)));
        assert!(matches!(journal.ensure_room(1), Err(JournalError::Poisoned)));
        assert_eq!(read(journal.reader().unwrap().as_mut(), 0), []);
    }
}

fn refuses_what_is_too_large(factory: Factory<'_>) {
    let mut journal = factory();
    let bytes_max = journal.payload_bytes_max();
    assert!(matches!(journal.ensure_room(bytes_max + 1), Err(JournalError::FrameTooLarge { .. })));
    journal.ensure_room(bytes_max).unwrap();
    journal.append(1, 1, 0, &vec![7; bytes_max as usize]).unwrap();
    append_next(journal.as_mut(), false).unwrap();
    assert_eq!(read(journal.reader().unwrap().as_mut(), 0).len(), 2);
    let refused = journal.append(journal.durable_sequence() + 1, 9, 0, &vec![7; bytes_max as usize + 1]);
    assert!(matches!(refused, Err(JournalError::FrameTooLarge { .. })));
    assert!(matches!(append_next(journal.as_mut(), false), Err(JournalError::Poisoned)));
}

fn reader_keeps_its_position(factory: Factory<'_>) {
    let mut journal = factory();
    let mut reader = journal.reader().unwrap();
    let mut seen = Vec::new();
    for _ in 0..60 {
        append_next(journal.as_mut(), true).unwrap();
        let next = seen.last().map_or(1, |frame: &Kept| frame.last_sequence + 1);
        let new = read(reader.as_mut(), next);
        assert_eq!(new.len(), 1);
        seen.extend(new);
        assert_eq!(read(reader.as_mut(), journal.durable_sequence() + 1), []);
    }
    assert_eq!(assert_prefix(&seen, true), journal.durable_sequence());
    // A frame that the caller did not accept is passed again.
    for _ in 0..2 {
        let mut offered = Vec::new();
        let refuse = &mut |frame: invengine_node::journal::Frame<'_>| {
            offered.push(frame.last_sequence);
            false
        };
        reader.read_from(seen[30].first_sequence, refuse).unwrap();
        assert_eq!(offered, [seen[30].last_sequence]);
    }
    assert_eq!(read(reader.as_mut(), seen[31].first_sequence), seen[31..]);
    assert_eq!(read(reader.as_mut(), 1), seen);
}

fn reader_waits_at_the_end_whatever_room_was_reserved(factory: Factory<'_>) {
    let mut journal = factory();
    append_next(journal.as_mut(), false).unwrap();
    let mut early = journal.reader().unwrap();
    assert_eq!(read(early.as_mut(), 1).len(), 1);
    journal.ensure_room(journal.payload_bytes_max()).unwrap();
    let next = journal.durable_sequence() + 1;
    let mut late = journal.reader().unwrap();
    for reader in [&mut early, &mut late] {
        assert_eq!(read(reader.as_mut(), next), []);
    }
    append_next(journal.as_mut(), false).unwrap();
    for reader in [&mut early, &mut late] {
        assert_eq!(read(reader.as_mut(), next).len(), 1);
    }
}

fn reader_follows_a_writer_in_another_thread(factory: Factory<'_>) {
    let mut journal = factory();
    let mut reader = journal.reader().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let following = scope.spawn(|| {
            let mut seen: Vec<Kept> = Vec::new();
            loop {
                let last_round = done.load(Ordering::Acquire);
                let next = seen.last().map_or(1, |frame| frame.last_sequence + 1);
                seen.extend(read(reader.as_mut(), next));
                if last_round {
                    return seen;
                }
            }
        });
        for _ in 0..800 {
            append_next(journal.as_mut(), true).unwrap();
        }
        done.store(true, Ordering::Release);
        let seen = following.join().unwrap();
        assert_eq!((seen.len(), assert_prefix(&seen, true)), (800, journal.durable_sequence()));
    });
}

fn reader_reports_who_wrote_an_event(factory: Factory<'_>) {
    let mut journal = factory();
    for _ in 0..40 {
        append_next(journal.as_mut(), true).unwrap();
    }
    let (end, mut reader) = (journal.durable_sequence(), journal.reader().unwrap());
    for sequence in [1, end / 2, end, 2, end - 1] {
        assert_eq!(reader.epoch_of(sequence).unwrap(), Some(1), "{sequence}");
        let newest = EventPosition { writer_epoch: 1, sequence };
        assert_eq!(reader.newest_up_to(1, sequence).unwrap(), Some(newest));
        assert_eq!(reader.newest_up_to(9, sequence).unwrap(), Some(newest));
        assert_eq!(reader.newest_up_to(0, sequence).unwrap(), None);
    }
    assert_eq!(reader.epoch_of(end + 1).unwrap(), None);
}

fn close_ends_appends_but_not_reading(factory: Factory<'_>) {
    let mut journal = factory();
    append_next(journal.as_mut(), false).unwrap();
    let mut reader = journal.reader().unwrap();
    journal.close().unwrap();
    assert!(matches!(append_next(journal.as_mut(), false), Err(JournalError::Closed)));
    assert!(matches!(journal.ensure_room(1), Err(JournalError::Closed)));
    drop(journal);
    assert_eq!(read(reader.as_mut(), 0).len(), 1);
}

#[test]
fn memory_keeps_the_contract() {
    contract(&|| Box::new(MemoryJournal::new("main")));
}

#[test]
fn files_keep_the_contract() {
    let parent = tempfile::tempdir().unwrap();
    contract(&|| {
        let directory = tempfile::tempdir_in(parent.path()).unwrap().keep();
        let mut options = FileOptions::new(directory, "main");
        options.journal_file_bytes = 1 << 20;
        Box::new(FileJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(()))).unwrap())
    });
}

#[test]
fn tiny_files_keep_the_contract_across_many_of_them() {
    for preallocate in [false, true] {
        contract(&|| {
            let mut options = small(8 << 10);
            options.preallocate = preallocate;
            let storage = TestStorage::default().shared();
            Box::new(FileJournal::recover_on(storage, &options, &mut EveryFrame(&mut |_| Ok(()))).unwrap())
        });
    }
}

fn redis_keeps_the_contract(kind: Kind) {
    let server = Redis::start(&kind);
    let ledgers = std::cell::Cell::new(0);
    contract(&|| {
        ledgers.set(ledgers.get() + 1);
        let options = server.options(&format!("ledger {}", ledgers.get()));
        Box::new(RedisJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(()))).unwrap())
    });
}

both!(redis_keeps_the_contract);

#[test]
fn a_scan_beside_a_writer_sees_a_prefix() {
    let storage = TestStorage::default();
    let options = small(1 << 20);
    let mut journal = FileJournal::recover_on(storage.shared(), &options, &mut EveryFrame(&mut |_| Ok(()))).unwrap();
    let mut seen = Vec::new();
    let summary = scan_on(storage.shared(), &mut |frame| {
        // More than any reader reads ahead: what it has buffered of the file's end is outdated.
        if frame.is_claim() {
            for _ in 0..2_500 {
                append_next(&mut journal, true).unwrap();
            }
        } else {
            seen.push(Kept::of(&frame));
        }
        true
    })
    .unwrap();
    assert_eq!(assert_prefix(&seen, true), summary.last_sequence);
    assert_eq!((summary.last_sequence, summary.torn_tail), (journal.durable_sequence(), None));
}
