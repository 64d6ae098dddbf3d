//! One node of invengine: everything between a caller's bytes and the pure ledger.
//!
//! From the top down: `door` (gRPC) → `engine` (one writer, group commit) → `translate` (messages and commands) → `journal`
//! and the ledger.
#![forbid(unsafe_code)]

pub mod backup;
pub mod door;
pub mod engine;
mod incident;
pub mod journal;
pub mod methods;
pub mod positions;
pub mod preflight;
pub mod refusal;
mod sentences;
mod sizes;
pub mod translate;
pub mod verify;
