//! Commands. They borrow from the message that they came in; nothing here is kept.
//!
//! A command is *canonical* when it reaches the ledger: fields are within their limits, absent protocol constants are
//! filled in, lines are merged to one per level and sorted by (sku, location). [`canonical_lines`] does the last part.

use crate::entity::{EntityDraft, EntityKind, LabelsDraft};
use crate::event::StockKind;
use crate::ids::ReservationId;
use crate::rejection::Rejection;
use crate::states::StockState;
use crate::stock_transfer::TransferCommand;

/// Largest quantity, and largest sum of quantities: what a double and a Lua number hold exactly.
pub const QUANTITY_MAX: i64 = (1 << 53) - 1;
/// Most lines of a command.
pub const LINES_MAX: usize = 1_000;
/// Most lines of a reservation, those that were added by amendments and transfers included.
pub const RESERVATION_LINES_MAX: usize = 2_000;
/// Shortest time to live.
pub const TTL_MS_MIN: i64 = 1_000;
/// Longest time to live: 30 days.
pub const TTL_MS_MAX: i64 = 30 * 24 * 3_600 * 1_000;
/// Time to live of a hold that names none.
pub const TTL_MS_DEFAULT: i64 = 15 * 60 * 1_000;
/// `expire_time` is rounded up to a multiple of this, so that the units due are counted per tick and not per hold.
pub const TICK_MS: i64 = 100;

/// The shared fields of every command. An empty string means absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context<'a> {
    /// Idempotency key: names the intention. Empty only for commands with a source and for the engine's own.
    pub key: &'a str,
    /// When the command was first issued, ms since 1970.
    pub issue_time_ms: Option<i64>,
    /// Sales channel.
    pub channel: &'a str,
    /// Numbered message behind it.
    pub source: Option<SourcePosition<'a>>,
    /// The numbered message of another source that this command passes on.
    pub origin: Option<SourcePosition<'a>>,
    /// Order it belongs to.
    pub order_ref: &'a str,
    /// Whom the hold is for.
    pub holder: &'a str,
    /// When it happened in the outside world, ms since 1970.
    pub event_time_ms: Option<i64>,
    /// Who asked.
    pub actor: &'a str,
    /// Why.
    pub reason_code: &'a str,
    /// Document behind it.
    pub reference: &'a str,
    /// What caused it.
    pub causation: &'a str,
    /// The caller accepts the short form of an answer that would be too long. Not part of the command's meaning: a repeat may
    /// differ in it.
    pub accept_summary: bool,
    /// The bytes of the command, if it is a message of a source that is kept when it cannot be applied now.
    pub message: Option<&'a [u8]>,
    /// Whether a rejection is to be remembered like an accepted answer: durably, and for as long as keys are remembered.
    pub remember_refusal: bool,
}

/// The position of a message in the sequence of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePosition<'a> {
    /// Name of the source.
    pub id: &'a str,
    /// Epoch of the source.
    pub epoch: u64,
    /// Number of the message, from 1.
    pub sequence: u64,
}

/// A command: its shared fields and its operation.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// Shared fields.
    pub context: Context<'a>,
    /// The operation.
    pub body: Body<'a>,
}

/// Units of a sku at a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Item.
    pub sku: &'a str,
    /// Location.
    pub location: &'a str,
    /// Units. In a selection, 0 means as many as possible.
    pub quantity: i64,
}

/// How a command names holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetBy<'a> {
    /// By token.
    Id(ReservationId),
    /// By a token that this ledger did not issue: it names nothing.
    UnknownToken(&'a str),
    /// By the key of its Reserve, in the scope of the writer.
    Key(&'a str),
    /// All holds of an order.
    Order(&'a str),
}

/// Names holds, and optionally some of their lines.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Which holds.
    pub by: TargetBy<'a>,
    /// Which lines; empty means all.
    pub lines: Vec<Line<'a>>,
    /// Version that the reservation must have; 0 means any.
    pub expected_version: u64,
}

/// One line of a physical command.
#[derive(Clone, Copy, Debug)]
pub struct StockLine<'a> {
    /// Item.
    pub sku: &'a str,
    /// Location.
    pub location: &'a str,
    /// Units: the difference for Receive, Return and Adjust, the new value for Set and Count.
    pub quantity: i64,
    /// Which part of the stock.
    pub state: StockState,
    /// Set and Count: the value that the stock must have before.
    pub expected: Option<i64>,
}

/// Units that move from one state to another, at one level.
#[derive(Clone, Copy, Debug)]
pub struct MoveLine<'a> {
    /// Item.
    pub sku: &'a str,
    /// Location.
    pub location: &'a str,
    /// Units, at least 1.
    pub quantity: i64,
    /// The state that they are in.
    pub from: StockState,
    /// Another state.
    pub to: StockState,
}

/// An entity to create or replace.
#[derive(Clone, Debug)]
pub struct Upsert<'a> {
    /// Name.
    pub name: &'a str,
    /// The version that it must have; 0 if it must not exist, absent if any will do.
    pub expected_version: Option<u64>,
    /// Its value.
    pub value: EntityDraft<'a>,
}

impl<'a> Upsert<'a> {
    /// An item, a location or a channel.
    pub fn labels(name: &'a str, display_name: &'a str, gs1: &'a str) -> Self {
        Upsert {
            name,
            expected_version: None,
            value: EntityDraft::Labels(LabelsDraft { display_name, gs1: gs1.into(), ..LabelsDraft::default() }),
        }
    }
}

/// An entity to remove.
#[derive(Clone, Copy, Debug)]
pub struct EntityRef<'a> {
    /// Name.
    pub name: &'a str,
    /// The version that it must have; absent if any will do.
    pub expected_version: Option<u64>,
}

/// The operation of a command.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// A timed hold.
    Reserve {
        /// Canonical lines.
        lines: Vec<Line<'a>>,
        /// Time to live.
        ttl_ms: i64,
        /// Take what is available instead of nothing.
        allow_partial: bool,
        /// Release the same holder's reserved units on the same levels first.
        replace_own: bool,
    },
    /// A new expiry.
    Extend {
        /// The holds.
        target: Target<'a>,
        /// Time to live from now on.
        ttl_ms: i64,
    },
    /// New reserved quantities.
    Amend {
        /// The hold.
        target: Target<'a>,
        /// Canonical lines; 0 removes a line.
        lines: Vec<Line<'a>>,
    },
    /// A hard hold.
    Allocate(Target<'a>),
    /// Units are given back.
    Release(Target<'a>),
    /// Goods leave.
    Fulfill(Target<'a>),
    /// Reserved and allocated units move to another location.
    Transfer {
        /// The hold.
        target: Target<'a>,
        /// The new location.
        to_location: &'a str,
    },
    /// A change of the physical stock.
    Stock {
        /// The kind of change.
        kind: StockKind,
        /// Lines in the caller's order.
        lines: Vec<StockLine<'a>>,
    },
    /// Units move from one state to another.
    MoveQuantity {
        /// Lines in the caller's order.
        lines: Vec<MoveLine<'a>>,
    },
    /// Goods leave for another location, arrive there, or never will.
    StockTransfer(TransferCommand<'a>),
    /// Entities are created or replaced.
    Upsert {
        /// Their kind.
        kind: EntityKind,
        /// The entities, each name once.
        entries: Vec<Upsert<'a>>,
    },
    /// Entities are removed.
    Delete {
        /// Their kind.
        kind: EntityKind,
        /// The entities, each name once.
        entries: Vec<EntityRef<'a>>,
    },
    /// Missing numbers of a source are given up.
    SkipGap {
        /// The source.
        source: &'a str,
        /// Its epoch.
        epoch: u64,
        /// The last number that is given up.
        through: u64,
    },
    /// Dead letters are given up.
    DiscardLetters {
        /// The source.
        source: &'a str,
        /// Their positions, each once.
        letters: Vec<u64>,
    },
    /// A message that is no command: why.
    Invalid(Rejection),
    /// A new source epoch.
    RegisterSource {
        /// The source.
        source: &'a str,
    },
}

impl Body<'_> {
    /// The command's name, as in the contract.
    pub fn name(&self) -> &'static str {
        match self {
            Body::Reserve { .. } => "Reserve",
            Body::Extend { .. } => "Extend",
            Body::Amend { .. } => "Amend",
            Body::Allocate(_) => "Allocate",
            Body::Release(_) => "Release",
            Body::Fulfill(_) => "Fulfill",
            Body::Transfer { .. } => "TransferReservation",
            Body::Stock { kind, .. } => kind.command(),
            Body::MoveQuantity { .. } => "MoveQuantity",
            Body::StockTransfer(command) => command.name(),
            Body::Upsert { kind, .. } => kind.upsert_command(),
            Body::Delete { kind, .. } => kind.delete_command(),
            Body::RegisterSource { .. } => "RegisterSource",
            Body::SkipGap { .. } => "SkipGap",
            Body::DiscardLetters { .. } => "DiscardDeadLetters",
            Body::Invalid(_) => "RecordMessages",
        }
    }
}

/// Sorts lines by (sku, location) and merges those of the same level, adding their quantities.
///
/// # Errors
/// `Condition failed:` a sum is over [`QUANTITY_MAX`]; the index of the first such line after sorting.
pub fn canonical_lines(lines: &mut Vec<Line<'_>>) -> Result<(), usize> {
    if lines.len() < 2 {
        return Ok(());
    }
    lines.sort_by(|a, b| (a.sku, a.location).cmp(&(b.sku, b.location)));
    let mut kept = 0;
    for next in 1..lines.len() {
        let line = lines[next];
        if lines[kept].sku == line.sku && lines[kept].location == line.location {
            let sum = lines[kept].quantity.checked_add(line.quantity).filter(|sum| *sum <= QUANTITY_MAX).ok_or(kept)?;
            lines[kept].quantity = sum;
        } else {
            kept += 1;
            lines[kept] = line;
        }
    }
    lines.truncate(kept + 1);
    Ok(())
}
