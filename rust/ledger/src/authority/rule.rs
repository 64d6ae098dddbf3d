//! Rules of authority as entities: who may assert which state where. And the kinds of sources, by which a rule can name many.

use crate::codec::{Decoded, Field, Malformed, Reader, numbered};
use crate::entity::{EntityKind, LocationType};
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::rejection::{Reason, Rejection};
use crate::stable_hash::StableHash;
use crate::states::StockState;

numbered! {
    /// What a writer may do.
    Right "an unknown right" {
        /// State what a quantity is: SetQuantity, Count.
        1 Set "SET",
        /// Change a quantity by a difference: Adjust, MoveQuantity.
        2 Adjust "ADJUST",
        /// Report that goods moved: Receive, Return, Fulfill, stock transfers.
        3 Report "REPORT",
        /// Promise stock, and change or end a promise: Reserve, Extend, Amend, Allocate, Release, TransferReservation.
        4 Promise "PROMISE",
        /// Report what becomes of an order.
        5 Order "ORDER",
    }
}

numbered! {
    /// The kind of an outside system.
    SourceKind "an unknown kind of source" {
        /// Enterprise resource planning: the books.
        1 Erp "ERP",
        /// Warehouse management.
        2 Wms "WMS",
        /// Tills of stores.
        3 Pos "POS",
        /// Order management.
        4 OrderManagement "ORDER_MANAGEMENT",
        /// A web shop.
        5 WebShop "WEB_SHOP",
        /// An app.
        6 App "APP",
        /// A marketplace, by its connector.
        7 Marketplace "MARKETPLACE",
        /// A logistics provider (3PL).
        8 ThirdParty "THIRD_PARTY",
        /// A vendor who ships to customers.
        9 DropShipVendor "DROP_SHIP_VENDOR",
        /// Any other.
        10 Other "OTHER",
    }
}

impl Right {
    /// Whether it is about states of stock. The other rights are about places alone.
    pub fn is_of_stock(self) -> bool {
        matches!(self, Right::Set | Right::Adjust | Right::Report)
    }
}

/// Who has rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// One source.
    Source(Box<str>),
    /// All sources of a kind.
    Kind(SourceKind),
    /// Commands that come from no source.
    Operator,
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// At every location.
    Everywhere,
    /// At locations of a type.
    Type(LocationType),
    /// At one location.
    Location(Handle),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityRule {
    /// Who.
    pub holder: Holder,
    /// May do what.
    pub rights: OneOrMany<Right>,
    /// To which states, for rights that are about states; none means all.
    pub states: OneOrMany<StockState>,
    /// Where.
    pub place: Place,
}

/// What a command says that a place should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceDraft<'a> {
    /// At every location.
    Everywhere,
    /// At locations of a type.
    Type(LocationType),
    /// At the location of this name.
    Location(&'a str),
}

/// What a command says that a rule should be.
#[derive(Clone, Debug)]
pub struct AuthorityRuleDraft<'a> {
    /// Who. A source must be registered.
    pub holder: Holder,
    /// May do what, each right once.
    pub rights: Vec<Right>,
    /// To which states, each once.
    pub states: Vec<StockState>,
    /// Where.
    pub place: PlaceDraft<'a>,
}

impl AuthorityRuleDraft<'_> {
    pub(crate) fn resolve(&self, ledger: &Ledger) -> Result<AuthorityRule, Rejection> {
        if let Holder::Source(name) = &self.holder
            && ledger.sources.find(name).is_none()
        {
            return Err(Rejection::new(Reason::UnknownSource).text("source", name));
        }
        let place = match self.place {
            PlaceDraft::Everywhere => Place::Everywhere,
            PlaceDraft::Type(kind) => Place::Type(kind),
            PlaceDraft::Location(name) => Place::Location(ledger.location(name)?),
        };
        Ok(AuthorityRule {
            holder: self.holder.clone(),
            rights: self.rights.iter().copied().collect(),
            states: self.states.iter().copied().collect(),
            place,
        })
    }

    pub(crate) fn add_to(&self, hash: StableHash) -> StableHash {
        let hash = lists(self.holder.add_to(hash), &self.rights, &self.states);
        match self.place {
            PlaceDraft::Everywhere => hash.word(0),
            PlaceDraft::Type(kind) => hash.word(1).word(kind as u64),
            PlaceDraft::Location(name) => hash.word(2).bytes(name.as_bytes()),
        }
    }
}

impl AuthorityRule {
    pub(crate) fn for_each_reference(&self, f: &mut dyn FnMut(EntityKind, Handle)) {
        if let Place::Location(location) = self.place {
            f(EntityKind::Locations, location);
        }
    }

    pub(crate) fn add_to(&self, hash: StableHash) -> StableHash {
        let hash = lists(self.holder.add_to(hash), &self.rights, &self.states);
        match self.place {
            Place::Everywhere => hash.word(0),
            Place::Type(kind) => hash.word(1).word(kind as u64),
            Place::Location(location) => hash.word(2).word(u64::from(location)),
        }
    }

    /// The cells of the table that it fills: rights with the states that they are about.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (Right, Option<StockState>)> {
        let states: Vec<StockState> =
            if self.states.is_empty() { StockState::all().collect() } else { self.states.to_vec() };
        self.rights.iter().flat_map(move |right| {
            let of_stock = if right.is_of_stock() { states.clone() } else { Vec::new() };
            let alone = (!right.is_of_stock()).then_some((*right, None));
            of_stock.into_iter().map(|state| (*right, Some(state))).chain(alone)
        })
    }
}

fn lists(hash: StableHash, rights: &[Right], states: &[StockState]) -> StableHash {
    let hash = rights.iter().fold(hash.word(rights.len() as u64), |hash, right| hash.word(*right as u64));
    states.iter().fold(hash.word(states.len() as u64), |hash, state| hash.word(*state as u64))
}

impl Holder {
    /// Its name in messages to people.
    pub fn name(&self) -> &str {
        match self {
            Holder::Source(name) => name,
            Holder::Kind(kind) => kind.name(),
            Holder::Operator => "operator",
        }
    }

    fn add_to(&self, hash: StableHash) -> StableHash {
        match self {
            Holder::Source(name) => hash.word(1).bytes(name.as_bytes()),
            Holder::Kind(kind) => hash.word(2).word(*kind as u64),
            Holder::Operator => hash.word(3),
        }
    }
}

impl Field for Holder {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Holder::Source(name) => {
                out.push(1);
                name.put(out);
            }
            Holder::Kind(kind) => {
                out.push(2);
                kind.put(out);
            }
            Holder::Operator => out.push(3),
        }
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match from.byte()? {
            1 => Holder::Source(Field::read(from)?),
            2 => Holder::Kind(Field::read(from)?),
            3 => Holder::Operator,
            _ => return Err(Malformed("an unknown holder of rights")),
        })
    }
}

impl Field for Place {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Place::Everywhere => out.push(0),
            Place::Type(kind) => {
                out.push(1);
                kind.put(out);
            }
            Place::Location(location) => {
                out.push(2);
                location.put(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match from.byte()? {
            0 => Place::Everywhere,
            1 => Place::Type(Field::read(from)?),
            2 => Place::Location(Field::read(from)?),
            _ => return Err(Malformed("an unknown place of a rule")),
        })
    }
}

impl Field for AuthorityRule {
    fn put(&self, out: &mut Vec<u8>) {
        self.holder.put(out);
        self.rights.put(out);
        self.states.put(out);
        self.place.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(AuthorityRule {
            holder: Field::read(from)?,
            rights: Field::read(from)?,
            states: Field::read(from)?,
            place: Field::read(from)?,
        })
    }
}
