//! Rejections that their callers asked to be remembered. They are events, found again by their key for as long as keys are
//! remembered, and part of the state.
//!
//! They have windows of their own, beside those of the keys, so that callers who are refused all day cannot shrink what is
//! remembered of everybody else: these windows turn with the keys', and by themselves when they have their share of memory. A
//! key that was forgotten then is not known to have been refused; whoever asks for it again, and wants the answer remembered, is
//! refused for its issue time.

use crate::codec::{Malformed, RecordReader, decode_rejection};
use crate::fingerprint::Fingerprint;
use crate::image::refusal;
use crate::keys::{KeyEntry, KeyHash, KeyPlace, Keys, Scope, Window};
use crate::outcome::Effect;
use crate::planted;
use crate::rejection::Rejection;

/// The remembered rejections, by key.
pub(crate) struct Refusals(Keys);

impl Refusals {
    /// Nothing is remembered yet. A hash of these keys finds here too.
    pub fn beside(keys: &Keys) -> Self {
        Refusals(keys.another())
    }

    /// The entry of a key that was refused.
    #[inline]
    pub fn find(&self, hash: KeyHash, scope: Scope, key: &str) -> Option<&KeyEntry> {
        if self.0.len() == 0 {
            return None;
        }
        self.0.at(self.place(hash, scope, key)?)
    }

    fn place(&self, hash: KeyHash, scope: Scope, key: &str) -> Option<KeyPlace> {
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

    /// A refused command of this writer was issued ahead of engine time.
    pub fn note_lead(&mut self, scope: Scope, issue_time_ms: i64) {
        self.0.note_lead(scope, issue_time_ms);
    }

    /// True if the younger half has its share of so many bytes.
    pub fn is_full(&self, bytes_max: usize) -> bool {
        self.0.younger_bytes() >= bytes_max / 2
    }

    /// Forgets the older half; what comes from now on is the younger one.
    pub fn forget_older(&mut self, now_ms: i64) {
        drop(self.0.rotate(now_ms));
    }

    /// The windows of the keys turned. These turn too if everything in the older one is behind what keys remember; if they
    /// turned by themselves in between, some of it is not.
    pub fn turn_with(&mut self, keys: &Keys, now_ms: i64) {
        if self.0.younger_since_ms() <= keys.remembered_since_ms() {
            self.forget_older(now_ms);
        }
    }

    /// True if a command of this writer that was issued then may have been refused under a key that is forgotten.
    pub fn may_be_forgotten(&self, scope: Scope, issue_time_ms: i64) -> bool {
        self.0.may_be_forgotten(scope, issue_time_ms)
    }

    /// Rejections since then are all remembered.
    pub fn remembered_since_ms(&self) -> i64 {
        self.0.remembered_since_ms()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes that they take, roughly.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// True if they say nothing that the keys do not say: so it is until the first rejection.
    pub fn say_nothing(&self, keys: &Keys) -> bool {
        self.0.is_empty_beside(keys)
    }

    /// Gives them the windows of the keys, in an image that says nothing of them.
    pub fn align(&mut self, keys: &Keys) {
        self.0.align(keys);
    }

    /// Both windows, the older one first.
    pub fn windows(&self) -> [&Window; 2] {
        self.0.windows()
    }

    /// Writes down what outlives the windows.
    pub fn put_forgotten(&self, out: &mut Vec<u8>) {
        self.0.put_forgotten(out);
    }

    /// Takes the next window of an image, the older one first, without its keys.
    pub fn restore_window(&mut self, from: &mut RecordReader<'_>) -> Result<(), Malformed> {
        self.0.restore_window(from)
    }

    /// Takes what outlives the windows from an image.
    pub fn restore_forgotten(&mut self, from: &mut RecordReader<'_>) -> Result<(), Malformed> {
        self.0.restore_forgotten(from)
    }

    /// Takes the next rejection of an image into one of the windows.
    pub fn restore(&mut self, older: bool, from: &mut RecordReader<'_>) -> Result<(), Malformed> {
        self.0.restore_key(older, from, refusal)
    }

    /// Rejections whose hash is not in the digest yet.
    pub fn unhashed(&self) -> usize {
        self.0.unhashed()
    }

    /// Sum of the hashes of all of them.
    pub fn digest(&mut self) -> u128 {
        self.0.digest()
    }
}

impl KeyEntry {
    /// The rejection that it remembers, if it is one.
    pub fn refusal(&self) -> Option<Rejection> {
        let Effect::Refused(bytes) = &self.effect else { return None };
        Some(decode_rejection(bytes).expect("Invariant: it was encoded here"))
    }
}
