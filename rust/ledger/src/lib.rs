//! The ledger: every decision of invengine, in one pure state machine.
//!
//! Commands come in, events and outcomes go out. There is no clock, no I/O, no thread and no randomness that shows: time
//! is an argument, and the same events always give the same state, to the bit ([`Ledger::digest`]). *Decide* looks at
//! everything and changes nothing; *apply* changes the state and cannot fail. What must not live here: names of protocols,
//! files, locks, metrics.
#![forbid(unsafe_code)]

mod ahead;
mod answer_size;
mod apply;
mod audit;
mod chunks;
mod codec;
pub mod command;
mod correction;
mod decide;
pub mod event;
mod execute;
mod few;
mod fingerprint;
mod image;
mod index;
mod keys;
mod lead;
mod ledger;
mod level;
mod mix;
mod names;
mod naming;
pub mod outcome;
#[doc(hidden)]
pub mod planted;
mod record;
mod refused;
pub mod rejection;
pub mod reservation;
mod schedule;
mod scope;
mod source;
mod trial;

pub use answer_size::ANSWER_BYTES_MAX;
pub use audit::{Audit, Broken};
pub use codec::{Malformed, PAYLOAD_VERSION, RecordReader};
pub use command::{Command, Context};
pub use correction::ClockCorrection;
pub use event::Event;
pub use execute::{Payload, SWEEP_LINES_MAX};
pub use few::Few;
pub use image::{IMAGE_PIECE_BYTES, IMAGE_VERSION, Image, ImageLoader};
pub use keys::{KeyEntry, Scope};
pub use lead::ISSUE_LEAD_MAX_MS;
pub use ledger::{DEDUPE_WINDOW_MS, KEY_BYTES_MAX, Ledger, LedgerOptions};
pub use level::Level;
pub use mix::{Digest, Mix};
pub use names::{Entry, Handle, Names};
pub use naming::{NAME_CHARS_MAX, name_fault, shown, visible};
pub use outcome::{Answer, Effect, EffectRef, Executed};
pub use record::{Origin, OriginSource, Record};
pub use rejection::{Fact, Reason, Rejection};
pub use reservation::{Reservation, ReservationId};
pub use source::{SOURCE_OUTCOMES_MAX, Source};
