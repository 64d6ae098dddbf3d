//! The ledger: every decision of invengine, in one pure state machine.
//!
//! Commands come in, events and outcomes go out. There is no clock, no I/O, no thread and no observable randomness: time
//! is an argument, and the same events always give the same state, bit for bit ([`Ledger::digest`]). *Decide* reads the state
//! and changes nothing; *apply* changes the state and cannot fail. Protocol names, files, locks and metrics do not belong
//! here.
#![forbid(unsafe_code)]

mod answer_size;
mod apply;
mod audit;
pub mod authority;
mod chunks;
mod clock_skew;
mod codec;
pub mod command;
mod conservation;
mod correction;
mod decide;
mod dry_run;
pub mod entity;
pub mod event;
mod execute;
mod fingerprint;
mod ids;
mod image;
pub mod inbox;
mod index;
mod keys;
mod ledger;
mod level;
mod look_ahead;
mod name_rules;
mod names;
mod one_or_many;
pub mod outcome;
#[doc(hidden)]
pub mod planted;
mod record;
mod refusals;
pub mod rejection;
mod rejection_cache;
mod replay;
pub mod reservation;
mod schedule;
mod scope;
mod source;
mod stable_hash;
mod states;
pub mod stock_transfer;

pub use answer_size::ANSWER_BYTES_MAX;
pub use audit::{Audit, BrokenInvariant};
pub use authority::{Claim, ClaimKey, ClaimReason};
pub use clock_skew::ISSUE_TIME_SKEW_MAX_MS;
pub use codec::Malformed;
pub use command::{Command, Context};
pub use conservation::UnitFlows;
pub use correction::ClockCorrection;
pub use entity::{Entities, EntityDraft, EntityKind, EntityValue, VersionedEntity};
pub use event::Event;
pub use execute::{Payload, SWEEP_LINES_MAX};
pub use fingerprint::Fingerprint;
pub use ids::{Handle, LevelIndex, ReservationId, Slot, TOKEN_BYTES};
pub use image::{IMAGE_PIECE_BYTES, IMAGE_VERSION, Image, ImageLoader};
pub use keys::{KeyEntry, Scope};
pub use ledger::{DEDUPE_WINDOW_MS, KEY_BYTES_MAX, Ledger, LedgerOptions, REFUSAL_BYTES_MAX};
pub use level::{Level, LevelChange, LevelFigures, LevelPlace, ReservedChange};
pub use look_ahead::{Ahead, COMMANDS_AHEAD};
pub use name_rules::{NAME_CHARS_MAX, name_fault, shown, visible};
pub use names::Names;
pub use one_or_many::OneOrMany;
pub use outcome::{Answer, Deferral, Effect, EffectRef, Executed};
pub use record::{Origin, OriginSource, PAYLOAD_VERSION, Record, RecordReader};
pub use rejection::{Fact, Reason, Rejection};
pub use reservation::Reservation;
pub use source::{SOURCE_OUTCOMES_MAX, Source};
pub use stable_hash::{Digest, StableHash};
pub use states::{CountsAs, Quantities, StockState};
