//! What comes before a decision: has this been asked before, and is it its turn? Key · source epoch · source sequence.

use crate::command::Command;
use crate::fingerprint::{Fingerprint, fingerprint, whole};
use crate::keys::{KeyEntry, KeyHash, KeyPlace};
use crate::lead::ISSUE_LEAD_MAX_MS;
use crate::ledger::Ledger;
use crate::outcome::Effect;
use crate::planted;
use crate::record::{Origin, OriginSource};
use crate::rejection::{Reason, Rejection};

/// What the checks of key and source came to.
pub(super) enum Admission {
    Execute,
    /// The key did this before; its number, if it has one, was consumed then.
    Replay(KeyPlace),
    /// The key did this before, under another number: this one is consumed too.
    Repeat(KeyPlace),
    /// This number did this before.
    ReplayNumber(OriginSource),
    /// A no, and the position that it rests on.
    Refuse(Rejection, u64),
    /// A no that stands already, and consumes the message's number.
    Consume(Rejection),
    /// A no that was remembered in memory only, and is to be remembered as this command asks.
    Reject(Rejection),
}

impl Ledger {
    /// The shared fields of a command with what the ledger knows of them.
    pub(super) fn origin_of<'a>(&self, command: &Command<'a>) -> Result<Origin<'a>, Rejection> {
        let context = &command.context;
        let channel = self.channels().find(context.channel);
        let source = match context.source {
            Some(place) => {
                let unknown = || Rejection::new(Reason::UnknownSource).text("source", place.id);
                let source = self.sources.find(place.id).ok_or_else(unknown)?;
                Some(OriginSource { source, epoch: place.epoch, number: place.sequence })
            }
            None => None,
        };
        Ok(Origin {
            fingerprint: fingerprint(command),
            key: context.key,
            issue_time_ms: context.issue_time_ms,
            channel,
            unknown_channel: if channel.is_none() { context.channel } else { "" },
            source,
            order_ref: context.order_ref,
            holder: context.holder,
            event_time_ms: context.event_time_ms,
            actor: context.actor,
            reason_code: context.reason_code,
            reference: context.reference,
            causation: context.causation,
        })
    }

    /// The hash of a command's key; none if it has no key, or its writer does not exist.
    pub(super) fn key_of(&self, origin: &Origin<'_>) -> Option<KeyHash> {
        let has_key = !origin.key.is_empty() && origin.unknown_channel.is_empty();
        has_key.then(|| self.keys.hash_of(origin.scope(), origin.key))
    }

    /// Key, source epoch, source sequence.
    pub(super) fn admit(
        &self,
        command: &Command<'_>,
        origin: &Origin<'_>,
        key: Option<KeyHash>,
        now_ms: i64,
    ) -> Admission {
        if let Some(found) = key.and_then(|key| self.admit_key(command, origin, key)) {
            return found;
        }
        if let Some(place) = origin.source {
            // It is never executed twice by being forgotten: its number is remembered for ever.
            return self.admit_number(command, origin.fingerprint.hash, place);
        }
        match self.refusal_of_issue_time(command, origin, now_ms) {
            Some(rejection) => Admission::Refuse(rejection, 0),
            None => Admission::Execute,
        }
    }

    /// Nothing is executed twice by being forgotten: what may have been done under a forgotten key is refused, and so is an
    /// issue time so far ahead that nobody could ever tell. For a caller who wants refusals remembered, that holds for what may
    /// have been refused as well.
    fn refusal_of_issue_time(&self, command: &Command<'_>, origin: &Origin<'_>, now_ms: i64) -> Option<Rejection> {
        let issue_time_ms = origin.issue_time_ms.filter(|_| !planted::is("window_not_checked"))?;
        let (scope, mut start) = (origin.scope(), self.window_start_ms(now_ms));
        let issued = self.issued.in_engine_time(scope, issue_time_ms);
        let mut forgotten = issued < start || self.keys.may_be_forgotten(scope, issued);
        if command.context.remember_refusal && self.refusals.may_be_forgotten(scope, issued) {
            forgotten |= !planted::is("forgotten_refusal_executed");
            start = start.max(self.refusals.remembered_since_ms());
        }
        if forgotten {
            let window = now_ms.saturating_sub(start);
            return Some(Rejection::new(Reason::DedupeWindowExpired).number("window", window));
        }
        (issued > now_ms.saturating_add(ISSUE_LEAD_MAX_MS)).then(|| {
            Rejection::new(Reason::InvalidField)
                .text("field", "context.issue_time")
                .text("description", "issue_time is more than 7 days ahead of engine time: set the caller's clock")
        })
    }

    fn admit_key(&self, command: &Command<'_>, origin: &Origin<'_>, key: KeyHash) -> Option<Admission> {
        if planted::is("key_ignored") {
            return None;
        }
        let scope = origin.scope();
        let place = self.keys.locate(key, scope, origin.key);
        let Some(entry) = place.and_then(|place| self.keys.at(place)) else {
            return self.admit_refusal(command, origin, key).or_else(|| self.admit_refused(command, origin, key));
        };
        let next = self.is_next(origin);
        if entry.effect == Effect::Tombstone {
            // Whoever released the key of a refused command left the refusal as it was.
            return self.admit_refusal(command, origin, key).or_else(|| {
                // A no for ever: the message's number is consumed, or its source could never go on.
                let cancelled = Rejection::new(Reason::KeyCancelled);
                Some(if next { Admission::Consume(cancelled) } else { Admission::Refuse(cancelled, entry.sequence) })
            });
        }
        if !is_same(command, origin, entry.fingerprint()) {
            let reused = Rejection::new(Reason::IdempotencyKeyReused).number("sequence", entry.sequence as i64);
            let reused = self.name_difference(reused, Some(&entry.effect), command, entry.fingerprint());
            return Some(Admission::Refuse(reused, entry.sequence));
        }
        place.map(|place| if next { Admission::Repeat(place) } else { Admission::Replay(place) })
    }

    /// What a key remembers that was refused and whose caller asked for that.
    #[inline]
    fn admit_refusal(&self, command: &Command<'_>, origin: &Origin<'_>, key: KeyHash) -> Option<Admission> {
        let entry = self.refusals.find(key, origin.scope(), origin.key)?;
        self.refuse_again(command, origin, entry)
    }

    fn refuse_again(&self, command: &Command<'_>, origin: &Origin<'_>, entry: &KeyEntry) -> Option<Admission> {
        let rejection = entry.refusal()?;
        Some(if !is_same(command, origin, entry.fingerprint()) {
            let reused = Rejection::new(Reason::IdempotencyKeyReused).number("sequence", entry.sequence as i64);
            Admission::Refuse(self.name_difference(reused, None, command, entry.fingerprint()), entry.sequence)
        } else if self.is_next(origin) {
            Admission::Consume(rejection)
        } else {
            Admission::Refuse(rejection, entry.sequence)
        })
    }

    /// What is remembered in memory of a key that was refused. A numbered message is decided afresh: its rejection uses up its
    /// number.
    fn admit_refused(&self, command: &Command<'_>, origin: &Origin<'_>, key: KeyHash) -> Option<Admission> {
        let refused = self.refused.find(key, origin.scope(), origin.key).filter(|_| origin.source.is_none());
        let (fingerprint, rejection) = refused?;
        Some(if !is_same(command, origin, fingerprint) {
            let reused = Rejection::new(Reason::IdempotencyKeyReused);
            Admission::Refuse(self.name_difference(reused, None, command, fingerprint), self.sequence)
        } else if command.context.remember_refusal {
            Admission::Reject(rejection)
        } else {
            Admission::Refuse(rejection, self.sequence)
        })
    }

    /// True if it is the turn of the numbered message behind a command.
    fn is_next(&self, origin: &Origin<'_>) -> bool {
        origin.source.is_some_and(|place| self.sources.is_next(place))
    }

    fn admit_number(&self, command: &Command<'_>, fingerprint: u64, place: OriginSource) -> Admission {
        let source = self.sources.get(place.source).expect("Invariant: the source was found just now");
        let refuse = |reason| Rejection::new(reason).text("source", &source.name);
        if place.epoch != source.epoch && !planted::is("stale_epoch_accepted") {
            let stale = refuse(Reason::StaleEpoch).number("current", source.epoch as i64);
            return Admission::Refuse(stale, self.sequence);
        }
        if place.number == source.last + 1 || (planted::is("gap_accepted") && place.number > source.last) {
            return Admission::Execute;
        }
        if place.number > source.last {
            let gap = refuse(Reason::SequenceGap)
                .number("expected", source.last as i64 + 1)
                .number("got", place.number as i64);
            return Admission::Refuse(gap, self.sequence);
        }
        match source.applied(place.number) {
            Some(applied) if applied.fingerprint == fingerprint || applied.fingerprint == whole(command) => {
                Admission::ReplayNumber(place)
            }
            Some(_) => {
                let conflict = refuse(Reason::SequenceConflict).number("sequence", place.number as i64);
                Admission::Refuse(conflict, self.sequence)
            }
            None if planted::is("consumed_number_executed") => Admission::Execute,
            None => {
                let consumed = refuse(Reason::SequenceConsumed).number("last", source.last as i64);
                Admission::Refuse(consumed, self.sequence)
            }
        }
    }
}

/// True if a command means what the first one with its key meant. Keys of older journals know that by another formula.
fn is_same(command: &Command<'_>, origin: &Origin<'_>, before: Fingerprint) -> bool {
    before == origin.fingerprint || (!before.parted && before.hash == whole(command))
}
