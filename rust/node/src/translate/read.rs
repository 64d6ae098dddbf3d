//! Reads that the ledger answers.

use invengine_ledger::{Ledger, Reason};
use prost::Message;

use super::check::Violations;
use super::{read_catalogue as catalogue, read_hold as hold, read_stock as stock};
use crate::methods::ReadKind;
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

/// Answers a read.
///
/// # Errors
/// The bytes are not a message of this type, a field is invalid, a name is unknown, or the request needs a feature that
/// this version does not have.
pub fn read(kind: ReadKind, payload: &[u8], ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
    match kind {
        ReadKind::GetReservation => hold::get_reservation(&decode(payload)?, ledger, view),
        ReadKind::ListReservations => hold::list_reservations(&decode(payload)?, ledger, view),
        ReadKind::GetOutcome => hold::get_outcome(&decode(payload)?, ledger, view),
        ReadKind::GetAvailability => stock::get_availability(&decode(payload)?, ledger, view),
        ReadKind::GetInventoryLevel => stock::get_level(&decode(payload)?, ledger, view),
        ReadKind::ListInventoryLevels => stock::list_levels(&decode(payload)?, ledger, view),
        ReadKind::GetItem => catalogue::get_item(&decode(payload)?, ledger),
        ReadKind::ListItems => catalogue::list_items(&decode(payload)?, ledger, view),
        ReadKind::GetLocation => catalogue::get_location(&decode(payload)?, ledger),
        ReadKind::ListLocations => catalogue::list_locations(&decode(payload)?, ledger, view),
        ReadKind::GetChannel => catalogue::get_channel(&decode(payload)?, ledger),
        ReadKind::ListChannels => catalogue::list_channels(&decode(payload)?, ledger, view),
    }
}

fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, Refusal> {
    M::decode(payload).map_err(|_| Refusal::malformed())
}

/// Checks the fields of a request.
pub(super) fn checked<T>(check: impl FnOnce(&mut Violations) -> T) -> Result<T, Refusal> {
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
