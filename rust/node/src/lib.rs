//! One node of invengine: what stands between a caller's bytes and the pure ledger.
#![forbid(unsafe_code)]

pub mod journal;
