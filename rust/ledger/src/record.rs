//! One step of the ledger: the events of one command, or of the engine itself, with the shared fields of the command.

use crate::event::Event;
use crate::few::Few;
use crate::keys::Scope;
use crate::names::Handle;

/// The command behind a record. Names are handles where the ledger knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Hash of the canonical command.
    pub fingerprint: u64,
    /// Key; empty if the message's number is its identity.
    pub key: &'a str,
    /// First issued, ms since 1970, by the clock of who issued it.
    pub issue_time_ms: Option<i64>,
    /// Channel.
    pub channel: Option<Handle>,
    /// Name of a channel that does not exist, of a refused message.
    pub unknown_channel: &'a str,
    /// Numbered message.
    pub source: Option<OriginSource>,
    /// Order.
    pub order_ref: &'a str,
    /// Holder.
    pub holder: &'a str,
    /// When it happened outside, ms since 1970.
    pub event_time_ms: Option<i64>,
    /// Who.
    pub actor: &'a str,
    /// Why.
    pub reason_code: &'a str,
    /// Document.
    pub reference: &'a str,
    /// Cause.
    pub causation: &'a str,
}

/// Place in a source's line.
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
    /// Whose key it is.
    pub fn scope(&self) -> Scope {
        match (self.channel, self.source) {
            (Some(channel), _) => Scope::Channel(channel),
            (None, Some(place)) => Scope::Source(place.source),
            (None, None) => Scope::Operator,
        }
    }
}

/// Events that happened together. Each takes one sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// Engine time.
    pub time_ms: i64,
    /// The command; none for what the engine did by itself.
    pub origin: Option<Origin<'a>>,
    /// At least one.
    pub events: Few<Event>,
}
