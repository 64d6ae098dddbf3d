//! What keys did. Keys are kept in two windows that take turns: when the younger one has its age, the older one is
//! dropped whole, but for the keys of holds that are still known. Tables are split, so that none ever rehashes all at once.

use std::hash::BuildHasher;

use hashbrown::hash_table::OccupiedEntry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::chunks::{Chunks, Span, Texts};
use crate::codec::{Malformed, RecordReader, put, put_signed, put_text};
use crate::event::Slot;
use crate::fingerprint::Fingerprint;
use crate::image::{HIGHEST, put_effect};
use crate::index::Tag;
use crate::lead::Leads;
use crate::mix::Mix;
use crate::outcome::Effect;
use crate::planted;
use crate::reservation::ReservationId;
pub use crate::scope::Scope;

/// What one key did.
#[derive(Clone, Debug)]
pub struct KeyEntry {
    scope: u64,
    key: Span,
    /// The parts of the fingerprint can be told apart.
    parted: bool,
    /// Hash of the canonical command.
    hash: u64,
    /// Position of the command's last event.
    pub sequence: u64,
    /// What it did.
    pub effect: Effect,
}

impl KeyEntry {
    /// Hash of the canonical command.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint { hash: self.hash, parted: self.parted }
    }

    fn mixed(&self, key: &str) -> u128 {
        let mix = Mix::new(5).word(self.scope).bytes(key.as_bytes()).word(self.hash).word(self.sequence);
        self.effect.mix(mix).digest()
    }

    /// Bytes that it takes, roughly.
    fn bytes(&self, key: &str) -> usize {
        let of_lines = match &self.effect {
            Effect::Reserved(hold) if hold.lines.len() > 1 => hold.lines.len() * 24,
            Effect::Holds(holds) => holds.iter().map(|hold| 64 + hold.lines.len() * 24).sum(),
            Effect::Levels(levels) if levels.len() > 1 => levels.len() * 56,
            Effect::Refused(rejection) => rejection.len(),
            _ => 0,
        };
        std::mem::size_of::<KeyEntry>() + key.len() + of_lines + 12
    }
}

/// Beside the scope of a key in an image: the parts of its fingerprint can be told apart. No scope has this bit.
const PARTED: u64 = 1 << 34;

const TABLES: usize = 64;

/// An entry of a table: part of the hash, so that most misses and every growth leave the keys themselves alone. Most keys are
/// new, and the table tells so by its control bytes, without a look at the entries.
#[derive(Clone, Copy)]
struct Pointer {
    hash: u32,
    index: u32,
}

/// The hash that a table uses: hashbrown looks at the lowest bits and at the highest seven.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash) | (u64::from(hash) << 32)
}

/// Keys that are forgotten together.
pub(crate) struct Window {
    pub number: u32,
    start_ms: i64,
    tables: Vec<HashTable<Pointer>>,
    entries: Chunks<KeyEntry>,
    texts: Texts,
    bytes: usize,
    /// Those of the bytes that came from an older window.
    carried: usize,
    /// Sum of the hashes of the first `hashed` entries.
    digest: u128,
    hashed: usize,
    /// Reservations that ended while this was the younger window.
    pub ended: Vec<Slot>,
    /// Writers of its keys whose clock was ahead.
    leads: Leads,
}

impl Window {
    fn new(number: u32, start_ms: i64) -> Self {
        Window {
            number,
            start_ms,
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
            entries: Chunks::default(),
            texts: Texts::default(),
            bytes: 0,
            carried: 0,
            digest: 0,
            hashed: 0,
            ended: Vec::new(),
            leads: Leads::default(),
        }
    }

    #[inline]
    fn locate(&self, hash: KeyHash, scope: u64, key: &str) -> Option<KeyPlace> {
        let is_it = |found: &Pointer| {
            let entry = self.entries.get(found.index as usize).filter(|_| found.hash == hash.kept());
            entry.is_some_and(|entry| entry.scope == scope && self.texts.get(entry.key) == key)
        };
        let found = self.tables[hash.table()].find(spread(hash.kept()), is_it)?;
        Some(KeyPlace { window: self.number, index: found.index })
    }

    fn push(&mut self, hash: KeyHash, key: &str, entry: KeyEntry) {
        let index = u32::try_from(self.entries.len()).expect("Invariant: fewer than 2^32 keys in a window");
        self.bytes += entry.bytes(key);
        self.entries.push(entry);
        self.take_place(hash, index);
    }

    #[inline]
    fn take_place(&mut self, hash: KeyHash, index: u32) -> OccupiedEntry<'_, Pointer> {
        let pointer = Pointer { hash: hash.kept(), index };
        self.tables[hash.table()].insert_unique(spread(pointer.hash), pointer, |pointer| spread(pointer.hash))
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if it holds nothing and began when the other one did.
    fn is_empty_beside(&self, other: &Window) -> bool {
        let begins_with = (self.number, self.start_ms) == (other.number, other.start_ms);
        begins_with && self.entries.len() == 0 && self.leads.is_empty()
    }

    /// Writes everything but the keys down.
    pub fn put_head(&self, out: &mut Vec<u8>) {
        put(out, u64::from(self.number));
        put_signed(out, self.start_ms);
        put(out, self.carried as u64);
        put(out, self.ended.len() as u64);
        self.ended.iter().for_each(|slot| put(out, u64::from(*slot)));
        self.leads.put(out);
    }

    /// Writes one key down.
    pub fn put_key(&self, out: &mut Vec<u8>, index: usize) {
        let Some(entry) = self.entries.get(index) else { return };
        put(out, entry.scope | if entry.parted { PARTED } else { 0 });
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

    /// What a table keeps of it: the half that does not say which table.
    #[inline]
    fn kept(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Where a key's entry is, until its window is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyPlace {
    window: u32,
    index: u32,
}

/// All keys that are remembered.
pub(crate) struct Keys {
    hasher: DefaultHashBuilder,
    younger: Window,
    older: Window,
    /// Writers of forgotten keys whose clock was ahead.
    forgotten: Leads,
}

impl Default for Keys {
    fn default() -> Self {
        Keys {
            hasher: DefaultHashBuilder::default(),
            younger: Window::new(1, i64::MIN),
            older: Window::new(0, i64::MIN),
            forgotten: Leads::default(),
        }
    }
}

impl Keys {
    /// Room for other things that keys did: a hash of one is a hash of the other.
    pub fn another(&self) -> Self {
        Keys { hasher: self.hasher.clone(), ..Keys::default() }
    }

    /// True if they are none, and their windows are those of the others.
    pub fn is_empty_beside(&self, others: &Keys) -> bool {
        let same =
            self.windows().into_iter().zip(others.windows()).all(|(window, other)| window.is_empty_beside(other));
        same && self.forgotten.is_empty()
    }

    /// Gives them, who are none, the windows of the others.
    pub fn align(&mut self, others: &Keys) {
        let [older, younger] = others.windows().map(|window| Window::new(window.number, window.start_ms));
        (self.older, self.younger) = (older, younger);
    }

    /// The hash by which a key is found and remembered.
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
    pub fn locate(&self, hash: KeyHash, scope: Scope, key: &str) -> Option<KeyPlace> {
        let scope = scope.word();
        let older = || self.older.locate(hash, scope, key).filter(|_| !planted::is("key_forgotten_early"));
        self.younger.locate(hash, scope, key).or_else(older)
    }

    /// The entry at a place, if it is still remembered.
    #[inline]
    pub fn at(&self, place: KeyPlace) -> Option<&KeyEntry> {
        let window = [&self.younger, &self.older].into_iter().find(|window| window.number == place.window)?;
        window.entries.get(place.index as usize)
    }

    /// What a key did, if it is remembered.
    #[inline]
    pub fn find(&self, scope: Scope, key: &str) -> Option<&KeyEntry> {
        self.at(self.locate(self.hash_of(scope, key), scope, key)?)
    }

    /// Takes the place of a key and gives it back: the memory has it near when the key comes.
    #[inline]
    pub fn bring_near(&mut self, hash: KeyHash) {
        self.younger.take_place(hash, u32::MAX).remove();
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
        let Fingerprint { hash: meaning, parted } = fingerprint;
        let entry = KeyEntry { scope, key: span, parted, hash: meaning, sequence, effect };
        self.younger.push(hash, key, entry);
    }

    /// Cancels a key that was never used. Once in a window is enough, however often its caller makes sure.
    pub fn cancel(&mut self, scope: Scope, key: &str, sequence: u64) {
        let hash = self.hash_of(scope, key);
        if self.younger.locate(hash, scope.word(), key).is_none() && !planted::is("cancelled_key_forgotten") {
            self.insert(hash, scope, key, Fingerprint::default(), sequence, Effect::Tombstone);
        }
    }

    /// Where the key is that was remembered last.
    #[inline]
    pub fn last(&self) -> Option<KeyPlace> {
        let index = self.younger.entries.len().checked_sub(1)?;
        Some(KeyPlace { window: self.younger.number, index: index as u32 })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.younger.entries.len() + self.older.entries.len()
    }

    /// Bytes that they take, roughly.
    pub fn bytes(&self) -> usize {
        self.younger.bytes + self.older.bytes
    }

    /// Bytes of the keys that are new in the younger window, roughly.
    pub fn younger_bytes(&self) -> usize {
        self.younger.bytes.saturating_sub(self.younger.carried)
    }

    /// A command of this writer was issued ahead of engine time.
    pub fn note_lead(&mut self, scope: Scope, issue_time_ms: i64) {
        self.younger.leads.note(scope.word(), issue_time_ms);
    }

    /// True if a command of this writer that was issued then may have been executed under a key that is forgotten.
    pub fn may_be_forgotten(&self, scope: Scope, issue_time_ms: i64) -> bool {
        // A key that came in the same millisecond before the windows turned is forgotten with those before it.
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

    /// A reservation ended now.
    pub fn note_ended(&mut self, slot: Slot) {
        self.younger.ended.push(slot);
    }

    /// Takes the older window out; the younger one becomes it.
    pub fn rotate(&mut self, now_ms: i64) -> Window {
        let next = Window::new(self.younger.number + 1, now_ms);
        let mut dropped = std::mem::replace(&mut self.older, std::mem::replace(&mut self.younger, next));
        self.forgotten.take_in(std::mem::take(&mut dropped.leads), self.older.start_ms);
        dropped
    }

    /// Goes on remembering the keys of a window whose holds are still known: a hold can be named by its key as long as by its id.
    pub fn carry(&mut self, window: Window, known: impl Fn(ReservationId) -> bool) {
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
    pub fn windows(&self) -> [&Window; 2] {
        [&self.older, &self.younger]
    }

    /// Takes the next window of an image, the older one first, without its keys.
    pub fn restore_window(&mut self, from: &mut RecordReader<'_>) -> Result<(), Malformed> {
        let number = u32::try_from(from.number()?).map_err(|_| Malformed("a window's number is out of range"))?;
        let mut window = Window::new(number, from.signed()?);
        window.carried = usize::try_from(from.number()?).map_err(|_| Malformed("a window is too large"))?;
        for _ in 0..from.count(1)? {
            window.ended.push(from.handle()?);
        }
        window.leads = Leads::read(from)?;
        self.older = std::mem::replace(&mut self.younger, window);
        Ok(())
    }

    /// Writes down what outlives the windows.
    pub fn put_forgotten(&self, out: &mut Vec<u8>) {
        self.forgotten.put(out);
    }

    /// Takes what outlives the windows from an image; the windows are there by then.
    pub fn restore_forgotten(&mut self, from: &mut RecordReader<'_>) -> Result<(), Malformed> {
        self.forgotten = Leads::read(from)?;
        let fits = self.older.number.checked_add(1) == Some(self.younger.number) && self.younger.number < HIGHEST;
        fits.then_some(()).ok_or(Malformed("the windows of keys do not follow each other"))
    }

    /// Takes the next key of an image into one of the windows; `effect` reads what it did.
    pub fn restore_key<'a>(
        &mut self,
        older: bool,
        from: &mut RecordReader<'a>,
        effect: impl FnOnce(&mut RecordReader<'a>) -> Result<Effect, Malformed>,
    ) -> Result<(), Malformed> {
        let (scope, key) = (from.number()?, from.text()?);
        let (scope, parted) = (scope & !PARTED, scope & PARTED != 0);
        let meaning = u64::from_le_bytes(from.array()?);
        let (sequence, effect) = (from.number()?, effect(from)?);
        let hash = self.hash_of_word(scope, key);
        let window = if older { &mut self.older } else { &mut self.younger };
        let entry = KeyEntry { scope, key: window.texts.push(key), parted, hash: meaning, sequence, effect };
        window.push(hash, key, entry);
        Ok(())
    }

    /// Keys whose hash is not in the digest yet.
    pub fn unhashed(&self) -> usize {
        self.younger.entries.len() - self.younger.hashed + self.older.entries.len() - self.older.hashed
    }

    /// Sum of the hashes of all keys.
    pub fn digest(&mut self) -> u128 {
        for window in [&mut self.older, &mut self.younger] {
            for entry in window.entries.from(window.hashed) {
                window.digest = window.digest.wrapping_add(entry.mixed(window.texts.get(entry.key)));
            }
            window.hashed = window.entries.len();
        }
        self.older.digest.wrapping_add(self.younger.digest)
    }
}
