//! The checks before a decision: whether this is a repeat, and whether it is this message's turn. Key · source epoch · source
//! sequence.

use crate::clock_skew::ISSUE_TIME_SKEW_MAX_MS;
use crate::command::Command;
use crate::fingerprint::{Fingerprint, fingerprint, legacy_fingerprint};
use crate::keys::{KeyEntry, KeyHash, KeyPosition, Scope};
use crate::ledger::Ledger;
use crate::outcome::Effect;
use crate::planted;
use crate::record::{Origin, OriginSource};
use crate::rejection::{Reason, Rejection};
use crate::source::AppliedMessage;

/// The result of the checks of key and source.
pub(super) enum Admission {
    Execute,
    /// The key has done this before; its number, if it has one, was consumed then.
    Replay(KeyPosition),
    /// The key has done this before under another number: this number is consumed too.
    Repeat(KeyPosition),
    /// The message with this key waits; its position.
    Waits(u64),
    /// This number has done this before.
    ReplayNumber(OriginSource),
    /// A rejection, and the position that it depends on.
    Refuse(Rejection, u64),
    /// A rejection that is already recorded, and consumes the message's number.
    Consume(Rejection),
    /// A rejection that was only cached in memory, and is to be remembered durably as this command asks.
    Reject(Rejection),
}

impl Ledger {
    /// The shared fields of a command, with handles for the names that the ledger knows.
    pub(crate) fn origin_of<'a>(&self, command: &Command<'a>) -> Result<Origin<'a>, Rejection> {
        let context = &command.context;
        let channel = self.channels().find(context.channel);
        let source = match context.source {
            Some(position) => {
                let unknown = || Rejection::new(Reason::UnknownSource).text("source", position.id);
                let source = self.sources.find(position.id).ok_or_else(unknown)?;
                Some(OriginSource { source, epoch: position.epoch, number: position.sequence })
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
            passed_on: context.origin.as_ref().and_then(|position| {
                let source = self.sources.find(position.id)?;
                Some(OriginSource { source, epoch: position.epoch, number: position.sequence })
            }),
            order_ref: context.order_ref,
            holder: context.holder,
            event_time_ms: context.event_time_ms,
            actor: context.actor,
            reason_code: context.reason_code,
            reference: context.reference,
            causation: context.causation,
        })
    }

    /// The hash of a command's key; `None` if it has no key or its writer does not exist. It may have been computed `ahead`,
    /// for the scope that the key had then.
    pub(crate) fn key_of(&self, origin: &Origin<'_>, ahead: Option<(Scope, KeyHash)>) -> Option<KeyHash> {
        let has_key = !origin.key.is_empty() && origin.unknown_channel.is_empty();
        let scope = origin.scope();
        has_key.then(|| match ahead {
            Some((known, hash)) if known == scope => hash,
            _ => self.keys.hash_of(scope, origin.key),
        })
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
        if let Some(position) = origin.source {
            // It cannot be executed twice because it was forgotten: its number is remembered for ever.
            return self.admit_number(command, origin, position);
        }
        match self.refusal_of_issue_time(command, origin, now_ms) {
            Some(rejection) => Admission::Refuse(rejection, 0),
            None => Admission::Execute,
        }
    }

    /// Nothing is executed twice because it was forgotten: a command that may have been executed under a forgotten key is
    /// refused, and so is an issue time so far ahead that this could never be known. For a caller who wants refusals
    /// remembered, the same applies to a command that may have been refused.
    fn refusal_of_issue_time(&self, command: &Command<'_>, origin: &Origin<'_>, now_ms: i64) -> Option<Rejection> {
        let issue_time_ms = origin.issue_time_ms.filter(|_| !planted::is("window_not_checked"))?;
        let (scope, mut start) = (origin.scope(), self.window_start_ms(now_ms));
        let issued = self.issue_times.in_engine_time(scope, issue_time_ms);
        let mut forgotten = issued < start || self.keys.may_be_forgotten(scope, issued);
        if command.context.remember_refusal && self.refusals.may_be_forgotten(scope, issued) {
            forgotten |= !planted::is("forgotten_refusal_executed");
            start = start.max(self.refusals.remembered_since_ms());
        }
        if forgotten {
            let window = now_ms.saturating_sub(start);
            return Some(Rejection::new(Reason::DedupeWindowExpired).number("window", window));
        }
        (issued > now_ms.saturating_add(ISSUE_TIME_SKEW_MAX_MS)).then(|| {
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
        let position = self.keys.locate(key, scope, origin.key);
        let Some(entry) = position.and_then(|position| self.keys.at(position)) else {
            return self
                .admit_waiting(command, origin)
                .or_else(|| self.admit_remembered_refusal(command, origin, key))
                .or_else(|| self.admit_cached_rejection(command, origin, key));
        };
        let next = self.is_next(origin);
        if entry.effect == Effect::Tombstone {
            // Releasing the key of a refused command leaves the refusal as it was.
            return self.admit_remembered_refusal(command, origin, key).or_else(|| {
                // This rejection is permanent: the message's number is consumed, or its source could never go on.
                let cancelled = Rejection::new(Reason::KeyCancelled);
                Some(if next { Admission::Consume(cancelled) } else { Admission::Refuse(cancelled, entry.sequence) })
            });
        }
        if !is_same(command, origin, entry.fingerprint()) {
            let reused = Rejection::new(Reason::IdempotencyKeyReused).number("sequence", entry.sequence as i64);
            let reused = self.name_difference(reused, Some(&entry.effect), command, entry.fingerprint());
            return Some(Admission::Refuse(reused, entry.sequence));
        }
        position.map(|position| if next { Admission::Repeat(position) } else { Admission::Replay(position) })
    }

    /// The key of a message that waits has done nothing yet, and belongs to it.
    #[inline(always)]
    fn admit_waiting(&self, command: &Command<'_>, origin: &Origin<'_>) -> Option<Admission> {
        if self.inboxes.nothing_waits() { None } else { self.admit_waiting_key(command, origin) }
    }

    #[cold]
    fn admit_waiting_key(&self, command: &Command<'_>, origin: &Origin<'_>) -> Option<Admission> {
        let waiting = self.inboxes.waiting(origin.scope(), origin.key)?;
        if !is_same(command, origin, waiting.held.fingerprint) {
            let reused = Rejection::new(Reason::IdempotencyKeyReused).number("sequence", waiting.held.sequence as i64);
            let reused = self.name_difference(reused, None, command, waiting.held.fingerprint);
            return Some(Admission::Refuse(reused, waiting.held.sequence));
        }
        command.context.message.map(|_| Admission::Waits(waiting.held.sequence))
    }

    /// The remembered refusal of a key, if its caller asked for that.
    #[inline(always)]
    fn admit_remembered_refusal(&self, command: &Command<'_>, origin: &Origin<'_>, key: KeyHash) -> Option<Admission> {
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

    /// The cached rejection of a key. A numbered message is decided afresh, because its rejection consumes its number.
    fn admit_cached_rejection(&self, command: &Command<'_>, origin: &Origin<'_>, key: KeyHash) -> Option<Admission> {
        let refused = self.rejection_cache.find(key, origin.scope(), origin.key).filter(|_| origin.source.is_none());
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

    /// True if the numbered message behind a command is the next one of its source.
    pub(crate) fn is_next(&self, origin: &Origin<'_>) -> bool {
        origin.source.is_some_and(|position| self.sources.is_next(position))
    }

    fn admit_number(&self, command: &Command<'_>, origin: &Origin<'_>, position: OriginSource) -> Admission {
        let source = self.sources.get(position.source).expect("Invariant: the source was found just now");
        let refuse = |reason| Rejection::new(reason).text("source", &source.name);
        if position.epoch != source.epoch && !planted::is("stale_epoch_accepted") {
            let stale = refuse(Reason::StaleEpoch).number("current", source.epoch as i64);
            return Admission::Refuse(stale, self.sequence);
        }
        if position.number == source.last + 1 || (planted::is("gap_accepted") && position.number > source.last) {
            return Admission::Execute;
        }
        if position.number > source.last {
            let gap = refuse(Reason::SequenceGap)
                .number("expected", (source.last as i64).saturating_add(1))
                .number("got", position.number as i64);
            return Admission::Refuse(gap, self.sequence);
        }
        match source.applied(position.number) {
            // The number of another message, whose id is or would be known.
            Some(applied) if command.context.message.is_some() && self.has_other_id(applied, origin) => {
                let conflict = refuse(Reason::SequenceConflict).number("sequence", position.number as i64);
                Admission::Refuse(conflict, self.sequence)
            }
            // An image of version 2 does not tell which formula the hash of a message is by.
            Some(applied)
                if applied.fingerprint.hash == origin.fingerprint.hash
                    || is_same(command, origin, applied.fingerprint) =>
            {
                Admission::ReplayNumber(position)
            }
            Some(applied) => {
                let conflict = refuse(Reason::SequenceConflict).number("sequence", position.number as i64);
                let conflict = self.name_difference(conflict, applied.effect(), command, applied.fingerprint);
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

impl Ledger {
    /// Whether the message whose record has this position certainly had another id than one whose id is not known.
    fn has_other_id(&self, applied: &AppliedMessage, origin: &Origin<'_>) -> bool {
        let sequence = applied.sequence;
        let kept = origin.source.and_then(|position| self.inbox(position.source));
        let letter = kept.and_then(|inbox| inbox.letter(sequence)).map(|letter| &letter.held.key);
        let waiting = kept.and_then(|inbox| inbox.waiting_at(sequence)).map(|waiting| &waiting.held.key);
        match letter.or(waiting) {
            Some(key) => **key != *origin.key,
            None => !applied.is_refused() && self.keys.remembers_all_from(sequence),
        }
    }
}

/// True if a command has the same meaning as the first one with its key. Keys of older journals use another fingerprint, and
/// their commands passed nothing on.
pub(crate) fn is_same(command: &Command<'_>, origin: &Origin<'_>, before: Fingerprint) -> bool {
    let is_legacy = !before.has_parts && command.context.origin.is_none();
    before == origin.fingerprint || (is_legacy && before.hash == legacy_fingerprint(command))
}
