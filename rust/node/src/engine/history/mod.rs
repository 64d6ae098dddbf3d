//! Reads of the past: the state at a moment (`past_state`), and what changed a level (`level_changes`). They read the journal
//! and the snapshots, never the writer's ledger beyond a few names, and they take turns, so that together they use at most one
//! core and the memory of one more ledger.

mod level_changes;
mod past_state;

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::past_state::PastState;
use super::{Call, Shared, lock};
use crate::refusal::Refusal;
use crate::translate::read::View;

/// Most reads of the past at once: one runs, the others wait for their turn.
const READS_MAX: u32 = 4;
/// The longest time of one, also if its caller has no deadline.
const TIME_MAX: Duration = Duration::from_secs(60);
/// How long a state is kept for the next page of it.
const KEPT: Duration = Duration::from_secs(30);

/// The turns of the reads of the past, and the state that one of them left for the next.
#[derive(Default)]
pub(super) struct HistoryReads {
    turns: Mutex<Turns>,
    ended: Condvar,
}

#[derive(Default)]
struct Turns {
    /// Reads that run or wait.
    count: u32,
    is_taken: bool,
    /// A state, and how long it is kept.
    kept: Option<(PastState, Instant)>,
}

/// The turn of one read.
struct Turn<'r> {
    reads: &'r HistoryReads,
    /// The state of the read before, and then of this one; kept if there is one when the turn ends.
    state: Option<PastState>,
}

/// When a read of the past ends unfinished.
#[derive(Clone, Copy)]
struct ReadLimit<'s> {
    shared: &'s Shared,
    until: Instant,
}

impl HistoryReads {
    fn turn(&self, until: Instant) -> Result<Turn<'_>, Refusal> {
        let mut turns = lock(&self.turns);
        if turns.count >= READS_MAX {
            return Err(Refusal::history_overloaded());
        }
        turns.count += 1;
        while turns.is_taken {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                turns.count -= 1;
                return Err(Refusal::history_takes_longer());
            }
            turns = self.ended.wait_timeout(turns, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        turns.is_taken = true;
        let state = turns.kept.take().map(|(state, _)| state);
        Ok(Turn { reads: self, state })
    }

    /// Drops a state that no page was read from for a while.
    pub fn forget_unused(&self, now: Instant) {
        let unused = lock(&self.turns).kept.take_if(|(_, until)| *until <= now);
        // Dropping takes long, and nobody waits for it.
        drop(unused);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = lock(&self.reads.turns);
        turns.is_taken = false;
        turns.count -= 1;
        turns.kept = self.state.take().map(|state| (state, Instant::now() + KEPT));
        drop(turns);
        self.reads.ended.notify_one();
    }
}

impl<'s> ReadLimit<'s> {
    fn of(shared: &'s Shared, call: &Call<'_>, moment: Instant) -> Self {
        let latest = moment + TIME_MAX;
        ReadLimit { shared, until: call.deadline.map_or(latest, |deadline| deadline.min(latest)) }
    }

    /// Refuses to go on once there is no time left, or nobody may be answered any more.
    fn check(&self) -> Result<(), Refusal> {
        if self.shared.snapshots.stopped() {
            return Err(Refusal::draining());
        }
        if Instant::now() >= self.until {
            return Err(Refusal::history_takes_longer());
        }
        Ok(())
    }

    /// Waits until everything up to `sequence` is durable.
    fn durable(&self, sequence: u64, path: &str) -> Result<(), Refusal> {
        let durable = self.shared.ring.wait(sequence, self.until);
        match durable.sequence >= sequence {
            true => Ok(()),
            false if durable.poisoned => Err(self.shared.poisoned_refusal(path)),
            false => Err(self.check().err().unwrap_or_else(Refusal::draining)),
        }
    }
}

impl Shared {
    /// The view of a reader of durable history: page tokens are bound to its newest event.
    fn durable_view(&self) -> View<'_> {
        let durable_sequence = self.ring.durable().sequence;
        let newest = self.epochs.newest(durable_sequence);
        View { now_ms: 0, durable_sequence, tag: self.facts.tag, epochs: &self.epochs, newest }
    }

    /// An answer that was read while this server may have lost its journal is not given.
    fn still_ours(&self, path: &str, answer: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        if self.ring.durable().poisoned {
            return Err(self.poisoned_refusal(path));
        }
        if self.lease.as_ref().is_some_and(|lease| lease.is_uncertain(Instant::now())) {
            return Err(Refusal::ownership_uncertain());
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[test]
    fn one_read_runs_a_few_wait_and_others_are_refused() {
        let (reads, later) = (HistoryReads::default(), Instant::now() + Duration::from_secs(20));
        let running = reads.turn(soon()).unwrap_or_else(|_| panic!("nobody reads"));
        let wait = || reads.turn(later).map(drop).map_err(|refusal| refusal.reason);
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (1..READS_MAX).map(|_| scope.spawn(wait)).collect();
            while lock(&reads.turns).count < READS_MAX {
                std::thread::yield_now();
            }
            let refused = reads.turn(later).map(drop).expect_err("as many wait as may");
            assert_eq!((refused.reason, refused.retry_ms.is_some()), ("OVERLOADED", true));
            drop(running);
            assert!(waiting.into_iter().all(|each| each.join().expect("no panic") == Ok(())));
        });
        assert_eq!(lock(&reads.turns).count, 0);
    }

    #[test]
    fn a_read_waits_no_longer_than_its_time() {
        let reads = HistoryReads::default();
        let _running = reads.turn(soon()).unwrap_or_else(|_| panic!("nobody reads"));
        assert_eq!(reads.turn(soon()).map(drop).map_err(|refusal| refusal.reason), Err("DEADLINE"));
        assert_eq!(lock(&reads.turns).count, 1);
    }
}
