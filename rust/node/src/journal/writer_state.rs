//! What the writers of all journals have in common: when they may append, and which frames.

use super::error::JournalError;
use super::frame::LEDGER_NAME_BYTES_MAX;

/// Whether a journal may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriterState {
    Open,
    /// An append failed: nobody knows what the journal holds until it was read again.
    Poisoned,
    Closed,
}

impl WriterState {
    /// Refuses unless the journal is open.
    pub fn usable(self) -> Result<(), JournalError> {
        match self {
            WriterState::Open => Ok(()),
            WriterState::Poisoned => Err(JournalError::Poisoned),
            WriterState::Closed => Err(JournalError::Closed),
        }
    }
}

/// Refuses a frame that does not continue the journal at the `expected` sequence, or ends behind the last possible one.
pub(super) fn check_order(first: u64, last: u64, expected: u64, last_max: u64) -> Result<(), JournalError> {
    if first != expected || last < first || last > last_max {
        return Err(JournalError::OutOfOrder { first_sequence: first, last_sequence: last, expected });
    }
    Ok(())
}

/// Refuses a payload that is longer than a frame may hold.
pub(super) fn check_size(bytes: u64, bytes_max: u64) -> Result<(), JournalError> {
    if bytes > bytes_max { Err(JournalError::FrameTooLarge { bytes, bytes_max }) } else { Ok(()) }
}

/// Refuses a name that no ledger may have.
pub(super) fn check_ledger(ledger: &str) -> Result<(), JournalError> {
    if (1..=LEDGER_NAME_BYTES_MAX).contains(&ledger.len()) {
        return Ok(());
    }
    let why = format!("must have 1 to {LEDGER_NAME_BYTES_MAX} bytes, not {}", ledger.len());
    Err(JournalError::BadOption { option: "ledger", why })
}
