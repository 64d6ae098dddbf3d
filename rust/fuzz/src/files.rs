//! Journal files: a damaged journal is read as a prefix of itself or refused, and never read as anything else.
//!
//! The bytes are a list of damages to one of a few journals. Unless one of them forges a checksum, every frame that is read
//! back must be one that was written; and a scan and an open must agree.

use std::sync::LazyLock;

use invengine_node::journal::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC};
use invengine_node::journal::{EveryFrame, FileJournal, FileOptions, Frame, Journal, JournalError, scan_on};

use crate::Signature;
use crate::byte_source::ByteSource;
use crate::memory_disk::{Contents, MemoryDisk};
use crate::script;

const FILE_BYTES: u64 = 8 << 10;
const HEADER_BYTES: usize = 4 << 10;
const DAMAGES_MAX: usize = 6;
const DAMAGES: u8 = 9;

/// A frame as it was read: first and last sequence, epoch, time, payload.
type Read = (u64, u64, u64, i64, Vec<u8>);

struct Written {
    contents: Contents,
    frames: Vec<Read>,
}

static JOURNALS: LazyLock<Vec<Written>> = LazyLock::new(|| [3, 12, 40].map(written).into());

fn options() -> FileOptions {
    let mut options = FileOptions::new("", "main");
    options.journal_file_bytes = FILE_BYTES;
    options.preallocate = false;
    options
}

fn open(disk: &MemoryDisk) -> Result<(FileJournal, Vec<Read>), JournalError> {
    let mut frames = Vec::new();
    let journal = FileJournal::recover_on(
        disk.shared(),
        &options(),
        &mut EveryFrame(&mut |frame| {
            frames.push(read(&frame));
            Ok(())
        }),
    )?;
    Ok((journal, frames))
}

fn read(frame: &Frame<'_>) -> Read {
    (frame.first_sequence, frame.last_sequence, frame.writer_epoch, frame.time_ms, frame.payload.into())
}

/// A journal of `count` frames by two writers.
fn written(count: usize) -> Written {
    let disk = MemoryDisk::default();
    for half in 0..2 {
        let mut journal = open(&disk).expect("an undamaged journal opens").0;
        for number in (count * half / 2)..(count * (half + 1) / 2) {
            let kept = &script::FRAMES[number % script::FRAMES.len()];
            let first = journal.durable_sequence() + 1;
            let last = first + (kept.last_sequence - kept.first_sequence);
            journal.append(first, last, kept.time_ms + number as i64, &kept.payload).expect("there is room");
        }
    }
    let mut frames = Vec::new();
    let summary = scan_on(disk.shared(), &mut |frame| {
        frames.push(read(&frame));
        true
    });
    assert_eq!(summary.expect("an undamaged journal is read").torn_tail, None);
    Written { contents: disk.contents(), frames }
}

/// Damages one of the journals, then scans it and opens it.
pub fn run(bytes: &[u8]) -> Signature {
    let mut feed = ByteSource::new(bytes);
    let journal = &JOURNALS[usize::from(feed.byte()) % JOURNALS.len()];
    let mut contents = journal.contents.clone();
    let mut forged = false;
    for _ in 0..DAMAGES_MAX {
        if feed.is_empty() {
            break;
        }
        forged |= damage(&mut contents, &mut feed);
    }
    let disk = MemoryDisk::with(&contents);
    let mut frames = Vec::new();
    let scanned = scan_on(disk.shared(), &mut |frame| {
        frames.push(read(&frame));
        true
    });
    if !forged {
        assert!(journal.frames.starts_with(&frames), "frames were read that nobody wrote");
    }
    assert_eq!(disk.contents(), contents, "a scan wrote something");
    match (scanned, open(&disk)) {
        (Ok(summary), Ok((opened, again))) => {
            assert_eq!(frames, again, "a scan and an open read different frames");
            goes_on(opened, &disk, &frames);
            Signature::of(("read", summary.torn_tail.is_some(), frames.len() == journal.frames.len(), forged))
        }
        (Err(scanned), Err(opened)) => {
            assert_eq!(disk.contents(), contents, "a refused open wrote something: {opened}");
            Signature::of(("refused", why(&scanned), why(&opened)))
        }
        // Only an open checks the ledger and needs disk space, of which a forged header may demand too much.
        (
            Ok(_),
            Err(error @ (JournalError::OtherLedger { .. } | JournalError::Io { .. } | JournalError::Full { .. })),
        ) if forged => Signature::of(why(&error)),
        (Ok(_), Err(opened)) => panic!("a scan accepts it, an open does not: {opened}"),
        (Err(scanned), Ok(_)) => panic!("an open accepts it, a scan does not: {scanned}"),
    }
}

/// The error message without its numbers.
fn why(error: &JournalError) -> String {
    error.to_string().chars().filter(|letter| !letter.is_ascii_hexdigit()).collect()
}

/// An opened journal accepts a frame, and the next open reads all of it.
fn goes_on(mut journal: FileJournal, disk: &MemoryDisk, frames: &[Read]) {
    let first = journal.durable_sequence() + 1;
    let time_ms = frames.last().map_or(0, |frame| frame.3);
    if first < u64::MAX - 1 && journal.append(first, first, time_ms, b"on").is_ok() {
        drop(journal);
        let (_, again) = open(disk).expect("what was appended to opens again");
        assert_eq!(again.len(), frames.len() + 2);
        assert_eq!(again[..frames.len()], *frames);
    }
}

/// Applies one damage. Returns true if it forges a checksum.
fn damage(contents: &mut Contents, feed: &mut ByteSource<'_>) -> bool {
    let kind = feed.byte() % DAMAGES;
    let Some(name) = pick(contents, feed) else { return false };
    if kind == 0 {
        contents.remove(&name);
        return false;
    }
    let source = pick(contents, feed).and_then(|name| contents.get(&name).cloned()).unwrap_or_default();
    let file = contents.get_mut(&name).expect("it was picked");
    if file.is_empty() {
        return false;
    }
    let at = feed.below(file.len());
    match kind {
        1 => file[at] ^= 1 << (feed.byte() % 8),
        2 => file[at] = feed.byte(),
        3 => file[at..].iter_mut().take(usize::from(feed.short())).for_each(|byte| *byte = 0),
        4 => file.truncate(at),
        5 => copy(&source, feed, file, at),
        6 => *file = source,
        7 => write(file, at, feed),
        _ => return forge(file, at, feed),
    }
    false
}

fn pick(contents: &Contents, feed: &mut ByteSource<'_>) -> Option<String> {
    let place = usize::from(feed.byte());
    contents.keys().nth(place % contents.len().max(1)).cloned()
}

/// A misdirected write: a sector, or a few bytes, from elsewhere.
fn copy(source: &[u8], feed: &mut ByteSource<'_>, file: &mut [u8], at: usize) {
    if source.is_empty() {
        return;
    }
    let (from, count) = (feed.below(source.len()), [8, 64, 512, 4_096][usize::from(feed.byte() % 4)]);
    let bytes = &source[from..source.len().min(from + count)];
    let count = bytes.len().min(file.len() - at);
    file[at..at + count].copy_from_slice(&bytes[..count]);
}

fn write(file: &mut [u8], at: usize, feed: &mut ByteSource<'_>) {
    let count = usize::from(feed.byte() % 32);
    for (to, from) in file[at..].iter_mut().zip(feed.take(count)) {
        *to = *from;
    }
}

/// Changes a field of the frame at or after an offset, or of the file's header, and corrects the checksum.
fn forge(file: &mut [u8], at: usize, feed: &mut ByteSource<'_>) -> bool {
    let field = feed.below(FRAME_HEADER_BYTES);
    let value = feed.take(8);
    if at < HEADER_BYTES {
        if file.len() < HEADER_BYTES {
            return false;
        }
        let header = &mut file[..HEADER_BYTES];
        header[8 + field..].iter_mut().zip(value).for_each(|(to, from)| *to = *from);
        let crc = crc32c::crc32c(&header[..HEADER_BYTES - 4]);
        header[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        return true;
    }
    let starts = (at.next_multiple_of(8)..file.len().saturating_sub(FRAME_HEADER_BYTES)).step_by(8);
    let Some(start) = starts.into_iter().find(|start| file[*start..].starts_with(&FRAME_MAGIC)) else { return false };
    let frame = &mut file[start..];
    let payload = u32::from_le_bytes([frame[8], frame[9], frame[10], frame[11]]) as usize;
    let Some(end) = (FRAME_HEADER_BYTES + payload).checked_next_multiple_of(8).filter(|end| *end <= frame.len()) else {
        return false;
    };
    let frame = &mut frame[..end];
    frame[field..].iter_mut().zip(value).for_each(|(to, from)| *to = *from);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..12]), &frame[16..]);
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
    true
}

/// Each journal undamaged, and each kind of damage on its own.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..3).map(|journal| vec![journal]).collect();
    for kind in 0..DAMAGES {
        for at in [20, 0x1010, 0x1100, 0x1400] {
            let at = u16::to_le_bytes(at);
            seeds.push([&[1, kind, 1, 0][..], &at, &[3, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0]].concat());
        }
    }
    seeds
}
