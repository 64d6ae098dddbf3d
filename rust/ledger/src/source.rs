//! External systems and their ordered streams of messages: the current epoch, the last number applied, the latest outcomes.

use crate::fingerprint::Fingerprint;
use crate::ids::Handle;
use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::name_rules::Confusables;
use crate::outcome::Effect;
use crate::record::OriginSource;
use crate::rejection::{Fact, Rejection};
use crate::stable_hash::StableHash;

/// Numbers of messages are below this: an image has no room for others.
const NUMBERS_END: u64 = 1 << 62;

/// Outcomes kept for each source's epoch.
pub const SOURCE_OUTCOMES_MAX: usize = 1_024;

/// The outcome of a numbered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoredOutcome {
    Accepted(Effect),
    Rejected(Rejection),
}

/// One numbered message that was applied.
#[derive(Clone, Debug)]
pub(crate) struct AppliedMessage {
    pub number: u64,
    pub fingerprint: Fingerprint,
    /// Position in the journal.
    pub sequence: u64,
    pub outcome: StoredOutcome,
}

impl AppliedMessage {
    /// What it did, if it was accepted.
    pub fn effect(&self) -> Option<&Effect> {
        match &self.outcome {
            StoredOutcome::Accepted(effect) => Some(effect),
            StoredOutcome::Rejected(_) => None,
        }
    }

    /// True if it was refused.
    pub fn is_refused(&self) -> bool {
        matches!(self.outcome, StoredOutcome::Rejected(_))
    }

    fn hash(&self, source: Handle) -> u128 {
        let hash = StableHash::new(7)
            .word(u64::from(source))
            .word(self.number)
            .word(self.fingerprint.hash)
            .word(self.sequence);
        match &self.outcome {
            StoredOutcome::Accepted(effect) => effect.add_to(hash.word(1)),
            StoredOutcome::Rejected(rejection) => hash_rejection(hash.word(2), rejection),
        }
        .digest()
    }
}

fn hash_rejection(hash: StableHash, rejection: &Rejection) -> StableHash {
    rejection.facts.iter().fold(hash.word(rejection.reason as u64), |hash, fact| match fact {
        Fact::Number(name, value) => hash.bytes(name.as_bytes()).signed(*value),
        Fact::Text(name, text) => hash.bytes(name.as_bytes()).bytes(text.as_bytes()),
    })
}

/// One source. Its high-water marks are never forgotten.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name.
    pub name: Box<str>,
    /// Current epoch.
    pub epoch: u64,
    /// Number of the last message applied in this epoch.
    pub last: u64,
    recent: VecDeque<AppliedMessage>,
}

impl Source {
    /// The message with this number, if its outcome is still kept.
    pub(crate) fn applied(&self, number: u64) -> Option<&AppliedMessage> {
        let first = self.recent.front()?.number;
        self.recent.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// The latest messages with their outcomes, in order.
    pub(crate) fn recent(&self) -> &VecDeque<AppliedMessage> {
        &self.recent
    }

    /// The effect of the message with this number, if it was accepted and is still kept.
    pub(crate) fn effect(&self, number: u64) -> Option<&Effect> {
        self.applied(number)?.effect()
    }

    fn hash(&self, handle: Handle) -> u128 {
        StableHash::new(6).word(u64::from(handle)).bytes(self.name.as_bytes()).word(self.epoch).word(self.last).digest()
    }
}

/// All sources of a ledger.
#[derive(Default)]
pub(crate) struct Sources {
    sources: Vec<Source>,
    handles: HashMap<Box<str>, Handle>,
    confusables: Confusables,
    digest: u128,
}

impl Sources {
    pub fn find(&self, name: &str) -> Option<Handle> {
        self.handles.get(name).copied()
    }

    /// The oldest name that people may confuse with this one, if that is another and older name.
    pub fn look_alike(&self, name: &str) -> Option<&str> {
        let name_of = |handle: Handle| &*self.sources[handle as usize].name;
        let oldest = self.confusables.oldest(name, name_of)?;
        let is_older = self.find(name).is_none_or(|own| oldest < own);
        is_older.then(|| name_of(oldest))
    }

    pub fn get(&self, handle: Handle) -> Option<&Source> {
        self.sources.get(handle as usize)
    }

    /// True if this is the next message of its source.
    pub fn is_next(&self, position: OriginSource) -> bool {
        self.get(position.source)
            .is_some_and(|source| source.epoch == position.epoch && source.last + 1 == position.number)
    }

    pub fn all(&self) -> &[Source] {
        &self.sources
    }

    /// Starts an epoch; returns the previous epoch and its last number.
    pub fn register(&mut self, name: &str, epoch: u64) -> (u64, u64) {
        let handle = self.find(name).unwrap_or_else(|| self.add(name));
        let source = &mut self.sources[handle as usize];
        let before = (source.epoch, source.last);
        self.digest = self.digest.wrapping_sub(source.hash(handle));
        for applied in source.recent.drain(..) {
            self.digest = self.digest.wrapping_sub(applied.hash(handle));
        }
        (source.epoch, source.last) = (epoch, 0);
        self.digest = self.digest.wrapping_add(source.hash(handle));
        before
    }

    /// Restores the next source of an image; returns false if it exists already or has too many outcomes.
    pub fn restore(&mut self, name: &str, epoch: u64, last: u64, recent: Vec<AppliedMessage>) -> bool {
        if self.find(name).is_some() || recent.len() > SOURCE_OUTCOMES_MAX {
            return false;
        }
        self.register(name, epoch);
        let handle = self.sources.len() - 1;
        let source = &mut self.sources[handle];
        self.digest = self.digest.wrapping_sub(source.hash(handle as Handle));
        source.last = last;
        source.recent = recent.into();
        let hashes = source.recent.iter().map(|applied| applied.hash(handle as Handle));
        self.digest = hashes.fold(self.digest.wrapping_add(source.hash(handle as Handle)), u128::wrapping_add);
        true
    }

    fn add(&mut self, name: &str) -> Handle {
        let handle = Handle::try_from(self.sources.len()).expect("Invariant: fewer than 2^32 sources");
        let source = Source { name: name.into(), epoch: 0, last: 0, recent: VecDeque::new() };
        self.digest = self.digest.wrapping_add(source.hash(handle));
        self.sources.push(source);
        self.handles.insert(name.into(), handle);
        self.confusables.add(name, handle, |handle| &self.sources[handle as usize].name);
        handle
    }

    /// Consumes numbers without a message, up to one; false if they are not those that come next. What was kept of the messages
    /// before them is dropped: they are recognised by their keys.
    pub fn skip(&mut self, handle: Handle, epoch: u64, through: u64) -> bool {
        let Some(source) = self.sources.get_mut(handle as usize) else { return false };
        if source.epoch != epoch || through <= source.last || through >= NUMBERS_END {
            return false;
        }
        self.digest = self.digest.wrapping_sub(source.hash(handle));
        for applied in source.recent.drain(..) {
            self.digest = self.digest.wrapping_sub(applied.hash(handle));
        }
        source.last = through;
        self.digest = self.digest.wrapping_add(source.hash(handle));
        true
    }

    /// Records the outcome of the next message; returns false if this is not the next one.
    pub fn record(&mut self, position: OriginSource, applied: AppliedMessage) -> bool {
        let handle = position.source;
        let next = self.is_next(position);
        let Some(source) = self.sources.get_mut(handle as usize).filter(|_| next) else {
            return false;
        };
        self.digest = self.digest.wrapping_sub(source.hash(handle));
        source.last = applied.number;
        self.digest = self.digest.wrapping_add(source.hash(handle)).wrapping_add(applied.hash(handle));
        source.recent.push_back(applied);
        if source.recent.len() > SOURCE_OUTCOMES_MAX {
            let forgotten = source.recent.pop_front().expect("Invariant: it has more than one");
            self.digest = self.digest.wrapping_sub(forgotten.hash(handle));
        }
        true
    }

    /// Sum of the hashes of all sources and kept messages.
    pub fn digest(&self) -> u128 {
        self.digest
    }
}
