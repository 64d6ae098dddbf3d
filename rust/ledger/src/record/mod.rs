//! One step of the ledger: the events of one command, or of the engine itself, with the shared fields of the command.

mod codec;
#[cfg(test)]
mod tests;

pub(crate) use codec::encode;
pub use codec::{PAYLOAD_VERSION, RecordReader};

use crate::event::Event;
use crate::fingerprint::Fingerprint;
use crate::ids::Handle;
use crate::keys::Scope;
use crate::one_or_many::OneOrMany;

/// The command behind a record. Names that the ledger knows are handles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Hash of the canonical command.
    pub fingerprint: Fingerprint,
    /// Key; empty if the number of the message is its identity.
    pub key: &'a str,
    /// When it was first issued, ms since 1970, by the issuer's clock.
    pub issue_time_ms: Option<i64>,
    /// Channel.
    pub channel: Option<Handle>,
    /// Name of a channel that does not exist; only refused messages have one.
    pub unknown_channel: &'a str,
    /// Numbered message.
    pub source: Option<OriginSource>,
    /// The message of another source that it passes on.
    pub passed_on: Option<OriginSource>,
    /// Order.
    pub order_ref: &'a str,
    /// Holder.
    pub holder: &'a str,
    /// When it happened in the outside world, ms since 1970.
    pub event_time_ms: Option<i64>,
    /// Who asked.
    pub actor: &'a str,
    /// Why.
    pub reason_code: &'a str,
    /// Document behind it.
    pub reference: &'a str,
    /// What caused it.
    pub causation: &'a str,
}

/// Position of a message in the sequence of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginSource {
    /// The source.
    pub source: Handle,
    /// Its epoch.
    pub epoch: u64,
    /// Number of the message.
    pub number: u64,
}

impl Origin<'_> {
    /// The writer that the key belongs to.
    pub fn scope(&self) -> Scope {
        match (self.channel, self.source) {
            (Some(channel), _) => Scope::Channel(channel),
            (None, Some(position)) => Scope::Source(position.source),
            (None, None) => Scope::Operator,
        }
    }
}

impl Record<'_> {
    /// The payload of a frame of this time that has this record only.
    pub fn payload(&self, frame_time_ms: i64) -> Vec<u8> {
        let mut out = vec![PAYLOAD_VERSION];
        encode(&mut out, self, frame_time_ms);
        out
    }
}

/// Events that happened together. Each takes one sequence number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// Engine time.
    pub time_ms: i64,
    /// The command; `None` for what the engine did on its own.
    pub origin: Option<Origin<'a>>,
    /// At least one.
    pub events: OneOrMany<Event>,
}
