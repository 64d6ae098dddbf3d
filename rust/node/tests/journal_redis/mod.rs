//! Real Redis and Valkey servers for tests, a proxy that cuts connections, and a fake server with scripted replies.
#![allow(dead_code, reason = "each test target uses a part of it")]
#![allow(unused_imports, reason = "each test target uses a part of it")]

mod fake;
mod proxy;
mod server;
mod stream;

pub use fake::{FakeServer, Script};
pub use proxy::Proxy;
pub use server::{Kind, Redis, free_port, text_of};
pub use stream::{Entries, entries_of, put};

use invengine_node::journal::{EveryFrame, Frame, JournalError, RedisJournal, RedisOptions};

/// A copy of a frame with events: its first and last sequence and its payload.
pub type Seen = (u64, u64, Vec<u8>);

/// Opens a journal and returns the frames with events that it held.
pub fn open(options: &RedisOptions) -> Result<(RedisJournal, Vec<Seen>), JournalError> {
    let mut frames = Vec::new();
    let journal = RedisJournal::recover(
        options,
        &mut EveryFrame(&mut |frame: Frame<'_>| {
            if !frame.is_claim() {
                frames.push((frame.first_sequence, frame.last_sequence, frame.payload.to_vec()));
            }
            Ok(())
        }),
    )?;
    Ok((journal, frames))
}

/// The frames 1..=count, as tests append them.
pub fn frames_up_to(count: u64) -> Vec<Seen> {
    (1..=count).map(|sequence| (sequence, sequence, payload(sequence))).collect()
}

/// Payload of the frame with this one event.
pub fn payload(sequence: u64) -> Vec<u8> {
    sequence.to_string().into_bytes()
}

/// A test for each kind of server: `both!(contract)` makes `contract_on_redis` and `contract_on_valkey`.
#[macro_export]
macro_rules! both {
    ($($test:ident),* $(,)?) => {
        mod on_redis {
            $(#[test] fn $test() { if let Some(kind) = super::Kind::redis(concat!("on_redis::", stringify!($test))) { super::$test(kind) } })*
        }
        mod on_valkey {
            $(#[test] fn $test() { if let Some(kind) = super::Kind::valkey(concat!("on_valkey::", stringify!($test))) { super::$test(kind) } })*
        }
    };
}
