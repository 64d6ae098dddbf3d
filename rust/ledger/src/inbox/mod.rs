//! Messages of sources that could not be applied when they came: parked until a gap before them is filled, waiting for something
//! that is not known yet, or dead letters that a person must see. Each is kept as its bytes, which the ledger does not read.

mod apply;
mod execute;
mod image;

pub use execute::Settling;
pub(crate) use image::Kept;

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use crate::codec::{Decoded, Field, Reader};
use crate::entity::EntityKind;
use crate::fingerprint::Fingerprint;
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::rejection::{Reason, Rejection};
use crate::stable_hash::StableHash;

/// How long a message waits for what it names, ms.
pub const WAIT_MS_MAX: i64 = 24 * 3_600 * 1_000;

/// What is kept of one source at most.
#[derive(Clone, Copy, Debug)]
pub struct InboxLimits {
    /// Parked and waiting messages.
    pub held: usize,
    /// Their bytes.
    pub held_bytes: usize,
    /// Dead letters.
    pub letters: usize,
    /// Their bytes.
    pub letter_bytes: usize,
}

impl Default for InboxLimits {
    fn default() -> Self {
        InboxLimits { held: 10_000, held_bytes: 16 << 20, letters: 10_000, letter_bytes: 64 << 20 }
    }
}

/// A message that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldMessage {
    /// Its source.
    pub source: Handle,
    /// Epoch of its source when it came.
    pub epoch: u64,
    /// Its number in that epoch.
    pub number: u64,
    /// The scope of its key, as a number: a channel's, else its source's.
    pub(crate) scope: u64,
    /// Its id.
    pub key: Box<str>,
    /// Its meaning.
    pub fingerprint: Fingerprint,
    /// Position of the event that keeps it.
    pub sequence: u64,
    /// Time of that event.
    pub time_ms: i64,
    /// When it happened in the outside world, if that was said.
    pub event_time_ms: Option<i64>,
    /// Its bytes.
    pub message: Box<[u8]>,
}

/// A message that waits until something of this kind and name exists. Its number is consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingMessage {
    /// The message.
    pub held: HeldMessage,
    /// Kind of what it waits for.
    pub kind: EntityKind,
    /// Name of what it waits for.
    pub name: Box<str>,
}

/// A message that was refused. Its number is consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message.
    pub held: HeldMessage,
    /// Why.
    pub rejection: Rejection,
}

/// What is kept of one source.
#[derive(Debug, Default)]
pub struct Inbox {
    /// By number.
    parked: BTreeMap<u64, HeldMessage>,
    /// By position, which is their order.
    waiting: BTreeMap<u64, WaitingMessage>,
    /// By position.
    letters: BTreeMap<u64, DeadLetter>,
    held_bytes: usize,
    letter_bytes: usize,
}

/// A message whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// The next number of this source is parked.
    Next(Handle),
    /// What this message of the source waited for exists.
    Waiting(Handle, u64),
}

/// A message to be executed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyMessage {
    /// Its bytes.
    pub message: Box<[u8]>,
    ready: Ready,
}

/// What became of a message that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It waits no more.
    Over,
    /// It still waits.
    Goes,
    /// The frame has no room for its events.
    NoRoom,
}

impl ReadyMessage {
    /// Source and position of a message that waited; `None` for one that was parked.
    pub fn waiting(&self) -> Option<(Handle, u64)> {
        match self.ready {
            Ready::Next(_) => None,
            Ready::Waiting(source, position) => Some((source, position)),
        }
    }
}

/// Source and position of a message that waits.
type Place = (Handle, u64);

/// The messages of all sources.
#[derive(Debug, Default)]
pub(crate) struct Inboxes {
    of_source: BTreeMap<Handle, Inbox>,
    /// Those that wait for a kind and name, in order.
    awaited: HashMap<(EntityKind, Box<str>), Vec<Place>>,
    /// Those that wait, by scope and key.
    waiting_keys: HashMap<(u64, Box<str>), Place>,
    /// Sources whose next number may be parked.
    ready_next: BTreeSet<Handle>,
    /// Messages, by position and source, for which what they wait for exists.
    ready_waiting: BTreeSet<(u64, Handle)>,
    /// Messages, by source and position, that would be dead letters now if there were room for one more.
    unburied: BTreeSet<(Handle, u64)>,
    /// Kept messages are being executed: what they are answered sets nothing free that was tried just now.
    is_draining: bool,
    digest: u128,
}

impl Inbox {
    /// Parked messages, by number.
    pub fn parked(&self) -> impl Iterator<Item = &HeldMessage> {
        self.parked.values()
    }

    /// Number of parked messages.
    pub fn parked_count(&self) -> usize {
        self.parked.len()
    }

    /// Messages that wait, behind the one at a position.
    pub fn waiting_after(&self, position: u64) -> impl Iterator<Item = &WaitingMessage> {
        self.waiting.range(position.saturating_add(1)..).map(|(_, waiting)| waiting)
    }

    /// The message that waits since a position.
    pub fn waiting_at(&self, position: u64) -> Option<&WaitingMessage> {
        self.waiting.get(&position)
    }

    /// Number of messages that wait.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Dead letters, behind the one at a position.
    pub fn letters_after(&self, position: u64) -> impl Iterator<Item = &DeadLetter> {
        self.letters.range(position.saturating_add(1)..).map(|(_, letter)| letter)
    }

    /// Number of dead letters.
    pub fn letter_count(&self) -> usize {
        self.letters.len()
    }

    /// The dead letter at a position.
    pub fn letter(&self, position: u64) -> Option<&DeadLetter> {
        self.letters.get(&position)
    }

    /// Parked messages behind a number.
    pub fn parked_after(&self, number: u64) -> impl Iterator<Item = &HeldMessage> {
        self.parked.range(number.saturating_add(1)..).map(|(_, held)| held)
    }

    /// When the oldest message that is parked came.
    pub fn parked_since_ms(&self) -> Option<i64> {
        self.parked.values().map(|held| held.time_ms).min()
    }

    /// When the oldest message that waits came.
    pub fn waiting_since_ms(&self) -> Option<i64> {
        self.waiting.values().next().map(|waiting| waiting.held.time_ms)
    }
}

impl Ledger {
    /// What is kept of a source, if anything ever was.
    pub fn inbox(&self, source: Handle) -> Option<&Inbox> {
        self.inboxes.of_source.get(&source)
    }

    /// True if a message may have to be executed ([`Ledger::next_ready`]).
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.inboxes.ready_next.is_empty() || !self.inboxes.ready_waiting.is_empty()
    }

    /// The next message whose time has come, to be executed at once: one that was parked by [`Ledger::execute`], one that waited by
    /// [`Ledger::execute_waiting`].
    pub fn next_ready(&mut self) -> Option<ReadyMessage> {
        while let Some(ready) = self.inboxes.pop_ready() {
            let found = match ready {
                Ready::Next(source) => self.next_parked(source).map(|held| &held.message),
                Ready::Waiting(source, position) => {
                    let waiting = self.inbox(source).and_then(|inbox| inbox.waiting.get(&position));
                    waiting.map(|waiting| &waiting.held.message)
                }
            };
            if let Some(message) = found {
                let message = message.clone();
                self.inboxes.is_draining = true;
                return Some(ReadyMessage { message, ready });
            }
        }
        self.inboxes.is_draining = false;
        None
    }

    /// A message that could not be executed for lack of room is the next one again.
    pub fn put_back(&mut self, message: &ReadyMessage) {
        self.inboxes.is_draining = false;
        self.inboxes.push_ready(message.ready);
    }

    /// A message that has waited for longer than it may, of a source whose dead letters have room for it.
    pub fn overdue_waiting(&self, now_ms: i64) -> Option<ReadyMessage> {
        let first = |(source, inbox): (&Handle, &Inbox)| {
            let (position, waiting) = inbox.waiting.first_key_value()?;
            let overdue = now_ms.saturating_sub(waiting.held.time_ms) >= WAIT_MS_MAX;
            let message = || waiting.held.message.clone();
            let ends = overdue && self.letters_full(*source, waiting.held.message.len()).is_none();
            ends.then(|| ReadyMessage { message: message(), ready: Ready::Waiting(*source, *position) })
        };
        self.inboxes.of_source.iter().find_map(first)
    }

    /// The parked message with the next number of a source.
    fn next_parked(&self, source: Handle) -> Option<&HeldMessage> {
        let next = self.sources.get(source)?.last + 1;
        self.inbox(source)?.parked.get(&next)
    }
}

/// What a refused message may wait for.
fn awaited(rejection: &Rejection) -> Option<(EntityKind, &str)> {
    let text = |wanted: &str| {
        rejection.facts.iter().find_map(|fact| match fact {
            crate::rejection::Fact::Text(name, text) if *name == wanted => Some(&**text),
            _ => None,
        })
    };
    let kind = text("kind").filter(|_| rejection.reason == Reason::EntityNotFound)?;
    let kind = [EntityKind::StockTransfers].into_iter().find(|known| known.name() == kind)?;
    Some((kind, text("name")?))
}

/// The refusal of a message, as it is kept. An unknown source that the message passes on is a fault of the message: its own source
/// is known, and goes on.
pub(crate) fn of_message(rejection: Rejection) -> Rejection {
    if rejection.reason != Reason::UnknownSource {
        return rejection;
    }
    let rule = "a source that is registered";
    Rejection::new(Reason::InvalidField).text("field", "context.origin.source_id").text("description", rule)
}

/// Whether a refusal of a message leaves its number to a later attempt. Any other refusal makes it a dead letter.
pub fn leaves_number(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::StaleEpoch
            | Reason::SequenceGap
            | Reason::SequenceConflict
            | Reason::SequenceConsumed
            | Reason::Overloaded
            | Reason::TooLarge
            | Reason::AnswerTooLarge
    )
}

impl HeldMessage {
    fn add_to(&self, hash: StableHash) -> u128 {
        let hash = hash.word(u64::from(self.source)).word(self.epoch).word(self.number).word(self.scope);
        let hash = hash.bytes(self.key.as_bytes()).word(self.fingerprint.hash).word(self.sequence);
        let hash = hash.signed(self.time_ms).bytes(&self.message);
        self.event_time_ms.map_or(hash, |time_ms| hash.signed(time_ms)).digest()
    }
}

impl WaitingMessage {
    fn hash(&self) -> u128 {
        self.held.add_to(StableHash::new(16).word(self.kind as u64).bytes(self.name.as_bytes()))
    }
}

impl DeadLetter {
    fn hash(&self) -> u128 {
        let mut rejection = Vec::new();
        self.rejection.put(&mut rejection);
        self.held.add_to(StableHash::new(17).bytes(&rejection))
    }
}

impl Field for HeldMessage {
    fn put(&self, out: &mut Vec<u8>) {
        self.source.put(out);
        self.epoch.put(out);
        self.number.put(out);
        self.scope.put(out);
        self.key.put(out);
        self.fingerprint.hash.put(out);
        self.fingerprint.has_parts.put(out);
        self.sequence.put(out);
        self.time_ms.put(out);
        self.event_time_ms.is_some().put(out);
        self.event_time_ms.iter().for_each(|time_ms| time_ms.put(out));
        self.message.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(HeldMessage {
            source: from.handle()?,
            epoch: from.number()?,
            number: from.number()?,
            scope: from.number()?,
            key: Field::read(from)?,
            fingerprint: Fingerprint { hash: from.number()?, has_parts: from.flag()? },
            sequence: from.number()?,
            time_ms: from.signed()?,
            event_time_ms: from.flag()?.then(|| from.signed()).transpose()?,
            message: Field::read(from)?,
        })
    }
}
