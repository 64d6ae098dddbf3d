//! The one writer: it claims the journal, appends to it, and remembers what a server may have lost.

pub(in crate::journal::redis) mod open;
mod tail;
pub(in crate::journal::redis) mod writer;
