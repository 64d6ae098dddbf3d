//! Which writer a key belongs to.

use crate::ids::Handle;

/// The writer that a key belongs to: two writers may use the same key for different intentions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Commands without channel and source.
    Operator,
    /// The commands of a channel.
    Channel(Handle),
    /// The commands of a source without a channel.
    Source(Handle),
}

impl Scope {
    /// As a number.
    pub(crate) fn word(self) -> u64 {
        match self {
            Scope::Operator => 0,
            Scope::Channel(handle) => (1 << 32) | u64::from(handle),
            Scope::Source(handle) => (2 << 32) | u64::from(handle),
        }
    }
}
