//! The commit ring of the engine under loom: the same file, with loom's mutexes, condition variables and atomics in place of
//! the standard library's. Every interleaving of three threads is run, up to the stated bound of preemptions.
#![forbid(unsafe_code)]
#![cfg(test)]

#[path = "../../node/src/engine/ring.rs"]
#[allow(dead_code, reason = "the engine uses all of it, a model a part")]
mod ring;

use std::time::{Duration, Instant};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::SeqCst};
use loom::thread;

use ring::Ring;

/// Preemptions in one run. Two reveal nearly every error of this kind, and are what a CI run has time for.
const PREEMPTIONS_MAX: usize = 2;

/// The open frame: the last sequence that was decided, the last that the commit thread took, and whether the ring should end.
struct Open {
    decided: u64,
    taken: u64,
    closing: bool,
}

/// A ring, and a disk that records what was really synced.
struct Model {
    ring: Ring<Open>,
    synced: AtomicU64,
}

impl Model {
    fn new() -> Arc<Self> {
        let ring = Ring::new(Open { decided: 0, taken: 0, closing: false }, 0);
        Arc::new(Model { ring, synced: AtomicU64::new(0) })
    }

    /// A caller: decides one event, wakes the commit thread if the frame was empty, and waits.
    fn call(&self) {
        let mut open = self.ring.open();
        let was_empty = open.decided == open.taken;
        open.decided += 1;
        let mine = open.decided;
        drop(open);
        if was_empty {
            self.ring.wake();
        }
        let durable = self.ring.wait(mine, far());
        if durable.sequence >= mine {
            assert!(self.synced.load(SeqCst) >= mine, "answered before the sync");
        } else {
            assert!(durable.poisoned || self.ring.has_ended(), "woken for nothing");
        }
    }

    /// The commit thread: takes what was decided, syncs it and reports it, until the ring should end.
    fn commit(&self) {
        loop {
            let mut open = self.ring.open();
            while open.decided == open.taken && !open.closing && !self.ring.durable().poisoned {
                open = self.ring.sleep(open, Duration::MAX);
            }
            let (decided, ends) = (open.decided, open.decided == open.taken);
            open.taken = decided;
            drop(open);
            if ends || self.ring.durable().poisoned {
                return self.ring.end();
            }
            self.synced.store(decided, SeqCst);
            self.ring.commit(decided);
        }
    }

    fn close(&self) {
        self.ring.open().closing = true;
        self.ring.wake();
    }
}

/// Loom has no clock: a wait ends only by a wake-up.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}

fn every_interleaving(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(model);
}

// case: G07
#[test]
fn no_wake_up_is_lost_and_nobody_is_answered_before_the_sync() {
    every_interleaving(|| {
        let model = Model::new();
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let model = Arc::clone(&model);
                thread::spawn(move || model.call())
            })
            .collect();
        let committer = Arc::clone(&model);
        let committer = thread::spawn(move || committer.commit());
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert_eq!(model.ring.durable().sequence, 2);
        model.close();
        committer.join().unwrap();
        assert!(model.ring.has_ended());
    });
}

// case: G07
#[test]
fn closing_wakes_everybody_and_commits_what_was_decided_before() {
    every_interleaving(|| {
        let model = Model::new();
        let caller = Arc::clone(&model);
        let caller = thread::spawn(move || caller.call());
        let committer = Arc::clone(&model);
        let committer = thread::spawn(move || committer.commit());
        model.close();
        committer.join().unwrap();
        caller.join().unwrap();
    });
}

// case: G07
#[test]
fn poison_wakes_everybody_and_reports_nothing_more() {
    every_interleaving(|| {
        let model = Model::new();
        let caller = Arc::clone(&model);
        let caller = thread::spawn(move || caller.call());
        let committer = Arc::clone(&model);
        let committer = thread::spawn(move || committer.commit());
        assert!(model.ring.poison());
        assert!(!model.ring.poison());
        committer.join().unwrap();
        caller.join().unwrap();
    });
}
