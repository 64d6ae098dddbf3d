//! The journal in Redis and Valkey, on real servers.

#[path = "../engine_harness/mod.rs"]
mod engine_harness;
#[path = "../journal_disk/mod.rs"]
mod journal_disk;
#[path = "../journal_fixture/mod.rs"]
mod journal_fixture;
#[path = "../journal_redis/mod.rs"]
#[macro_use]
mod journal_redis;

mod access;
mod backup;
mod engine;
mod errors;
mod faults;
mod restore;
mod snapshots;
mod trim;
mod verify;
