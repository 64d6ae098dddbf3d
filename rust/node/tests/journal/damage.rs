//! Damage: every cut ends at the last whole frame, every flipped bit is detected, nothing is ever
//! skipped.

use std::ops::Range;

use crate::journal_disk::{Disk, Kept, TestStorage, append_next, assert_prefix, expected, open, small, written};
use invengine_node::journal::frame::{FRAME_HEADER_BYTES, FrameHeader, decode, encode, ledger_id, next_chain};
use invengine_node::journal::{EveryFrame, FileJournal, Journal, JournalError, ScanSummary, scan_on};

const HEADER_BYTES: usize = 4096;

fn scan(disk: Disk) -> Result<(ScanSummary, Vec<Kept>), JournalError> {
    let mut frames = Vec::new();
    let summary = scan_on(TestStorage::on(disk).shared(), &mut |frame| {
        if !frame.is_claim() {
            frames.push(Kept::of(&frame));
        }
        true
    })?;
    Ok((summary, frames))
}

/// The byte ranges of the frames of one file.
fn frames_of(file: &[u8]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = HEADER_BYTES;
    while start + FRAME_HEADER_BYTES <= file.len() && file[start] == 0xFE {
        let payload = u32::from_le_bytes(file[start + 8..start + 12].try_into().unwrap());
        let end = (start + FRAME_HEADER_BYTES + payload as usize).next_multiple_of(8);
        ranges.push(start..end);
        start = end;
    }
    ranges
}

fn assert_corrupt_at<T>(result: Result<T, JournalError>, wanted: usize, what: &str) {
    match result {
        Err(JournalError::Corrupt { offset, .. }) => assert_eq!(offset, wanted as u64, "{what}"),
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: taken for good"),
    }
}

/// A journal of one file with 64 KiB of frames, and that file.
fn log_of_64_kib() -> (Disk, String, Vec<u8>) {
    let file_bytes = 72 << 10;
    let storage = TestStorage::default();
    let mut journal = open(&storage, file_bytes).unwrap().0;
    let mut used = HEADER_BYTES + FRAME_HEADER_BYTES;
    while used < HEADER_BYTES + (64 << 10) {
        let payload = expected(journal.durable_sequence() + 1, true).payload;
        used += (FRAME_HEADER_BYTES + payload.len()).next_multiple_of(8);
        append_next(&mut journal, true).unwrap();
    }
    let disk = storage.disk();
    let name = disk.journals().remove(0);
    let file = disk.bytes(&name)[..used].to_vec();
    (disk, name, file)
}

// case: E03
#[test]
fn a_log_cut_at_any_byte_recovers_to_the_last_whole_frame() {
    let (mut disk, name, file) = log_of_64_kib();
    let frames = frames_of(&file);
    assert!(file.len() >= HEADER_BYTES + (64 << 10));
    for cut in 0..file.len() {
        disk.put(&name, file[..cut].to_vec());
        if cut < HEADER_BYTES {
            assert_corrupt_at(scan(disk.clone()), 0, &format!("cut at {cut}"));
            continue;
        }
        let whole = frames.partition_point(|frame| frame.end <= cut);
        let storage = TestStorage::on(disk.clone());
        let (journal, kept) = open(&storage, 72 << 10).unwrap();
        assert_eq!(kept.len(), whole.saturating_sub(1), "cut at {cut}");
        assert_prefix(&kept, true);
        assert_eq!(journal.writer_epoch(), if whole == 0 { 1 } else { 2 });
    }
}

// case: E03, E09
#[test]
fn a_log_zeroed_from_any_byte_recovers_to_the_last_whole_frame() {
    let (mut disk, name, file) = log_of_64_kib();
    let frames = frames_of(&file);
    let full_length = disk.bytes(&name).len();
    for cut in HEADER_BYTES..file.len() {
        let mut bytes = file[..cut].to_vec();
        bytes.resize(full_length, 0);
        disk.put(&name, bytes);
        // Bytes that were zero before are not damage: the last frames may end in zeros.
        let written = |end: usize| file[cut.min(end)..end].iter().all(|byte| *byte == 0);
        let whole = frames.partition_point(|frame| written(frame.end));
        let (summary, kept) = scan(disk.clone()).unwrap();
        assert_eq!(summary.frames, whole as u64, "zeroed from {cut}");
        assert_prefix(&kept, true);
        let end = frames[..whole].last().map_or(HEADER_BYTES, |frame| frame.end);
        let torn_from = summary.torn_tail.map_or(cut.max(end), |tail| tail.offset as usize);
        assert_eq!(torn_from, if cut > end && file[end..cut].iter().any(|b| *b != 0) { end } else { cut.max(end) });
    }
}

// case: E04
#[test]
fn a_flipped_bit_is_detected_wherever_it_is() {
    const FRAMES: usize = 30;
    let storage = written(FRAMES, 12 << 10, false);
    let disk = storage.disk();
    let name = disk.journals().remove(0);
    let file = disk.bytes(&name).to_vec();
    let frames = frames_of(&file);
    let (last, used) = (frames[frames.len() - 1].clone(), frames[frames.len() - 1].end - HEADER_BYTES);
    assert!((4 << 10..5 << 10).contains(&used), "{used}");
    assert_eq!(disk.journals().len(), 1);
    let mut damaged = disk.clone();
    for bit in 0..8 * (last.end + FRAME_HEADER_BYTES) {
        let (byte, mask) = (bit / 8, 1 << (bit % 8));
        damaged.bytes_mut(&name)[byte] ^= mask;
        let found = scan(damaged.clone());
        damaged.bytes_mut(&name)[byte] ^= mask;
        let what = format!("bit {bit}");
        if byte < HEADER_BYTES {
            assert_corrupt_at(found, 0, &what);
        } else if byte < last.start {
            let frame = frames.iter().find(|frame| frame.contains(&byte)).unwrap();
            assert_corrupt_at(found, frame.start, &what);
        } else {
            let (summary, kept) = found.unwrap();
            let (end, lost) = if byte < last.end { (last.start, 1) } else { (last.end, 0) };
            assert_eq!(summary.torn_tail.unwrap().offset, end as u64, "{what}");
            assert_eq!(kept.len(), FRAMES - lost, "{what}");
            assert_prefix(&kept, false);
        }
    }
}

// case: E04
#[test]
fn a_flipped_bit_in_any_file_but_the_last_is_corrupt() {
    let disk = written(120, 8 << 10, false).disk();
    let names = disk.journals();
    assert!(names.len() > 2);
    for name in &names[..names.len() - 1] {
        let last = frames_of(disk.bytes(name)).pop().unwrap();
        for byte in [last.start, last.start + 9, last.end - 1, last.end + 1, disk.bytes(name).len() - 1] {
            let mut damaged = disk.clone();
            if let Some(bytes) = damaged.bytes_mut(name).get_mut(byte) {
                *bytes ^= 0x10;
            }
            let wanted = if byte < last.end { last.start } else { last.end };
            assert_corrupt_at(scan(damaged), wanted, &format!("{name} byte {byte}"));
        }
        let mut zeroed = disk.clone();
        zeroed.bytes_mut(name)[last.clone()].fill(0);
        assert_corrupt_at(scan(zeroed), 0, "the next file does not continue");
    }
}

// case: E10
#[test]
fn a_frame_in_the_wrong_place_is_corrupt() {
    let disk = written(120, 8 << 10, false).disk();
    let names = disk.journals();
    let (first, last) = (&names[0], &names[names.len() - 1]);
    let moved = frames_of(disk.bytes(first))[3].clone();
    let bytes = disk.bytes(first)[moved.clone()].to_vec();
    let target = frames_of(disk.bytes(last));
    for start in [target[0].start, target[target.len() - 1].start, target[target.len() - 1].end] {
        let mut damaged = disk.clone();
        damaged.bytes_mut(last)[start..start + bytes.len()].copy_from_slice(&bytes);
        assert_corrupt_at(scan(damaged), start, "misdirected write");
    }
}

// case: E12
#[test]
fn a_missing_file_is_corrupt() {
    let disk = written(120, 8 << 10, false).disk();
    let names = disk.journals();
    for name in &names[..names.len() - 1] {
        let mut damaged = disk.clone();
        damaged.remove(name);
        assert_corrupt_at(scan(damaged), 0, name);
    }
    let mut only_a_snapshot = Disk::default();
    only_a_snapshot.put("snapshot-0000000000000007", vec![1]);
    assert_corrupt_at(open(&TestStorage::on(only_a_snapshot), 8 << 10), 0, "head missing");
}

#[test]
fn strange_names_are_refused_only_if_they_may_be_journal_files() {
    let mut disk = written(5, 8 << 10, false).disk();
    disk.put("notes.txt", b"hello".to_vec());
    disk.put("spare", vec![0xFE; 100]);
    assert_eq!(open(&TestStorage::on(disk.clone()), 8 << 10).unwrap().1.len(), 5);
    disk.put("journal-old", Vec::new());
    assert!(matches!(open(&TestStorage::on(disk), 8 << 10), Err(JournalError::Foreign { .. })));
}

#[test]
fn renamed_files_are_corrupt() {
    let mut disk = written(120, 8 << 10, false).disk();
    let names = disk.journals();
    let (one, two) = (disk.bytes(&names[0]).to_vec(), disk.bytes(&names[1]).to_vec());
    disk.put(&names[0], two);
    disk.put(&names[1], one);
    assert_corrupt_at(scan(disk), 0, "swapped files");
}

/// Recomputes the checksum of a frame after a change.
fn seal(frame: &mut [u8]) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..12]), &frame[16..]);
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
}

// case: E16
#[test]
fn a_newer_format_is_refused_as_such() {
    let disk = written(5, 8 << 10, false).disk();
    let name = disk.journals().remove(0);
    for frame in frames_of(disk.bytes(&name)) {
        let mut newer = disk.clone();
        let bytes = &mut newer.bytes_mut(&name)[frame];
        bytes[4] = 2;
        seal(bytes);
        assert!(matches!(scan(newer), Err(JournalError::NewerFormat { found: 2, known: 1, .. })));
    }
    let mut newer = disk.clone();
    let bytes = newer.bytes_mut(&name);
    bytes[8] = 3;
    let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(open(&TestStorage::on(newer), 8 << 10), Err(JournalError::NewerFormat { found: 3, .. })));
}

#[test]
fn the_journal_of_another_ledger_is_refused() {
    let storage = written(5, 8 << 10, false);
    let mut options = small(8 << 10);
    options.ledger = "other".into();
    let before = storage.count();
    let Err(refused) = FileJournal::recover_on(storage.shared(), &options, &mut EveryFrame(&mut |_| Ok(()))) else {
        panic!("opened")
    };
    assert!(
        matches!(&refused, JournalError::OtherLedger { found, wanted, .. } if found == "main" && wanted == "other")
    );
    assert_eq!(storage.count(), before);
    assert_eq!(open(&storage, 8 << 10).unwrap().1.len(), 5);
}

/// A journal, and a frame that would continue it except for one change.
fn with_forged_tail(change: fn(&mut FrameHeader)) -> Disk {
    let storage = written(5, 8 << 10, false);
    drop(open(&storage, 8 << 10).unwrap());
    let mut disk = storage.disk();
    let name = disk.journals().remove(0);
    let tail = frames_of(disk.bytes(&name)).pop().unwrap();
    let last = decode(&disk.bytes(&name)[tail.clone()]).unwrap();
    let mut header = FrameHeader {
        claim: false,
        first_sequence: last.header.last_sequence + 1,
        last_sequence: last.header.last_sequence + 1,
        chain: next_chain(last.header.chain, last.crc),
        ..last.header
    };
    assert_eq!((header.writer_epoch, header.ledger_id), (2, ledger_id("main")));
    change(&mut header);
    let mut forged = Vec::new();
    encode(&mut forged, &header, b"forged");
    disk.bytes_mut(&name)[tail.end..tail.end + forged.len()].copy_from_slice(&forged);
    disk
}

// case: E09, E10
#[test]
fn a_valid_frame_that_breaks_the_chain_is_corrupt_and_a_stale_one_is_cut() {
    assert_eq!(scan(with_forged_tail(|_| {})).unwrap().1.len(), 6);
    let breaks: [fn(&mut FrameHeader); 8] = [
        |header| header.ledger_id += 1,
        |header| header.first_sequence += 1,
        |header| header.last_sequence = header.first_sequence - 1,
        |header| header.last_sequence = u64::MAX,
        |header| header.chain ^= 1,
        |header| header.writer_epoch += 1,
        |header| header.claim = true,
        |header| (header.claim, header.writer_epoch) = (true, header.writer_epoch + 2),
    ];
    for change in breaks {
        assert!(matches!(scan(with_forged_tail(change)), Err(JournalError::Corrupt { .. })));
    }
    let (summary, frames) = scan(with_forged_tail(|header| header.writer_epoch = 1)).unwrap();
    assert_eq!((frames.len(), summary.torn_tail.is_some()), (5, true));
}

// case: E09
#[test]
fn a_torn_tail_is_zeroed_before_anything_is_appended() {
    let mut disk = written(5, 8 << 10, false).disk();
    let name = disk.journals().remove(0);
    let end = frames_of(disk.bytes(&name)).pop().unwrap().end;
    disk.bytes_mut(&name)[end..].fill(0xEE);
    let storage = TestStorage::on(disk.clone());
    assert_eq!(scan(disk).unwrap().0.torn_tail.unwrap().bytes, (8 << 10) - end as u64);
    let (mut journal, _) = open(&storage, 8 << 10).unwrap();
    append_next(&mut journal, false).unwrap();
    let disk = storage.disk();
    let end = frames_of(disk.bytes(&name)).pop().unwrap().end;
    assert!(disk.bytes(&name)[end..].iter().all(|byte| *byte == 0));
    assert_eq!(scan(disk).unwrap().0.torn_tail, None);
}

#[test]
fn every_open_claims_the_next_epoch_even_when_claims_fill_files() {
    let storage = TestStorage::default();
    for epoch in 1..=200 {
        let (journal, frames) = open(&storage, 8 << 10).unwrap();
        assert_eq!((journal.writer_epoch(), journal.durable_sequence(), frames.len()), (epoch, 0, 0));
    }
    assert!(storage.disk().journals().len() > 2);
    let (mut journal, _) = open(&storage, 8 << 10).unwrap();
    append_next(&mut journal, false).unwrap();
    let mut seen = 0;
    let mut reader = journal.reader().unwrap();
    reader
        .read_from(0, &mut |_| {
            seen += 1;
            true
        })
        .unwrap();
    assert_eq!(seen, 202);
}
