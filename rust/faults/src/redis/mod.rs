//! A simulated Redis below the Redis journal: it executes what the journal sends as a real one would, and fails in every way
//! a real one can.

mod connection;
#[allow(missing_docs, reason = "fields are named after what they hold")]
pub mod dataset;
pub mod environment;
#[allow(missing_docs, reason = "fields are named after what they hold")]
pub mod instance;
pub mod lagging_copy;
pub mod library;
pub mod resp;
#[allow(missing_docs, reason = "fields are named after what they hold")]
pub mod simulated;
