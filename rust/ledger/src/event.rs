//! Events: facts whose application cannot fail and does not depend on the code that decided them. They contain handles, not
//! names; the events that create the names come before them in the same journal.

use crate::authority::ClaimReason;
use crate::codec::{Decoded, Field, Malformed, Reader, put};
use crate::correction::ClockCorrection;
use crate::entity::{EntityKind, Labels, VersionedEntity};
use crate::ids::{Handle, LevelIndex, ReservationId};
use crate::one_or_many::OneOrMany;
use crate::rejection::Rejection;
use crate::states::StockState;
use crate::stock_transfer::{ArrivedUnits, ItemUnits, Remainder, Route};

/// Units on one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelUnits {
    /// The level.
    pub level: LevelIndex,
    /// The units.
    pub units: i64,
}

/// Units of one line by the state they were in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineMove {
    /// The level.
    pub level: LevelIndex,
    /// Units that were reserved.
    pub reserved: i64,
    /// Units that were allocated.
    pub allocated: i64,
}

/// The kind of a change of physical stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StockKind {
    /// Goods came in.
    Received = 1,
    /// Sold goods came back.
    Returned = 2,
    /// A difference.
    Adjusted = 3,
    /// An absolute value.
    Set = 4,
    /// Somebody counted.
    Counted = 5,
}

impl StockKind {
    /// The name of the command that causes it.
    pub fn command(self) -> &'static str {
        match self {
            StockKind::Received => "Receive",
            StockKind::Returned => "Return",
            StockKind::Adjusted => "Adjust",
            StockKind::Set => "SetQuantity",
            StockKind::Counted => "Count",
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [StockKind::Received, StockKind::Returned, StockKind::Adjusted, StockKind::Set, StockKind::Counted]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

impl Field for LevelUnits {
    const BYTES_MIN: usize = 2;

    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put(out, u64::from(self.level));
        put(out, self.units as u64);
    }

    #[inline]
    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(LevelUnits { level: from.handle()?, units: from.quantity()? })
    }
}

impl Field for LineMove {
    const BYTES_MIN: usize = 3;

    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put(out, u64::from(self.level));
        put(out, self.reserved as u64);
        put(out, self.allocated as u64);
    }

    #[inline]
    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(LineMove { level: from.handle()?, reserved: from.quantity()?, allocated: from.quantity()? })
    }
}

/// The change of a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta(pub i64);

impl Field for Delta {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.delta().map(Delta)
    }
}

/// A number of units, at least 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units(pub i64);

impl Field for Units {
    fn put(&self, out: &mut Vec<u8>) {
        put(out, self.0 as u64);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.quantity().map(Units)
    }
}

impl Field for StockKind {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        StockKind::from_byte(from.byte()?).ok_or(Malformed("an unknown kind of stock change"))
    }
}

/// Declares the events: the number in the journal, the name in reports, and the fields in the order of their encoding.
macro_rules! events {
    ($($(#[$doc:meta])* $number:literal $kind:ident $name:literal { $($field:ident: $type:ty),* })*) => {
        /// One event.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[$doc])* $kind { $($field: $type),* },)*
        }

        impl Event {
            /// The names of all kinds.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The name of its kind.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Event::$kind { .. } => $name,)*
                }
            }
        }

        impl Field for Event {
            const BYTES_MIN: usize = 2;

            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Event::$kind { $($field),* } => {
                        out.push($number);
                        $($field.put(out);)*
                    })*
                }
            }

            #[inline]
            fn read(from: &mut Reader<'_>) -> Decoded<Self> {
                Ok(match from.byte()? {
                    $($number => Event::$kind { $($field: Field::read(from)?),* },)*
                    _ => return Err(Malformed("an event of a kind that this build does not know")),
                })
            }
        }
    };
}

events! {
    /// A hold was taken.
    1 Reserved "reserved" { id: ReservationId, expire_ms: i64, lines: OneOrMany<LevelUnits> }
    /// The expiry of a hold was changed.
    2 Extended "extended" { id: ReservationId, expire_ms: i64 }
    /// New reserved quantities of the lines that changed.
    3 Amended "amended" { id: ReservationId, lines: OneOrMany<LevelUnits> }
    /// Reserved units were allocated to an order.
    4 Allocated "allocated" { id: ReservationId, lines: OneOrMany<LevelUnits> }
    /// Units that had expired were allocated to an order.
    5 Reacquired "reacquired" { id: ReservationId, lines: OneOrMany<LevelUnits> }
    /// Units were given back.
    6 Released "released" { id: ReservationId, lines: OneOrMany<LineMove> }
    /// Goods left.
    7 Fulfilled "fulfilled" { id: ReservationId, lines: OneOrMany<LineMove> }
    /// Reserved units were given back because they had expired.
    8 Expired "expired" { id: ReservationId, lines: OneOrMany<LevelUnits> }
    /// Held units moved to another location; each line names the level that they come from. The target level may be new, so it
    /// is identified by its item and location.
    9 Transferred "transferred" { id: ReservationId, to_location: Handle, lines: OneOrMany<LineMove> }
    /// Stock changed by `delta`.
    10 StockChanged "stock_changed" { item: Handle, location: Handle, kind: StockKind, state: StockState, delta: Delta }
    /// A catalogue entry was created or replaced.
    11 Upserted "upserted" { kind: EntityKind, name: Box<str>, display_name: Box<str>, gs1: Box<str> }
    /// A source got a new epoch.
    12 SourceRegistered "source_registered" { source: Box<str>, epoch: u64 }
    /// A key was cancelled before it was used.
    13 KeyCancelled "key_cancelled" { key: Box<str> }
    /// A numbered message was refused and its number consumed.
    14 MessageRejected "message_rejected" { rejection: Rejection }
    /// A numbered message asked for what its key had already done; its number was consumed.
    15 MessageRepeated "message_repeated" { sequence: u64 }
    /// Keys and ended reservations of the older window were forgotten.
    16 KeysForgotten "keys_forgotten" { before_ms: i64 }
    /// A command was refused whose caller wants its key to remember that. If `forgets`, the older half of the remembered
    /// refusals was forgotten first.
    17 CommandRefused "command_refused" { forgets: bool, rejection: Rejection }
    /// From here on the offset of engine time from the wall clock is added to issue times.
    18 ClockCorrected "clock_corrected" { correction: ClockCorrection }
    /// An entity was created or replaced.
    19 EntityPut "entity_put" { entity: VersionedEntity }
    /// An entity was removed; `version` is the one that a later one of this name continues from.
    20 EntityRemoved "entity_removed" { kind: EntityKind, handle: Handle, version: u64 }
    /// Units moved from one state to another.
    21 StockMoved "stock_moved" { item: Handle, location: Handle, from: StockState, to: StockState, units: Units }
    /// Goods left for another location: a new stock transfer.
    22 TransferShipped "transfer_shipped" { transfer: Box<str>, route: Route, lines: OneOrMany<ItemUnits> }
    /// Goods of a stock transfer arrived.
    23 TransferReceived "transfer_received" { transfer: Handle, route: Route, lines: OneOrMany<ArrivedUnits> }
    /// Units of a stock transfer that had not arrived are lost, or at the origin again.
    24 TransferClosed "transfer_closed" { transfer: Handle, route: Route, remainder: Remainder, lines: OneOrMany<ItemUnits> }
    /// A catalogue entry with attributes was created or replaced.
    25 UpsertedWithAttributes "upserted_with_attributes" { kind: EntityKind, name: Box<str>, labels: Labels }
    /// A number that has no effect.
    26 ClaimMade "claim_made" { item: Handle, location: Handle, state: StockState, quantity: Units, reason: ClaimReason }
    /// A message passed on one of another source that was applied already.
    27 Echoed "echoed" { source: Handle, epoch: u64, number: u64 }
    /// A message came before its turn.
    28 MessageParked "message_parked" { message: Box<[u8]> }
    /// A message waits until something of this kind and name exists; its number was consumed.
    29 MessageWaits "message_waits" { kind: EntityKind, name: Box<str>, message: Box<[u8]> }
    /// A message was refused and is kept as a dead letter; its number was consumed. If `forgets`, the older half of the remembered
    /// refusals was forgotten first.
    30 MessageDead "message_dead" { forgets: bool, rejection: Rejection, message: Box<[u8]> }
    /// A message that waited since `waiting` waits no more: what follows is its effect.
    31 WaitEnded "wait_ended" { source: Handle, waiting: u64 }
    /// A dead letter was settled: sent again, and what follows is its effect, or discarded.
    32 LetterSettled "letter_settled" { source: Handle, letter: u64, redriven: bool, actor: Box<str>, reason_code: Box<str> }
    /// Missing numbers of a source were given up.
    33 GapSkipped "gap_skipped" { source: Handle, epoch: u64, through: u64 }
}

/// The lines of a hold that an event touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLines<'e> {
    /// Units, all in the same state.
    Units(&'e [LevelUnits]),
    /// Units by the state they were in.
    Moves(&'e [LineMove]),
}

impl<'e> EventLines<'e> {
    /// Number of lines.
    pub fn len(self) -> usize {
        match self {
            EventLines::Units(lines) => lines.len(),
            EventLines::Moves(lines) => lines.len(),
        }
    }

    /// True without lines.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The level of each line, with its units in all states together.
    #[inline]
    pub fn units(self) -> impl Iterator<Item = LevelUnits> + 'e {
        let (units, moves) = match self {
            EventLines::Units(lines) => (lines, &[][..]),
            EventLines::Moves(lines) => (&[][..], lines),
        };
        let moved = |line: &LineMove| LevelUnits { level: line.level, units: line.reserved + line.allocated };
        units.iter().copied().chain(moves.iter().map(moved))
    }
}

/// What an event says of holds and refusals, for everybody who does not fold it.
impl Event {
    /// The hold that it is about, with the lines that it touches.
    #[inline]
    pub fn hold(&self) -> Option<(ReservationId, EventLines<'_>)> {
        Some(match self {
            Event::Extended { id, .. } => (*id, EventLines::Units(&[])),
            Event::Reserved { id, lines, .. }
            | Event::Amended { id, lines }
            | Event::Allocated { id, lines }
            | Event::Reacquired { id, lines }
            | Event::Expired { id, lines } => (*id, EventLines::Units(lines)),
            Event::Released { id, lines } | Event::Fulfilled { id, lines } | Event::Transferred { id, lines, .. } => {
                (*id, EventLines::Moves(lines))
            }
            _ => return None,
        })
    }

    /// The lines of a hold that it touches; none if it is not about a hold.
    #[inline]
    pub fn lines(&self) -> EventLines<'_> {
        self.hold().map_or(EventLines::Units(&[]), |(_, lines)| lines)
    }

    /// The item and location whose stock it changes.
    #[inline]
    pub fn stock(&self) -> Option<(Handle, Handle)> {
        match self {
            Event::StockChanged { item, location, .. } | Event::StockMoved { item, location, .. } => {
                Some((*item, *location))
            }
            _ => None,
        }
    }

    /// True if it makes holds larger at the levels of its lines, so that it must find free units there.
    pub fn takes_units(&self) -> bool {
        matches!(self, Event::Reserved { .. } | Event::Amended { .. } | Event::Reacquired { .. })
    }

    /// The rejection, if the command behind it was refused.
    pub fn refusal(&self) -> Option<&Rejection> {
        match self {
            Event::MessageRejected { rejection }
            | Event::CommandRefused { rejection, .. }
            | Event::MessageDead { rejection, .. } => Some(rejection),
            _ => None,
        }
    }

    /// True if the key of the command remembers the refusal.
    pub fn remembers_refusal(&self) -> bool {
        matches!(self, Event::CommandRefused { .. } | Event::MessageDead { .. })
    }
}
