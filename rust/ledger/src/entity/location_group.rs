//! Locations that are promised as one.

use super::EntityKind;
use crate::codec::{Decoded, Field, Reader};
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::rejection::{Reason, Rejection};
use crate::stable_hash::StableHash;

/// A group of locations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationGroup {
    /// Its locations, in the order in which they are asked.
    pub locations: OneOrMany<Handle>,
}

/// What a command says that a group should be.
#[derive(Clone, Debug)]
pub struct LocationGroupDraft<'a> {
    /// Names of locations, each at most once.
    pub locations: Vec<&'a str>,
}

impl LocationGroupDraft<'_> {
    pub(super) fn resolve(&self, ledger: &Ledger) -> Result<LocationGroup, Rejection> {
        let unknown = |name: &str| Rejection::new(Reason::UnknownLocation).text("location", name);
        let handle = |name: &&str| ledger.locations().find(name).ok_or_else(|| unknown(name));
        Ok(LocationGroup { locations: self.locations.iter().map(handle).collect::<Result<_, _>>()? })
    }

    pub(super) fn add_to(&self, hash: StableHash) -> StableHash {
        let hash = hash.word(self.locations.len() as u64);
        self.locations.iter().fold(hash, |hash, name| hash.bytes(name.as_bytes()))
    }
}

impl LocationGroup {
    pub(super) fn for_each_reference(&self, f: &mut dyn FnMut(EntityKind, Handle)) {
        self.locations.iter().for_each(|location| f(EntityKind::Locations, *location));
    }

    pub(super) fn add_to(&self, hash: StableHash) -> StableHash {
        let hash = hash.word(self.locations.len() as u64);
        self.locations.iter().fold(hash, |hash, location| hash.word(u64::from(*location)))
    }
}

impl Field for LocationGroup {
    fn put(&self, out: &mut Vec<u8>) {
        self.locations.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(LocationGroup { locations: Field::read(from)? })
    }
}
