//! What every journal promises, and how the file journal keeps it on a disk that fails.

#[path = "../journal_disk/mod.rs"]
mod journal_disk;
#[path = "../journal_redis/mod.rs"]
#[macro_use]
mod journal_redis;

mod backup;
mod contract;
mod crash;
mod damage;
mod denied;
mod faults;
mod format;
mod inspect;
mod newer;
mod retention;
mod snapshot_store;
mod snapshots;
