//! Events: facts whose application cannot fail and does not depend on the code that decided them. They contain handles, not
//! names; the events that create the names come before them in the same journal.

use crate::correction::ClockCorrection;
use crate::ids::{Handle, LevelIndex, ReservationId};
use crate::one_or_many::OneOrMany;
use crate::rejection::Rejection;
use crate::states::StockState;

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

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [StockKind::Received, StockKind::Returned, StockKind::Adjusted, StockKind::Set, StockKind::Counted]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A hold was taken.
    Reserved { id: ReservationId, expire_ms: i64, lines: OneOrMany<LevelUnits> },
    /// The expiry of a hold was changed.
    Extended { id: ReservationId, expire_ms: i64 },
    /// New reserved quantities of the lines that changed.
    Amended { id: ReservationId, lines: OneOrMany<LevelUnits> },
    /// Units were allocated to an order; `reacquired` if they had expired.
    Allocated { id: ReservationId, reacquired: bool, lines: OneOrMany<LevelUnits> },
    /// Units were given back.
    Released { id: ReservationId, lines: OneOrMany<LineMove> },
    /// Goods left.
    Fulfilled { id: ReservationId, lines: OneOrMany<LineMove> },
    /// Reserved units were given back because they had expired.
    Expired { id: ReservationId, lines: OneOrMany<LevelUnits> },
    /// Held units moved to another location; each line names the level that they come from. The target level may be new, so it
    /// is identified by its item and location.
    Transferred { id: ReservationId, to_location: Handle, lines: OneOrMany<LineMove> },
    /// Stock changed by `delta`.
    StockChanged { item: Handle, location: Handle, kind: StockKind, state: StockState, delta: i64 },
    /// A catalogue entry was created or replaced.
    Upserted { catalogue: u8, name: Box<str>, display_name: Box<str>, gs1: Box<str> },
    /// A source got a new epoch.
    SourceRegistered { source: Box<str>, epoch: u64 },
    /// A key was cancelled before it was used.
    KeyCancelled { key: Box<str> },
    /// A numbered message was refused and its number consumed.
    MessageRejected { rejection: Rejection },
    /// A numbered message asked for what its key had already done; its number was consumed.
    MessageRepeated { sequence: u64 },
    /// Keys and ended reservations of the older window were forgotten.
    KeysForgotten { before_ms: i64 },
    /// From here on the offset of engine time from the wall clock is added to issue times.
    ClockCorrected(ClockCorrection),
    /// A command was refused whose caller wants its key to remember that. If `forgets`, the older half of the remembered
    /// refusals was forgotten first.
    CommandRefused { rejection: Rejection, forgets: bool },
}

impl Event {
    /// Number of hold lines that the event touches.
    pub(crate) fn lines(&self) -> usize {
        match self {
            Event::Reserved { lines, .. }
            | Event::Amended { lines, .. }
            | Event::Allocated { lines, .. }
            | Event::Expired { lines, .. } => lines.len(),
            Event::Released { lines, .. } | Event::Fulfilled { lines, .. } | Event::Transferred { lines, .. } => {
                lines.len()
            }
            _ => 0,
        }
    }
}
