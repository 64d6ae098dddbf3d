//! Reads that the ledger answers.

use invengine_ledger::{Ledger, Reason};
use prost::Message;

use super::check::Violations;
use crate::positions::{EventEpochs, EventPosition};
use crate::refusal::Refusal;

/// The moment of a read, and the history of the ledger.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Engine time.
    pub now_ms: i64,
    /// The last durable sequence.
    pub durable_sequence: u64,
    /// The ledger's tag.
    pub tag: u64,
    /// Who wrote the events before this start.
    pub epochs: &'a EventEpochs,
    /// The newest event, durable or not.
    pub newest: EventPosition,
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The answer message.
    pub bytes: Vec<u8>,
    /// The answer may be sent once every event up to here is durable; 0 means at once.
    pub depends_on: u64,
}

impl ReadAnswer {
    /// An answer that may be sent at once.
    pub(super) fn at_once(message: &impl Message) -> Self {
        Self::dependent_on(0, message)
    }

    /// An answer that may be sent once everything up to this sequence is durable.
    pub(super) fn dependent_on(depends_on: u64, message: &impl Message) -> Self {
        ReadAnswer { bytes: message.encode_to_vec(), depends_on }
    }
}

/// One question of the contract, by its request.
pub(crate) trait ReadRequest: Message + Default {
    /// Answers it.
    ///
    /// # Errors
    /// A field is invalid, a name is unknown, or it needs a feature that this version does not have.
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal>;
}

/// A question of the contract as the table of methods knows it.
#[derive(Clone, Copy)]
pub struct ReadMethod(fn(&[u8], &Ledger, View<'_>) -> Result<ReadAnswer, Refusal>);

impl ReadMethod {
    pub(crate) const fn of<M: ReadRequest>() -> Self {
        ReadMethod(|payload, ledger, view| M::decode(payload).map_err(|_| Refusal::malformed())?.read(ledger, view))
    }

    /// Answers a question.
    ///
    /// # Errors
    /// The bytes are not a message of this type, a field is invalid, a name is unknown, or it needs a feature that this
    /// version does not have.
    pub fn read(&self, payload: &[u8], ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        (self.0)(payload, ledger, view)
    }
}

/// Checks the fields of a request.
pub(crate) fn checked<T>(check: impl FnOnce(&mut Violations) -> T) -> Result<T, Refusal> {
    let mut found = Violations::default();
    let read = check(&mut found);
    found.finish().map(|()| read)
}

/// The handle of an item.
pub(super) fn item(ledger: &Ledger, sku: &str) -> Result<u32, Refusal> {
    ledger.items().find(sku).ok_or_else(|| Refusal::unknown(Reason::UnknownSku, "sku", sku))
}

/// The handle of a location.
pub(super) fn location(ledger: &Ledger, location: &str) -> Result<u32, Refusal> {
    ledger.locations().find(location).ok_or_else(|| Refusal::unknown(Reason::UnknownLocation, "location", location))
}

/// The handle of a channel.
pub(super) fn channel(ledger: &Ledger, channel: &str) -> Result<u32, Refusal> {
    ledger.channels().find(channel).ok_or_else(|| Refusal::unknown(Reason::UnknownChannel, "channel", channel))
}

/// The handle of a source.
pub(crate) fn source(ledger: &Ledger, source: &str) -> Result<u32, Refusal> {
    ledger.find_source(source).ok_or_else(|| Refusal::unknown(Reason::UnknownSource, "source", source))
}
