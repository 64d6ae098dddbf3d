//! Entities: what has a name and is put, read, listed and removed as a whole. One mechanism for all kinds; a kind is a row of the
//! table below, a value, and the checks that turn what a command says into that value.
//!
//! A name has a handle for ever. Its version is 1 at first and one more with each put and removal, except that `Upserted`, the
//! event of the kinds that are older than versions, leaves the version of an entity that exists as it is.

mod consumer;
mod labels;
mod location_group;
mod source_profile;

pub use consumer::{Consumer, ConsumerDraft};
pub use labels::{Attributes, Labels, LabelsDraft, LocationType, Money};
pub use location_group::{LocationGroup, LocationGroupDraft};
pub use source_profile::{SourceProfile, SourceProfileDraft};

use crate::authority::{AuthorityRule, AuthorityRuleDraft};
use crate::codec::{Decoded, Field, Malformed, Reader};
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::names::Names;
use crate::planted;
use crate::rejection::{Reason, Rejection};
use crate::stable_hash::{Digest, StableHash};
use crate::stock_transfer::StockTransfer;

/// Declares the kinds: number in the journal, variant, the contract's names of a command's subject, of the list and of the name
/// in each entry, the kind's name in messages to people, and the reason that refuses an unknown name.
macro_rules! entity_kinds {
    ($($(#[$doc:meta])* $number:literal $kind:ident $plural:literal $list:literal $name:literal $one:literal $unknown:ident)*) => {
        /// A kind of entities.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum EntityKind {
            $($(#[$doc])* $kind = $number,)*
        }

        impl EntityKind {
            /// All kinds, by number.
            pub const ALL: [EntityKind; [$($number),*].len()] = [$(EntityKind::$kind),*];

            /// The contract's names for the list of entries and for the name field in each.
            pub fn fields(self) -> [&'static str; 2] {
                match self {
                    $(EntityKind::$kind => [$list, $name],)*
                }
            }

            /// Its name in messages to people, and of its value in an event.
            pub fn name(self) -> &'static str {
                match self {
                    $(EntityKind::$kind => $one,)*
                }
            }

            /// The reason that refuses a name of this kind that does not exist.
            pub fn unknown(self) -> Reason {
                match self {
                    $(EntityKind::$kind => Reason::$unknown,)*
                }
            }

            /// The command that puts entities, as in the contract.
            pub fn upsert_command(self) -> &'static str {
                match self {
                    $(EntityKind::$kind => concat!("Upsert", $plural),)*
                }
            }

            /// The fields of an upsert of a kind without versions that a fingerprint keeps apart, each with its number of bits.
            pub(crate) fn fingerprint_fields(self) -> &'static [(&'static str, u32)] {
                match self {
                    $(EntityKind::$kind => &[($list, 10), ("context.order_ref", 10), ("context.holder", 10)],)*
                }
            }

            /// The same of the commands whose number in fingerprints all kinds share: the kind is a part of its own.
            pub(crate) fn fingerprint_fields_with_kind(self) -> &'static [(&'static str, u32)] {
                match self {
                    $(EntityKind::$kind => {
                        &[("command", 6), ($list, 8), ("context.order_ref", 8), ("context.holder", 8)]
                    })*
                }
            }

            /// The command that removes entities, as in the contract.
            pub fn delete_command(self) -> &'static str {
                match self {
                    $(EntityKind::$kind => concat!("Delete", $plural),)*
                }
            }
        }
    };
}

entity_kinds! {
    /// Things that are sold.
    0 Items "Items" "items" "sku" "item" UnknownSku
    /// Places that hold stock.
    1 Locations "Locations" "locations" "location" "location" UnknownLocation
    /// Ways of selling.
    2 Channels "Channels" "channels" "channel" "channel" UnknownChannel
    /// Locations that are promised as one.
    3 LocationGroups "LocationGroups" "location_groups" "group" "location_group" UnknownGroup
    /// Goods on their way from one location to another. They have commands of their own instead of a put.
    4 StockTransfers "StockTransfers" "stock_transfers" "transfer" "stock_transfer" EntityNotFound
    /// Readers of events that keep their position here.
    5 Consumers "Consumers" "consumers" "consumer" "consumer" EntityNotFound
    /// What sources are, and what they may speak of.
    6 SourceProfiles "SourceProfiles" "source_profiles" "source_id" "source_profile" EntityNotFound
    /// Who may assert which state where.
    7 AuthorityRules "AuthorityRules" "authority_rules" "rule" "authority_rule" EntityNotFound
}

impl EntityKind {
    /// Why a command or a question about this name is refused: there is no such entity.
    pub fn not_found(self, name: &str) -> Rejection {
        match self.unknown() {
            Reason::EntityNotFound => {
                Rejection::new(Reason::EntityNotFound).text("kind", self.name()).text("name", name)
            }
            reason => Rejection::new(reason).text(self.fields()[1], name),
        }
    }

    /// True for the kinds that are older than versions: they are put by `Upserted`.
    pub(crate) fn is_catalogue(self) -> bool {
        (self as u8) < EntityKind::LocationGroups as u8
    }
}

impl Field for EntityKind {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let number = usize::from(from.byte()?);
        let unknown = Malformed("an entity of a kind that this build does not know");
        EntityKind::ALL.get(number).copied().ok_or(unknown)
    }
}

/// Declares the values, and what a command that puts one says of it: a draft, with names instead of handles. Each value is encoded,
/// asked what it refers to, and hashed; each draft is resolved to a value (an unknown name
/// is refused) and hashed for the fingerprint.
macro_rules! entity_values {
    ($($(#[$doc:meta])* $value:ident $(from $draft:ident)? of $($kind:ident)|+;)*) => {
        /// The value of an entity, as decisions read it: with handles instead of names.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum EntityValue {
            $($(#[$doc])* $value($value),)*
        }

        /// What a command says that the value of an entity should be.
        #[derive(Clone, Debug)]
        pub enum EntityDraft<'a> {
            $($(
                /// What it says of such a value.
                $value($draft<'a>),
            )?)*
        }

        impl EntityValue {
            /// Appends the value.
            pub(crate) fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(EntityValue::$value(value) => value.put(out),)*
                }
            }

            /// Decodes a value of this kind.
            pub(crate) fn read(kind: EntityKind, from: &mut Reader<'_>) -> Decoded<Self> {
                Ok(match kind {
                    $($(EntityKind::$kind)|+ => EntityValue::$value(Field::read(from)?),)*
                })
            }

            /// Calls `f` with every entity that it refers to.
            pub(crate) fn for_each_reference(&self, f: &mut dyn FnMut(EntityKind, Handle)) {
                match self {
                    $(EntityValue::$value(value) => value.for_each_reference(f),)*
                }
            }

            fn add_to(&self, hash: StableHash) -> StableHash {
                match self {
                    $(EntityValue::$value(value) => value.add_to(hash),)*
                }
            }
        }

        impl EntityDraft<'_> {
            /// The value; a name in it that does not exist is refused.
            pub(crate) fn resolve(&self, ledger: &Ledger) -> Result<EntityValue, Rejection> {
                Ok(match self {
                    $($(EntityDraft::$value(draft) => EntityValue::$value($draft::resolve(draft, ledger)?),)?)*
                })
            }

            /// Adds its meaning to a fingerprint.
            pub(crate) fn add_to(&self, hash: StableHash) -> StableHash {
                match self {
                    $($(EntityDraft::$value(draft) => $draft::add_to(draft, hash),)?)*
                }
            }
        }
    };
}

entity_values! {
    /// Of an item, a location or a channel.
    Labels from LabelsDraft of Items | Locations | Channels;
    /// Of a location group.
    LocationGroup from LocationGroupDraft of LocationGroups;
    /// Of a stock transfer.
    StockTransfer of StockTransfers;
    /// Of a consumer of events.
    Consumer from ConsumerDraft of Consumers;
    /// Of a source.
    SourceProfile from SourceProfileDraft of SourceProfiles;
    /// Of a rule of authority.
    AuthorityRule from AuthorityRuleDraft of AuthorityRules;
}

impl EntityValue {
    /// True if everything that it refers to exists.
    pub(crate) fn fits(&self, ledger: &Ledger) -> bool {
        let mut fits = true;
        self.for_each_reference(&mut |kind, handle| fits &= ledger.entities(kind).names().exists(handle));
        fits
    }
}

/// What an event puts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedEntity {
    /// Its kind.
    pub kind: EntityKind,
    /// Its name.
    pub name: Box<str>,
    /// The version that it has from now on.
    pub version: u64,
    /// Its value.
    pub value: EntityValue,
}

impl Field for VersionedEntity {
    const BYTES_MIN: usize = 3;

    fn put(&self, out: &mut Vec<u8>) {
        self.kind.put(out);
        self.name.put(out);
        self.version.put(out);
        self.value.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let kind = EntityKind::read(from)?;
        let (name, version) = (Field::read(from)?, Field::read(from)?);
        Ok(VersionedEntity { kind, name, version, value: EntityValue::read(kind, from)? })
    }
}

/// The entities of one kind.
#[derive(Default)]
pub struct Entities {
    names: Names,
    /// By handle; `None` for those that were removed.
    values: Vec<Option<EntityValue>>,
}

impl Entities {
    /// Their names, including those of entities that were removed, which are not found any more.
    #[inline]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The value behind a handle of this ledger; `None` if the entity was removed.
    pub fn value(&self, handle: Handle) -> Option<&EntityValue> {
        self.values.get(handle as usize)?.as_ref()
    }

    /// The labels of an item, location or channel.
    pub fn labels(&self, handle: Handle) -> Option<&Labels> {
        match self.value(handle)? {
            EntityValue::Labels(labels) => Some(labels),
            _ => None,
        }
    }

    /// The entities from this handle on, in the order of their creation.
    pub fn from(&self, first: Handle) -> impl Iterator<Item = (Handle, &EntityValue)> {
        (first..self.values.len() as Handle).filter_map(|handle| Some((handle, self.value(handle)?)))
    }

    /// Its version: how often it was put and removed; 0 if the name was never used.
    pub fn version(&self, name: &str) -> u64 {
        self.names.find_ever(name).map_or(0, |handle| self.names.version(handle))
    }

    /// The version that a put leads to, if the kind counts them.
    pub(crate) fn next_version(&self, name: &str) -> u64 {
        self.version(name) + 1
    }

    /// The version that an event without a version leads to: the first, the present, or the next after a removal.
    pub(crate) fn version_of_upsert(&self, name: &str) -> u64 {
        self.names
            .find_ever(name)
            .map_or(1, |handle| self.names.version(handle) + u64::from(self.names.is_removed(handle)))
    }

    /// Puts an entity, whose name may be new, and its term of the digest; returns its handle.
    pub(crate) fn put(
        &mut self,
        kind: EntityKind,
        name: &str,
        version: u64,
        value: EntityValue,
        digest: &mut Digest,
    ) -> Handle {
        let handle = match self.names.find_ever(name) {
            Some(handle) => {
                digest.remove(self.hash(kind, handle));
                handle
            }
            None => {
                self.values.push(None);
                self.names.add(name)
            }
        };
        self.names.set_version(handle, version, false);
        self.values[handle as usize] = Some(value);
        digest.add(self.hash(kind, handle));
        handle
    }

    /// Removes an entity, and changes its term of the digest.
    pub(crate) fn remove(&mut self, kind: EntityKind, handle: Handle, version: u64, digest: &mut Digest) {
        digest.remove(self.hash(kind, handle));
        let kept = if planted::is("entity_version_forgotten") { 0 } else { version };
        self.names.set_version(handle, kept, true);
        self.values[handle as usize] = None;
        digest.add(self.hash(kind, handle));
    }

    /// Appends the next entity of an image, which cannot be found until all names are indexed.
    pub(crate) fn append(&mut self, name: &str, value: Option<EntityValue>) {
        self.names.append(name);
        self.values.push(value);
    }

    /// Restores the version of an entity of an image; false if there is none, or it has no value but was not removed.
    pub(crate) fn restore_version(&mut self, handle: Handle, version: u64, is_removed: bool) -> bool {
        let Some(value) = self.values.get_mut(handle as usize) else { return false };
        if is_removed {
            *value = None;
        }
        self.names.set_version(handle, version, is_removed);
        is_removed || value.is_some()
    }

    /// Indexes the names of an image; `None` if one comes twice.
    pub(crate) fn index_all(&mut self) -> Option<()> {
        self.names.index_all()
    }

    /// True if every entity that was not removed has a value.
    pub(crate) fn is_whole(&self) -> bool {
        (0..).zip(&self.values).all(|(handle, value)| value.is_none() == self.names.is_removed(handle))
    }

    pub(crate) fn names_mut(&mut self) -> &mut Names {
        &mut self.names
    }

    fn seed(kind: EntityKind) -> StableHash {
        if kind.is_catalogue() { StableHash::new(0x10 + kind as u64) } else { StableHash::new(0x30).word(kind as u64) }
    }

    /// The term of the digest. Kinds that are older than versions have a version in it only where it is not 1.
    pub(crate) fn hash(&self, kind: EntityKind, handle: Handle) -> u128 {
        let name = self.names.name(handle);
        let hash = Self::seed(kind).word(u64::from(handle)).bytes(name.as_bytes());
        let (version, value) = (self.names.version(handle), self.value(handle));
        let hash = value.map_or(hash, |value| value.add_to(hash));
        let revision = version << 1 | u64::from(value.is_none());
        if kind.is_catalogue() && version == 1 { hash } else { hash.word(revision) }.digest()
    }
}
