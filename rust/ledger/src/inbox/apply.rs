//! Events of kept messages become state.

use super::{DeadLetter, HeldMessage, Inboxes, Ready, WaitingMessage};
use crate::apply::is_resumed;
use crate::entity::EntityKind;
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::planted;
use crate::record::{Origin, Record};
use crate::rejection::{Reason, Rejection};
use crate::scope::Scope;
use crate::stable_hash::StableHash;

impl Inboxes {
    /// Sum of the hashes of all kept messages.
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// Takes the next message whose time may have come.
    pub(super) fn pop_ready(&mut self) -> Option<Ready> {
        let next = self.ready_next.pop_first().map(Ready::Next);
        next.or_else(|| self.ready_waiting.pop_first().map(|(position, source)| Ready::Waiting(source, position)))
    }

    /// Puts back what was taken.
    pub(super) fn push_ready(&mut self, ready: Ready) {
        match ready {
            Ready::Next(source) => self.ready_next.insert(source),
            Ready::Waiting(source, position) => self.ready_waiting.insert((position, source)),
        };
    }

    /// Adds a parked message; false if its number is parked already.
    pub fn park(&mut self, held: HeldMessage) -> bool {
        let inbox = self.of_source.entry(held.source).or_default();
        if inbox.parked.contains_key(&held.number) {
            return false;
        }
        inbox.held_bytes += held.message.len();
        self.digest = self.digest.wrapping_add(parked_hash(&held));
        inbox.parked.insert(held.number, held);
        true
    }

    /// Adds a message that waits; false if there is one at its position, or one with its key waits.
    pub fn wait(&mut self, waiting: WaitingMessage) -> bool {
        let held = &waiting.held;
        let place = (held.source, held.sequence);
        let at_place = self.of_source.get(&held.source).is_some_and(|inbox| inbox.waiting.contains_key(&place.1));
        if at_place || self.waiting_keys.contains_key(&(held.scope, held.key.clone())) {
            return false;
        }
        self.awaited.entry((waiting.kind, waiting.name.clone())).or_default().push(place);
        self.waiting_keys.insert((held.scope, held.key.clone()), place);
        self.digest = self.digest.wrapping_add(waiting.hash());
        let inbox = self.of_source.entry(held.source).or_default();
        inbox.held_bytes += held.message.len();
        inbox.waiting.insert(place.1, waiting);
        true
    }

    /// Adds a dead letter; false if there is one at its position.
    pub fn bury(&mut self, letter: DeadLetter) -> bool {
        let inbox = self.of_source.entry(letter.held.source).or_default();
        if inbox.letters.contains_key(&letter.held.sequence) {
            return false;
        }
        inbox.letter_bytes += letter.held.message.len();
        self.digest = self.digest.wrapping_add(letter.hash());
        inbox.letters.insert(letter.held.sequence, letter);
        true
    }

    /// A number was consumed: its message is no longer parked.
    pub fn consumed(&mut self, source: Handle, number: u64) {
        let Some(inbox) = self.of_source.get_mut(&source) else { return };
        if planted::is("parked_applied_twice") && inbox.parked.contains_key(&number) {
            return;
        }
        if let Some(held) = inbox.parked.remove(&number) {
            inbox.held_bytes -= held.message.len();
            self.digest = self.digest.wrapping_sub(parked_hash(&held));
        }
        if inbox.parked.contains_key(&(number + 1)) {
            self.ready_next.insert(source);
        } else {
            self.ready_next.remove(&source);
        }
    }

    /// A source begins again: the parked messages of its older epoch are dropped. Returns their number.
    pub fn begin_epoch(&mut self, source: Handle) -> usize {
        let Some(inbox) = self.of_source.get_mut(&source) else { return 0 };
        if planted::is("parked_survives_epoch") {
            return 0;
        }
        let parked = std::mem::take(&mut inbox.parked);
        for held in parked.values() {
            inbox.held_bytes -= held.message.len();
            self.digest = self.digest.wrapping_sub(parked_hash(held));
        }
        parked.len()
    }

    /// Something exists now that messages may wait for.
    pub fn appeared(&mut self, kind: EntityKind, name: &str) {
        if self.awaited.is_empty() {
            return;
        }
        let Some(waiting) = self.awaited.get(&(kind, name.into())) else { return };
        if !planted::is("waiting_forgotten") {
            self.ready_waiting.extend(waiting.iter().map(|(source, position)| (*position, *source)));
        }
    }

    /// True if no message waits.
    #[inline]
    pub fn nothing_waits(&self) -> bool {
        self.waiting_keys.is_empty()
    }

    /// The message with this key that waits.
    pub fn waiting(&self, scope: Scope, key: &str) -> Option<&WaitingMessage> {
        let (source, position) = self.waiting_keys.get(&(scope.word(), key.into()))?;
        self.of_source.get(source)?.waiting.get(position)
    }

    /// A message whose time has come finds no room among the dead letters: it is tried again when there is room.
    pub(super) fn note_unburied(&mut self, source: Handle, position: u64) {
        self.unburied.insert((source, position));
    }

    /// Removes a message that waits; false if there is none.
    fn end_wait(&mut self, source: Handle, position: u64) -> bool {
        let Some(inbox) = self.of_source.get_mut(&source) else { return false };
        let Some(waiting) = inbox.waiting.remove(&position) else { return false };
        self.ready_waiting.remove(&(position, source));
        self.unburied.remove(&(source, position));
        // Where there was no room for one more, the next message can wait now.
        self.ready_next.insert(source);
        inbox.held_bytes -= waiting.held.message.len();
        self.digest = self.digest.wrapping_sub(waiting.hash());
        self.waiting_keys.remove(&(waiting.held.scope, waiting.held.key.clone()));
        let place = (waiting.kind, waiting.name);
        if let Some(others) = self.awaited.get_mut(&place) {
            others.retain(|other| *other != (source, position));
            if others.is_empty() {
                self.awaited.remove(&place);
            }
        }
        true
    }

    /// Removes a dead letter; false if there is none.
    fn settle(&mut self, source: Handle, letter: u64) -> bool {
        let Some(inbox) = self.of_source.get_mut(&source) else { return false };
        if planted::is("settled_letter_stays") {
            return inbox.letters.contains_key(&letter);
        }
        let Some(letter) = inbox.letters.remove(&letter) else { return false };
        inbox.letter_bytes -= letter.held.message.len();
        self.digest = self.digest.wrapping_sub(letter.hash());
        // Where there was no room for one more, the next message can be buried now.
        self.ready_next.insert(source);
        let unburied = self.unburied.range((source, 0)..=(source, u64::MAX));
        self.ready_waiting.extend(unburied.map(|(source, position)| (*position, *source)));
        self.unburied.retain(|(other, _)| *other != source);
        true
    }
}

/// Each returns false for an event that does not apply to the state.
impl Ledger {
    /// A message as it is kept by the event that is being applied.
    fn held(&self, record: &Record<'_>, message: &[u8]) -> Option<HeldMessage> {
        let origin = record.origin.as_ref().filter(|origin| !origin.key.is_empty())?;
        let position = origin.source?;
        self.sources.get(position.source)?;
        Some(HeldMessage {
            source: position.source,
            epoch: position.epoch,
            number: position.number,
            scope: origin.scope().word(),
            key: origin.key.into(),
            fingerprint: origin.fingerprint,
            sequence: self.sequence,
            time_ms: record.time_ms,
            event_time_ms: origin.event_time_ms,
            message: message.into(),
        })
    }

    /// As `held`, for a message whose number is consumed by the event, or was when it came.
    fn held_and_consumed(&self, record: &Record<'_>, message: &[u8]) -> Option<HeldMessage> {
        let position = record.origin.as_ref()?.source?;
        let source = self.sources.get(position.source)?;
        let was_consumed = position.epoch != source.epoch || position.number <= source.last;
        let fits = if is_resumed(record) { was_consumed } else { self.sources.is_next(position) };
        self.held(record, message).filter(|_| fits)
    }

    /// Whether the key of a dead letter remembers why it was refused. One that belongs to another command does not.
    pub(crate) fn key_remembers(&self, origin: &Origin<'_>, rejection: &Rejection) -> bool {
        // A channel that does not exist has no keys.
        let has_key = !origin.key.is_empty() && origin.unknown_channel.is_empty();
        let (scope, owned) = (origin.scope(), [Reason::IdempotencyKeyReused, Reason::KeyCancelled]);
        has_key
            && !owned.contains(&rejection.reason)
            && self.refusals.find(self.keys.hash_of(scope, origin.key), scope, origin.key).is_none()
    }

    pub(crate) fn apply_parked(&mut self, record: &Record<'_>, message: &[u8]) -> bool {
        let Some(held) = self.held(record, message) else { return false };
        let source = self.sources.get(held.source);
        let is_ahead = source.is_some_and(|source| source.epoch == held.epoch && held.number > source.last + 1);
        is_ahead && self.inboxes.park(held)
    }

    pub(crate) fn apply_waits(&mut self, record: &Record<'_>, kind: EntityKind, name: &str, message: &[u8]) -> bool {
        let Some(held) = self.held_and_consumed(record, message) else { return false };
        self.inboxes.wait(WaitingMessage { held, kind, name: name.into() })
    }

    pub(crate) fn apply_dead(&mut self, record: &Record<'_>, rejection: &Rejection, message: &[u8]) -> bool {
        let Some(held) = self.held_and_consumed(record, message) else { return false };
        planted::is("dead_letter_lost") || self.inboxes.bury(DeadLetter { held, rejection: rejection.clone() })
    }

    pub(crate) fn apply_wait_ended(&mut self, source: Handle, waiting: u64) -> bool {
        self.inboxes.end_wait(source, waiting)
    }

    pub(crate) fn apply_letter_settled(&mut self, source: Handle, letter: u64) -> bool {
        self.inboxes.settle(source, letter)
    }

    pub(crate) fn apply_gap_skipped(&mut self, source: Handle, epoch: u64, through: u64) -> bool {
        let first = self.inbox(source).and_then(|inbox| inbox.parked.keys().next());
        let skipped = first.is_none_or(|first| through < *first) && self.sources.skip(source, epoch, through);
        if skipped {
            self.inboxes.consumed(source, through);
        }
        skipped
    }

    /// What waits for its turn in a ledger that was read from an image.
    pub(crate) fn find_ready(&mut self) {
        let sources: Vec<Handle> = self.inboxes.of_source.keys().copied().collect();
        for source in sources {
            if self.next_parked(source).is_some() {
                self.inboxes.ready_next.insert(source);
            }
        }
        let names: Vec<(EntityKind, Box<str>)> = self.inboxes.awaited.keys().cloned().collect();
        for (kind, name) in names {
            if self.entities(kind).names().find(&name).is_some() {
                self.inboxes.appeared(kind, &name);
            }
        }
    }
}

fn parked_hash(held: &HeldMessage) -> u128 {
    held.add_to(StableHash::new(15))
}
