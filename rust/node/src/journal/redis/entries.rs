//! Reads the stream of frames in pages of bounded length, and judges every entry: in Redis nothing is ever half written, so
//! whatever is not a valid next frame is damage.

use redis::{Value, cmd};

use super::connection::Link;
use super::keys::{Id, Keys};
use super::trouble::{Fault, Trouble};
use crate::journal::JournalError;
use crate::journal::frame::{Decoded, FORMAT_VERSION, Flaw, decode, ledger_id};
use crate::journal::line::Line;

/// Frames in the first page and at most in any.
const PAGE_ENTRIES_FIRST: usize = 8;
const PAGE_ENTRIES_MAX: usize = 64;
/// Pages shrink while they are longer than this; one frame may be longer.
const PAGE_BYTES_TARGET: usize = 4 << 20;

/// One entry as the server sent it.
pub struct Entry {
    /// Its id.
    pub id: Id,
    /// Its frame, not yet checked.
    pub frame: Vec<u8>,
}

/// How many entries to ask for next.
#[derive(Debug, Clone, Copy)]
pub struct Pace(usize);

impl Pace {
    /// A careful start: nobody knows yet how long the frames are.
    pub fn start() -> Self {
        Self(PAGE_ENTRIES_FIRST)
    }

    /// One frame and no more.
    pub fn one() -> Self {
        Self(1)
    }

    /// Doubles while pages stay short, and counts on frames as long as the longest of the last page.
    fn after(&mut self, page: &[Entry]) {
        let longest = page.iter().map(|entry| entry.frame.len()).max().unwrap_or(0).max(1);
        self.0 = (PAGE_BYTES_TARGET / longest).clamp(1, (self.0 * 2).min(PAGE_ENTRIES_MAX));
    }
}

/// Where a page starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At this id, or the next one that is there.
    At(Id),
    /// Behind this id.
    After(Id),
}

/// Some entries that follow each other.
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether there were no more when the server answered.
    pub is_last: bool,
}

/// Reads the next page.
pub fn page(link: &mut Link, keys: &Keys, from: From, pace: &mut Pace) -> Result<Page, Fault> {
    let start = match from {
        From::At(id) => id.to_string(),
        From::After(id) => format!("({id}"),
    };
    let mut range = cmd("XRANGE");
    range.arg(&keys.frames).arg(start).arg("+").arg("COUNT").arg(pace.0);
    let Value::Array(items) = link.call(&range)? else {
        return Err(Trouble::nonsense(link.server(), "XRANGE").into());
    };
    let there = items.len();
    let mut entries = Vec::with_capacity(there);
    for item in items {
        match entry(item, keys) {
            Ok(entry) => entries.push(entry),
            Err(error) if entries.is_empty() => return Err(Fault::Lasting(error)),
            // What is before it is good, and the next page begins with it.
            Err(_) => break,
        }
    }
    let is_last = there < pace.0 && entries.len() == there;
    pace.after(&entries);
    Ok(Page { entries, is_last })
}

fn entry(item: Value, keys: &Keys) -> Result<Entry, JournalError> {
    let unknown = |why: &str| corrupt(keys, "?", why);
    let Value::Array(mut parts) = item else { return Err(unknown("it is no entry")) };
    let (Some(Value::Array(mut fields)), Some(Value::BulkString(id))) = (parts.pop(), parts.pop()) else {
        return Err(unknown("it is no entry"));
    };
    let id = String::from_utf8_lossy(&id).into_owned();
    let parsed = Id::parse(&id).ok_or_else(|| corrupt(keys, &id, "its id is no sequence"))?;
    match (fields.pop(), fields.pop(), fields.pop()) {
        (Some(Value::BulkString(frame)), Some(Value::BulkString(name)), None) if name == b"frame" => {
            Ok(Entry { id: parsed, frame })
        }
        _ => Err(corrupt(keys, &id, "it holds something else than one frame")),
    }
}

/// Takes an entry that continues the line, or says what is wrong with it.
pub fn accept<'e>(line: &mut Line, entry: &'e Entry, keys: &Keys) -> Result<Decoded<'e>, JournalError> {
    let decoded = decoded(entry, keys)?;
    line.accept(&decoded).map_err(|why| corrupt(keys, &entry.id.to_string(), why))?;
    Ok(decoded)
}

/// The frame of an entry, its place in the line not yet checked.
pub fn decoded<'e>(entry: &'e Entry, keys: &Keys) -> Result<Decoded<'e>, JournalError> {
    let id = entry.id.to_string();
    let frame = decode(&entry.frame).map_err(|flaw| match flaw {
        Flaw::Newer(found) => {
            let (file, known) = (format!("entry {id} of {}", keys.frames), u32::from(FORMAT_VERSION));
            JournalError::NewerFormat { file, found: u32::from(found), known }
        }
        Flaw::Blank => corrupt(keys, &id, "the frame is blank"),
        Flaw::Broken(why) => corrupt(keys, &id, why),
    })?;
    if Id::of(&frame.header) != entry.id {
        return Err(corrupt(keys, &id, "the frame belongs to another id"));
    }
    Ok(frame)
}

/// The line that an entry says it continues, where the frame before it was not read.
pub fn line_before(entry: &Entry, keys: &Keys, ledger: &str) -> Result<Line, JournalError> {
    let (header, ledger_id) = (decoded(entry, keys)?.header, ledger_id(ledger));
    if header.ledger_id != ledger_id {
        return Err(corrupt(keys, &entry.id.to_string(), "the frame belongs to another ledger"));
    }
    Ok(Line {
        ledger_id,
        next_sequence: header.first_sequence,
        chain: header.chain,
        writer_epoch: header.writer_epoch.saturating_sub(u64::from(header.claim)),
        time_ms: header.time_ms,
    })
}

/// The error for a damaged entry.
pub fn corrupt(keys: &Keys, id: &str, why: &str) -> JournalError {
    JournalError::CorruptEntry { stream: keys.frames.clone(), id: id.into(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stay_short_whatever_the_frames() {
        let page = |count: usize, bytes: usize| -> Vec<Entry> {
            (0..count).map(|_| Entry { id: Id::default(), frame: vec![0; bytes] }).collect()
        };
        let mut pace = Pace::start();
        for expected in [16, 32, 64, 64] {
            pace.after(&page(8, 200));
            assert_eq!(pace.0, expected);
        }
        pace.after(&page(64, 1 << 20));
        assert_eq!(pace.0, 4);
        pace.after(&page(1, 8 << 20));
        assert_eq!(pace.0, 1);
        pace.after(&[]);
        assert_eq!(pace.0, 2);
    }
}
