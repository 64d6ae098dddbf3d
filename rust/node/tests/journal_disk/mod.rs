//! A simulated disk for tests: it tracks what is synced, records every call, fails on demand and crashes
//! in every way that the file journal must survive.
#![allow(dead_code, reason = "each test target uses a part of it")]
#![allow(unused_imports, reason = "each test target uses a part of it")]

mod disk;
mod run;
mod snapshots;
pub mod state;
mod storage;

pub use disk::{Call, Disk, Left, SECTOR_BYTES, sectors_of};
pub use run::{Kept, append_next, assert_prefix, expected, open, small, written};
pub use snapshots::{FILE_BYTES, Rebuilt, Sum, recover, recover_with, snapshot};
pub use storage::{Fault, TestStorage};
