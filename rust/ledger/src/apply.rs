//! Events become state. Applying cannot fail: what was decided is a fact. An event that does not apply to the state (in a
//! journal that this ledger did not write) is counted in `inapplicable_events`, and nothing after it can be trusted.

mod holds;

use crate::clock_skew::ISSUE_TIME_SKEW_MAX_MS;
use crate::entity::{EntityKind, EntityValue, Labels, VersionedEntity};
use crate::event::Event;
use crate::ids::{Handle, LevelIndex, Slot};
use crate::keys::{KeyHash, Scope};
use crate::ledger::{Ledger, SlotsByName};
use crate::level::LevelFigures;
use crate::one_or_many::OneOrMany;
use crate::outcome::{Effect, HoldChange};
use crate::planted;
use crate::record::{Origin, Record};
use crate::rejection::Rejection;
use crate::reservation::LineState;
use crate::source::{AppliedMessage, StoredOutcome};
use crate::states::StockState;
use crate::stock_transfer::TransferChange;

/// The outcome of a record, collected event by event.
enum RecordOutcome {
    Nothing,
    Effect(Effect),
    /// A refused message.
    Refused(Rejection),
    /// A refusal that the command's key remembers. If `forgets`, the older half of such refusals is dropped first.
    RefusedKey {
        rejection: Rejection,
        forgets: bool,
    },
    /// A message that is parked: its number remains to be consumed.
    Parked,
    /// A message that waits: its key does nothing yet.
    Waits,
    /// A message that repeated a command which its key had already done.
    Repeated,
}

impl Ledger {
    /// Applies one record: its events take the next sequence numbers, and the key and the source remember the outcome.
    ///
    /// `key` is the hash of the command's key, if the caller has computed it already.
    pub(crate) fn apply(&mut self, record: &Record<'_>, key: Option<KeyHash>) {
        self.time_ms = record.time_ms;
        if self.sequence == 0 {
            self.first_time_ms = record.time_ms;
        }
        let channel = record.origin.as_ref().and_then(|origin| origin.channel);
        if !self.expect_applicable(channel.is_none_or(|channel| (channel as usize) < self.channels().len())) {
            return;
        }
        let mut outcome = RecordOutcome::Nothing;
        let notes_changes = self.notes_changes();
        for event in record.events.iter() {
            self.sequence += 1;
            if self.apply_event(event, record, &mut outcome) && notes_changes {
                self.note_physical_change(event, record);
            }
        }
        if record.events.len() > 1
            && let RecordOutcome::Effect(effect) = &mut outcome
        {
            // Several lines may touch one level: each reports its state after all of them.
            for figures in effect.levels_mut() {
                *figures = self.figures(figures.level, record.time_ms);
            }
        }
        if let Some(origin) = &record.origin {
            let resumed = origin.source.is_some() && is_resumed(record) && !planted::is("resumed_number_consumed");
            self.remember(origin, key, outcome, resumed);
        }
    }

    /// Returns whether the event applied.
    fn apply_event(&mut self, event: &Event, record: &Record<'_>, outcome: &mut RecordOutcome) -> bool {
        let origin = record.origin.as_ref();
        let order_ref = origin.map_or("", |origin| origin.order_ref);
        let fits = match event {
            Event::Reserved { id, expire_ms, lines } => {
                outcome.set(self.apply_reserved(*id, *expire_ms, lines, record).map(Effect::Reserved))
            }
            Event::Extended { id, expire_ms } => outcome.hold(self.apply_extended(*id, *expire_ms)),
            Event::Amended { id, lines } => outcome.hold(self.apply_amended(*id, lines)),
            Event::Allocated { id, lines } => outcome.hold(self.apply_allocated(*id, false, lines, order_ref)),
            Event::Reacquired { id, lines } => outcome.hold(self.apply_allocated(*id, true, lines, order_ref)),
            // If a Reserved follows, this hold made way for it, and the new hold is the outcome of the command.
            Event::Released { id, lines } => outcome.hold(self.apply_moved(*id, lines, LineState::Released)),
            Event::Fulfilled { id, lines } => outcome.hold(self.apply_moved(*id, lines, LineState::Fulfilled)),
            Event::Expired { id, lines } => self.apply_expired(*id, lines).is_some(),
            Event::Transferred { id, to_location, lines } => {
                outcome.hold(self.apply_transferred(*id, *to_location, lines))
            }
            Event::StockChanged { item, location, state, delta, .. } => {
                let level = self.apply_stock(*item, *location, *state, delta.0);
                outcome.level(level.and_then(|level| self.levels.figures(level, record.time_ms)))
            }
            Event::StockMoved { item, location, from, to, units } => {
                let level = self.levels.find(*item, *location);
                let level = level.filter(|level| {
                    self.conserving(0, |ledger| ledger.levels.move_units(*level, *from, *to, units.0)).is_some()
                });
                outcome.level(level.and_then(|level| self.levels.figures(level, record.time_ms)))
            }
            Event::TransferShipped { transfer, route, lines } => {
                let shipped = self.apply_transfer_shipped(transfer, *route, lines, record);
                self.inboxes.appeared(EntityKind::StockTransfers, transfer);
                outcome.transfer(shipped)
            }
            Event::TransferReceived { transfer, route, lines } => {
                outcome.transfer(self.apply_transfer_received(*transfer, *route, lines))
            }
            Event::TransferClosed { transfer, route, remainder, lines } => {
                outcome.transfer(self.apply_transfer_closed(*transfer, *route, *remainder, lines))
            }
            Event::ClaimMade { item, location, state, quantity, reason } => {
                let level = self.apply_claim((*item, *location, *state), (quantity.0, *reason), record);
                outcome.claim(level.and_then(|level| self.levels.figures(level, record.time_ms)))
            }
            Event::Echoed { source, .. } => {
                let known = self.sources.get(*source).is_some();
                outcome.set(known.then_some(Effect::Echo))
            }
            Event::MessageParked { message } => outcome.keep(RecordOutcome::Parked, self.apply_parked(record, message)),
            Event::MessageWaits { kind, name, message } => {
                outcome.keep(RecordOutcome::Waits, self.apply_waits(record, *kind, name, message))
            }
            Event::MessageDead { forgets, rejection, message } => {
                let refused = match origin.is_some_and(|origin| self.key_remembers(origin, rejection)) {
                    true => RecordOutcome::RefusedKey { rejection: rejection.clone(), forgets: *forgets },
                    false => RecordOutcome::Refused(rejection.clone()),
                };
                outcome.keep(refused, self.apply_dead(record, rejection, message))
            }
            Event::WaitEnded { source, waiting } => self.apply_wait_ended(*source, *waiting),
            Event::LetterSettled { source, letter, redriven, .. } => {
                if !redriven {
                    *outcome = RecordOutcome::Effect(Effect::Done);
                }
                self.apply_letter_settled(*source, *letter)
            }
            Event::GapSkipped { source, epoch, through } => {
                *outcome = RecordOutcome::Effect(Effect::Done);
                self.apply_gap_skipped(*source, *epoch, *through)
            }
            Event::Upserted { kind, name, display_name, gs1 } => {
                let labels = Labels { display_name: display_name.clone(), gs1: gs1.clone(), ..Labels::default() };
                outcome.set(self.apply_upserted(*kind, name, labels).map(|()| Effect::Done))
            }
            Event::UpsertedWithAttributes { kind, name, labels } => {
                outcome.set(self.apply_upserted(*kind, name, labels.clone()).map(|()| Effect::Done))
            }
            Event::EntityPut { entity } => outcome.put(self.apply_put(entity)),
            Event::EntityRemoved { kind, handle, version } => {
                outcome.set(self.apply_removed(*kind, *handle, *version).map(|()| Effect::Done))
            }
            Event::SourceRegistered { source, epoch } => {
                let (previous_epoch, previous_sequence) = self.sources.register(source, *epoch);
                let dropped = self.sources.find(source).map_or(0, |handle| self.inboxes.begin_epoch(handle));
                outcome.set(Some(Effect::Registered {
                    epoch: *epoch,
                    previous_epoch,
                    previous_sequence,
                    parked_dropped: dropped as u64,
                }))
            }
            Event::KeyCancelled { key } => {
                // A command that cancels its own key uses it, which prevents its reuse just as well.
                if origin.is_none_or(|origin| *origin.key != **key) {
                    self.keys.cancel(origin.map_or(Scope::Operator, Origin::scope), key, self.sequence);
                }
                outcome.set(Some(Effect::KeyCancelled))
            }
            Event::MessageRejected { rejection } => {
                *outcome = RecordOutcome::Refused(rejection.clone());
                true
            }
            Event::CommandRefused { rejection, forgets } => {
                *outcome = RecordOutcome::RefusedKey { rejection: rejection.clone(), forgets: *forgets };
                true
            }
            Event::MessageRepeated { .. } => {
                *outcome = RecordOutcome::Repeated;
                true
            }
            Event::KeysForgotten { .. } => {
                self.apply_forgotten(record.time_ms);
                true
            }
            Event::ClockCorrected { correction } => self.issue_times.correct(*correction),
        };
        self.expect_applicable(fits)
    }

    /// `resumed` for a message whose number was consumed when it came.
    fn remember(&mut self, origin: &Origin<'_>, key: Option<KeyHash>, outcome: RecordOutcome, resumed: bool) {
        let scope = origin.scope();
        let stored = match outcome {
            RecordOutcome::Nothing if resumed => return,
            RecordOutcome::Nothing => return self.inapplicable_events += 1,
            RecordOutcome::Parked => return,
            RecordOutcome::Waits => StoredOutcome::Accepted(Effect::Waits),
            RecordOutcome::Refused(rejection) => StoredOutcome::Rejected(rejection),
            RecordOutcome::RefusedKey { rejection, forgets } => {
                self.remember_refusal(origin, key, &rejection, forgets);
                match origin.source {
                    Some(_) => StoredOutcome::Rejected(rejection),
                    None => return,
                }
            }
            RecordOutcome::Repeated => match self.keys.find(scope, origin.key) {
                Some(entry) => StoredOutcome::Accepted(entry.effect.clone()),
                None if self.inboxes.waiting(scope, origin.key).is_some() => StoredOutcome::Accepted(Effect::Waits),
                None => return self.inapplicable_events += 1,
            },
            RecordOutcome::Effect(effect) => {
                if !origin.key.is_empty() {
                    if let Some(issued_ms) = self.note_issue_time(scope, origin.issue_time_ms) {
                        self.keys.note_clock_skew(scope, issued_ms);
                    }
                    let copy = origin.source.map(|_| effect.clone());
                    let hash = key.unwrap_or_else(|| self.keys.hash_of(scope, origin.key));
                    self.keys.insert(hash, scope, origin.key, origin.fingerprint, self.sequence, effect);
                    match copy {
                        Some(effect) => StoredOutcome::Accepted(effect),
                        None => return,
                    }
                } else {
                    StoredOutcome::Accepted(effect)
                }
            }
        };
        if let Some(position) = origin.source.filter(|_| !resumed) {
            let (number, fingerprint, sequence) = (position.number, origin.fingerprint, self.sequence);
            let recorded =
                self.sources.record(position, AppliedMessage { number, fingerprint, sequence, outcome: stored });
            if self.expect_applicable(recorded) {
                self.inboxes.consumed(position.source, number);
            }
        }
    }

    fn remember_refusal(&mut self, origin: &Origin<'_>, key: Option<KeyHash>, rejection: &Rejection, forgets: bool) {
        if !self.expect_applicable(!origin.key.is_empty()) {
            return;
        }
        if forgets {
            self.refusals.forget_older(self.time_ms);
        }
        let scope = origin.scope();
        if let Some(issued_ms) = self.note_issue_time(scope, origin.issue_time_ms) {
            self.refusals.note_clock_skew(scope, issued_ms);
        }
        let hash = key.unwrap_or_else(|| self.keys.hash_of(scope, origin.key));
        self.refusals.insert(hash, scope, origin.key, (origin.fingerprint, self.sequence), rejection);
    }

    /// Records the issue time that a writer stated, and returns it in engine time if the writer's clock is ahead.
    fn note_issue_time(&mut self, scope: Scope, issue_time_ms: Option<i64>) -> Option<i64> {
        let issue_time_ms = issue_time_ms?;
        let latest = self.time_ms.saturating_add(ISSUE_TIME_SKEW_MAX_MS);
        let issued = self.issue_times.in_engine_time(scope, issue_time_ms);
        self.issue_times.note(scope, issue_time_ms.min(latest));
        (issued > self.time_ms).then(|| issued.min(latest))
    }

    /// Counts an event that does not apply to the state.
    #[inline]
    fn expect_applicable(&mut self, fits: bool) -> bool {
        self.inapplicable_events += u64::from(!fits);
        fits
    }

    fn apply_stock(&mut self, item: Handle, location: Handle, state: StockState, delta: i64) -> Option<LevelIndex> {
        if item as usize >= self.items().len() || location as usize >= self.locations().len() {
            return None;
        }
        let level = self.level_at(item, location);
        self.conserving(delta, |ledger| ledger.levels.change(level, state, delta)).map(|()| level)
    }

    /// The level of a known item at a known location, created if necessary.
    pub(crate) fn level_at(&mut self, item: Handle, location: Handle) -> LevelIndex {
        let [items, locations, ..] = &self.entities;
        self.levels.find_or_add((item, items.names().name(item)), (location, locations.names().name(location)))
    }

    fn apply_upserted(&mut self, kind: EntityKind, name: &str, labels: Labels) -> Option<()> {
        let version = self.entities(kind).version_of_upsert(name);
        let value = EntityValue::Labels(labels);
        kind.is_catalogue().then(|| {
            self.entities[kind as usize].put(kind, name, version, value, &mut self.digest);
        })
    }

    fn apply_put(&mut self, entity: &VersionedEntity) -> Option<u64> {
        let VersionedEntity { kind, name, version, value } = entity;
        let applies = *version == self.entities(*kind).next_version(name) && !name.is_empty() && value.fits(self);
        applies.then(|| {
            self.note_entity_change(*kind);
            self.entities[*kind as usize].put(*kind, name, *version, value.clone(), &mut self.digest);
            *version
        })
    }

    fn apply_removed(&mut self, kind: EntityKind, handle: Handle, version: u64) -> Option<()> {
        self.note_entity_change(kind);
        let entities = &mut self.entities[kind as usize];
        let applies = entities.names().exists(handle) && version == entities.names().version(handle) + 1;
        applies.then(|| entities.remove(kind, handle, version, &mut self.digest))
    }

    /// What is compiled from the entities of a kind is compiled again.
    fn note_entity_change(&mut self, kind: EntityKind) {
        if kind == EntityKind::AuthorityRules {
            self.authority.forget_table();
        }
    }

    fn apply_forgotten(&mut self, time_ms: i64) {
        let mut window = self.keys.rotate(time_ms);
        for slot in std::mem::take(&mut window.ended) {
            let forget = self.slab.at(slot).is_some_and(|reservation| !reservation.outstanding());
            if forget
                && self.slab.ended_in(slot) == window.number
                && let Some(gone) = self.slab.remove(slot)
            {
                remove_from_index(&mut self.orders, &gone.order_ref, slot);
                remove_from_index(&mut self.holders, &gone.holder, slot);
            }
        }
        self.keys.carry(window, |id| self.slab.find(id).is_some());
        self.refusals.turn_with(&self.keys, time_ms);
    }
}

/// Each method records the effect of an event and returns whether there was one: an event without effect does not apply.
impl RecordOutcome {
    /// Of a message that is kept.
    fn keep(&mut self, outcome: RecordOutcome, applies: bool) -> bool {
        if applies {
            *self = outcome;
        }
        applies
    }

    fn set(&mut self, effect: Option<Effect>) -> bool {
        let Some(effect) = effect else { return false };
        *self = RecordOutcome::Effect(effect);
        true
    }

    fn put(&mut self, version: Option<u64>) -> bool {
        let Some(version) = version else { return false };
        if let RecordOutcome::Effect(Effect::Put(versions)) = self {
            versions.push(version);
        } else {
            *self = RecordOutcome::Effect(Effect::Put(OneOrMany::One(version)));
        }
        true
    }

    fn transfer(&mut self, change: Option<TransferChange>) -> bool {
        self.set(change.map(|change| Effect::Transfer(Box::new(change))))
    }

    fn hold(&mut self, hold: Option<HoldChange>) -> bool {
        let Some(hold) = hold else { return false };
        if let RecordOutcome::Effect(Effect::Holds(holds)) = self {
            holds.push(hold);
        } else {
            *self = RecordOutcome::Effect(Effect::Holds(OneOrMany::One(hold)));
        }
        true
    }

    /// A line of which nothing but a claim became.
    fn claim(&mut self, figures: Option<LevelFigures>) -> bool {
        let Some(figures) = figures else { return false };
        let (mut levels, mut lines) = match std::mem::replace(self, RecordOutcome::Nothing) {
            RecordOutcome::Effect(Effect::Levels(levels)) => (levels.into_iter().collect(), OneOrMany::default()),
            RecordOutcome::Effect(Effect::Claimed { levels, lines }) => (levels, lines),
            _ => (Vec::new(), OneOrMany::default()),
        };
        lines.push(levels.len() as u32);
        levels.push(figures);
        *self = RecordOutcome::Effect(Effect::Claimed { levels, lines });
        true
    }

    fn level(&mut self, figures: Option<LevelFigures>) -> bool {
        let Some(figures) = figures else { return false };
        match self {
            RecordOutcome::Effect(Effect::Levels(levels)) => levels.push(figures),
            RecordOutcome::Effect(Effect::Claimed { levels, .. }) => levels.push(figures),
            _ => *self = RecordOutcome::Effect(Effect::Levels(OneOrMany::One(figures))),
        }
        true
    }
}

fn add_to_index(index: &mut SlotsByName, name: &str, slot: Slot) {
    if name.is_empty() {
        return;
    }
    match index.get_mut(name) {
        Some(slots) => slots.push(slot),
        None => {
            index.insert(name.into(), OneOrMany::One(slot));
        }
    }
}

fn remove_from_index(index: &mut SlotsByName, name: &str, slot: Slot) {
    let Some(slots) = index.get_mut(name) else { return };
    *slots = slots.iter().copied().filter(|other| *other != slot).collect();
    if slots.is_empty() {
        index.remove(name);
    }
}

/// True for a message that was kept when it came: its number was consumed then.
pub(crate) fn is_resumed(record: &Record<'_>) -> bool {
    matches!(record.events.first(), Some(Event::WaitEnded { .. } | Event::LetterSettled { redriven: true, .. }))
}
