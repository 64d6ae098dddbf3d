//! A position in the journal as a reader names it. Whether it belongs to the history is for the engine to say.

use invengine_wire::v1;

use super::check::Violations;
use crate::positions::EventPosition;

/// The position that a message has at `path`.
pub(crate) fn position(asked: &v1::JournalPosition, path: &str, found: &mut Violations) -> EventPosition {
    let rule = "the name of the ledger that the position belongs to";
    found.require(!asked.ledger.is_empty(), format_args!("{path}.ledger"), rule);
    let (sequence, writer_epoch) = (u64::try_from(asked.sequence), u64::try_from(asked.writer_epoch));
    found.require(sequence.is_ok(), format_args!("{path}.sequence"), "must be 0 or more");
    let rule = "the writer_epoch of the event: 1 or more, and 0 only with sequence 0, which is before the first event";
    let fits = writer_epoch.is_ok_and(|epoch| sequence.is_err() || (epoch == 0) == (asked.sequence == 0));
    found.require(fits, format_args!("{path}.writer_epoch"), rule);
    EventPosition { writer_epoch: writer_epoch.unwrap_or_default(), sequence: sequence.unwrap_or_default() }
}
