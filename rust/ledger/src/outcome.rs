//! What a command did, or the ledger's no. Accepted outcomes are kept with their key and given again.

use crate::codec::encode_rejection;
use crate::event::LevelIndex;
use crate::few::Few;
use crate::keys::KeyPlace;
use crate::mix::Mix;
use crate::record::OriginSource;
use crate::rejection::Rejection;
use crate::reservation::{LineState, ReservationId};

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
    /// When what is still reserved is over.
    pub expire_ms: i64,
    /// What moved, by (sku, location).
    pub lines: Few<LineChange>,
}

/// The quantities of one level. `on_hand + oversold = available + reserved + allocated + damaged + returned +
/// quality_control`, none is negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelFigures {
    /// The level.
    pub level: LevelIndex,
    /// Everything physically there.
    pub on_hand: i64,
    /// Held with a time limit that has not passed.
    pub reserved: i64,
    /// Held for orders.
    pub allocated: i64,
    /// Unsellable: damaged.
    pub damaged: i64,
    /// Unsellable for now: returned.
    pub returned: i64,
    /// Unsellable for now: being inspected.
    pub quality_control: i64,
}

impl LevelFigures {
    /// Units that nobody holds; below 0 if more is held than is there.
    #[inline]
    pub fn free(&self) -> i64 {
        self.on_hand - self.damaged - self.returned - self.quality_control - self.reserved - self.allocated
    }

    /// What may still be held.
    #[inline]
    pub fn available(&self) -> i64 {
        self.free().max(0)
    }

    /// Held beyond what is there.
    #[inline]
    pub fn oversold(&self) -> i64 {
        (-self.free()).max(0)
    }
}

/// What an accepted command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Reserve: the new hold.
    Reserved(HoldChange),
    /// Extend, Amend, Allocate, Release, Fulfill, TransferReservation: one entry a reservation.
    Holds(Few<HoldChange>),
    /// Release by a key not yet seen: only a tombstone.
    KeyCancelled,
    /// A physical command: the levels after it, in the order of its lines.
    Levels(Few<LevelFigures>),
    /// Upsert.
    Done,
    /// RegisterSource.
    Registered {
        /// New epoch.
        epoch: u64,
        /// The one before, 0 if none.
        previous_epoch: u64,
        /// Last sequence applied in the one before.
        previous_sequence: u64,
    },
    /// Not a command's effect: this key was cancelled before it was used.
    Tombstone,
    /// Not a command's effect: this key was refused, and its caller asked that it be remembered. The encoded rejection.
    Refused(Box<[u8]>),
}

impl Effect {
    /// A rejection that a key remembers.
    pub(crate) fn refused(rejection: &Rejection) -> Self {
        let mut bytes = Vec::new();
        encode_rejection(&mut bytes, rejection);
        Effect::Refused(bytes.into())
    }

    /// Adds the effect to a hash.
    pub(crate) fn mix(&self, mix: Mix) -> Mix {
        match self {
            Effect::Reserved(hold) => mix_hold(mix.word(1), hold),
            Effect::Holds(holds) => holds.iter().fold(mix.word(2), mix_hold),
            Effect::KeyCancelled => mix.word(3),
            Effect::Levels(levels) => levels.iter().fold(mix.word(4), |mix, level| {
                mix.word(u64::from(level.level))
                    .signed(level.on_hand)
                    .signed(level.reserved)
                    .signed(level.allocated)
                    .signed(level.damaged)
                    .signed(level.returned)
                    .signed(level.quality_control)
            }),
            Effect::Done => mix.word(5),
            Effect::Registered { epoch, previous_epoch, previous_sequence } => {
                mix.word(6).word(*epoch).word(*previous_epoch).word(*previous_sequence)
            }
            Effect::Tombstone => mix.word(7),
            Effect::Refused(rejection) => mix.word(8).bytes(rejection),
        }
    }
}

fn mix_hold(mix: Mix, hold: &HoldChange) -> Mix {
    let mix = mix
        .word((u64::from(hold.id.slot) << 32) | u64::from(hold.id.generation))
        .word((u64::from(hold.id.epoch) << 32) | u64::from(hold.version))
        .signed(hold.expire_ms)
        .word(u64::from(hold.reacquired));
    hold.lines.iter().fold(mix, |mix, line| {
        mix.word((u64::from(line.level) << 8) | line.state as u64).signed(line.quantity).signed(line.outstanding)
    })
}

/// Where the ledger keeps what an accepted command did: [`crate::Ledger::effect`] gives it. Good until the ledger changes
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectRef(pub(crate) EffectPlace);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EffectPlace {
    /// Of a command without identity: nobody can ask for it again.
    Nowhere,
    Key(KeyPlace),
    Message(OriginSource),
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Accepted {
        /// Position of its last event.
        sequence: u64,
        /// Not executed now: the key or source position already had this outcome.
        replayed: bool,
        /// What it did.
        effect: EffectRef,
    },
    /// No; nothing changed, but that a numbered message used up its number.
    Rejected(Rejection),
}

/// One executed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The answer.
    pub answer: Answer,
    /// The answer may leave when every event up to here is durable; 0 means at once.
    pub rests_on: u64,
}
