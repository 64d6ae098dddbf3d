//! Reads a file journal while it grows, without ever disturbing or overtaking its writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::files::{journal_files, start_of};
use super::frame::{Flaw, Frame};
use super::header::{FILE_HEADER_BYTES, FileHeader, FileName};
use super::history::Mark;
use super::line::Line;
use super::storage::Storage;
use super::walk::{Window, not_there};
use super::{JournalError, JournalReader};
use crate::positions::EventPosition;

/// How far the journal is durable: moved by the writer, read by all readers.
pub(super) struct DurableEnd {
    /// File number and offset of the first byte that is not durable.
    place: Mutex<(u64, u64)>,
    /// Sequence of the last durable event; lets a reader that is up to date go without the lock.
    sequence: AtomicU64,
}

impl DurableEnd {
    pub fn new(file_number: u64, offset: u64, sequence: u64) -> Self {
        Self { place: Mutex::new((file_number, offset)), sequence: AtomicU64::new(sequence) }
    }

    pub fn move_to(&self, file_number: u64, offset: u64, sequence: u64) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = (file_number, offset);
        self.sequence.store(sequence, Ordering::Release);
    }

    fn place(&self) -> (u64, u64) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader of the durable part of a file journal.
pub(super) struct FileReader {
    storage: Arc<dyn Storage>,
    durable: Arc<DurableEnd>,
    at: Option<Place>,
}

/// The start of the next frame to read; all frames before it end before `line.next_sequence`.
struct Place {
    file: Window,
    header: FileHeader,
    offset: u64,
    line: Line,
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

    /// The kept place if it is not beyond `sequence`, else the start of the file that holds it.
    fn place_for(&mut self, sequence: u64, last_file: u64) -> Result<Place, JournalError> {
        if let Some(at) = self.at.take().filter(|at| at.line.next_sequence <= sequence) {
            return Ok(at);
        }
        let names = self.names(last_file)?;
        let first_sequence = names.first().map_or(1, |name| name.first_sequence);
        // Sequence 0 is where the very first claim stands.
        if sequence.max(1) < first_sequence {
            return Err(JournalError::Trimmed { sequence, first_sequence });
        }
        let after = names.partition_point(|name| name.first_sequence <= sequence);
        let name = names.get(after.saturating_sub(1)).ok_or_else(|| self.gone())?;
        Place::at_start_of(self.storage.as_ref(), *name)
    }

    fn gone(&self) -> JournalError {
        let why = "the journal files are gone".into();
        JournalError::Corrupt { file: self.storage.describe(""), offset: 0, why }
    }

    /// Calls `f` with every durable frame behind a mark until it returns false, and answers the mark behind the last one that
    /// `f` saw.
    pub fn read_after(&mut self, mark: &Mark, f: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Mark, JournalError> {
        let end = self.durable.place();
        let names = journal_files(self.storage.as_ref())?;
        let start = start_of(&names, mark).ok_or_else(|| not_there(self.storage.as_ref(), mark))?;
        let mut at = Place::at_start_of(self.storage.as_ref(), names[start])?;
        let mut reached = (at.line == mark.line).then_some(*mark);
        while at.has_next(end, self.storage.as_ref())? {
            let frame = at.next(end)?;
            let goes_on = reached.is_none() || f(frame);
            match &mut reached {
                Some(reached) => *reached = Mark { line: at.line, frames: reached.frames + 1 },
                None => reached = (at.line == mark.line).then_some(*mark),
            }
            if !goes_on {
                break;
            }
        }
        reached.ok_or_else(|| not_there(self.storage.as_ref(), mark))
    }
}

impl JournalReader for FileReader {
    fn read_from(&mut self, sequence: u64, f: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<(), JournalError> {
        if self.at.is_some() && sequence > self.durable.sequence.load(Ordering::Acquire) {
            return Ok(());
        }
        let end = self.durable.place();
        let mut at = self.place_for(sequence, end.0)?;
        while at.has_next(end, self.storage.as_ref())? {
            let (line, offset) = (at.line, at.offset);
            let frame = at.next(end)?;
            if frame.last_sequence >= sequence && !f(frame) {
                // The caller may ask for this very frame again.
                (at.line, at.offset) = (line, offset);
                break;
            }
        }
        self.at = Some(at);
        Ok(())
    }

    /// The headers tell in which file the epoch ends, and only that one is read.
    fn newest_up_to(&mut self, epoch: u64, sequence: u64) -> Result<Option<EventPosition>, JournalError> {
        let names = self.names(self.durable.place().0)?;
        let (mut low, mut high) = (0, names.partition_point(|name| name.first_sequence <= sequence));
        while low < high {
            let middle = low + (high - low) / 2;
            let at = Place::at_start_of(self.storage.as_ref(), names[middle])?;
            if at.line.writer_epoch <= epoch { low = middle + 1 } else { high = middle }
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

impl Place {
    fn at_start_of(storage: &dyn Storage, name: FileName) -> Result<Self, JournalError> {
        let mut file = Window::open(storage, name)?;
        let header = file.header(name)?;
        let line = Line::at_start_of(&header);
        Ok(Self { file, header, offset: FILE_HEADER_BYTES as u64, line })
    }

    /// How far this file may be read.
    fn limit(&self, end: (u64, u64)) -> u64 {
        if self.header.name.number == end.0 { end.1 } else { self.header.file_bytes }
    }

    /// Whether a durable frame comes next, after going on to the next file where this one ends.
    fn has_next(&mut self, end: (u64, u64), storage: &dyn Storage) -> Result<bool, JournalError> {
        while self.header.name.number < end.0 {
            let limit = self.limit(end);
            if !matches!(self.file.frame(self.offset, limit)?, Err(Flaw::Blank)) {
                return Ok(true);
            }
            let name = FileName { first_sequence: self.line.next_sequence, number: self.header.name.number + 1 };
            let next = Self::at_start_of(storage, name)?;
            if next.line != self.line {
                return Err(next.file.corrupt(0, "the file does not continue the one before it"));
            }
            *self = next;
        }
        Ok(self.offset < self.limit(end))
    }

    /// Reads the next frame, which is durable and so must be valid.
    fn next(&mut self, end: (u64, u64)) -> Result<Frame<'_>, JournalError> {
        let (offset, limit, name) = (self.offset, self.limit(end), self.file.name.clone());
        let corrupt = |why: &str| JournalError::Corrupt { file: name.clone(), offset, why: why.into() };
        let frame = match self.file.frame(offset, limit)? {
            Ok(frame) => frame,
            Err(Flaw::Broken(why)) => return Err(corrupt(why)),
            Err(Flaw::Blank) => return Err(corrupt("a durable frame is gone")),
            Err(Flaw::Newer(_)) => return Err(corrupt("another process wrote here")),
        };
        self.line.accept(&frame).map_err(corrupt)?;
        self.offset += frame.frame_bytes as u64;
        Ok(frame.frame())
    }
}
