//! The bell of one door thread: rung once a commit from the thread that commits, it wakes everybody of this thread who
//! waits for durability. So a commit costs one wake across threads, however many callers it answers.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;

/// Wakes those who wait for the next commit.
#[derive(Default)]
pub(super) struct Bell {
    awaited: AtomicBool,
    rung: Notify,
    sleepers: Mutex<Sleepers>,
}

#[derive(Default)]
struct Sleepers {
    wakers: Vec<Waker>,
    /// How often the bell has woken somebody.
    round: u64,
}

/// A task's place at the bell, so that it waits there only once a round.
#[derive(Default)]
pub(super) struct Seat(Option<u64>);

impl Bell {
    /// Wakes those who wait, from any thread. Does nothing if nobody does.
    pub(super) fn ring(&self) {
        // Pairs with the fence in `sit`: either this sees that somebody waits, or they see what has become durable.
        fence(SeqCst);
        if self.awaited.load(Relaxed) && self.awaited.swap(false, SeqCst) {
            self.rung.notify_one();
        }
    }

    /// Has the task woken at the next ring. It must look once more, afterwards, at what it waits for.
    pub(super) fn sit(&self, seat: &mut Seat, waker: &Waker) {
        {
            let mut sleepers = self.sleepers();
            if seat.0 == Some(sleepers.round) {
                return;
            }
            seat.0 = Some(sleepers.round);
            sleepers.wakers.push(waker.clone());
        }
        self.awaited.store(true, SeqCst);
        fence(SeqCst);
    }

    /// Hands every ring on, for ever. One task of the bell's own thread does this.
    pub(super) async fn hand_on(&self) {
        let mut woken = Vec::new();
        loop {
            self.rung.notified().await;
            {
                let mut sleepers = self.sleepers();
                std::mem::swap(&mut woken, &mut sleepers.wakers);
                sleepers.round += 1;
            }
            woken.drain(..).for_each(Waker::wake);
        }
    }

    fn sleepers(&self) -> MutexGuard<'_, Sleepers> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
