//! Numbers that had no effect, because whoever stated them does not own them or because they are older than what is known: the
//! newest of each writer for each level and state. And the time of the last physical change of each level, by which older
//! counts are recognised.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::codec::{Decoded, Field, Malformed, Reader};
use crate::ids::{Handle, LevelIndex};
use crate::stable_hash::StableHash;
use crate::states::StockState;

/// Most claims of one writer.
pub const CLAIMS_MAX: usize = 1_000_000;

/// Why a number had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ClaimReason {
    /// Its writer does not own the state there.
    NotOwner = 1,
    /// It is from before the last physical change of the level.
    AsOfStale = 2,
}

impl Field for ClaimReason {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        match from.byte()? {
            1 => Ok(ClaimReason::NotOwner),
            2 => Ok(ClaimReason::AsOfStale),
            _ => Err(Malformed("an unknown reason of a claim")),
        }
    }
}

/// Whose claim it is, and about what. The order of claims in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimKey {
    /// The source; `None` for commands that come from no source.
    pub source: Option<Handle>,
    /// The level.
    pub level: LevelIndex,
    /// The state.
    pub state: StockState,
}

/// One claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Units that its writer states.
    pub quantity: i64,
    /// Why it has no effect.
    pub reason: ClaimReason,
    /// Position of its event in the journal.
    pub sequence: u64,
    /// When it arrived, engine time.
    pub time_ms: i64,
    /// As of when it is, if its writer said so.
    pub event_time_ms: Option<i64>,
}

impl Field for ClaimKey {
    fn put(&self, out: &mut Vec<u8>) {
        self.source.map_or(0, |source| u64::from(source) + 1).put(out);
        self.level.put(out);
        self.state.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let source = match from.number()? {
            0 => None,
            source => Some(Handle::try_from(source - 1).map_err(|_| Malformed("a handle is out of range"))?),
        };
        Ok(ClaimKey { source, level: from.handle()?, state: Field::read(from)? })
    }
}

impl Field for Claim {
    fn put(&self, out: &mut Vec<u8>) {
        self.quantity.put(out);
        self.reason.put(out);
        self.sequence.put(out);
        self.time_ms.put(out);
        self.event_time_ms.is_some().put(out);
        self.event_time_ms.iter().for_each(|time_ms| time_ms.put(out));
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Claim {
            quantity: from.signed()?,
            reason: Field::read(from)?,
            sequence: from.number()?,
            time_ms: from.signed()?,
            event_time_ms: from.flag()?.then(|| from.signed()).transpose()?,
        })
    }
}

impl ClaimKey {
    fn hash(&self, claim: &Claim) -> u128 {
        let source = self.source.map_or(0, |source| u64::from(source) + 1);
        let hash = StableHash::new(13).word(source).word(u64::from(self.level)).word(self.state as u64);
        let hash = hash.signed(claim.quantity).word(claim.reason as u64).word(claim.sequence).signed(claim.time_ms);
        claim.event_time_ms.map_or(hash, |time_ms| hash.signed(time_ms)).digest()
    }
}

/// All claims of a ledger.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    claims: BTreeMap<ClaimKey, Claim>,
    counts: HashMap<Option<Handle>, usize>,
    digest: u128,
}

impl Claims {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// The claim of a writer about a level and state.
    pub fn get(&self, key: &ClaimKey) -> Option<&Claim> {
        self.claims.get(key)
    }

    /// Number of claims of a writer.
    pub fn count(&self, source: Option<Handle>) -> usize {
        self.counts.get(&source).copied().unwrap_or(0)
    }

    /// The claims behind one, in order; all without one.
    pub fn after(&self, last: Option<ClaimKey>) -> impl Iterator<Item = (&ClaimKey, &Claim)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.claims.range((last.map_or(Unbounded, Excluded), Unbounded))
    }

    /// The last claim, in order, before those of a source.
    pub fn last_before(&self, source: Handle) -> Option<ClaimKey> {
        let first = ClaimKey { source: Some(source), level: 0, state: StockState::OnHand };
        self.claims.range(..first).next_back().map(|(key, _)| *key)
    }

    /// Replaces the claim of a writer about a level and state.
    pub fn put(&mut self, key: ClaimKey, claim: Claim) {
        self.digest = self.digest.wrapping_add(key.hash(&claim));
        match self.claims.insert(key, claim) {
            Some(older) => self.digest = self.digest.wrapping_sub(key.hash(&older)),
            None => *self.counts.entry(key.source).or_default() += 1,
        }
    }

    /// Drops a claim: its writer has stated a number that took effect.
    pub fn remove(&mut self, key: &ClaimKey) {
        if let Some(claim) = self.claims.remove(key) {
            self.digest = self.digest.wrapping_sub(key.hash(&claim));
            if let Some(count) = self.counts.get_mut(&key.source) {
                *count -= 1;
            }
        }
    }

    /// Writers whose claims are not as many as was counted: an audit.
    pub fn miscounted(&self) -> Vec<Option<Handle>> {
        let mut counts: HashMap<Option<Handle>, usize> = HashMap::new();
        self.claims.keys().for_each(|key| *counts.entry(key.source).or_default() += 1);
        let mut writers: Vec<_> = counts.keys().chain(self.counts.keys()).copied().collect();
        writers.sort_unstable();
        writers.dedup();
        writers.retain(|writer| counts.get(writer).copied().unwrap_or(0) != self.count(*writer));
        writers
    }

    /// Sum of the hashes of all claims.
    pub fn digest(&self) -> u128 {
        self.digest
    }
}

/// When the stock of each level last changed, by event time where that was said, as long as rules of authority were in force.
#[derive(Debug, Default)]
pub(crate) struct LastChanges {
    changes: BTreeMap<LevelIndex, i64>,
    digest: u128,
}

impl LastChanges {
    /// When a level last changed, if that is known.
    pub fn of(&self, level: LevelIndex) -> Option<i64> {
        self.changes.get(&level).copied()
    }

    /// All of them, by level.
    pub fn iter(&self) -> impl Iterator<Item = (LevelIndex, i64)> {
        self.changes.iter().map(|(level, time_ms)| (*level, *time_ms))
    }

    /// Notes a change; an older one than the last adds nothing.
    pub fn note(&mut self, level: LevelIndex, time_ms: i64) {
        let before = self.changes.get(&level).copied();
        if before.is_none_or(|before| before < time_ms) {
            self.changes.insert(level, time_ms);
            self.digest = self.digest.wrapping_add(change_hash(level, time_ms));
            if let Some(before) = before {
                self.digest = self.digest.wrapping_sub(change_hash(level, before));
            }
        }
    }

    /// Sum of the hashes of all changes.
    pub fn digest(&self) -> u128 {
        self.digest
    }
}

fn change_hash(level: LevelIndex, time_ms: i64) -> u128 {
    StableHash::new(14).word(u64::from(level)).signed(time_ms).digest()
}
