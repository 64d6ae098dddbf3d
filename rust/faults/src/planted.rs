//! Bugs that are put in on purpose, around the engine, to prove that the simulator finds such.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The disk says that it has synced, and has not.
    SyncWithoutSync,
    /// Answers leave before what they rest on is durable.
    EarlyAnswer,
    /// The journal says that it has appended, and every twentieth time has not.
    SkippedFrame,
}

impl Planted {
    /// All of them with the names of the command line.
    pub const ALL: [(&'static str, Planted); 3] = [
        ("sync-without-sync", Planted::SyncWithoutSync),
        ("early-answer", Planted::EarlyAnswer),
        ("skipped-frame", Planted::SkippedFrame),
    ];

    /// The bug of a name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|planted| planted.0 == name).map(|planted| planted.1)
    }
}
