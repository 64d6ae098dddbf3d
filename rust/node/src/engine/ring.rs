//! The commit ring: how callers hand what they decided to the commit thread, and hear when it is durable.
//!
//! Callers fill the open frame under its lock; whoever puts the first record into it wakes the commit thread. That one takes
//! the frame, makes it durable and says so, and everybody who waited looks again. Nothing here knows what a frame is. The
//! file stands on its own, so that loom can run every interleaving of it.

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

/// How far the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Every event up to here is durable.
    pub sequence: u64,
    /// The journal failed: nothing beyond `sequence` will be told.
    pub poisoned: bool,
}

/// What goes round between callers and the commit thread.
pub(super) struct Ring<T> {
    open: Mutex<T>,
    work: Condvar,
    durable_sequence: AtomicU64,
    poisoned: AtomicBool,
    /// True once nothing more will become durable; waiters hold this lock while they look.
    ended: Mutex<bool>,
    committed: Condvar,
}

impl<T> Ring<T> {
    /// A ring with this open frame, whose journal is durable up to this sequence.
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

    /// The open frame and what belongs to it. If whoever held it before panicked, the ring is poisoned before anybody sees what
    /// that left behind.
    pub fn open(&self) -> MutexGuard<'_, T> {
        self.open.lock().unwrap_or_else(|left| {
            self.poisoned.store(true, Release);
            PoisonError::into_inner(left)
        })
    }

    /// Wakes the commit thread. After the lock was given back: a thread that wakes before only goes back to sleep.
    pub fn wake(&self) {
        self.work.notify_one();
    }

    /// Sleeps until there is work or this time is over. The caller has seen, under this very lock, that there is none.
    pub fn sleep<'r>(&'r self, open: MutexGuard<'r, T>, at_most: Duration) -> MutexGuard<'r, T> {
        self.work.wait_timeout(open, at_most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// How far the journal is. Reads two atomics.
    #[inline]
    pub fn durable(&self) -> Durable {
        let poisoned = self.poisoned.load(Acquire);
        Durable { sequence: self.durable_sequence.load(Acquire), poisoned }
    }

    /// Everything up to this sequence is durable: whoever waited for it may go on.
    pub fn commit(&self, sequence: u64) {
        self.durable_sequence.store(sequence, Release);
        self.tell();
    }

    /// Nothing more is told. True the first time.
    pub fn poison(&self) -> bool {
        let first = !self.poisoned.swap(true, AcqRel);
        // The commit thread may be between looking and sleeping: only its lock says that it is not.
        drop(self.open());
        self.work.notify_one();
        self.tell();
        first
    }

    /// Nothing more becomes durable: nobody needs to wait any longer.
    pub fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.committed.notify_all();
    }

    /// True once the commit thread has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything up to `sequence` is durable, or the ring was poisoned or has ended, or the moment has come.
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

    /// Takes the waiters' lock once, so that nobody is between looking and sleeping, then wakes them all.
    fn tell(&self) {
        drop(self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        self.committed.notify_all();
    }
}
