//! Walks the files of a journal for the one walk of all journals. It reads and never writes, and distinguishes a torn tail from
//! damage by the rule in the module's documentation.

use std::sync::Arc;

use invengine_ledger::planted;

use super::files::{check_head, journal_files, open_journal_file, start_of};
use super::header::{FILE_HEADER_BYTES, FileHeader, FileName};
use super::storage::{Storage, StoredFile, read_full_at};
use crate::journal::JournalError;
use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::{self, DecodedFrame, FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameError};
use crate::journal::snapshot_store::JournalPosition;
use crate::journal::walk::{Walk, WalkVisitor};

const READ_AHEAD_BYTES: u64 = 256 << 10;
const BLOCK_BYTES: u64 = 4096;

/// Where the valid part of a journal ends, and the state there.
#[derive(Debug)]
pub(in crate::journal) struct WalkEnd {
    pub header: FileHeader,
    /// Real length of the last file.
    pub length: u64,
    /// First byte after the last valid frame.
    pub offset: u64,
    /// Offset of the last valid frame in the last file, if that has one.
    pub last_frame: Option<u64>,
    /// First byte after the torn tail, if there is one.
    pub torn_end: Option<u64>,
    pub files: u64,
    pub walk: Walk,
    /// Whether the visitor ended the walk early.
    pub stopped: bool,
}

/// Where a walk begins.
pub(in crate::journal) enum WalkStart<'p> {
    /// With the first frame of all.
    FirstOfAll,
    /// With the first frame of the first file, whatever its sequence.
    FirstHere,
    /// With the first frame of the first file, towards a position.
    Towards(&'p JournalPosition),
}

/// Walks the journal to its end: from its first frame, or towards a position, which must be one of this journal. `None` if there
/// is no journal yet. Without a `ledger`, the journal of any ledger is accepted.
pub(in crate::journal) fn walk(
    storage: &Arc<dyn Storage>,
    ledger: Option<&str>,
    position: Option<&JournalPosition>,
    visit: &mut WalkVisitor<'_>,
) -> Result<Option<WalkEnd>, JournalError> {
    let names = journal_files(storage.as_ref())?;
    let Some(position) = position else {
        check_head(storage.as_ref(), &names)?;
        return walk_files(storage, &names, ledger, &WalkStart::FirstOfAll, visit);
    };
    let lost = || not_there(storage.as_ref(), position);
    let start = start_of(&names, position).ok_or_else(lost)?;
    let walked = walk_files(storage, &names[start..], ledger, &WalkStart::Towards(position), visit)?;
    walked.filter(|walked| walked.walk.has_reached()).map(Some).ok_or_else(lost)
}

/// Checks every frame of these files, whatever the sequence of the first one.
pub(in crate::journal) fn walk_all(
    storage: &Arc<dyn Storage>,
    names: &[FileName],
    ledger: &str,
) -> Result<WalkEnd, JournalError> {
    let walked = walk_files(storage, names, Some(ledger), &WalkStart::FirstHere, &mut |_| Ok(true))?;
    walked.ok_or_else(|| not_there(storage.as_ref(), &JournalPosition::start(ledger)))
}

/// The error for a snapshot whose position is not in its journal.
pub(in crate::journal) fn not_there(storage: &dyn Storage, position: &JournalPosition) -> JournalError {
    let why = format!(
        "the snapshot at sequence {} does not match any position of the journal beside it",
        position.sequence()
    );
    JournalError::Corrupt { file: storage.describe(""), offset: 0, why }
}

/// Walks these files in order; `None` if there are none.
pub(in crate::journal) fn walk_files(
    storage: &Arc<dyn Storage>,
    names: &[FileName],
    ledger: Option<&str>,
    start: &WalkStart<'_>,
    visit: &mut WalkVisitor<'_>,
) -> Result<Option<WalkEnd>, JournalError> {
    let mut walked: Option<WalkEnd> = None;
    for (index, name) in names.iter().enumerate() {
        let last = index + 1 == names.len();
        let mut file = BufferedFile::open(storage.as_ref(), *name)?;
        let header = file.header(*name)?;
        let walk = match walked.take() {
            None => first_walk(&header, ledger, start, &file.name)?,
            Some(before) => before.walk,
        };
        if ChainTip::at_start_of(&header) != *walk.tip() {
            return Err(file.corrupt(0, "the file does not continue the one before it"));
        }
        let length = file.checked_length(&header, last)?;
        let (offset, files) = (FILE_HEADER_BYTES as u64, index as u64 + 1);
        let at = WalkEnd { header, length, offset, last_frame: None, torn_end: None, files, walk, stopped: false };
        let done = walk_file(&mut file, at, last, visit)?;
        if done.stopped {
            return Ok(Some(done));
        }
        walked = Some(done);
    }
    Ok(walked)
}

/// The walk that the first file must continue: from the empty journal, or from what its own header says, since a position is
/// compared later.
fn first_walk(
    header: &FileHeader,
    ledger: Option<&str>,
    start: &WalkStart<'_>,
    file: &str,
) -> Result<Walk, JournalError> {
    if let Some(wanted) = ledger.filter(|wanted| *wanted != header.ledger) {
        let (file, found) = (file.into(), header.ledger.clone());
        return Err(JournalError::OtherLedger { file, found, wanted: wanted.into() });
    }
    let tip = ChainTip::at_start_of(header);
    Ok(match start {
        WalkStart::FirstOfAll => Walk::from(JournalPosition::start(&header.ledger)),
        WalkStart::FirstHere => Walk::from(JournalPosition { tip, frames: 0 }),
        WalkStart::Towards(position) => Walk::towards(tip, **position),
    })
}

fn walk_file(
    file: &mut BufferedFile,
    mut at: WalkEnd,
    last: bool,
    visit: &mut WalkVisitor<'_>,
) -> Result<WalkEnd, JournalError> {
    let full_name = file.name.clone();
    loop {
        let why = match file.frame(at.offset, at.length)? {
            Ok(frame) => match at.walk.accept(&frame) {
                Ok(()) => {
                    at.stopped = !at.walk.pass(frame, &full_name, at.offset, visit)?;
                    at.last_frame = Some(at.offset);
                    at.offset += frame.bytes.len() as u64;
                    if at.stopped {
                        return Ok(at);
                    }
                    continue;
                }
                Err(why) => why,
            },
            Err(FrameError::Newer(found)) => return Err(file.newer(found)),
            Err(FrameError::Broken(why)) => why,
            Err(FrameError::Blank) => "bytes follow the end of the frames",
        };
        match torn_end(file, &at, why) {
            Ok(None) => return Ok(at),
            Ok(Some(_)) if !last => return Err(file.corrupt(at.offset, why)),
            Ok(torn_end) => return Ok(WalkEnd { torn_end, ..at }),
            // A scan may run beside a writer, which may have appended since this frame was read.
            Err(_) if file.now_continues(&at)? => {}
            Err(error) => return Err(error),
        }
    }
}

/// The end of the last written byte after the valid frames; `None` if there are only zeros.
///
/// A valid frame among these bytes proves that they are not a torn tail.
fn torn_end(file: &mut BufferedFile, at: &WalkEnd, why: &str) -> Result<Option<u64>, JournalError> {
    let mut end = None;
    let mut block_start = at.offset;
    let mut block = Vec::new();
    while block_start < at.length {
        let block_end = (block_start + 1).next_multiple_of(BLOCK_BYTES).min(at.length);
        block.clear();
        block.extend_from_slice(file.bytes(block_start, (block_end - block_start) as usize, at.length)?);
        if let Some(last) = last_written(&block) {
            end = Some(block_start + last as u64 + 1);
            no_valid_frame(file, at, block_start, &block, why)?;
        }
        block_start = block_end;
    }
    let shortened = (at.length < at.header.file_bytes).then_some(at.length);
    Ok(end.or(shortened))
}

fn last_written(block: &[u8]) -> Option<usize> {
    // Comparing slices is far faster than checking each byte, and nearly every block is blank.
    const BLANK: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];
    if block == &BLANK[..block.len()] { None } else { block.iter().rposition(|byte| *byte != 0) }
}

fn no_valid_frame(
    file: &mut BufferedFile,
    at: &WalkEnd,
    start: u64,
    block: &[u8],
    why: &str,
) -> Result<(), JournalError> {
    for (index, bytes) in block.chunks(FRAME_ALIGN).enumerate() {
        if !bytes.starts_with(&FRAME_MAGIC) {
            continue;
        }
        let offset = start + (index * FRAME_ALIGN) as u64;
        let valid = match file.frame(offset, at.length)? {
            Ok(frame) => !is_stale(&frame, at.walk.tip()),
            Err(FrameError::Newer(_)) => true,
            Err(_) => false,
        };
        if planted::is("damage_taken_for_a_torn_tail") {
            continue;
        }
        if valid && offset == at.offset {
            return Err(file.corrupt(at.offset, why));
        }
        if valid {
            return Err(file.corrupt(at.offset, &format!("{why}, but a valid frame follows at byte {offset}")));
        }
    }
    Ok(())
}

/// Whether a valid frame was left by an earlier writer of this ledger.
fn is_stale(frame: &DecodedFrame<'_>, tip: &ChainTip) -> bool {
    frame.header.ledger_id == tip.ledger_id && frame.header.writer_epoch < tip.writer_epoch
}

/// A journal file read through a buffer that never reaches beyond what the caller allows.
pub(in crate::journal) struct BufferedFile {
    pub name: String,
    file: Box<dyn StoredFile>,
    buffer: Vec<u8>,
    start: u64,
}

impl BufferedFile {
    pub fn open(storage: &dyn Storage, name: FileName) -> Result<Self, JournalError> {
        let full_name = storage.describe(&name.text());
        let file = open_journal_file(storage, name).map_err(JournalError::io("open", full_name.clone()))?;
        Ok(Self { name: full_name, file, buffer: Vec::new(), start: 0 })
    }

    /// The file's header, which must agree with its name.
    pub fn header(&mut self, name: FileName) -> Result<FileHeader, JournalError> {
        let mut bytes = [0; FILE_HEADER_BYTES];
        let got =
            read_full_at(self.file.as_ref(), &mut bytes, 0).map_err(JournalError::io("read", self.name.clone()))?;
        let header = FileHeader::decode(&bytes[..got], &self.name)?;
        if header.name != name {
            return Err(self.corrupt(0, &format!("the header says this is {}", header.name.text())));
        }
        Ok(header)
    }

    /// The file's real length.
    pub fn length(&self) -> Result<u64, JournalError> {
        self.file.length().map_err(JournalError::io("read the length of", self.name.clone()))
    }

    /// The same, if it agrees with the header. Only the last file may be shorter than it was created: a copy may have
    /// been cut.
    fn checked_length(&self, header: &FileHeader, last: bool) -> Result<u64, JournalError> {
        let length = self.length()?;
        if length > header.file_bytes || (length < header.file_bytes && !last) {
            let why = format!("the file has {length} bytes, its header says {}", header.file_bytes);
            return Err(self.corrupt(length.min(header.file_bytes), &why));
        }
        Ok(length)
    }

    /// The frame at an offset of a file that ends at `end`, or why there is no valid frame.
    pub fn frame(&mut self, offset: u64, end: u64) -> Result<Result<DecodedFrame<'_>, FrameError>, JournalError> {
        let left = end - offset;
        if left < FRAME_HEADER_BYTES as u64 {
            let rest = self.bytes(offset, left as usize, end)?;
            let blank = rest.iter().all(|byte| *byte == 0);
            return Ok(Err(if blank { FrameError::Blank } else { FrameError::Broken("the frame is cut short") }));
        }
        let head = self.bytes(offset, FRAME_HEADER_BYTES, end)?;
        let head = head.first_chunk().expect("Invariant: the buffer returns as many bytes as requested");
        match frame::length(head) {
            Err(error) => Ok(Err(error)),
            Ok(bytes) if bytes as u64 > left => Ok(Err(FrameError::Broken("the frame is longer than its file"))),
            Ok(bytes) => Ok(frame::decode(self.bytes(offset, bytes, end)?)),
        }
    }

    /// Whether the file, read again, continues with a valid frame after all.
    fn now_continues(&mut self, at: &WalkEnd) -> Result<bool, JournalError> {
        self.buffer.clear();
        let mut tip = *at.walk.tip();
        Ok(self.frame(at.offset, at.length)?.is_ok_and(|frame| tip.accept(&frame).is_ok()))
    }

    /// Exactly `count` bytes from `offset`, none of them read beyond `end`.
    pub fn bytes(&mut self, offset: u64, count: usize, end: u64) -> Result<&[u8], JournalError> {
        let held = offset.checked_sub(self.start).filter(|skip| skip + count as u64 <= self.buffer.len() as u64);
        let skip = match held {
            Some(skip) => skip as usize,
            None => {
                self.fill(offset, count, end)?;
                0
            }
        };
        Ok(&self.buffer[skip..skip + count])
    }

    fn fill(&mut self, offset: u64, count: usize, end: u64) -> Result<(), JournalError> {
        let wanted = READ_AHEAD_BYTES.max(count as u64).min(end - offset) as usize;
        self.buffer.resize(wanted, 0);
        self.start = offset;
        let got = read_full_at(self.file.as_ref(), &mut self.buffer, offset);
        self.buffer.truncate(*got.as_ref().unwrap_or(&0));
        let got = got.map_err(JournalError::io("read", self.name.clone()))?;
        if got < count {
            return Err(self.corrupt(offset + got as u64, "the file ends too early"));
        }
        Ok(())
    }

    pub fn corrupt(&self, offset: u64, why: &str) -> JournalError {
        JournalError::Corrupt { file: self.name.clone(), offset, why: why.into() }
    }

    pub fn newer(&self, found: u16) -> JournalError {
        let known = u32::from(frame::FORMAT_VERSION);
        JournalError::NewerFormat { file: self.name.clone(), found: u32::from(found), known }
    }
}
