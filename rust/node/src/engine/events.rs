//! Durable events from the journal, for readers of the stream. A journal reader is kept with its position, so
//! continuing costs only what is new.

use std::sync::Mutex;
use std::time::Instant;

use invengine_ledger::RecordReader;
use invengine_wire::v1;
use prost::Message;

use super::{EventQuery, Shared, lock};
use crate::incident;
use crate::journal::{Frame, JournalError, JournalReader};
use crate::methods::READ_EVENTS;
use crate::refusal::Refusal;
use crate::sizes::PAGE_BYTES_MAX;
use crate::translate::event_filter::EventFilter;
use crate::translate::events::events;

/// Most journal readers kept for callers who continue where these stopped.
const READERS_MAX: usize = 32;
/// Most events of one answer.
const EVENTS_MAX: usize = 1_000;
/// Most events that are read for one answer, whether or not they match: a bound of its time.
const SCANNED_MAX: u64 = 10_000;
/// Most records whose events are translated before the lock of the ledger is free again.
const RECORDS_A_LOCK: usize = 64;
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

/// Durable events, and where to continue.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// A `ReadEventsResponse`, serialized. It has no events if none matches, or if there are none yet.
    pub message: Vec<u8>,
    /// The number of its events.
    pub events: u64,
    /// The first sequence that was not read.
    pub next: u64,
}

impl Shared {
    pub(super) fn read_events(&self, wanted: &EventQuery) -> Result<EventPage, Refusal> {
        if self.ring.durable().poisoned {
            return Err(self.poisoned_refusal(READ_EVENTS));
        }
        if self.lease.as_ref().is_some_and(|lease| lease.is_uncertain(Instant::now())) {
            return Err(Refusal::ownership_uncertain());
        }
        self.check_not_ahead(wanted.next)?;
        let next = wanted.next.max(1);
        let durable_sequence = self.ring.durable().sequence;
        let last = durable_sequence.min(wanted.last).min(next.saturating_add(SCANNED_MAX - 1));
        let left = usize::try_from(wanted.limit).map_or(EVENTS_MAX, |limit| limit.min(EVENTS_MAX));
        let mut found = EventBatch { next, last, left, ..EventBatch::default() };
        if next <= last {
            let mut reader = match self.readers.take(next) {
                Some(reader) => reader,
                None => self.journal().reader().map_err(unreadable_journal)?,
            };
            self.collect(reader.as_mut(), &wanted.filter, &mut found)?;
            self.readers.give_back(found.next, reader);
        }
        let ledger = self.facts.ledger.clone();
        let read_through = (found.next > next).then(|| v1::JournalPosition {
            ledger: ledger.clone(),
            writer_epoch: found.writer_epoch as i64,
            sequence: found.next as i64 - 1,
        });
        let (events, durable_sequence) = (found.events.len() as u64, durable_sequence as i64);
        let answer = v1::ReadEventsResponse { events: found.events, durable_sequence, ledger, read_through };
        Ok(EventPage { message: answer.encode_to_vec(), events, next: found.next })
    }

    fn collect(
        &self,
        reader: &mut dyn JournalReader,
        filter: &EventFilter,
        found: &mut EventBatch,
    ) -> Result<(), Refusal> {
        let mut bad = None;
        let read = reader.read_from(found.next, &mut |frame| match self.events_of(&frame, filter, found) {
            Ok(()) => !found.is_full(),
            Err(refusal) => {
                bad = Some(refusal);
                false
            }
        });
        read.map_err(unreadable_journal)?;
        bad.map_or(Ok(()), Err)
    }

    fn events_of(&self, frame: &Frame<'_>, filter: &EventFilter, found: &mut EventBatch) -> Result<(), Refusal> {
        if frame.is_claim() {
            return Ok(());
        }
        let mut records = RecordReader::new(frame.payload, frame.time_ms).map_err(unreadable)?;
        let mut end = frame.first_sequence;
        while end <= frame.last_sequence && !found.is_full() {
            // Decoded before the ledger is locked, and few at once: the writer needs the same lock.
            let mut candidates = Vec::new();
            while candidates.len() < RECORDS_A_LOCK && end <= found.last {
                let Some(record) = records.next().map_err(unreadable)? else { break };
                let first = end;
                end += record.events.len() as u64;
                if end > found.next && filter.may_want(&record) {
                    candidates.push((first, record));
                }
            }
            if !candidates.is_empty() {
                let core = self.core();
                for (first, record) in &candidates {
                    let from = found.next;
                    // Adds as many as there is room for.
                    let _ = events(&core.ledger, record, filter, *first, from, frame.writer_epoch)
                        .all(|event| found.take(event));
                }
            }
            found.read_up_to(end, frame.writer_epoch);
            if end > found.last {
                break;
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
    /// How many more events it may hold; 0 once it is full.
    left: usize,
    /// The first sequence that was not read.
    next: u64,
    /// The last sequence that may be read.
    last: u64,
    /// Who wrote the last event that was read.
    writer_epoch: u64,
}

impl EventBatch {
    fn is_full(&self) -> bool {
        self.left == 0 || self.next > self.last
    }

    /// Adds an event if it fits; the first one always does. After one that did not fit, nothing else does.
    fn take(&mut self, event: v1::Event) -> bool {
        let (sequence, writer_epoch) = (event.sequence as u64, event.writer_epoch as u64);
        if sequence > self.last {
            return false;
        }
        self.bytes += event.encoded_len() + ENTRY_PREFIX_BYTES;
        if self.left == 0 || (self.bytes > PAGE_BYTES_MAX && !self.events.is_empty()) {
            // What comes before it was read.
            self.read_up_to(sequence, writer_epoch);
            self.left = 0;
            return false;
        }
        self.left -= 1;
        self.events.push(event);
        (self.next, self.writer_epoch) = (sequence + 1, writer_epoch);
        true
    }

    /// Notes that everything before `end` was read, unless the batch was full before.
    fn read_up_to(&mut self, end: u64, writer_epoch: u64) {
        let end = end.min(self.last.saturating_add(1));
        if self.left > 0 && end > self.next {
            (self.next, self.writer_epoch) = (end, writer_epoch);
        }
    }
}

pub(super) fn unreadable_journal(error: JournalError) -> Refusal {
    match error {
        JournalError::Trimmed { first_sequence, .. } => Refusal::history_trimmed(first_sequence),
        other => unreadable(other),
    }
}

pub(super) fn unreadable(cause: impl std::fmt::Display) -> Refusal {
    incident::report("JournalService", &format!("cannot read the journal: {cause}"))
}
