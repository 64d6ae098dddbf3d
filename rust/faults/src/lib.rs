//! The fault simulator: the real ledger, engine and journals, one thread at a time, on a simulated disk, Redis, network and
//! clock, with clients that retry. One seed gives one run, bit by bit; every answer and every recovery is checked against a
//! slow reference model of the journal. It is never shipped.
#![forbid(unsafe_code)]

pub mod answer_checker;
mod authority;
pub mod client;
pub mod coroutine;
pub mod coverage_marks;
pub mod disk;
pub mod faults;
pub mod holds;
pub mod intent;
pub mod journal;
pub mod journal_checker;
pub mod messages;
#[allow(missing_docs, reason = "fields are named after the quantities")]
pub mod model;
pub mod network;
pub mod planted;
pub mod random;
pub mod reads;
pub mod redis;
pub mod report;
pub mod server;
pub mod shrink;
pub mod simulation;
mod sources;
pub mod storage;
pub mod swarm;
mod transfers;
