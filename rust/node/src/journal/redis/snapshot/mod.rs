//! Snapshots in Redis: where they are, how one is written, and what of the stream is kept before them.

mod calls;
pub(in crate::journal::redis) mod locations;
pub(in crate::journal::redis) mod retention;
pub(in crate::journal::redis) mod store;
