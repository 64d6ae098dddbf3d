//! The state at a moment of the past, folded beside the engine: from the latest snapshot before it, or from the first frame.

use std::time::Instant;

use invengine_ledger::Ledger;
use invengine_wire::v1;
use prost::Message;

use super::{ReadLimit, Turn};
use crate::engine::events::unreadable;
use crate::engine::positions::bad;
use crate::engine::snapshots::load;
use crate::engine::{Call, Shared};
use crate::journal::{Frame, JournalError};
use crate::refusal::Refusal;
use crate::translate::history::{Moment, StateQuestion};

/// The moment that a fold is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// After the record that has this sequence.
    Sequence(u64),
    /// After the last record up to this time.
    Time(i64),
}

/// A state on its way to a moment.
pub(super) struct PastState {
    ledger: Ledger,
    goal: Goal,
    is_there: bool,
}

impl Goal {
    /// Whether a state with this last record is not beyond the moment.
    fn includes(self, sequence: u64, time_ms: i64) -> bool {
        match self {
            Goal::Sequence(wanted) => sequence <= wanted,
            Goal::Time(wanted_ms) => time_ms <= wanted_ms,
        }
    }

    /// Whether the record that follows a state belongs to the moment.
    fn takes(self, state: &Ledger, time_ms: i64) -> bool {
        match self {
            Goal::Sequence(wanted) => state.sequence() < wanted,
            Goal::Time(wanted_ms) => time_ms <= wanted_ms,
        }
    }
}

impl PastState {
    /// Folds what the moment has of a frame; returns whether it may have more of the next one.
    fn fold(&mut self, frame: &Frame<'_>) -> Result<bool, Refusal> {
        if frame.is_claim() {
            return Ok(true);
        }
        let goal = self.goal;
        if !goal.takes(&self.ledger, frame.time_ms) {
            return Ok(false);
        }
        if frame.first_sequence != self.ledger.sequence() + 1 {
            return Err(unreadable("a frame does not follow the state before it"));
        }
        let takes = &mut |ledger: &Ledger, record: &invengine_ledger::Record<'_>| goal.takes(ledger, record.time_ms);
        let folded = self.ledger.fold_with(frame.payload, frame.time_ms, frame.writer_epoch, takes, &mut |_, _| true);
        folded.map_err(unreadable)
    }
}

impl Shared {
    /// Answers a GetStateAt.
    ///
    /// # Errors
    /// A field is invalid, the moment is not in this history or not kept, or it takes too long.
    pub(in crate::engine) fn state_at(&self, call: &Call<'_>, moment: Instant) -> Result<Vec<u8>, Refusal> {
        let request = v1::GetStateAtRequest::decode(call.payload).map_err(|_| Refusal::malformed())?;
        let question = StateQuestion::of(request, self.durable_view())?;
        let limit = ReadLimit::of(self, call, moment);
        let goal = self.goal(&question.at, call.path, limit)?;
        let mut turn = self.history.turn(limit.until)?;
        let state = self.reach(&mut turn, goal, limit)?;
        let time_ms = match goal {
            Goal::Time(time_ms) => Some(time_ms),
            Goal::Sequence(_) => Some(state.time_ms()).filter(|_| state.sequence() > 0),
        };
        let answer = question.answer(state, time_ms)?;
        if answer.next_page_token.is_empty() {
            turn.state = None;
        }
        drop(turn);
        self.still_ours(call.path, answer.encode_to_vec())
    }

    /// The goal of a moment, which must be in the durable history.
    fn goal(&self, at: &Moment, path: &str, limit: ReadLimit<'_>) -> Result<Goal, Refusal> {
        match at {
            Moment::Position(position) => self.sequence_of(position, "position").map(Goal::Sequence),
            Moment::Sequence(sequence) => {
                let newest = self.epochs.newest(self.ring.durable().sequence);
                if *sequence > newest.sequence {
                    return Err(Refusal::sequence_ahead(*sequence, &self.facts.ledger, newest));
                }
                Ok(Goal::Sequence(*sequence))
            }
            Moment::Time(time_ms) => {
                let core = self.core();
                // Whatever is decided after this has a later time.
                let now_ms = self.clock.at(Instant::now()).max(core.ledger.time_ms());
                let sequence = core.ledger.sequence();
                drop(core);
                if *time_ms >= now_ms {
                    return Err(bad(
                        "time",
                        "must be before the present engine time: what will have happened is not known",
                    ));
                }
                limit.durable(sequence, path)?;
                Ok(Goal::Time(*time_ms))
            }
        }
    }

    /// The state at a moment, in this turn. What a turn leaves unfinished, the next one with the same goal continues.
    fn reach<'t>(&self, turn: &'t mut Turn<'_>, goal: Goal, limit: ReadLimit<'_>) -> Result<&'t Ledger, Refusal> {
        let kept = turn.state.take().filter(|state| state.goal == goal);
        let (mut state, first_kept) = match kept {
            Some(state) => (state, None),
            None => self.begin(goal, limit)?,
        };
        let advanced = if state.is_there { Ok(()) } else { self.advance(&mut state, limit) };
        match advanced {
            Ok(()) => {}
            Err(Unfinished::Later(refusal)) => {
                turn.state = Some(state);
                return Err(refusal);
            }
            Err(Unfinished::Trimmed(first_sequence)) => {
                return Err(Refusal::state_trimmed(first_kept.unwrap_or(first_sequence)));
            }
            Err(Unfinished::Never(refusal)) => return Err(refusal),
        }
        Ok(&turn.state.insert(PastState { is_there: true, ..state }).ledger)
    }

    /// The latest state that is stored and not beyond a moment, and the sequence of the earliest one that is stored.
    fn begin(&self, goal: Goal, limit: ReadLimit<'_>) -> Result<(PastState, Option<u64>), Refusal> {
        let store = self.journal().snapshot_store().map_err(unreadable)?;
        let options = self.snapshots.options();
        let mut first_kept = None;
        let found = |ledger| PastState { ledger, goal, is_there: false };
        let Some(mut store) = store else { return Ok((found(Ledger::new(options.clone())), None)) };
        for manifest in store.every_snapshot().map_err(unreadable)? {
            if goal.includes(manifest.position.sequence(), manifest.position.time_ms()) {
                let mut stopped = None;
                let loaded = load(store.as_mut(), &manifest, options, &mut || {
                    limit.check().map_err(|refusal| {
                        let why = refusal.message.clone();
                        stopped = Some(refusal);
                        why
                    })
                });
                if let Some(refusal) = stopped {
                    return Err(refusal);
                }
                // The time of a position is that of its last frame, whose last record may be later.
                if let Ok(ledger) = loaded
                    && goal.includes(ledger.sequence(), ledger.time_ms())
                {
                    return Ok((found(ledger), first_kept));
                }
            }
            first_kept = Some(manifest.position.sequence());
        }
        Ok((found(Ledger::new(options.clone())), first_kept))
    }

    /// Folds on to the goal.
    fn advance(&self, state: &mut PastState, limit: ReadLimit<'_>) -> Result<(), Unfinished> {
        let mut reader = self.journal().reader().map_err(Unfinished::of)?;
        let mut failed = None;
        let read = reader.read_from(state.ledger.sequence() + 1, &mut |frame| {
            let folded = match limit.check() {
                Ok(()) => state.fold(&frame).map_err(Unfinished::Never),
                Err(refusal) => Err(Unfinished::Later(refusal)),
            };
            folded.unwrap_or_else(|unfinished| {
                failed = Some(unfinished);
                false
            })
        });
        read.map_err(Unfinished::of)?;
        failed.map_or(Ok(()), Err)
    }
}

/// Why a fold did not reach its goal.
enum Unfinished {
    /// There was no time left: the state can be folded on.
    Later(Refusal),
    /// What follows it is no longer kept; the first sequence that is.
    Trimmed(u64),
    /// It cannot be reached.
    Never(Refusal),
}

impl Unfinished {
    fn of(error: JournalError) -> Self {
        match error {
            JournalError::Trimmed { first_sequence, .. } => Unfinished::Trimmed(first_sequence),
            other => Unfinished::Never(unreadable(other)),
        }
    }
}
