//! Rejections. A rejection is a value with a stable reason; the rejected command changed nothing.

use crate::codec::{Decoded, Field, Malformed, Reader, put, put_signed, put_text};

/// The reason of a rejection. The names are part of the contract; docs/errors.md lists them with their gRPC codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// A field is out of its limits in a way that depends on the state.
    InvalidField = 1,
    /// The key was used before with another body.
    IdempotencyKeyReused = 2,
    /// Issued before the effective dedupe window.
    DedupeWindowExpired = 3,
    /// The key was released before it reserved.
    KeyCancelled = 4,
    /// Not enough stock.
    InsufficientStock = 5,
    /// No such item.
    UnknownSku = 6,
    /// No such location.
    UnknownLocation = 7,
    /// No such channel.
    UnknownChannel = 8,
    /// No such source.
    UnknownSource = 9,
    /// No such reservation, or no longer known.
    ReservationNotFound = 10,
    /// The reservation has expired.
    ReservationExpired = 11,
    /// No units are left; the last ones were released.
    AlreadyReleased = 12,
    /// Not possible for allocated units.
    AlreadyAllocated = 13,
    /// No units are left; the last ones were fulfilled.
    AlreadyFulfilled = 14,
    /// More than is outstanding on a line.
    ExceedsOutstanding = 15,
    /// The current quantity is not the expected one.
    QuantityStale = 16,
    /// The current version is not the expected one.
    StaleVersion = 17,
    /// A number is missing before this one.
    SequenceGap = 18,
    /// This number was used before with another body.
    SequenceConflict = 19,
    /// This number was consumed; its outcome is no longer kept.
    SequenceConsumed = 20,
    /// The source has another epoch now.
    StaleEpoch = 21,
    /// The events of the command do not fit into one frame.
    TooLarge = 22,
    /// The full answer could be too long, and the caller did not accept a short one.
    AnswerTooLarge = 25,
    /// No such location group.
    UnknownGroup = 26,
    /// Something that exists refers to the entity.
    EntityInUse = 27,
    /// No entity of this kind and name; kinds that are older have reasons of their own.
    EntityNotFound = 28,
    /// Not possible in the state of the stock transfer.
    TransferState = 29,
    /// The writer may not assert this there.
    NotAuthoritative = 30,
    /// Two rules of equal rank would decide the same.
    RuleConflict = 31,
    /// A bound of this writer is reached.
    Overloaded = 32,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Reason; 30] = [
        Reason::InvalidField,
        Reason::IdempotencyKeyReused,
        Reason::DedupeWindowExpired,
        Reason::KeyCancelled,
        Reason::InsufficientStock,
        Reason::UnknownSku,
        Reason::UnknownLocation,
        Reason::UnknownChannel,
        Reason::UnknownSource,
        Reason::ReservationNotFound,
        Reason::ReservationExpired,
        Reason::AlreadyReleased,
        Reason::AlreadyAllocated,
        Reason::AlreadyFulfilled,
        Reason::ExceedsOutstanding,
        Reason::QuantityStale,
        Reason::StaleVersion,
        Reason::SequenceGap,
        Reason::SequenceConflict,
        Reason::SequenceConsumed,
        Reason::StaleEpoch,
        Reason::TooLarge,
        Reason::AnswerTooLarge,
        Reason::UnknownGroup,
        Reason::EntityInUse,
        Reason::EntityNotFound,
        Reason::TransferState,
        Reason::NotAuthoritative,
        Reason::RuleConflict,
        Reason::Overloaded,
    ];

    /// The stable name that callers see.
    pub fn name(self) -> &'static str {
        match self {
            Reason::InvalidField => "INVALID_FIELD",
            Reason::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Reason::DedupeWindowExpired => "DEDUPE_WINDOW_EXPIRED",
            Reason::KeyCancelled => "KEY_CANCELLED",
            Reason::InsufficientStock => "INSUFFICIENT_STOCK",
            Reason::UnknownSku => "UNKNOWN_SKU",
            Reason::UnknownLocation => "UNKNOWN_LOCATION",
            Reason::UnknownChannel => "UNKNOWN_CHANNEL",
            Reason::UnknownSource => "UNKNOWN_SOURCE",
            Reason::ReservationNotFound => "RESERVATION_NOT_FOUND",
            Reason::ReservationExpired => "RESERVATION_EXPIRED",
            Reason::AlreadyReleased => "ALREADY_RELEASED",
            Reason::AlreadyAllocated => "ALREADY_ALLOCATED",
            Reason::AlreadyFulfilled => "ALREADY_FULFILLED",
            Reason::ExceedsOutstanding => "EXCEEDS_OUTSTANDING",
            Reason::QuantityStale => "QUANTITY_STALE",
            Reason::StaleVersion => "STALE_VERSION",
            Reason::SequenceGap => "SEQUENCE_GAP",
            Reason::SequenceConflict => "SEQUENCE_CONFLICT",
            Reason::SequenceConsumed => "SEQUENCE_CONSUMED",
            Reason::StaleEpoch => "STALE_EPOCH",
            Reason::TooLarge => "MESSAGE_TOO_LARGE",
            Reason::AnswerTooLarge => "ANSWER_TOO_LARGE",
            Reason::UnknownGroup => "UNKNOWN_GROUP",
            Reason::EntityInUse => "ENTITY_IN_USE",
            Reason::EntityNotFound => "ENTITY_NOT_FOUND",
            Reason::TransferState => "TRANSFER_STATE",
            Reason::NotAuthoritative => "NOT_AUTHORITATIVE",
            Reason::RuleConflict => "RULE_CONFLICT",
            Reason::Overloaded => "OVERLOADED",
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Reason::ALL.into_iter().find(|reason| *reason as u8 == byte)
    }

    /// True if a rejection for this reason may be sent before the events that it depends on are durable: their loss can only
    /// lead to a fresh decision.
    pub fn needs_no_wait(self) -> bool {
        matches!(
            self,
            Reason::InvalidField
                | Reason::InsufficientStock
                | Reason::UnknownSku
                | Reason::UnknownLocation
                | Reason::UnknownChannel
                | Reason::UnknownSource
                | Reason::UnknownGroup
                | Reason::EntityNotFound
                | Reason::AnswerTooLarge
        )
    }
}

/// A fact about a rejection, by its name in the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A number.
    Number(&'static str, i64),
    /// A text of the caller's own command.
    Text(&'static str, Box<str>),
}

/// The names a fact can have; a stored fact names one by its index.
pub(crate) const FACT_NAMES: [&str; 31] = [
    "sku",
    "location",
    "requested",
    "available",
    "line",
    "outstanding",
    "reservation",
    "state",
    "sequence",
    "expected",
    "actual",
    "source",
    "got",
    "last",
    "current",
    "window",
    "channel",
    "order",
    "key",
    "field",
    "description",
    "quantity",
    "group",
    "kind",
    "name",
    "used_by",
    "transfer",
    "right",
    "owner",
    "conflicts_with",
    "limit",
];

/// Why the ledger rejected a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reason.
    pub reason: Reason,
    /// Facts that let the caller act without another query.
    pub facts: Vec<Fact>,
}

impl Rejection {
    /// A rejection without facts.
    pub fn new(reason: Reason) -> Self {
        Rejection { reason, facts: Vec::new() }
    }

    /// Adds a fact with a number.
    #[must_use]
    pub fn number(mut self, name: &'static str, value: i64) -> Self {
        debug_assert!(FACT_NAMES.contains(&name));
        self.facts.push(Fact::Number(name, value));
        self
    }

    /// Adds a fact with a text.
    #[must_use]
    pub fn text(mut self, name: &'static str, value: &str) -> Self {
        debug_assert!(FACT_NAMES.contains(&name));
        self.facts.push(Fact::Text(name, value.into()));
        self
    }
}

impl Field for Rejection {
    const BYTES_MIN: usize = 2;

    fn put(&self, out: &mut Vec<u8>) {
        let position = |name: &str| FACT_NAMES.iter().position(|known| *known == name).unwrap_or(0) as u8;
        out.push(self.reason as u8);
        put(out, self.facts.len() as u64);
        for fact in &self.facts {
            match fact {
                Fact::Number(name, value) => {
                    out.push(position(name) << 1);
                    put_signed(out, *value);
                }
                Fact::Text(name, text) => {
                    out.push((position(name) << 1) | 1);
                    put_text(out, text);
                }
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let reason = Reason::from_byte(from.byte()?).ok_or(Malformed("an unknown reason"))?;
        let mut facts = Vec::new();
        for _ in 0..from.count(2)? {
            let tag = from.byte()?;
            let name = *FACT_NAMES.get(usize::from(tag >> 1)).ok_or(Malformed("an unknown fact"))?;
            facts.push(if tag & 1 == 0 {
                Fact::Number(name, from.signed()?)
            } else {
                Fact::Text(name, from.text()?.into())
            });
        }
        Ok(Rejection { reason, facts })
    }
}
