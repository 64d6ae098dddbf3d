//! The bell of one worker thread: the commit thread rings it once per commit, and it wakes every task of the worker
//! that waits for durability. So a commit costs one wake-up across threads, however many callers it answers.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;

/// Wakes the tasks that wait for the next commit.
#[derive(Default)]
pub(super) struct Bell {
    awaited: AtomicBool,
    rung: Notify,
    waiters: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    wakers: Vec<Waker>,
    /// The number of times that the waiters were woken.
    round: u64,
}

/// The registration of a task at the bell, so that it is registered only once per round.
#[derive(Default)]
pub(super) struct Registration(Option<u64>);

impl Bell {
    /// Wakes the waiting tasks, from any thread. Does nothing if there are none.
    pub(super) fn ring(&self) {
        // Pairs with the fence in `register`: either this sees that a task waits, or the task sees what has become
        // durable.
        fence(SeqCst);
        if self.awaited.load(Relaxed) && self.awaited.swap(false, SeqCst) {
            self.rung.notify_one();
        }
    }

    /// Registers the task to be woken at the next ring. The task must check its condition once more afterwards.
    pub(super) fn register(&self, registration: &mut Registration, waker: &Waker) {
        {
            let mut waiters = self.waiters();
            if registration.0 == Some(waiters.round) {
                return;
            }
            registration.0 = Some(waiters.round);
            waiters.wakers.push(waker.clone());
        }
        self.awaited.store(true, SeqCst);
        fence(SeqCst);
    }

    /// Passes every ring on to the waiters, for ever. One task of the worker thread runs this.
    pub(super) async fn relay(&self) {
        let mut woken = Vec::new();
        loop {
            self.rung.notified().await;
            {
                let mut waiters = self.waiters();
                std::mem::swap(&mut woken, &mut waiters.wakers);
                waiters.round += 1;
            }
            woken.drain(..).for_each(Waker::wake);
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
