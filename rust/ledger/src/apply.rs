//! Events become state. Applying cannot fail: what was decided is a fact. An event that does not fit the state (a journal that
//! this ledger did not write) is counted in `misfits`, and nothing after it can be trusted.

mod holds;

use crate::event::{Event, LevelIndex, Slot, StockState};
use crate::few::Few;
use crate::keys::{KeyHash, Scope};
use crate::lead::ISSUE_LEAD_MAX_MS;
use crate::ledger::Ledger;
use crate::names::{Entry, Handle, entry_hash};
use crate::outcome::{Effect, HoldChange, LevelFigures};
use crate::record::{Origin, Record};
use crate::rejection::Rejection;
use crate::reservation::LineState;
use crate::source::{Applied, Kept};

/// What a record amounts to, put together event by event.
enum Sum {
    Nothing,
    Effect(Effect),
    /// A refused message.
    Refused(Rejection),
    /// A refusal that the command's key remembers; the older half of what is remembered so goes first, if `forgets`.
    RefusedKey {
        rejection: Rejection,
        forgets: bool,
    },
    /// A message that repeated what its key had done.
    Repeated,
}

impl Ledger {
    /// Applies one record: the events take the next sequences, the key and the source remember what they did.
    ///
    /// `key` is the hash of the command's key, if somebody knows it already.
    pub(crate) fn apply(&mut self, record: &Record<'_>, key: Option<KeyHash>) {
        self.time_ms = record.time_ms;
        if self.sequence == 0 {
            self.first_time_ms = record.time_ms;
        }
        let channel = record.origin.as_ref().and_then(|origin| origin.channel);
        if !self.fits(channel.is_none_or(|channel| (channel as usize) < self.channels().len())) {
            return;
        }
        let mut sum = Sum::Nothing;
        for event in record.events.iter() {
            self.sequence += 1;
            self.apply_event(event, record, &mut sum);
        }
        if let Sum::Effect(Effect::Levels(levels)) = &mut sum {
            // Several lines may touch one level: each shows it as it is after all of them.
            for figures in levels.iter_mut() {
                *figures = self.figures(figures.level, record.time_ms);
            }
        }
        if let Some(origin) = &record.origin {
            self.remember(origin, key, sum);
        }
    }

    fn apply_event(&mut self, event: &Event, record: &Record<'_>, sum: &mut Sum) {
        let origin = record.origin.as_ref();
        let fits = match event {
            Event::Reserved { id, expire_ms, lines } => {
                sum.set(self.apply_reserved(*id, *expire_ms, lines, record).map(Effect::Reserved))
            }
            Event::Extended { id, expire_ms } => sum.hold(self.apply_extended(*id, *expire_ms)),
            Event::Amended { id, lines } => sum.hold(self.apply_amended(*id, lines)),
            Event::Allocated { id, reacquired, lines } => {
                let order_ref = origin.map_or("", |origin| origin.order_ref);
                sum.hold(self.apply_allocated(*id, *reacquired, lines, order_ref))
            }
            // Before a Reserved it gave way to the new hold, which is then what the command was about.
            Event::Released { id, lines } => sum.hold(self.apply_moved(*id, lines, LineState::Released)),
            Event::Fulfilled { id, lines } => sum.hold(self.apply_moved(*id, lines, LineState::Fulfilled)),
            Event::Expired { id, lines } => self.apply_expired(*id, lines).is_some(),
            Event::Transferred { id, to_location, lines } => sum.hold(self.apply_transferred(*id, *to_location, lines)),
            Event::StockChanged { item, location, state, delta, .. } => {
                let level = self.apply_stock(*item, *location, *state, *delta);
                sum.level(level.and_then(|level| self.levels.figures(level, record.time_ms)))
            }
            Event::Upserted { catalogue, name, display_name, gs1 } => {
                let entry = Entry { name, display_name, gs1 };
                sum.set(self.apply_upserted(*catalogue, entry).map(|()| Effect::Done))
            }
            Event::SourceRegistered { source, epoch } => {
                let (previous_epoch, previous_sequence) = self.sources.register(source, *epoch);
                sum.set(Some(Effect::Registered { epoch: *epoch, previous_epoch, previous_sequence }))
            }
            Event::KeyCancelled { key } => {
                // A command that cancels its own key uses it, which keeps others from it just as well.
                if origin.is_none_or(|origin| *origin.key != **key) {
                    self.keys.cancel(origin.map_or(Scope::Operator, Origin::scope), key, self.sequence);
                }
                sum.set(Some(Effect::KeyCancelled))
            }
            Event::MessageRejected { rejection } => {
                *sum = Sum::Refused(rejection.clone());
                true
            }
            Event::CommandRefused { rejection, forgets } => {
                *sum = Sum::RefusedKey { rejection: rejection.clone(), forgets: *forgets };
                true
            }
            Event::MessageRepeated { .. } => {
                *sum = Sum::Repeated;
                true
            }
            Event::KeysForgotten { .. } => {
                self.apply_forgotten(record.time_ms);
                true
            }
            Event::ClockCorrected(correction) => self.issued.correct(*correction),
        };
        self.fits(fits);
    }

    fn remember(&mut self, origin: &Origin<'_>, key: Option<KeyHash>, sum: Sum) {
        let scope = origin.scope();
        let kept = match sum {
            Sum::Nothing => return self.misfits += 1,
            Sum::Refused(rejection) => Kept::Rejected(rejection),
            Sum::RefusedKey { rejection, forgets } => {
                self.remember_refusal(origin, key, &rejection, forgets);
                match origin.source {
                    Some(_) => Kept::Rejected(rejection),
                    None => return,
                }
            }
            Sum::Repeated => match self.keys.find(scope, origin.key) {
                Some(entry) => Kept::Accepted(entry.effect.clone()),
                None => return self.misfits += 1,
            },
            Sum::Effect(effect) => {
                if !origin.key.is_empty() {
                    if let Some(issued_ms) = self.note_issue_time(scope, origin.issue_time_ms) {
                        self.keys.note_lead(scope, issued_ms);
                    }
                    let copy = origin.source.map(|_| effect.clone());
                    let hash = key.unwrap_or_else(|| self.keys.hash_of(scope, origin.key));
                    self.keys.insert(hash, scope, origin.key, origin.fingerprint, self.sequence, effect);
                    match copy {
                        Some(effect) => Kept::Accepted(effect),
                        None => return,
                    }
                } else {
                    Kept::Accepted(effect)
                }
            }
        };
        if let Some(place) = origin.source {
            let (number, fingerprint, sequence) = (place.number, origin.fingerprint.hash, self.sequence);
            let recorded = self.sources.record(place, Applied { number, fingerprint, sequence, kept });
            self.fits(recorded);
        }
    }

    fn remember_refusal(&mut self, origin: &Origin<'_>, key: Option<KeyHash>, rejection: &Rejection, forgets: bool) {
        if !self.fits(!origin.key.is_empty()) {
            return;
        }
        if forgets {
            self.refusals.forget_older(self.time_ms);
        }
        let scope = origin.scope();
        if let Some(issued_ms) = self.note_issue_time(scope, origin.issue_time_ms) {
            self.refusals.note_lead(scope, issued_ms);
        }
        let hash = key.unwrap_or_else(|| self.keys.hash_of(scope, origin.key));
        self.refusals.insert(hash, scope, origin.key, (origin.fingerprint, self.sequence), rejection);
    }

    /// Remembers when a writer said that it issued this; answers that in engine time if its clock is ahead.
    fn note_issue_time(&mut self, scope: Scope, issue_time_ms: Option<i64>) -> Option<i64> {
        let issue_time_ms = issue_time_ms?;
        let latest = self.time_ms.saturating_add(ISSUE_LEAD_MAX_MS);
        let issued = self.issued.in_engine_time(scope, issue_time_ms);
        self.issued.note(scope, issue_time_ms.min(latest));
        (issued > self.time_ms).then(|| issued.min(latest))
    }

    /// Counts an event that does not fit.
    #[inline]
    fn fits(&mut self, fits: bool) -> bool {
        self.misfits += u64::from(!fits);
        fits
    }

    fn apply_stock(&mut self, item: Handle, location: Handle, state: StockState, delta: i64) -> Option<LevelIndex> {
        if item as usize >= self.items().len() || location as usize >= self.locations().len() {
            return None;
        }
        let level = self.level_at(item, location);
        self.levels.change(level, state, delta).then_some(level)
    }

    /// The level of a known item at a known location, made if need be.
    fn level_at(&mut self, item: Handle, location: Handle) -> LevelIndex {
        let [items, locations, _] = &self.catalogues;
        self.levels.find_or_add((item, items.name(item)), (location, locations.name(location)))
    }

    fn apply_upserted(&mut self, catalogue: u8, entry: Entry<'_>) -> Option<()> {
        let names = self.catalogues.get_mut(usize::from(catalogue))?;
        let kind = u64::from(catalogue);
        let handle = match names.find(entry.name) {
            Some(handle) => {
                self.digest.remove(entry_hash(kind, handle, names.entry(handle)));
                names.replace(handle, entry);
                handle
            }
            None => names.add(entry),
        };
        self.digest.add(entry_hash(kind, handle, entry));
        Some(())
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

/// Each takes what an event did, and tells whether there was anything: an event that did nothing does not fit.
impl Sum {
    fn set(&mut self, effect: Option<Effect>) -> bool {
        let Some(effect) = effect else { return false };
        *self = Sum::Effect(effect);
        true
    }

    fn hold(&mut self, hold: Option<HoldChange>) -> bool {
        let Some(hold) = hold else { return false };
        if let Sum::Effect(Effect::Holds(holds)) = self {
            holds.push(hold);
        } else {
            *self = Sum::Effect(Effect::Holds(Few::One(hold)));
        }
        true
    }

    fn level(&mut self, figures: Option<LevelFigures>) -> bool {
        let Some(figures) = figures else { return false };
        if let Sum::Effect(Effect::Levels(levels)) = self {
            levels.push(figures);
        } else {
            *self = Sum::Effect(Effect::Levels(Few::One(figures)));
        }
        true
    }
}

type SlotIndex = hashbrown::HashMap<Box<str>, Few<Slot>>;

fn add_to_index(index: &mut SlotIndex, name: &str, slot: Slot) {
    if name.is_empty() {
        return;
    }
    match index.get_mut(name) {
        Some(slots) => slots.push(slot),
        None => {
            index.insert(name.into(), Few::One(slot));
        }
    }
}

fn remove_from_index(index: &mut SlotIndex, name: &str, slot: Slot) {
    let Some(slots) = index.get_mut(name) else { return };
    *slots = slots.iter().copied().filter(|other| *other != slot).collect();
    if slots.is_empty() {
        index.remove(name);
    }
}
