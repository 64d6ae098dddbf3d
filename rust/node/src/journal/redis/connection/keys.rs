//! The keys of a ledger in Redis, and the ids of its entries.

use std::fmt;

use crate::journal::frame::FrameHeader;
use crate::journal::{JournalPosition, SNAPSHOTS_KEPT};

/// Number of snapshot locations: those that are kept, and one for the next.
pub const LOCATIONS: usize = SNAPSHOTS_KEPT + 1;

/// Names of the keys. All keys of a ledger share one hash tag, so that a cluster keeps them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisKeys {
    /// The hash with owner, epoch and end of the journal.
    pub state: String,
    /// The stream of frames.
    pub frames: String,
    /// The locations of snapshots, each a hash.
    pub locations: [String; LOCATIONS],
}

impl RedisKeys {
    /// The keys of a ledger. Braces in its name would end the hash tag early, so they are escaped.
    pub fn of(ledger: &str) -> Self {
        let tag = ledger.replace('%', "%25").replace('{', "%7B").replace('}', "%7D");
        let key = |name: &str| format!("invengine:{{{tag}}}:{name}");
        let locations = std::array::from_fn(|location| key(&format!("snapshot:{location}")));
        Self { state: key("state"), frames: key("frames"), locations }
    }
}

/// The id of an entry: `<last sequence>-0` for a frame of events, `<last sequence>-<epoch>` for a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EntryId {
    /// Sequence of the last event up to here.
    pub sequence: u64,
    /// 0, or the epoch that is claimed.
    pub claim: u64,
}

impl EntryId {
    /// The only id that the entry with this frame may have.
    pub fn of(header: &FrameHeader) -> Self {
        Self { sequence: header.last_sequence, claim: if header.claim { header.writer_epoch } else { 0 } }
    }

    /// The latest id that an entry before a position may have.
    pub fn before(position: &JournalPosition) -> Self {
        Self { sequence: position.sequence(), claim: position.writer_epoch() }
    }

    /// The id that comes next.
    pub fn next(self) -> Self {
        Self { claim: self.claim + 1, ..self }
    }

    /// Parses an id such as `5-0`.
    pub fn parse(text: &str) -> Option<Self> {
        let (sequence, claim) = text.split_once('-')?;
        Some(Self { sequence: sequence.parse().ok()?, claim: claim.parse().ok()? })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.sequence, self.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ledger_has_keys_of_its_own_under_one_tag() {
        assert_eq!(RedisKeys::of("main").frames, "invengine:{main}:frames");
        let names = ["main", "a}b", "a", "{a", "}", "%7D", "a%"];
        let tags: Vec<String> = names.iter().map(|name| tag(&RedisKeys::of(name).state)).collect();
        for (index, name) in names.iter().enumerate() {
            assert_eq!(tag(&RedisKeys::of(name).frames), tags[index]);
            assert!(RedisKeys::of(name).locations.iter().all(|key| tag(key) == tags[index]), "{name}");
            assert!(!tags[index].is_empty() && !tags[..index].contains(&tags[index]), "{name}");
        }
    }

    /// What a cluster uses as the hash tag.
    fn tag(key: &str) -> String {
        let rest = key.split_once('{').unwrap().1;
        rest.split_once('}').unwrap().0.into()
    }
}
