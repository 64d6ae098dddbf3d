//! Bugs that are planted around the engine, to prove that the simulator finds them.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The disk reports a sync that it did not do.
    SyncWithoutSync,
    /// Answers leave before the events they depend on are durable.
    EarlyAnswer,
    /// The journal reports every twentieth append without doing it.
    SkippedFrame,
}

impl Planted {
    /// All bugs with their names on the command line.
    pub const ALL: [(&'static str, Planted); 3] = [
        ("sync-without-sync", Planted::SyncWithoutSync),
        ("early-answer", Planted::EarlyAnswer),
        ("skipped-frame", Planted::SkippedFrame),
    ];

    /// The bug of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|planted| planted.0 == name).map(|planted| planted.1)
    }
}
