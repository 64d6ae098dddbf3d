//! What a source is, and what it may speak of. Its epoch is no part of this: that is issued, not put.

use super::EntityKind;
use crate::authority::SourceKind;
use crate::codec::{Decoded, Field, Reader};
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::rejection::{Reason, Rejection};
use crate::stable_hash::StableHash;

/// What a source is, under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceProfile {
    /// Its kind.
    pub kind: SourceKind,
    /// The channels that its commands may name; none means all.
    pub channels: OneOrMany<Handle>,
    /// The locations that it may speak of; none means all.
    pub locations: OneOrMany<Handle>,
}

/// What a command says that a profile should be.
#[derive(Clone, Debug)]
pub struct SourceProfileDraft<'a> {
    /// The kind of the source.
    pub kind: SourceKind,
    /// Names of channels, each at most once.
    pub channels: Vec<&'a str>,
    /// Names of locations, each at most once.
    pub locations: Vec<&'a str>,
}

impl SourceProfileDraft<'_> {
    pub(super) fn resolve(&self, ledger: &Ledger) -> Result<SourceProfile, Rejection> {
        let unknown = |name: &str| Rejection::new(Reason::UnknownChannel).text("channel", name);
        let channel = |name: &&str| ledger.channels().find(name).ok_or_else(|| unknown(name));
        Ok(SourceProfile {
            kind: self.kind,
            channels: self.channels.iter().map(channel).collect::<Result<_, _>>()?,
            locations: self.locations.iter().map(|name| ledger.location(name)).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn add_to(&self, hash: StableHash) -> StableHash {
        [&self.channels, &self.locations].into_iter().fold(hash.word(self.kind as u64), |hash, names| {
            names.iter().fold(hash.word(names.len() as u64), |hash, name| hash.bytes(name.as_bytes()))
        })
    }
}

impl SourceProfile {
    pub(super) fn for_each_reference(&self, f: &mut dyn FnMut(EntityKind, Handle)) {
        self.channels.iter().for_each(|channel| f(EntityKind::Channels, *channel));
        self.locations.iter().for_each(|location| f(EntityKind::Locations, *location));
    }

    pub(super) fn add_to(&self, hash: StableHash) -> StableHash {
        [&self.channels, &self.locations].into_iter().fold(hash.word(self.kind as u64), |hash, handles| {
            handles.iter().fold(hash.word(handles.len() as u64), |hash, handle| hash.word(u64::from(*handle)))
        })
    }
}

impl Field for SourceProfile {
    fn put(&self, out: &mut Vec<u8>) {
        self.kind.put(out);
        self.channels.put(out);
        self.locations.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(SourceProfile { kind: Field::read(from)?, channels: Field::read(from)?, locations: Field::read(from)? })
    }
}
