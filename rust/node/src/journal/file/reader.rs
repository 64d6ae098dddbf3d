//! Reads a file journal while it grows, without ever disturbing or overtaking its writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::files::{journal_files, start_of};
use super::header::{FILE_HEADER_BYTES, FileHeader, FileName};
use super::storage::Storage;
use super::walk::{BufferedFile, not_there};
use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::{Frame, FrameError};
use crate::journal::snapshot_store::JournalPosition;
use crate::journal::walk::{Walk, WalkVisitor, WalkedFrame};
use crate::journal::{JournalError, JournalReader};
use crate::positions::EventPosition;

/// How far the journal is durable: advanced by the writer, read by all readers.
pub(in crate::journal) struct DurableEnd {
    /// File number and offset of the first byte that is not durable.
    offset: Mutex<(u64, u64)>,
    /// Sequence of the last durable event; spares a reader that is up to date the lock.
    sequence: AtomicU64,
}

impl DurableEnd {
    pub fn new(file_number: u64, offset: u64, sequence: u64) -> Self {
        Self { offset: Mutex::new((file_number, offset)), sequence: AtomicU64::new(sequence) }
    }

    pub fn move_to(&self, file_number: u64, offset: u64, sequence: u64) {
        *self.offset.lock().unwrap_or_else(PoisonError::into_inner) = (file_number, offset);
        self.sequence.store(sequence, Ordering::Release);
    }

    fn offset(&self) -> (u64, u64) {
        *self.offset.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader of the durable part of a file journal.
pub(in crate::journal) struct FileReader {
    storage: Arc<dyn Storage>,
    durable: Arc<DurableEnd>,
    at: Option<ReadPosition>,
}

/// The start of the next frame to read; the walk has passed all frames before it.
struct ReadPosition {
    file: BufferedFile,
    header: FileHeader,
    offset: u64,
    walk: Walk,
}

impl FileReader {
    pub fn new(storage: Arc<dyn Storage>, durable: Arc<DurableEnd>) -> Self {
        Self { storage, durable, at: None }
    }

    /// The files that hold something durable, in order.
    fn names(&self, last_file: u64) -> Result<Vec<FileName>, JournalError> {
        let mut names = journal_files(self.storage.as_ref())?;
        // The writer may have begun a file in which nothing is durable yet.
        names.retain(|name| name.number <= last_file);
        Ok(names)
    }

    /// The saved position if it is not beyond `sequence`, else the start of the file that holds it.
    fn position_for(&mut self, sequence: u64, last_file: u64) -> Result<ReadPosition, JournalError> {
        if let Some(at) = self.at.take().filter(|at| at.walk.tip().next_sequence <= sequence) {
            return Ok(at);
        }
        let names = self.names(last_file)?;
        let first_sequence = names.first().map_or(1, |name| name.first_sequence);
        // The very first claim is at sequence 0.
        if sequence.max(1) < first_sequence {
            return Err(JournalError::Trimmed { sequence, first_sequence });
        }
        let after = names.partition_point(|name| name.first_sequence <= sequence);
        let name = names.get(after.saturating_sub(1)).ok_or_else(|| self.gone())?;
        ReadPosition::at_start_of(self.storage.as_ref(), *name)
    }

    fn gone(&self) -> JournalError {
        let why = "the journal files are gone".into();
        JournalError::Corrupt { file: self.storage.describe(""), offset: 0, why }
    }

    /// Calls `f` with every durable frame after a position until it returns false, and returns the position after the last one
    /// that `f` saw.
    pub fn read_after(
        &mut self,
        position: &JournalPosition,
        f: &mut dyn FnMut(Frame<'_>) -> bool,
    ) -> Result<JournalPosition, JournalError> {
        let end = self.durable.offset();
        let names = journal_files(self.storage.as_ref())?;
        let start = start_of(&names, position).ok_or_else(|| not_there(self.storage.as_ref(), position))?;
        let mut at = ReadPosition::at_start_of(self.storage.as_ref(), names[start])?;
        at.walk = Walk::towards(*at.walk.tip(), *position);
        let visit = &mut |frame: &WalkedFrame<'_>| Ok(!frame.reached || f(frame.decoded.frame()));
        while at.has_next(end, self.storage.as_ref())? && at.next(end, visit)? {}
        let reached = at.walk.has_reached().then(|| at.walk.position());
        reached.ok_or_else(|| not_there(self.storage.as_ref(), position))
    }
}

impl JournalReader for FileReader {
    fn read_from(&mut self, sequence: u64, f: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<(), JournalError> {
        if self.at.is_some() && sequence > self.durable.sequence.load(Ordering::Acquire) {
            return Ok(());
        }
        let end = self.durable.offset();
        let mut at = self.position_for(sequence, end.0)?;
        let visit = &mut |frame: &WalkedFrame<'_>| {
            Ok(frame.decoded.header.last_sequence < sequence || f(frame.decoded.frame()))
        };
        while at.has_next(end, self.storage.as_ref())? {
            let before = (at.walk, at.offset);
            if !at.next(end, visit)? {
                // The caller may ask for this very frame again.
                (at.walk, at.offset) = before;
                break;
            }
        }
        self.at = Some(at);
        Ok(())
    }

    /// The headers show in which file the epoch ends, and only that one is read.
    fn newest_up_to(&mut self, epoch: u64, sequence: u64) -> Result<Option<EventPosition>, JournalError> {
        let names = self.names(self.durable.offset().0)?;
        let (mut low, mut high) = (0, names.partition_point(|name| name.first_sequence <= sequence));
        while low < high {
            let middle = low + (high - low) / 2;
            let at = ReadPosition::at_start_of(self.storage.as_ref(), names[middle])?;
            if at.header.writer_epoch <= epoch { low = middle + 1 } else { high = middle }
        }
        let first_kept = names.first().map_or(1, |name| name.first_sequence);
        let first = low.checked_sub(1).map_or(first_kept, |last| names[last].first_sequence);
        let mut found = None;
        self.read_from(first, &mut |frame| {
            let wanted = frame.writer_epoch <= epoch && frame.first_sequence <= sequence;
            if wanted && !frame.is_claim() {
                found = Some(EventPosition {
                    writer_epoch: frame.writer_epoch,
                    sequence: frame.last_sequence.min(sequence),
                });
            }
            wanted
        })?;
        if found.is_some() || first == 1 {
            return Ok(found);
        }
        // The epoch ends before this file.
        let before = first - 1;
        Ok(self.epoch_of(before)?.map(|writer_epoch| EventPosition { writer_epoch, sequence: before }))
    }
}

impl ReadPosition {
    fn at_start_of(storage: &dyn Storage, name: FileName) -> Result<Self, JournalError> {
        let mut file = BufferedFile::open(storage, name)?;
        let header = file.header(name)?;
        let walk = Walk::from(JournalPosition { tip: ChainTip::at_start_of(&header), frames: 0 });
        Ok(Self { file, header, offset: FILE_HEADER_BYTES as u64, walk })
    }

    /// How far this file may be read.
    fn limit(&self, end: (u64, u64)) -> u64 {
        if self.header.name.number == end.0 { end.1 } else { self.header.file_bytes }
    }

    /// Whether a durable frame comes next, after moving to the next file if this one ends.
    fn has_next(&mut self, end: (u64, u64), storage: &dyn Storage) -> Result<bool, JournalError> {
        while self.header.name.number < end.0 {
            let limit = self.limit(end);
            if !matches!(self.file.frame(self.offset, limit)?, Err(FrameError::Blank)) {
                return Ok(true);
            }
            let tip = self.walk.tip();
            let name = FileName { first_sequence: tip.next_sequence, number: self.header.name.number + 1 };
            let next = Self::at_start_of(storage, name)?;
            if next.walk.tip() != tip {
                return Err(next.file.corrupt(0, "the file does not continue the one before it"));
            }
            *self = Self { walk: self.walk, ..next };
        }
        Ok(self.offset < self.limit(end))
    }

    /// Passes the next frame on, which is durable and therefore must be valid.
    fn next(&mut self, end: (u64, u64), visit: &mut WalkVisitor<'_>) -> Result<bool, JournalError> {
        let (offset, limit, name) = (self.offset, self.limit(end), self.file.name.clone());
        let corrupt = |why: &str| JournalError::Corrupt { file: name.clone(), offset, why: why.into() };
        let frame = match self.file.frame(offset, limit)? {
            Ok(frame) => frame,
            Err(FrameError::Broken(why)) => return Err(corrupt(why)),
            Err(FrameError::Blank) => return Err(corrupt("a durable frame is gone")),
            Err(FrameError::Newer(_)) => return Err(corrupt("another process wrote here")),
        };
        self.walk.accept(&frame).map_err(corrupt)?;
        self.offset += frame.bytes.len() as u64;
        self.walk.pass(frame, &name, offset, visit)
    }
}
