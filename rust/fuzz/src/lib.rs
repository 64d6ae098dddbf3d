//! Fuzz targets: whatever bytes come from a disk, a server or a caller, they are refused or read, and memory stays bounded.
//!
//! A target is a function of bytes that panics when a guarantee is violated, and otherwise returns a signature of its
//! behaviour. Signatures steer the search: an input with a new one is kept and mutated further. No instrumented build is
//! needed, so stable Rust is sufficient, and a plain `cargo test` replays the committed corpus.
#![forbid(unsafe_code)]

mod batches;
mod byte_source;
mod calls;
pub mod corpus;
mod files;
mod frames;
mod images;
mod memory_disk;
mod mutate;
mod records;
mod script;
pub mod search;
mod snapshots;

use std::hash::{DefaultHasher, Hash, Hasher};

/// The signature of an input's behaviour: equal for inputs that were handled alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signature(u64);

impl Signature {
    fn of(what: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Signature(hasher.finish())
    }
}

/// One fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name of the target and of its corpus.
    pub name: &'static str,
    /// Runs an input. Panics if a guarantee is violated.
    pub run: fn(&[u8]) -> Signature,
    /// The initial inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets, the fastest first.
pub static TARGETS: [Target; 7] = [
    Target { name: "frames", run: frames::run, seeds: frames::seeds },
    Target { name: "records", run: records::run, seeds: records::seeds },
    Target { name: "images", run: images::run, seeds: images::seeds },
    Target { name: "batches", run: batches::run, seeds: batches::seeds },
    Target { name: "calls", run: calls::run, seeds: calls::seeds },
    Target { name: "files", run: files::run, seeds: files::seeds },
    Target { name: "snapshots", run: snapshots::run, seeds: snapshots::seeds },
];

/// The target with this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
