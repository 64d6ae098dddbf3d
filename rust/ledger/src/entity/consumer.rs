//! Where a consumer of events is: a position in the ledger's own history.

use super::EntityKind;
use crate::codec::{Decoded, Field, Reader};
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::rejection::Rejection;
use crate::stable_hash::StableHash;

/// The last event that a consumer has handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Name of the ledger.
    pub ledger: Box<str>,
    /// Epoch of the writer of the event; 0 before the first event.
    pub writer_epoch: u64,
    /// Sequence of the event; 0 before the first event.
    pub sequence: u64,
}

/// What a command says that the position of a consumer should be. Whether it belongs to the history of this ledger is checked
/// before the command is executed: the ledger does not know who wrote its events.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerDraft<'a> {
    /// Name of the ledger that the position belongs to.
    pub ledger: &'a str,
    /// Epoch of the writer of the event.
    pub writer_epoch: u64,
    /// Sequence of the event.
    pub sequence: u64,
}

impl ConsumerDraft<'_> {
    pub(super) fn resolve(&self, _: &Ledger) -> Result<Consumer, Rejection> {
        Ok(Consumer { ledger: self.ledger.into(), writer_epoch: self.writer_epoch, sequence: self.sequence })
    }

    pub(super) fn add_to(&self, hash: StableHash) -> StableHash {
        hash.bytes(self.ledger.as_bytes()).word(self.writer_epoch).word(self.sequence)
    }
}

impl Consumer {
    pub(super) fn for_each_reference(&self, _: &mut dyn FnMut(EntityKind, Handle)) {}

    pub(super) fn add_to(&self, hash: StableHash) -> StableHash {
        hash.bytes(self.ledger.as_bytes()).word(self.writer_epoch).word(self.sequence)
    }
}

impl Field for Consumer {
    fn put(&self, out: &mut Vec<u8>) {
        self.ledger.put(out);
        self.writer_epoch.put(out);
        self.sequence.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Consumer { ledger: Field::read(from)?, writer_epoch: Field::read(from)?, sequence: Field::read(from)? })
    }
}
