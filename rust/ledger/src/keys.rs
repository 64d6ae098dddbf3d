//! What each key did. Keys are kept in two windows that take turns: when the younger one reaches its age, the older one is
//! dropped as a whole, except for the keys of holds that are still known. The table is split into parts, so that it never
//! rehashes all at once.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::chunks::{Chunks, Span, Texts};
use crate::clock_skew::ClockSkews;
use crate::codec::{Malformed, Reader, put, put_signed, put_text};
use crate::fingerprint::Fingerprint;
use crate::ids::{ReservationId, Slot};
use crate::image::{HIGHEST, put_effect};
use crate::index::{Index, Tag};
use crate::level::LevelFigures;
use crate::outcome::Effect;
use crate::planted;
pub use crate::scope::Scope;
use crate::stable_hash::StableHash;
use crate::stock_transfer::{TransferChange, TransferLine};

/// What one key did.
#[derive(Clone, Debug)]
pub struct KeyEntry {
    scope: u64,
    key: Span,
    /// Whether the fingerprint has distinguishable parts.
    has_parts: bool,
    /// Hash of the canonical command.
    hash: u64,
    /// Position of the command's last event.
    pub sequence: u64,
    /// What the key did.
    pub effect: Effect,
}

impl KeyEntry {
    /// Hash of the canonical command.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint { hash: self.hash, has_parts: self.has_parts }
    }

    fn digest(&self, key: &str) -> u128 {
        let hash = StableHash::new(5).word(self.scope).bytes(key.as_bytes()).word(self.hash).word(self.sequence);
        self.effect.add_to(hash).digest()
    }

    /// Approximate memory in bytes.
    fn bytes(&self, key: &str) -> usize {
        let of_lines = match &self.effect {
            Effect::Reserved(hold) if hold.lines.len() > 1 => hold.lines.len() * 24,
            Effect::Holds(holds) => holds.iter().map(|hold| 64 + hold.lines.len() * 24).sum(),
            Effect::Levels(levels) if levels.len() > 1 => levels.len() * size_of::<LevelFigures>(),
            Effect::Claimed { levels, lines } => {
                levels.len() * size_of::<LevelFigures>() + lines.len() * size_of::<u32>()
            }
            Effect::Put(versions) if versions.len() > 1 => versions.len() * size_of::<u64>(),
            Effect::Transfer(change) => {
                size_of::<TransferChange>() + change.value.lines.len() * size_of::<TransferLine>()
            }
            Effect::Refused(rejection) => rejection.len(),
            _ => 0,
        };
        std::mem::size_of::<KeyEntry>() + key.len() + of_lines + 12
    }
}

/// Flag beside the scope of a key in an image: its fingerprint has distinguishable parts. No scope uses this bit.
const HAS_PARTS: u64 = 1 << 34;

const TABLES: usize = 64;

/// Keys that are forgotten together.
pub(crate) struct KeyWindow {
    pub number: u32,
    start_ms: i64,
    tables: Vec<Index>,
    entries: Chunks<KeyEntry>,
    texts: Texts,
    bytes: usize,
    /// The part of `bytes` that was carried over from an older window.
    carried: usize,
    /// Sum of the hashes of the first `hashed` entries.
    digest: u128,
    hashed: usize,
    /// Reservations that ended while this was the younger window.
    pub ended: Vec<Slot>,
    /// Writers of its keys whose clock was ahead.
    clock_skews: ClockSkews,
}

impl KeyWindow {
    fn new(number: u32, start_ms: i64) -> Self {
        KeyWindow {
            number,
            start_ms,
            tables: (0..TABLES).map(|_| Index::default()).collect(),
            entries: Chunks::default(),
            texts: Texts::default(),
            bytes: 0,
            carried: 0,
            digest: 0,
            hashed: 0,
            ended: Vec::new(),
            clock_skews: ClockSkews::default(),
        }
    }

    #[inline]
    fn locate(&self, hash: KeyHash, scope: u64, key: &str) -> Option<KeyPosition> {
        let is_it = |index: u32| {
            let entry = self.entries.get(index as usize);
            entry.is_some_and(|entry| entry.scope == scope && self.texts.get(entry.key) == key)
        };
        let index = self.tables[hash.table()].find(hash.tag(), is_it)?;
        Some(KeyPosition { window: self.number, index })
    }

    fn push(&mut self, hash: KeyHash, key: &str, entry: KeyEntry) {
        let index = u32::try_from(self.entries.len()).expect("Invariant: fewer than 2^32 keys in a window");
        self.bytes += entry.bytes(key);
        self.entries.push(entry);
        self.tables[hash.table()].insert(hash.tag(), index);
    }

    /// Number of keys in the window.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if it is empty and began when the other one did.
    fn is_empty_like(&self, other: &KeyWindow) -> bool {
        let begins_with = (self.number, self.start_ms) == (other.number, other.start_ms);
        begins_with && self.entries.len() == 0 && self.clock_skews.is_empty()
    }

    /// Encodes everything except the keys.
    pub fn put_head(&self, out: &mut Vec<u8>) {
        put(out, u64::from(self.number));
        put_signed(out, self.start_ms);
        put(out, self.carried as u64);
        put(out, self.ended.len() as u64);
        self.ended.iter().for_each(|slot| put(out, u64::from(*slot)));
        self.clock_skews.put(out);
    }

    /// Encodes one key.
    pub fn put_key(&self, out: &mut Vec<u8>, index: usize) {
        let Some(entry) = self.entries.get(index) else { return };
        put(out, entry.scope | if entry.has_parts { HAS_PARTS } else { 0 });
        put_text(out, self.texts.get(entry.key));
        out.extend_from_slice(&entry.hash.to_le_bytes());
        put(out, entry.sequence);
        put_effect(out, &entry.effect);
    }
}

/// The hash of a key and its scope.
#[derive(Clone, Copy)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    /// Its tag for an index.
    #[inline]
    pub fn tag(self) -> Tag {
        Tag::of(self.0)
    }

    #[inline]
    fn table(self) -> usize {
        self.0 as usize % TABLES
    }
}

/// Where a key's entry is, until its window is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyPosition {
    window: u32,
    index: u32,
}

/// All keys that are remembered.
pub(crate) struct Keys {
    hasher: DefaultHashBuilder,
    younger: KeyWindow,
    older: KeyWindow,
    /// Writers of forgotten keys whose clock was ahead.
    forgotten: ClockSkews,
}

impl Default for Keys {
    fn default() -> Self {
        Keys {
            hasher: DefaultHashBuilder::default(),
            younger: KeyWindow::new(1, i64::MIN),
            older: KeyWindow::new(0, i64::MIN),
            forgotten: ClockSkews::default(),
        }
    }
}

impl Keys {
    /// An empty set of keys with the same hasher: a `KeyHash` of one is valid for the other.
    pub fn empty_with_same_hasher(&self) -> Self {
        Keys { hasher: self.hasher.clone(), ..Keys::default() }
    }

    /// True if there are no keys and the windows are those of the others.
    pub fn is_empty_like(&self, others: &Keys) -> bool {
        let same = self.windows().into_iter().zip(others.windows()).all(|(window, other)| window.is_empty_like(other));
        same && self.forgotten.is_empty()
    }

    /// Takes over the windows of the others; there must be no keys.
    pub fn align(&mut self, others: &Keys) {
        let [older, younger] = others.windows().map(|window| KeyWindow::new(window.number, window.start_ms));
        (self.older, self.younger) = (older, younger);
    }

    /// The hash by which a key is found and stored.
    #[inline]
    pub fn hash_of(&self, scope: Scope, key: &str) -> KeyHash {
        self.hash_of_word(scope.word(), key)
    }

    #[inline]
    fn hash_of_word(&self, scope: u64, key: &str) -> KeyHash {
        KeyHash(self.hasher.hash_one((scope, key)))
    }

    /// Where the entry of a key is, if it is remembered.
    #[inline]
    pub fn locate(&self, hash: KeyHash, scope: Scope, key: &str) -> Option<KeyPosition> {
        let scope = scope.word();
        let older = || self.older.locate(hash, scope, key).filter(|_| !planted::is("key_forgotten_early"));
        self.younger.locate(hash, scope, key).or_else(older)
    }

    /// The entry at a position, if it is still remembered.
    #[inline]
    pub fn at(&self, position: KeyPosition) -> Option<&KeyEntry> {
        let window = [&self.younger, &self.older].into_iter().find(|window| window.number == position.window)?;
        window.entries.get(position.index as usize)
    }

    /// What a key did, if it is remembered.
    #[inline]
    pub fn find(&self, scope: Scope, key: &str) -> Option<&KeyEntry> {
        self.at(self.locate(self.hash_of(scope, key), scope, key)?)
    }

    /// Reads the buckets of a key in both windows, which leaves them in the cache.
    #[inline]
    pub fn touch(&self, hash: KeyHash) -> i64 {
        let bucket = |window: &KeyWindow| window.tables[hash.table()].first(hash.tag()).map_or(0, i64::from);
        bucket(&self.younger) ^ bucket(&self.older)
    }

    /// Remembers what a key did.
    pub fn insert(
        &mut self,
        hash: KeyHash,
        scope: Scope,
        key: &str,
        fingerprint: Fingerprint,
        sequence: u64,
        effect: Effect,
    ) {
        let (scope, span) = (scope.word(), self.younger.texts.push(key));
        let Fingerprint { hash: meaning, has_parts } = fingerprint;
        let entry = KeyEntry { scope, key: span, has_parts, hash: meaning, sequence, effect };
        self.younger.push(hash, key, entry);
    }

    /// Cancels a key that was never used. One tombstone per window is enough, however often the caller repeats this.
    pub fn cancel(&mut self, scope: Scope, key: &str, sequence: u64) {
        let hash = self.hash_of(scope, key);
        if self.younger.locate(hash, scope.word(), key).is_none() && !planted::is("cancelled_key_forgotten") {
            self.insert(hash, scope, key, Fingerprint::default(), sequence, Effect::Tombstone);
        }
    }

    /// The position of the key that was inserted last.
    #[inline]
    pub fn last(&self) -> Option<KeyPosition> {
        let index = self.younger.entries.len().checked_sub(1)?;
        Some(KeyPosition { window: self.younger.number, index: index as u32 })
    }

    /// True if no key of a record from this position on has been forgotten.
    pub fn remembers_all_from(&self, sequence: u64) -> bool {
        let first = self.older.entries.get(0).or_else(|| self.younger.entries.get(0));
        first.is_some_and(|first| first.sequence <= sequence)
    }

    /// Number of remembered keys.
    pub fn len(&self) -> usize {
        self.younger.entries.len() + self.older.entries.len()
    }

    /// Approximate memory in bytes.
    pub fn bytes(&self) -> usize {
        self.younger.bytes + self.older.bytes
    }

    /// Approximate bytes of the keys that are new in the younger window.
    pub fn younger_bytes(&self) -> usize {
        self.younger.bytes.saturating_sub(self.younger.carried)
    }

    /// Records that a command of this writer was issued ahead of engine time.
    pub fn note_clock_skew(&mut self, scope: Scope, issue_time_ms: i64) {
        self.younger.clock_skews.note(scope.word(), issue_time_ms);
    }

    /// True if a command of this writer with this issue time may have been executed under a key that is forgotten.
    pub fn may_be_forgotten(&self, scope: Scope, issue_time_ms: i64) -> bool {
        // A key of the same millisecond, but before the rotation, is forgotten with the earlier ones.
        issue_time_ms <= self.older.start_ms
            || self.forgotten.latest(scope.word()).is_some_and(|latest| issue_time_ms <= latest)
    }

    /// When the older window began: keys recorded since then are all remembered.
    pub fn remembered_since_ms(&self) -> i64 {
        self.older.start_ms
    }

    /// When the younger window began.
    pub fn younger_since_ms(&self) -> i64 {
        self.younger.start_ms
    }

    /// Number of the younger window.
    pub fn window(&self) -> u32 {
        self.younger.number
    }

    /// Records that a reservation ended now.
    pub fn note_ended(&mut self, slot: Slot) {
        self.younger.ended.push(slot);
    }

    /// Rotates the windows: returns the older one, and the younger one becomes the older.
    pub fn rotate(&mut self, now_ms: i64) -> KeyWindow {
        let next = KeyWindow::new(self.younger.number + 1, now_ms);
        let mut dropped = std::mem::replace(&mut self.older, std::mem::replace(&mut self.younger, next));
        self.forgotten.absorb(std::mem::take(&mut dropped.clock_skews), self.older.start_ms);
        dropped
    }

    /// Keeps the keys of a dropped window whose holds are still known: a hold can be named by its key as long as by its id.
    pub fn carry(&mut self, window: KeyWindow, known: impl Fn(ReservationId) -> bool) {
        let texts = window.texts;
        for entry in window.entries {
            if matches!(&entry.effect, Effect::Reserved(hold) if known(hold.id)) {
                let key = texts.get(entry.key);
                self.younger.carried += entry.bytes(key);
                let hash = self.hash_of_word(entry.scope, key);
                let entry = KeyEntry { key: self.younger.texts.push(key), ..entry };
                self.younger.push(hash, key, entry);
            }
        }
    }

    /// Both windows, the older one first.
    pub fn windows(&self) -> [&KeyWindow; 2] {
        [&self.older, &self.younger]
    }

    /// Reads the next window of an image, the older one first, without its keys.
    pub fn restore_window(&mut self, from: &mut Reader<'_>) -> Result<(), Malformed> {
        let number = u32::try_from(from.number()?).map_err(|_| Malformed("a window's number is out of range"))?;
        let mut window = KeyWindow::new(number, from.signed()?);
        window.carried = usize::try_from(from.number()?).map_err(|_| Malformed("a window is too large"))?;
        for _ in 0..from.count(1)? {
            window.ended.push(from.handle()?);
        }
        window.clock_skews = ClockSkews::read(from)?;
        self.older = std::mem::replace(&mut self.younger, window);
        Ok(())
    }

    /// Encodes what outlives the windows.
    pub fn put_forgotten(&self, out: &mut Vec<u8>) {
        self.forgotten.put(out);
    }

    /// Reads what outlives the windows from an image; the windows must have been read.
    pub fn restore_forgotten(&mut self, from: &mut Reader<'_>) -> Result<(), Malformed> {
        self.forgotten = ClockSkews::read(from)?;
        let fits = self.older.number.checked_add(1) == Some(self.younger.number) && self.younger.number < HIGHEST;
        fits.then_some(()).ok_or(Malformed("the windows of keys do not follow each other"))
    }

    /// Reads the next key of an image into one of the windows; `effect` decodes what it did.
    pub fn restore_key<'a>(
        &mut self,
        older: bool,
        from: &mut Reader<'a>,
        effect: impl FnOnce(&mut Reader<'a>) -> Result<Effect, Malformed>,
    ) -> Result<(), Malformed> {
        let (scope, key) = (from.number()?, from.text()?);
        let (scope, has_parts) = (scope & !HAS_PARTS, scope & HAS_PARTS != 0);
        let meaning = u64::from_le_bytes(from.array()?);
        let (sequence, effect) = (from.number()?, effect(from)?);
        let hash = self.hash_of_word(scope, key);
        let window = if older { &mut self.older } else { &mut self.younger };
        let entry = KeyEntry { scope, key: window.texts.push(key), has_parts, hash: meaning, sequence, effect };
        window.push(hash, key, entry);
        Ok(())
    }

    /// Number of keys whose hash is not in the digest yet.
    pub fn unhashed(&self) -> usize {
        self.younger.entries.len() - self.younger.hashed + self.older.entries.len() - self.older.hashed
    }

    /// Sum of the hashes of all keys.
    pub fn digest(&mut self) -> u128 {
        for window in [&mut self.older, &mut self.younger] {
            for entry in window.entries.from(window.hashed) {
                window.digest = window.digest.wrapping_add(entry.digest(window.texts.get(entry.key)));
            }
            window.hashed = window.entries.len();
        }
        self.older.digest.wrapping_add(self.younger.digest)
    }
}
