//! Where a reader of events begins. The position that it names must belong to this history: nobody may continue after
//! an event that was replaced by a restore, or by a Redis that lost events, and miss the events that took its place.

use std::sync::Arc;
use std::time::Instant;

use invengine_ledger::command::Body;
use invengine_ledger::{Command, EntityDraft, EntityKind};
use invengine_wire::v1;
use prost::Message;

use super::events::{unreadable, unreadable_journal};
use super::{Call, Shared};
use crate::journal::JournalError;
use crate::positions::{EventPosition, PositionStatus};
use crate::refusal::Refusal;
use crate::translate::event_filter::EventFilter;
use crate::translate::position::position;
use crate::translate::read::checked;

/// What a reader of events asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// The first sequence to read.
    pub next: u64,
    /// The last sequence to read; `u64::MAX` if the reader waits for events to come.
    pub last: u64,
    /// Most events to send; `u64::MAX` is no limit.
    pub limit: u64,
    /// Which events to send.
    pub filter: Arc<EventFilter>,
}

impl EventQuery {
    /// Every event from a sequence on, at most `limit` of them; 0 is no limit.
    pub fn every(next: u64, limit: u64) -> Self {
        let limit = if limit == 0 { u64::MAX } else { limit };
        EventQuery { next, last: u64::MAX, limit, filter: Arc::default() }
    }

    /// Whether it waits for events to come.
    pub fn follows(&self) -> bool {
        self.last == u64::MAX
    }
}

impl Shared {
    pub(super) fn begin_events(&self, call: &Call<'_>, moment: Instant) -> Result<EventQuery, Refusal> {
        self.admit(call, moment)?;
        let request = v1::ReadEventsRequest::decode(call.payload).map_err(|_| Refusal::malformed())?;
        let limit = match u64::try_from(request.limit) {
            Ok(0) => u64::MAX,
            Ok(limit) => limit,
            Err(_) => return Err(bad("limit", "must be 0 or more; 0 means no limit")),
        };
        let next = match &request.after {
            Some(_) if request.from_sequence != 0 => {
                return Err(bad("from_sequence", "must be absent where `after` is given"));
            }
            Some(after) => self.sequence_of(after, "after")? + 1,
            None => {
                let from = u64::try_from(request.from_sequence)
                    .map_err(|_| bad("from_sequence", "must be 0 or more; 0 means from the first event"))?;
                self.check_not_ahead(from)?;
                from.max(1)
            }
        };
        let last = if request.follow { u64::MAX } else { self.ring.durable().sequence };
        Ok(EventQuery { next, last, limit, filter: Arc::new(EventFilter::new(request.filter)?) })
    }

    /// Refuses a sequence beyond the next event.
    pub(super) fn check_not_ahead(&self, sequence: u64) -> Result<(), Refusal> {
        let newest = self.epochs.newest(self.ring.durable().sequence);
        if sequence <= newest.sequence + 1 {
            return Ok(());
        }
        Err(Refusal::sequence_ahead(sequence, &self.facts.ledger, newest))
    }

    /// The sequence of a position of this history, which the caller gave in this field.
    pub(super) fn sequence_of(&self, given: &v1::JournalPosition, field: &str) -> Result<u64, Refusal> {
        let position = checked(|found| position(given, field, found))?;
        let newest = self.epochs.newest(self.ring.durable().sequence);
        if given.ledger != self.facts.ledger {
            return Err(Refusal::position_of_another_ledger(&self.facts.ledger, newest));
        }
        if position == EventPosition::START || self.has_event(position, newest)? {
            return Ok(position.sequence);
        }
        let common = self.last_common(position, newest)?;
        Err(Refusal::position_not_in_history(&self.facts.ledger, newest, common))
    }

    /// Refuses to store a position for a consumer that is certainly no durable event of this history: its reader would be
    /// refused when it comes back. One that is older than what this start has seen is judged then, by the journal.
    pub(super) fn check_stored(&self, command: &Command<'_>) -> Result<(), Refusal> {
        let Body::Upsert { kind: EntityKind::Consumers, entries } = &command.body else { return Ok(()) };
        let newest = self.epochs.newest(self.ring.durable().sequence);
        for entry in entries {
            let EntityDraft::Consumer(draft) = &entry.value else { continue };
            if draft.ledger != self.facts.ledger {
                return Err(Refusal::position_of_another_ledger(&self.facts.ledger, newest));
            }
            let position = EventPosition { writer_epoch: draft.writer_epoch, sequence: draft.sequence };
            if let PositionStatus::Diverged(common) = self.epochs.classify(position, newest) {
                return Err(Refusal::position_not_in_history(&self.facts.ledger, newest, common));
            }
        }
        Ok(())
    }

    /// Whether the durable event with that sequence is the one that the position names. Costs the seek that reading on
    /// from there needs anyway.
    fn has_event(&self, position: EventPosition, newest: EventPosition) -> Result<bool, Refusal> {
        if position.sequence > newest.sequence {
            return Ok(false);
        }
        let mut reader = self.journal().reader().map_err(unreadable_journal)?;
        match reader.epoch_of(position.sequence) {
            Ok(Some(epoch)) => {
                self.readers.give_back(position.sequence + 1, reader);
                Ok(epoch == position.writer_epoch)
            }
            Ok(None) => Err(unreadable("a durable event is not there")),
            Err(JournalError::Trimmed { first_sequence, .. }) => match self.epochs.classify(position, newest) {
                PositionStatus::InHistory => Ok(true),
                PositionStatus::Diverged(_) => Ok(false),
                PositionStatus::TooOld => Err(Refusal::history_trimmed(first_sequence)),
            },
            Err(error) => Err(unreadable(error)),
        }
    }

    /// The newest event that is certainly both in this history and in the other history to which the position belongs.
    fn last_common(&self, position: EventPosition, newest: EventPosition) -> Result<EventPosition, Refusal> {
        match self.epochs.classify(position, newest) {
            PositionStatus::Diverged(common) => return Ok(common),
            // The epoch was claimed twice, so nothing can be concluded from it.
            PositionStatus::InHistory => return Ok(EventPosition::START),
            PositionStatus::TooOld => {}
        }
        let mut reader = self.journal().reader().map_err(unreadable_journal)?;
        let found = reader.newest_up_to(position.writer_epoch, newest.sequence).map_err(unreadable_journal)?;
        Ok(found.filter(|last| last.sequence < position.sequence).unwrap_or_default())
    }
}

pub(super) fn bad(field: &str, rule: &str) -> Refusal {
    Refusal::invalid(vec![(field.to_owned(), rule.to_owned())])
}
