//! Durable events from the journal, for readers of the stream. A journal reader is kept with its position, so
//! continuing costs only what is new.

use std::sync::Mutex;
use std::time::Instant;

use invengine_ledger::RecordReader;
use invengine_wire::v1;
use prost::Message;

use super::{Shared, lock};
use crate::incident;
use crate::journal::{Frame, JournalError, JournalReader};
use crate::methods::READ_EVENTS;
use crate::refusal::Refusal;
use crate::sizes::PAGE_BYTES_MAX;
use crate::translate::events::events;

/// Most journal readers kept for callers who continue where these stopped.
const READERS_MAX: usize = 32;
/// Most events of one answer.
const EVENTS_MAX: usize = 1_000;
/// An upper bound of what an event takes besides its own bytes.
const ENTRY_PREFIX_BYTES: usize = 8;

/// Readers of the journal, each with the sequence at which it continues.
#[derive(Default)]
pub(super) struct Readers(Mutex<Vec<(u64, Box<dyn JournalReader>)>>);

impl Readers {
    fn take(&self, from_sequence: u64) -> Option<Box<dyn JournalReader>> {
        let mut readers = lock(&self.0);
        let index = readers.iter().position(|reader| reader.0 == from_sequence)?;
        Some(readers.swap_remove(index).1)
    }

    pub(super) fn give_back(&self, next_sequence: u64, reader: Box<dyn JournalReader>) {
        let mut readers = lock(&self.0);
        if readers.len() >= READERS_MAX {
            readers.remove(0);
        }
        readers.push((next_sequence, reader));
    }
}

impl Shared {
    pub(super) fn read_events(&self, from_sequence: u64, limit: usize) -> Result<Vec<u8>, Refusal> {
        if self.ring.durable().poisoned {
            return Err(self.poisoned_refusal(READ_EVENTS));
        }
        if self.lease.as_ref().is_some_and(|lease| lease.is_uncertain(Instant::now())) {
            return Err(Refusal::ownership_uncertain());
        }
        self.check_not_ahead(from_sequence)?;
        let from_sequence = from_sequence.max(1);
        let durable_sequence = self.ring.durable().sequence;
        let mut found = EventBatch::default();
        if from_sequence <= durable_sequence {
            let mut reader = match self.readers.take(from_sequence) {
                Some(reader) => reader,
                None => self.journal().reader().map_err(unreadable_journal)?,
            };
            found.left = if limit == 0 { EVENTS_MAX } else { limit.min(EVENTS_MAX) };
            self.collect(reader.as_mut(), from_sequence, &mut found)?;
            self.readers.give_back(from_sequence + found.events.len() as u64, reader);
        }
        let (durable_sequence, ledger) = (durable_sequence as i64, self.facts.ledger.clone());
        let answer = v1::ReadEventsResponse { events: found.events, durable_sequence, ledger };
        Ok(answer.encode_to_vec())
    }

    fn collect(&self, reader: &mut dyn JournalReader, from: u64, found: &mut EventBatch) -> Result<(), Refusal> {
        let mut bad = None;
        let read = reader.read_from(from, &mut |frame| match self.events_of(&frame, from, found) {
            Ok(()) => !found.is_full(),
            Err(refusal) => {
                bad = Some(refusal);
                false
            }
        });
        read.map_err(unreadable_journal)?;
        bad.map_or(Ok(()), Err)
    }

    fn events_of(&self, frame: &Frame<'_>, from: u64, found: &mut EventBatch) -> Result<(), Refusal> {
        if frame.is_claim() {
            return Ok(());
        }
        let mut records = RecordReader::new(frame.payload, frame.time_ms).map_err(unreadable)?;
        let mut next = frame.first_sequence;
        let core = self.core();
        while !found.is_full() {
            let Some(record) = records.next().map_err(unreadable)? else { break };
            let first = next;
            next += record.events.len() as u64;
            if next > from {
                // Adds as many as there is room for.
                let _ = events(&core.ledger, &record, first, from, frame.writer_epoch).all(|event| found.take(event));
            }
        }
        Ok(())
    }
}

/// The events of one answer.
#[derive(Default)]
struct EventBatch {
    events: Vec<v1::Event>,
    bytes: usize,
    /// How many more events it may hold.
    left: usize,
}

impl EventBatch {
    fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Adds an event if it fits; the first one always does. After one that did not fit, nothing else does.
    fn take(&mut self, event: v1::Event) -> bool {
        self.bytes += event.encoded_len() + ENTRY_PREFIX_BYTES;
        if self.is_full() || (self.bytes > PAGE_BYTES_MAX && !self.events.is_empty()) {
            self.left = 0;
            return false;
        }
        self.left -= 1;
        self.events.push(event);
        true
    }
}

pub(super) fn unreadable_journal(error: JournalError) -> Refusal {
    match error {
        JournalError::Trimmed { first_sequence, .. } => Refusal::history_trimmed(first_sequence),
        other => unreadable(other),
    }
}

pub(super) fn unreadable(cause: impl std::fmt::Display) -> Refusal {
    incident::report("ReadEvents", &format!("cannot read the journal: {cause}"))
}
