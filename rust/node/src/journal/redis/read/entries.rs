//! Reads the stream of frames in pages of bounded length, and validates every entry: in Redis nothing is ever half written, so
//! anything but a valid next frame is damage.

use std::fmt::Display;

use redis::{Value, cmd};

use crate::journal::JournalError;
use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::{DecodedFrame, FORMAT_VERSION, FrameError, decode, ledger_id};
use crate::journal::redis::connection::errors::{Failure, RedisError};
use crate::journal::redis::connection::keys::{EntryId, RedisKeys};
use crate::journal::redis::connection::session::RedisSource;

/// Number of frames in the first page, and the most in any page.
const PAGE_ENTRIES_FIRST: usize = 8;
const PAGE_ENTRIES_MAX: usize = 64;
/// Pages shrink while they are longer than this; one frame may be longer.
const PAGE_BYTES_TARGET: usize = 4 << 20;

/// One entry as the server sent it.
pub struct StreamEntry {
    /// Its id.
    pub id: EntryId,
    /// Its frame, not yet checked.
    pub frame: Vec<u8>,
}

/// Number of entries to request next.
#[derive(Debug, Clone, Copy)]
pub struct PageSize(usize);

impl PageSize {
    /// A small start: the length of the frames is not known yet.
    pub fn start() -> Self {
        Self(PAGE_ENTRIES_FIRST)
    }

    /// One frame and no more.
    pub fn one() -> Self {
        Self(1)
    }

    /// Doubles while pages stay short, and assumes frames as long as the longest of the last page.
    fn after(&mut self, page: &[StreamEntry]) {
        let longest = page.iter().map(|entry| entry.frame.len()).max().unwrap_or(0).max(1);
        self.0 = (PAGE_BYTES_TARGET / longest).clamp(1, (self.0 * 2).min(PAGE_ENTRIES_MAX));
    }
}

/// Where a page starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageStart {
    /// At this id, or the next one that exists.
    At(EntryId),
    /// After this id.
    After(EntryId),
}

/// Some consecutive entries.
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<StreamEntry>,
    /// Whether there were no more when the server replied.
    pub is_last: bool,
}

/// Reads the next page.
pub fn page(source: &mut RedisSource, from: PageStart, page_size: &mut PageSize) -> Result<EntryPage, Failure> {
    let RedisSource { session, connection } = source;
    let keys = &session.keys;
    let start = match from {
        PageStart::At(id) => id.to_string(),
        PageStart::After(id) => format!("({id}"),
    };
    let mut range = cmd("XRANGE");
    range.arg(&keys.frames).arg(start).arg("+").arg("COUNT").arg(page_size.0);
    let Value::Array(items) = connection.call(&range)? else {
        return Err(RedisError::nonsense(connection.server(), "XRANGE").into());
    };
    let count = items.len();
    let mut entries = Vec::with_capacity(count);
    for item in items {
        match entry(item, keys) {
            Ok(entry) => entries.push(entry),
            Err(error) if entries.is_empty() => return Err(Failure::Permanent(error)),
            // The entries before it are good, and the next page begins with it.
            Err(_) => break,
        }
    }
    let is_last = count < page_size.0 && entries.len() == count;
    page_size.after(&entries);
    Ok(EntryPage { entries, is_last })
}

fn entry(item: Value, keys: &RedisKeys) -> Result<StreamEntry, JournalError> {
    let unknown = |why: &str| corrupt(keys, "?", why);
    let Value::Array(mut parts) = item else { return Err(unknown("it is not an entry")) };
    let (Some(Value::Array(mut fields)), Some(Value::BulkString(id))) = (parts.pop(), parts.pop()) else {
        return Err(unknown("it is not an entry"));
    };
    let id = String::from_utf8_lossy(&id).into_owned();
    let parsed = EntryId::parse(&id).ok_or_else(|| corrupt(keys, &id, "its id is not a sequence"))?;
    match (fields.pop(), fields.pop(), fields.pop()) {
        (Some(Value::BulkString(frame)), Some(Value::BulkString(name)), None) if name == b"frame" => {
            Ok(StreamEntry { id: parsed, frame })
        }
        _ => Err(corrupt(keys, &id, "it holds something other than one frame")),
    }
}

/// The frame of an entry, not yet compared with the tip.
pub fn decoded<'e>(entry: &'e StreamEntry, keys: &RedisKeys) -> Result<DecodedFrame<'e>, JournalError> {
    let id = entry.id;
    let frame = decode(&entry.frame).map_err(|error| match error {
        FrameError::Newer(found) => {
            let (file, known) = (format!("entry {id} of {}", keys.frames), u32::from(FORMAT_VERSION));
            JournalError::NewerFormat { file, found: u32::from(found), known }
        }
        FrameError::Blank => corrupt(keys, id, "the frame is blank"),
        FrameError::Broken(why) => corrupt(keys, id, why),
    })?;
    if EntryId::of(&frame.header) != entry.id {
        return Err(corrupt(keys, id, "the frame belongs to another id"));
    }
    Ok(frame)
}

/// The tip that an entry continues according to its header, for use when the frame before it was not read.
pub fn tip_before(entry: &StreamEntry, keys: &RedisKeys, ledger: &str) -> Result<ChainTip, JournalError> {
    let (header, ledger_id) = (decoded(entry, keys)?.header, ledger_id(ledger));
    if header.ledger_id != ledger_id {
        return Err(corrupt(keys, entry.id, "the frame belongs to another ledger"));
    }
    Ok(ChainTip {
        ledger_id,
        next_sequence: header.first_sequence,
        chain: header.chain,
        writer_epoch: header.writer_epoch.saturating_sub(u64::from(header.claim)),
        time_ms: header.time_ms,
    })
}

/// The error for a damaged entry.
pub fn corrupt(keys: &RedisKeys, id: impl Display, why: &str) -> JournalError {
    JournalError::CorruptEntry { stream: keys.frames.clone(), id: id.to_string(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stay_short_for_any_frame_length() {
        let page = |count: usize, bytes: usize| -> Vec<StreamEntry> {
            (0..count).map(|_| StreamEntry { id: EntryId::default(), frame: vec![0; bytes] }).collect()
        };
        let mut page_size = PageSize::start();
        for expected in [16, 32, 64, 64] {
            page_size.after(&page(8, 200));
            assert_eq!(page_size.0, expected);
        }
        page_size.after(&page(64, 1 << 20));
        assert_eq!(page_size.0, 4);
        page_size.after(&page(1, 8 << 20));
        assert_eq!(page_size.0, 1);
        page_size.after(&[]);
        assert_eq!(page_size.0, 2);
    }
}
