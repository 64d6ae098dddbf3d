//! What is known of items, locations and channels: a name for people, a GS1 key, and attributes of their kind.

use std::borrow::Cow;

use super::EntityKind;
use crate::codec::{Decoded, Field, Malformed, Reader, numbered};
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::rejection::Rejection;
use crate::stable_hash::StableHash;

/// A sum of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// Code of the currency, three capital letters of ISO 4217.
    pub currency: [u8; 3],
    /// Whole units of the currency.
    pub units: i64,
    /// Billionths of a unit, from 0 to 999,999,999.
    pub nanos: u32,
}

numbered! {
    /// The kind of place that a location is.
    LocationType "an unknown type of location" {
        /// The retailer's own warehouse.
        1 Warehouse "WAREHOUSE",
        /// A store.
        2 Store "STORE",
        /// A warehouse of a logistics provider.
        3 ThirdParty "THIRD_PARTY",
        /// A vendor who ships to customers.
        4 DropShipVendor "DROP_SHIP_VENDOR",
        /// No place that anybody could enter.
        5 Virtual "VIRTUAL",
    }
}

/// What only one kind has, where anything was said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Attributes {
    /// Nothing was said.
    #[default]
    None,
    /// Of an item.
    Item {
        /// A class of the retailer's own; may be empty.
        class: Box<str>,
        /// The value of one unit.
        unit_value: Option<Money>,
    },
    /// Of a location.
    Location(LocationType),
}

/// A name for people, the GS1 key and the attributes: the value of items, locations and channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// A name for people; may be empty.
    pub display_name: Box<str>,
    /// GTIN-14 of an item, GLN of a location; empty for others.
    pub gs1: Box<str>,
    /// What only its kind has.
    pub attributes: Attributes,
}

/// What a command says that labels should be.
#[derive(Clone, Debug, Default)]
pub struct LabelsDraft<'a> {
    /// Name for people.
    pub display_name: &'a str,
    /// GTIN-14 or GLN.
    pub gs1: Cow<'a, str>,
    /// What only its kind has.
    pub attributes: Attributes,
}

impl LabelsDraft<'_> {
    pub(super) fn resolve(&self, _: &Ledger) -> Result<Labels, Rejection> {
        Ok(Labels {
            display_name: self.display_name.into(),
            gs1: (*self.gs1).into(),
            attributes: self.attributes.clone(),
        })
    }

    pub(super) fn add_to(&self, hash: StableHash) -> StableHash {
        self.attributes.add_to(hash.bytes(self.display_name.as_bytes()).bytes(self.gs1.as_bytes()))
    }
}

impl Labels {
    pub(super) fn for_each_reference(&self, _: &mut dyn FnMut(EntityKind, Handle)) {}

    pub(super) fn add_to(&self, hash: StableHash) -> StableHash {
        self.attributes.add_to(hash.bytes(self.display_name.as_bytes()).bytes(self.gs1.as_bytes()))
    }
}

impl Attributes {
    /// Adds what was said; what older versions could express hashes as it did.
    fn add_to(&self, hash: StableHash) -> StableHash {
        match self {
            Attributes::None => hash,
            Attributes::Item { class, unit_value } => {
                let hash = hash.word(1).bytes(class.as_bytes());
                unit_value.iter().fold(hash, |hash, value| {
                    hash.bytes(&value.currency).signed(value.units).word(u64::from(value.nanos))
                })
            }
            Attributes::Location(kind) => hash.word(2).word(*kind as u64),
        }
    }
}

impl Field for Labels {
    fn put(&self, out: &mut Vec<u8>) {
        self.display_name.put(out);
        self.gs1.put(out);
        self.attributes.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Labels { display_name: Field::read(from)?, gs1: Field::read(from)?, attributes: Field::read(from)? })
    }
}

impl Field for Attributes {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Attributes::None => out.push(0),
            Attributes::Item { class, unit_value } => {
                out.push(1 + u8::from(unit_value.is_some()));
                class.put(out);
                unit_value.iter().for_each(|value| value.put(out));
            }
            Attributes::Location(kind) => out.extend_from_slice(&[3, *kind as u8]),
        }
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match from.byte()? {
            0 => Attributes::None,
            1 => Attributes::Item { class: Field::read(from)?, unit_value: None },
            2 => Attributes::Item { class: Field::read(from)?, unit_value: Some(Field::read(from)?) },
            3 => Attributes::Location(Field::read(from)?),
            _ => return Err(Malformed("attributes of a kind that this build does not know")),
        })
    }
}

impl Field for Money {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.currency);
        self.units.put(out);
        self.nanos.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Money { currency: from.array()?, units: Field::read(from)?, nanos: Field::read(from)? })
    }
}
