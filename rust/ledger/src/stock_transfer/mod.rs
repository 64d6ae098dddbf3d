//! Stock transfers: goods that leave one location for another, as a document with lines and a state.
//!
//! Units that were shipped are in transit at the destination until they arrive, are lost, or are sent back to the origin. What
//! arrives is a fact: more than was shipped is accepted, and what arrives after the transfer was closed reverses the closing.

mod apply;
mod command;
mod decide;

pub use command::{Arrival, ArrivalLine, Remainder, ShipmentLine, TransferCommand};

use crate::codec::{Decoded, Field, Malformed, Reader};
use crate::entity::EntityKind;
use crate::event::Units;
use crate::ids::Handle;
use crate::one_or_many::OneOrMany;
use crate::stable_hash::StableHash;
use crate::states::StockState;

/// Most lines of a stock transfer, those included that were never shipped but arrived.
pub const TRANSFER_LINES_MAX: usize = 2_000;

/// One item of a stock transfer. What was shipped and has neither arrived, nor is lost, nor was sent back is in transit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferLine {
    /// The item.
    pub item: Handle,
    /// Units that left the origin.
    pub shipped: i64,
    /// Units that arrived, a surplus included.
    pub received: i64,
    /// Units that will not arrive.
    pub lost: i64,
    /// Units that are at the origin again.
    pub sent_back: i64,
}

impl TransferLine {
    /// Units that are still on their way; 0 if more arrived than was shipped.
    pub fn in_transit(&self) -> i64 {
        (self.shipped - self.received - self.lost - self.sent_back).max(0)
    }
}

/// From where to where goods go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The location that they left.
    pub origin: Handle,
    /// The location that they go to.
    pub destination: Handle,
}

/// A stock transfer: the value of an entity, whose name is that of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StockTransfer {
    /// From where to where.
    pub route: Route,
    /// When they left, ms since 1970: the event time of the command, else the time at which it was recorded.
    pub ship_ms: i64,
    /// By item, each once.
    pub lines: OneOrMany<TransferLine>,
}

/// Where a stock transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransferState {
    /// Nothing has arrived yet.
    Shipped,
    /// Some units have arrived and others are on their way.
    PartlyReceived,
    /// Everything has arrived.
    Received,
    /// Some units have arrived, and the others will not.
    ClosedShort,
    /// Nothing arrived, and it is lost.
    Lost,
    /// Nothing arrived, and it is at the origin again.
    Cancelled,
}

impl TransferState {
    /// Its name in the contract, without the prefix.
    pub fn name(self) -> &'static str {
        match self {
            TransferState::Shipped => "SHIPPED",
            TransferState::PartlyReceived => "PARTLY_RECEIVED",
            TransferState::Received => "RECEIVED",
            TransferState::ClosedShort => "CLOSED_SHORT",
            TransferState::Lost => "LOST",
            TransferState::Cancelled => "CANCELLED",
        }
    }

    /// True while units are on their way.
    pub fn is_open(self) -> bool {
        matches!(self, TransferState::Shipped | TransferState::PartlyReceived)
    }
}

impl StockTransfer {
    /// Where it stands. The state follows from the lines and is stored nowhere.
    pub fn state(&self) -> TransferState {
        let sum = |of: fn(&TransferLine) -> i64| self.lines.iter().map(of).fold(0, i64::saturating_add);
        let arrived = sum(|line| line.received) > 0;
        let (lost, sent_back) = (sum(|line| line.lost) > 0, sum(|line| line.sent_back) > 0);
        match (sum(TransferLine::in_transit) > 0, arrived) {
            (true, false) => TransferState::Shipped,
            (true, true) => TransferState::PartlyReceived,
            (false, _) if !lost && !sent_back => TransferState::Received,
            (false, true) => TransferState::ClosedShort,
            (false, false) if lost => TransferState::Lost,
            (false, false) => TransferState::Cancelled,
        }
    }

    /// The line of an item.
    pub fn line(&self, item: Handle) -> Option<&TransferLine> {
        self.lines.binary_search_by_key(&item, |line| line.item).ok().map(|at| &self.lines[at])
    }

    pub(crate) fn for_each_reference(&self, f: &mut dyn FnMut(EntityKind, Handle)) {
        f(EntityKind::Locations, self.route.origin);
        f(EntityKind::Locations, self.route.destination);
        self.lines.iter().for_each(|line| f(EntityKind::Items, line.item));
    }

    pub(crate) fn add_to(&self, hash: StableHash) -> StableHash {
        let places = (u64::from(self.route.origin) << 32) | u64::from(self.route.destination);
        self.lines.iter().fold(hash.word(places).signed(self.ship_ms), |hash, line| {
            let hash = hash.word(u64::from(line.item)).signed(line.shipped).signed(line.received);
            hash.signed(line.lost).signed(line.sent_back)
        })
    }
}

/// A stock transfer after a command: its name and version, and its value at that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferChange {
    /// The entity.
    pub transfer: Handle,
    /// Its version after the command.
    pub version: u64,
    /// Its value after the command.
    pub value: StockTransfer,
}

/// Units of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemUnits {
    /// The item.
    pub item: Handle,
    /// The units.
    pub units: i64,
}

/// Units that arrived, and what they were until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivedUnits {
    /// The item.
    pub item: Handle,
    /// The state that they are in now.
    pub state: StockState,
    /// Units that arrived.
    pub units: i64,
    /// Of these, units that were in transit.
    pub in_transit: i64,
    /// Of these, units that were taken for lost.
    pub lost: i64,
    /// Of these, units that were taken to be at the origin again.
    pub sent_back: i64,
}

impl ArrivedUnits {
    /// Units that nobody had shipped.
    pub fn surplus(&self) -> i64 {
        self.units - self.in_transit - self.lost - self.sent_back
    }
}

impl Field for Route {
    const BYTES_MIN: usize = 2;

    fn put(&self, out: &mut Vec<u8>) {
        self.origin.put(out);
        self.destination.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Route { origin: Field::read(from)?, destination: Field::read(from)? })
    }
}

impl Field for StockTransfer {
    fn put(&self, out: &mut Vec<u8>) {
        self.route.put(out);
        self.ship_ms.put(out);
        self.lines.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let transfer =
            StockTransfer { route: Field::read(from)?, ship_ms: Field::read(from)?, lines: Field::read(from)? };
        if transfer.lines.windows(2).any(|pair| pair[0].item >= pair[1].item) {
            return Err(Malformed("the lines of a stock transfer are out of order"));
        }
        Ok(transfer)
    }
}

impl Field for TransferLine {
    const BYTES_MIN: usize = 5;

    fn put(&self, out: &mut Vec<u8>) {
        self.item.put(out);
        [self.shipped, self.received, self.lost, self.sent_back].into_iter().for_each(|units| Units(units).put(out));
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let item = Field::read(from)?;
        let mut units = || Units::read(from).map(|units| units.0);
        Ok(TransferLine { item, shipped: units()?, received: units()?, lost: units()?, sent_back: units()? })
    }
}

impl Field for TransferChange {
    fn put(&self, out: &mut Vec<u8>) {
        self.transfer.put(out);
        self.version.put(out);
        self.value.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(TransferChange { transfer: Field::read(from)?, version: Field::read(from)?, value: Field::read(from)? })
    }
}

impl Field for Remainder {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let byte = from.byte()?;
        let known = [Remainder::Lost, Remainder::SentBack].into_iter().find(|remainder| *remainder as u8 == byte);
        known.ok_or(Malformed("an unknown remainder of a stock transfer"))
    }
}

impl Field for ItemUnits {
    const BYTES_MIN: usize = 2;

    fn put(&self, out: &mut Vec<u8>) {
        self.item.put(out);
        Units(self.units).put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(ItemUnits { item: Field::read(from)?, units: Units::read(from)?.0 })
    }
}

impl Field for ArrivedUnits {
    const BYTES_MIN: usize = 6;

    fn put(&self, out: &mut Vec<u8>) {
        self.item.put(out);
        self.state.put(out);
        [self.units, self.in_transit, self.lost, self.sent_back].into_iter().for_each(|units| Units(units).put(out));
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let (item, state) = (Field::read(from)?, Field::read(from)?);
        let mut units = || Units::read(from).map(|units| units.0);
        Ok(ArrivedUnits { item, state, units: units()?, in_transit: units()?, lost: units()?, sent_back: units()? })
    }
}
