//! Fuzz targets: whatever bytes a disk, a server or a caller hands in, they are refused or read, and memory stays bounded.
//!
//! A target is a function of bytes that panics when a promise is broken and otherwise tells in a word what the bytes came to.
//! That word steers the search: an input with a new one is kept and mutated further. No instrumented build is needed, so
//! stable Rust is enough, and a plain `cargo test` replays the committed corpus.
#![forbid(unsafe_code)]

mod calls;
pub mod corpus;
mod feed;
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

/// What an input came to, in short: equal for inputs that took the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen(u64);

impl Seen {
    fn of(what: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Seen(hasher.finish())
    }
}

/// One thing that is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Takes an input. Panics where a promise is broken.
    pub run: fn(&[u8]) -> Seen,
    /// Inputs that are good to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets, the fastest first.
pub static TARGETS: [Target; 6] = [
    Target { name: "frames", run: frames::run, seeds: frames::seeds },
    Target { name: "records", run: records::run, seeds: records::seeds },
    Target { name: "images", run: images::run, seeds: images::seeds },
    Target { name: "calls", run: calls::run, seeds: calls::seeds },
    Target { name: "files", run: files::run, seeds: files::seeds },
    Target { name: "snapshots", run: snapshots::run, seeds: snapshots::seeds },
];

/// The target of a name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
