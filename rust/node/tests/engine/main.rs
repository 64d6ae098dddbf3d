//! The engine and its journals, called in process.

#[path = "../engine_harness/mod.rs"]
mod engine_harness;

mod answers;
mod backup;
mod driven;
mod history;
mod ledger_names;
mod old_names;
mod opening;
mod positions;
mod promises;
mod snapshots;
mod verify;
