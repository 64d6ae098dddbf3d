//! The commit ring: how callers hand their decisions to the commit thread and learn when these are durable.
//!
//! Callers fill the open frame under its lock; whoever adds the first record wakes the commit thread. That thread takes
//! the frame, makes it durable and announces the new sequence, and every waiter checks again. Nothing here depends on
//! the content of a frame. The file is self-contained, so that loom can run every interleaving of it.

#[cfg(loom)]
mod sync {
    pub use loom::sync::atomic::{AtomicBool, AtomicU64};
    pub use loom::sync::{Condvar, Mutex, MutexGuard};
}
#[cfg(not(loom))]
mod sync {
    pub use std::sync::atomic::{AtomicBool, AtomicU64};
    pub use std::sync::{Condvar, Mutex, MutexGuard};
}

use std::sync::PoisonError;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::time::{Duration, Instant};

use sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard};

/// How far the journal is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Every event up to here is durable.
    pub sequence: u64,
    /// The journal failed: nothing beyond `sequence` will be acknowledged.
    pub poisoned: bool,
}

/// What callers and the commit thread share.
pub(super) struct Ring<T> {
    open: Mutex<T>,
    work: Condvar,
    durable_sequence: AtomicU64,
    poisoned: AtomicBool,
    /// True once nothing more will become durable; waiters hold this lock while they check.
    ended: Mutex<bool>,
    committed: Condvar,
}

impl<T> Ring<T> {
    /// Creates a ring with this open frame and a journal that is durable up to this sequence.
    pub fn new(open: T, durable_sequence: u64) -> Self {
        Ring {
            open: Mutex::new(open),
            work: Condvar::new(),
            durable_sequence: AtomicU64::new(durable_sequence),
            poisoned: AtomicBool::new(false),
            ended: Mutex::new(false),
            committed: Condvar::new(),
        }
    }

    /// Locks the open frame and what belongs to it. If an earlier holder panicked, the ring is poisoned before anybody
    /// sees the state that it left behind.
    pub fn open(&self) -> MutexGuard<'_, T> {
        self.open.lock().unwrap_or_else(|left| {
            self.poisoned.store(true, Release);
            PoisonError::into_inner(left)
        })
    }

    /// Wakes the commit thread. To be called after the lock was released: a thread that wakes earlier only goes back to
    /// sleep.
    pub fn wake(&self) {
        self.work.notify_one();
    }

    /// Sleeps until there is work or this time has passed. The caller has seen, under this very lock, that there is no
    /// work.
    pub fn sleep<'r>(&'r self, open: MutexGuard<'r, T>, at_most: Duration) -> MutexGuard<'r, T> {
        self.work.wait_timeout(open, at_most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// How far the journal is durable. Reads two atomics.
    #[inline]
    pub fn durable(&self) -> Durable {
        let poisoned = self.poisoned.load(Acquire);
        Durable { sequence: self.durable_sequence.load(Acquire), poisoned }
    }

    /// Announces that everything up to this sequence is durable, and wakes whoever waits for it.
    pub fn commit(&self, sequence: u64) {
        self.durable_sequence.store(sequence, Release);
        self.notify_waiters();
    }

    /// Announces that nothing more will be acknowledged. True the first time.
    pub fn poison(&self) -> bool {
        let first = !self.poisoned.swap(true, AcqRel);
        // The commit thread may be between its check and its sleep: taking its lock once rules that out.
        drop(self.open());
        self.work.notify_one();
        self.notify_waiters();
        first
    }

    /// Announces that nothing more will become durable, and wakes all waiters.
    pub fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.committed.notify_all();
    }

    /// True once the commit thread has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything up to `sequence` is durable, the ring is poisoned or has ended, or `until` has passed.
    pub fn wait(&self, sequence: u64, until: Instant) -> Durable {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let durable = self.durable();
            let left = until.saturating_duration_since(Instant::now());
            if durable.sequence >= sequence || durable.poisoned || *ended || left.is_zero() {
                return durable;
            }
            ended = self.committed.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes the waiters' lock once, so that nobody is between their check and their sleep, then wakes them all.
    fn notify_waiters(&self) {
        drop(self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        self.committed.notify_all();
    }
}
