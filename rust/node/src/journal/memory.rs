//! The memory journal: the same guarantees without a disk, for tests, simulations and deployments that may
//! lose everything.

use std::sync::{Arc, PoisonError, RwLock};

use super::frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, Frame};
use super::writer_state::{WriterState, check_order, check_size};
use super::{Journal, JournalError, JournalReader};

/// A journal that lives as long as its process and keeps every frame: its memory grows with what is
/// appended.
pub struct MemoryJournal {
    ledger: String,
    frames: Frames,
    writer_epoch: u64,
    durable_sequence: u64,
    state: WriterState,
}

type Frames = Arc<RwLock<Vec<Arc<StoredFrame>>>>;

struct StoredFrame {
    first_sequence: u64,
    last_sequence: u64,
    time_ms: i64,
    payload: Box<[u8]>,
}

impl MemoryJournal {
    /// An empty journal with its first epoch claimed.
    pub fn new(ledger: impl Into<String>) -> Self {
        Self::claimed(ledger, 1)
    }

    /// An empty journal with this epoch claimed. Each start begins a new history; an epoch that no earlier one had
    /// distinguishes its positions and reservation ids from theirs.
    pub fn claimed(ledger: impl Into<String>, writer_epoch: u64) -> Self {
        let claim = StoredFrame { first_sequence: 1, last_sequence: 0, time_ms: 0, payload: Box::default() };
        let frames = Arc::new(RwLock::new(vec![Arc::new(claim)]));
        Self { ledger: ledger.into(), frames, writer_epoch, durable_sequence: 0, state: WriterState::Open }
    }

    /// Name of its ledger.
    pub fn ledger(&self) -> &str {
        &self.ledger
    }

    fn check(&self, first: u64, last: u64, payload: &[u8]) -> Result<(), JournalError> {
        let expected = self.durable_sequence + 1;
        check_order(first, last, expected, u64::MAX - 1)?;
        check_size(payload.len() as u64, self.payload_bytes_max())
    }
}

impl Journal for MemoryJournal {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn loss_window(&self) -> String {
        super::durability::MEMORY.into()
    }

    fn writer_epoch(&self) -> u64 {
        self.writer_epoch
    }

    fn durable_sequence(&self) -> u64 {
        self.durable_sequence
    }

    fn payload_bytes_max(&self) -> u64 {
        (FRAME_BYTES_MAX - FRAME_HEADER_BYTES) as u64
    }

    fn append(
        &mut self,
        first_sequence: u64,
        last_sequence: u64,
        time_ms: i64,
        payload: &[u8],
    ) -> Result<(), JournalError> {
        self.state.usable()?;
        if let Err(error) = self.check(first_sequence, last_sequence, payload) {
            self.state = WriterState::Poisoned;
            return Err(error);
        }
        let frame = Arc::new(StoredFrame { first_sequence, last_sequence, time_ms, payload: payload.into() });
        self.frames.write().unwrap_or_else(PoisonError::into_inner).push(frame);
        self.durable_sequence = last_sequence;
        Ok(())
    }

    fn ensure_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        self.state.usable()?;
        check_size(bytes, self.payload_bytes_max())
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(Box::new(MemoryReader { frames: self.frames.clone(), writer_epoch: self.writer_epoch }))
    }

    fn close(&mut self) -> Result<(), JournalError> {
        self.state = WriterState::Closed;
        Ok(())
    }
}

struct MemoryReader {
    frames: Frames,
    writer_epoch: u64,
}

impl MemoryReader {
    fn frame(&self, index: usize) -> Option<Arc<StoredFrame>> {
        self.frames.read().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
    }
}

impl JournalReader for MemoryReader {
    fn read_from(&mut self, sequence: u64, f: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<(), JournalError> {
        let frames = self.frames.read().unwrap_or_else(PoisonError::into_inner);
        let mut index = frames.partition_point(|frame| frame.last_sequence < sequence);
        drop(frames);
        // One frame at a time, so that a slow caller never holds up the writer.
        while let Some(stored) = self.frame(index) {
            let frame = Frame {
                first_sequence: stored.first_sequence,
                last_sequence: stored.last_sequence,
                time_ms: stored.time_ms,
                writer_epoch: self.writer_epoch,
                payload: &stored.payload,
            };
            if !f(frame) {
                break;
            }
            index += 1;
        }
        Ok(())
    }
}
