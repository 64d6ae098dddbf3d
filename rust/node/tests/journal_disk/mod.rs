//! A disk for tests: it knows what is synced, writes down every call, fails on demand and crashes
//! in every way the file journal must survive.
#![allow(dead_code, reason = "each test target uses a part of it")]
#![allow(unused_imports, reason = "each test target uses a part of it")]

mod disk;
mod history;
mod run;
pub mod state;
mod storage;

pub use disk::{Call, Disk, Left, SECTOR_BYTES, sectors_of};
pub use history::{FILE_BYTES, Rebuilt, Sum, recover, recover_with, snapshot};
pub use run::{Kept, append_next, assert_prefix, expected, open, small, written};
pub use storage::{Fault, TestStorage};
