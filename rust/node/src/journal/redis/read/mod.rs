//! Reading the stream: its entries, one walk over all of them, and the reader beside a writer.

pub(in crate::journal::redis) mod entries;
pub(in crate::journal::redis) mod reader;
pub(in crate::journal::redis) mod walk;
