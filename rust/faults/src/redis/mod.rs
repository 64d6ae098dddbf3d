//! A simulated Redis behind the seam of the Redis journal: it executes what the journal sends as a real one would, and fails in
//! every way a real one can.

#[allow(missing_docs, reason = "fields are named after what they hold")]
pub mod dataset;
#[allow(missing_docs, reason = "fields are named after what they hold")]
pub mod house;
pub mod late;
pub mod library;
#[allow(missing_docs, reason = "fields are named after what they hold")]
pub mod node;
pub mod resp;
pub mod shore;
mod wire;
