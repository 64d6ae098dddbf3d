//! Where a reader of events begins. The position that it names must belong to this history: nobody may continue after
//! an event that was replaced by a restore, or by a Redis that lost events, and miss the events that took its place.

use std::time::Instant;

use invengine_wire::v1;
use prost::Message;

use super::events::{unreadable, unreadable_journal};
use super::{Call, Shared};
use crate::journal::JournalError;
use crate::positions::{EventPosition, PositionStatus};
use crate::refusal::Refusal;

/// What a reader of events asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// The first sequence to read.
    pub next: u64,
    /// Most events to read; `u64::MAX` is no limit.
    pub limit: u64,
    /// Whether it waits for events to come.
    pub follow: bool,
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
            Some(after) => self.sequence_after(after)?,
            None => {
                let from = u64::try_from(request.from_sequence)
                    .map_err(|_| bad("from_sequence", "must be 0 or more; 0 means from the first event"))?;
                self.check_not_ahead(from)?;
                from.max(1)
            }
        };
        Ok(EventQuery { next, limit, follow: request.follow })
    }

    /// Refuses a sequence beyond the next event.
    pub(super) fn check_not_ahead(&self, sequence: u64) -> Result<(), Refusal> {
        let newest = self.epochs.newest(self.ring.durable().sequence);
        if sequence <= newest.sequence + 1 {
            return Ok(());
        }
        Err(Refusal::sequence_ahead(sequence, &self.facts.ledger, newest))
    }

    /// The sequence after a position of this history.
    fn sequence_after(&self, after: &v1::JournalPosition) -> Result<u64, Refusal> {
        let position = position_of(after)?;
        let newest = self.epochs.newest(self.ring.durable().sequence);
        if after.ledger != self.facts.ledger {
            return Err(Refusal::position_of_another_ledger(&self.facts.ledger, newest));
        }
        if position == EventPosition::START || self.has_event(position, newest)? {
            return Ok(position.sequence + 1);
        }
        let common = self.last_common(position, newest)?;
        Err(Refusal::position_not_in_history(&self.facts.ledger, newest, common))
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

fn position_of(after: &v1::JournalPosition) -> Result<EventPosition, Refusal> {
    if after.ledger.is_empty() {
        return Err(bad("after.ledger", "the name of the ledger that the position belongs to"));
    }
    let sequence = u64::try_from(after.sequence).map_err(|_| bad("after.sequence", "must be 0 or more"))?;
    let rule = "the writer_epoch of the event: 1 or more, and 0 only with sequence 0, which is before the first event";
    let writer_epoch = u64::try_from(after.writer_epoch).map_err(|_| bad("after.writer_epoch", rule))?;
    if (writer_epoch == 0) != (sequence == 0) {
        return Err(bad("after.writer_epoch", rule));
    }
    Ok(EventPosition { writer_epoch, sequence })
}

fn bad(field: &str, rule: &str) -> Refusal {
    Refusal::invalid(vec![(field.to_owned(), rule.to_owned())])
}
