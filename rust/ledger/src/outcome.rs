//! The outcome of a command: its effect, or a rejection. Effects are kept with their key and returned to repeats.

use crate::codec::Field;
use crate::ids::{LevelIndex, ReservationId};
use crate::keys::KeyPosition;
use crate::level::LevelFigures;
use crate::one_or_many::OneOrMany;
use crate::record::OriginSource;
use crate::rejection::Rejection;
use crate::reservation::LineState;
use crate::stable_hash::StableHash;
use crate::stock_transfer::TransferChange;

/// What one command did to one line of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineChange {
    /// The level.
    pub level: LevelIndex,
    /// Where the moved units are now.
    pub state: LineState,
    /// Units that were moved; for Amend the new reserved units.
    pub quantity: i64,
    /// Units of the line still reserved or allocated.
    pub outstanding: i64,
}

/// What one command did to one reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldChange {
    /// The reservation.
    pub id: ReservationId,
    /// Its version after the command.
    pub version: u32,
    /// True if units came back from expiry.
    pub reacquired: bool,
    /// When the units that are still reserved expire.
    pub expire_ms: i64,
    /// What moved, by (sku, location).
    pub lines: OneOrMany<LineChange>,
}

/// What an accepted command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Reserve: the new hold.
    Reserved(HoldChange),
    /// Extend, Amend, Allocate, Release, Fulfill, TransferReservation: one entry per reservation.
    Holds(OneOrMany<HoldChange>),
    /// Release by a key not yet used: only a tombstone.
    KeyCancelled,
    /// A stock command: the levels after it, in the order of its lines.
    Levels(OneOrMany<LevelFigures>),
    /// SetQuantity or Count with numbers that had no effect.
    Claimed {
        /// The levels after it, in the order of its lines.
        levels: Vec<LevelFigures>,
        /// The lines that were only claims, from 0.
        lines: OneOrMany<u32>,
    },
    /// A message waits for something that is not known yet. Only the number of a message has this outcome.
    Waits,
    /// The command passed on a message of another source that was applied already: it did nothing.
    Echo,
    /// An Upsert of a kind without versions, a Delete.
    Done,
    /// Upsert: the versions of the entities after it, in the order of the command.
    Put(OneOrMany<u64>),
    /// A command on a stock transfer.
    Transfer(Box<TransferChange>),
    /// RegisterSource.
    Registered {
        /// New epoch.
        epoch: u64,
        /// The previous epoch, 0 if none.
        previous_epoch: u64,
        /// Last sequence applied in the previous epoch.
        previous_sequence: u64,
        /// Parked messages of the previous epoch that were dropped.
        parked_dropped: u64,
    },
    /// Not a command's effect: this key was cancelled before it was used.
    Tombstone,
    /// Not a command's effect: this key was refused, and its caller asked that this be remembered. The encoded rejection.
    Refused(Box<[u8]>),
}

/// Every key has one: a longer effect would cost memory for each.
const _: () = assert!(size_of::<Effect>() <= 72, "an effect is not longer than the figures of one level");

impl Effect {
    /// The levels after a command on stock; none for other commands.
    pub fn levels(&self) -> &[LevelFigures] {
        match self {
            Effect::Levels(levels) => levels,
            Effect::Claimed { levels, .. } => levels,
            _ => &[],
        }
    }

    pub(crate) fn levels_mut(&mut self) -> &mut [LevelFigures] {
        match self {
            Effect::Levels(levels) => levels,
            Effect::Claimed { levels, .. } => levels,
            _ => &mut [],
        }
    }

    /// A rejection that a key remembers.
    pub(crate) fn refused(rejection: &Rejection) -> Self {
        let mut bytes = Vec::new();
        rejection.put(&mut bytes);
        Effect::Refused(bytes.into())
    }

    /// Adds the effect to a hash.
    pub(crate) fn add_to(&self, hash: StableHash) -> StableHash {
        match self {
            Effect::Reserved(hold) => hash_hold(hash.word(1), hold),
            Effect::Holds(holds) => holds.iter().fold(hash.word(2), hash_hold),
            Effect::KeyCancelled => hash.word(3),
            Effect::Levels(levels) => levels.iter().fold(hash.word(4), hash_level),
            Effect::Claimed { levels, lines } => {
                let hash =
                    lines.iter().fold(hash.word(11).word(lines.len() as u64), |hash, line| hash.word((*line).into()));
                levels.iter().fold(hash, hash_level)
            }
            Effect::Echo => hash.word(12),
            Effect::Waits => hash.word(13),
            Effect::Done => hash.word(5),
            Effect::Registered { epoch, previous_epoch, previous_sequence, parked_dropped } => {
                let hash = hash.word(6).word(*epoch).word(*previous_epoch).word(*previous_sequence);
                // What older versions could express hashes as it did.
                if *parked_dropped == 0 { hash } else { hash.word(*parked_dropped) }
            }
            Effect::Tombstone => hash.word(7),
            Effect::Refused(rejection) => hash.word(8).bytes(rejection),
            Effect::Put(versions) => versions.iter().fold(hash.word(9), |hash, version| hash.word(*version)),
            Effect::Transfer(change) => {
                change.value.add_to(hash.word(10).word(u64::from(change.transfer)).word(change.version))
            }
        }
    }
}

fn hash_level(hash: StableHash, level: &LevelFigures) -> StableHash {
    level.stock.add_to(hash.word(u64::from(level.level)), level.reserved, level.allocated)
}

fn hash_hold(hash: StableHash, hold: &HoldChange) -> StableHash {
    let hash = hash
        .word((u64::from(hold.id.slot) << 32) | u64::from(hold.id.generation))
        .word((u64::from(hold.id.epoch) << 32) | u64::from(hold.version))
        .signed(hold.expire_ms)
        .word(u64::from(hold.reacquired));
    hold.lines.iter().fold(hash, |hash, line| {
        hash.word((u64::from(line.level) << 8) | line.state as u64).signed(line.quantity).signed(line.outstanding)
    })
}

/// Refers to the effect of an accepted command, which [`crate::Ledger::effect`] returns. Valid until the ledger changes
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectRef(pub(crate) EffectLocation);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EffectLocation {
    /// The command had no key and no number: it cannot be repeated, so its effect is not kept.
    Nowhere,
    Key(KeyPosition),
    Message(OriginSource),
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The command was accepted.
    Accepted {
        /// Position of its last event.
        sequence: u64,
        /// Not executed now: the key or source position already had this outcome.
        replayed: bool,
        /// What it did.
        effect: EffectRef,
    },
    /// The message is kept and applied later.
    Deferred {
        /// Position of the event that keeps it.
        sequence: u64,
        /// It came before.
        replayed: bool,
        /// Until when.
        deferral: Deferral,
    },
    /// The message was refused and is kept as a dead letter.
    Buried {
        /// Position of the event that keeps it: its id.
        sequence: u64,
        /// It came before.
        replayed: bool,
        /// Why.
        rejection: Rejection,
    },
    /// The command was rejected; nothing changed, except that a numbered message consumed its number.
    Rejected(Rejection),
}

/// Until when a message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferral {
    /// Until the messages before it have come.
    Parked,
    /// Until what it names exists.
    Waiting,
}

/// One executed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The answer.
    pub answer: Answer,
    /// The answer may be sent once every event up to this position is durable; 0 means immediately.
    pub depends_on: u64,
}
