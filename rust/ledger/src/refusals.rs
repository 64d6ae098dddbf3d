//! Rejections that callers asked to be remembered. They are events and part of the state, and can be found by their key for
//! as long as keys are remembered.
//!
//! They have windows of their own, separate from those of the keys, so that callers who are refused all day cannot shrink what
//! is remembered for everybody else. These windows rotate with those of the keys, and on their own when they reach their share
//! of memory. A key forgotten that way is not known to have been refused; a repeat that wants its answer remembered is then
//! refused because of its issue time.

use crate::codec::{Field, Malformed, Reader};
use crate::fingerprint::Fingerprint;
use crate::image::refusal;
use crate::keys::{KeyEntry, KeyHash, KeyPosition, KeyWindow, Keys, Scope};
use crate::outcome::Effect;
use crate::planted;
use crate::rejection::Rejection;

/// The remembered rejections, by key.
pub(crate) struct Refusals(Keys);

impl Refusals {
    /// An empty set. A hash of these keys is also valid here.
    pub fn beside(keys: &Keys) -> Self {
        Refusals(keys.empty_with_same_hasher())
    }

    /// The entry of a key that was refused.
    #[inline(always)]
    pub fn find(&self, hash: KeyHash, scope: Scope, key: &str) -> Option<&KeyEntry> {
        if self.0.len() == 0 {
            return None;
        }
        self.0.at(self.position(hash, scope, key)?)
    }

    fn position(&self, hash: KeyHash, scope: Scope, key: &str) -> Option<KeyPosition> {
        self.0.locate(hash, scope, key).filter(|_| !planted::is("refusal_not_found"))
    }

    /// Remembers a rejection.
    pub fn insert(
        &mut self,
        hash: KeyHash,
        scope: Scope,
        key: &str,
        (fingerprint, sequence): (Fingerprint, u64),
        rejection: &Rejection,
    ) {
        self.0.insert(hash, scope, key, fingerprint, sequence, Effect::refused(rejection));
    }

    /// Records that a refused command of this writer was issued ahead of engine time.
    pub fn note_clock_skew(&mut self, scope: Scope, issue_time_ms: i64) {
        self.0.note_clock_skew(scope, issue_time_ms);
    }

    /// True if the younger half has used its share of this many bytes.
    pub fn is_full(&self, bytes_max: usize) -> bool {
        self.0.younger_bytes() >= bytes_max / 2
    }

    /// Forgets the older half and starts a new younger one.
    pub fn forget_older(&mut self, now_ms: i64) {
        drop(self.0.rotate(now_ms));
    }

    /// Called when the windows of the keys rotate. These rotate too if everything in the older one predates what keys remember;
    /// if they rotated on their own in between, some of it does not.
    pub fn turn_with(&mut self, keys: &Keys, now_ms: i64) {
        if self.0.younger_since_ms() <= keys.remembered_since_ms() {
            self.forget_older(now_ms);
        }
    }

    /// True if a command of this writer with this issue time may have been refused under a key that is forgotten.
    pub fn may_be_forgotten(&self, scope: Scope, issue_time_ms: i64) -> bool {
        self.0.may_be_forgotten(scope, issue_time_ms)
    }

    /// The time since which all rejections are remembered.
    pub fn remembered_since_ms(&self) -> i64 {
        self.0.remembered_since_ms()
    }

    /// Number of remembered rejections.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Approximate memory in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// True if they add nothing to the keys, which is so until the first rejection.
    pub fn add_nothing_to(&self, keys: &Keys) -> bool {
        self.0.is_empty_like(keys)
    }

    /// Takes over the windows of the keys; for an image that has no windows of refusals.
    pub fn align(&mut self, keys: &Keys) {
        self.0.align(keys);
    }

    /// Both windows, the older one first.
    pub fn windows(&self) -> [&KeyWindow; 2] {
        self.0.windows()
    }

    /// Encodes what outlives the windows.
    pub fn put_forgotten(&self, out: &mut Vec<u8>) {
        self.0.put_forgotten(out);
    }

    /// Reads the next window of an image, the older one first, without its keys.
    pub fn restore_window(&mut self, from: &mut Reader<'_>) -> Result<(), Malformed> {
        self.0.restore_window(from)
    }

    /// Reads what outlives the windows from an image.
    pub fn restore_forgotten(&mut self, from: &mut Reader<'_>) -> Result<(), Malformed> {
        self.0.restore_forgotten(from)
    }

    /// Reads the next rejection of an image into one of the windows.
    pub fn restore(&mut self, older: bool, from: &mut Reader<'_>) -> Result<(), Malformed> {
        self.0.restore_key(older, from, refusal)
    }

    /// Number of rejections whose hash is not in the digest yet.
    pub fn unhashed(&self) -> usize {
        self.0.unhashed()
    }

    /// Sum of the hashes of all remembered rejections.
    pub fn digest(&mut self) -> u128 {
        self.0.digest()
    }
}

impl KeyEntry {
    /// The remembered rejection, or `None` if this entry is not one.
    pub fn refusal(&self) -> Option<Rejection> {
        let Effect::Refused(bytes) = &self.effect else { return None };
        Some(Rejection::read(&mut Reader::new(bytes)).expect("Invariant: it was encoded here"))
    }
}
