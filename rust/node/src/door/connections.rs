//! The connections of a door: which are open, which are idle, and which one is closed when a new one arrives at a full
//! door.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Connections beyond the limit whose calls are refused OVERLOADED; further ones are closed at once.
const OVER_LIMIT_MAX: usize = 64;
/// Connections that may be closing for others at once.
const LEAVING_MAX: usize = 64;
/// The value of `idle_since` while a connection is not idle.
const BUSY: u64 = u64::MAX;

/// Every connection of a door.
pub(super) struct Connections {
    inside: Mutex<Table>,
    left: Condvar,
    most: usize,
}

#[derive(Default)]
struct Table {
    by_number: HashMap<u64, Arc<ConnectionState>>,
    next: u64,
    /// Connections that were told to close and are no longer in the table.
    leaving: usize,
}

/// The state of one connection.
pub(super) struct ConnectionState {
    made: Instant,
    /// Since when it has had no call in progress, ms after it was accepted; or BUSY.
    idle_since: AtomicU64,
    leave: Notify,
    /// Calls in progress.
    pub(super) calls: AtomicUsize,
    /// Bytes of answers that were not read yet.
    pub(super) answer_bytes: AtomicUsize,
}

/// One open connection; dropping it makes room for another.
pub(super) struct ConnectionGuard {
    connections: Arc<Connections>,
    number: u64,
    pub(super) state: Arc<ConnectionState>,
    /// It is beyond the limit: its calls are refused.
    pub(super) over_limit: bool,
}

/// What happens to a new connection.
pub(super) enum Admission {
    /// It is admitted, perhaps in place of one that was idle.
    Admitted {
        guard: ConnectionGuard,
        evicts: bool,
    },
    /// It is to try again once one that is closing has closed.
    Retry,
    Full,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Connections { inside: Mutex::default(), left: Condvar::new(), most }
    }

    /// Admits a connection. If there is no room, the one that has been idle longest is closed for it; one with a call
    /// in progress never is.
    pub(super) fn enter(self: &Arc<Self>) -> Admission {
        let mut inside = self.inside();
        let count = inside.by_number.len();
        let mut evicts = false;
        if count >= self.most {
            match inside.longest_idle() {
                Some(_) if inside.leaving >= LEAVING_MAX => return Admission::Retry,
                Some(number) => evicts = inside.evict(number),
                None if count >= self.most + OVER_LIMIT_MAX => return Admission::Full,
                None => {}
            }
        }
        let over_limit = count >= self.most && !evicts;
        Admission::Admitted { guard: self.admit(&mut inside, over_limit), evicts }
    }

    fn admit(self: &Arc<Self>, inside: &mut Table, over_limit: bool) -> ConnectionGuard {
        let number = inside.next;
        inside.next += 1;
        let state = Arc::new(ConnectionState::new(over_limit));
        inside.by_number.insert(number, Arc::clone(&state));
        ConnectionGuard { connections: Arc::clone(self), number, state, over_limit }
    }

    /// The number of open connections.
    pub(super) fn count(&self) -> usize {
        self.inside().by_number.len()
    }

    /// Returns true once the last connection has closed, false if some are still open after `timeout`.
    pub(super) fn wait_until_empty(&self, timeout: Duration) -> bool {
        let started = Instant::now();
        let mut inside = self.inside();
        while inside.by_number.len() + inside.leaving > 0 {
            let Some(left) = timeout.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) else {
                return false;
            };
            inside = self.left.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn inside(&self) -> MutexGuard<'_, Table> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn longest_idle(&self) -> Option<u64> {
        let idle = self.by_number.iter().filter_map(|(number, state)| Some((state.idle_time()?, *number)));
        idle.max_by_key(|(idle_time, number)| (*idle_time, u64::MAX - number)).map(|(_, number)| number)
    }

    fn evict(&mut self, number: u64) -> bool {
        let Some(state) = self.by_number.remove(&number) else { return false };
        self.leaving += 1;
        state.leave.notify_one();
        true
    }
}

impl ConnectionState {
    fn new(over_limit: bool) -> Self {
        // A connection beyond the limit is never evicted: it ends by itself.
        let idle_since = AtomicU64::new(if over_limit { BUSY } else { 0 });
        let (calls, answer_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        ConnectionState { made: Instant::now(), idle_since, leave: Notify::new(), calls, answer_bytes }
    }

    /// Notes whether a call is in progress, and whether one has begun since the last note: it may have ended already.
    pub(super) fn note(&self, busy: bool, began: bool) {
        let was_busy = self.idle_since.load(Relaxed) == BUSY;
        if busy != was_busy || began && !busy {
            let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(BUSY - 1);
            self.idle_since.store(if busy { BUSY } else { now }, Relaxed);
        }
    }

    /// How long it has had no call in progress; `None` while it has one.
    pub(super) fn idle_time(&self) -> Option<Duration> {
        let since = Some(self.idle_since.load(Relaxed)).filter(|since| *since != BUSY)?;
        Some(self.made.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    /// Completes once it must close for another.
    pub(super) async fn evicted(&self) {
        self.leave.notified().await;
    }
}

impl ConnectionGuard {
    /// It was told to close but stays open, because a call has begun.
    pub(super) fn stay_open(&self) {
        let mut inside = self.connections.inside();
        if inside.by_number.insert(self.number, Arc::clone(&self.state)).is_none() {
            inside.leaving -= 1;
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut inside = self.connections.inside();
        if inside.by_number.remove(&self.number).is_none() {
            inside.leaving -= 1;
        }
        drop(inside);
        self.connections.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(connections: &Arc<Connections>) -> (ConnectionGuard, bool) {
        match connections.enter() {
            Admission::Admitted { guard, evicts } => (guard, evicts),
            _ => panic!("there should have been room"),
        }
    }

    #[tokio::test]
    async fn the_longest_idle_connection_closes_for_a_newcomer_and_a_busy_one_never_does() {
        let connections = Arc::new(Connections::new(3));
        let [(busy, _), (longest, _), (shorter, _)] =
            [inside(&connections), inside(&connections), inside(&connections)];
        busy.state.note(true, true);
        std::thread::sleep(Duration::from_millis(3));
        // Its call began and ended between two notes.
        shorter.state.note(false, true);
        let (newcomer, evicts) = inside(&connections);
        assert!(evicts && !newcomer.over_limit);
        longest.state.evicted().await;
        newcomer.state.note(true, true);
        let (_another, evicts) = inside(&connections);
        assert!(evicts, "the other idle one");
        shorter.state.evicted().await;
        assert_eq!(connections.count(), 3);
    }

    #[test]
    fn without_idle_connections_a_few_are_admitted_to_be_refused_and_the_rest_are_closed() {
        let connections = Arc::new(Connections::new(1));
        let first = inside(&connections).0;
        first.state.note(true, true);
        let crowd: Vec<ConnectionGuard> = (0..OVER_LIMIT_MAX).map(|_| inside(&connections).0).collect();
        assert!(crowd.iter().all(|guard| guard.over_limit));
        assert!(matches!(connections.enter(), Admission::Full));
        drop(crowd);
        drop(first);
        assert!(connections.wait_until_empty(Duration::ZERO));
    }

    #[test]
    fn few_connections_close_at_once_and_they_are_waited_for() {
        let connections = Arc::new(Connections::new(1));
        let mut guard: Vec<ConnectionGuard> = (0..=LEAVING_MAX).map(|_| inside(&connections).0).collect();
        assert!(matches!(connections.enter(), Admission::Retry));
        let stay_open = guard.remove(0);
        stay_open.state.note(true, true);
        stay_open.stay_open();
        assert!(inside(&connections).1, "one that stays open is not waited for");
        drop(stay_open);
        assert!(!connections.wait_until_empty(Duration::ZERO));
        drop(guard);
        assert!(connections.wait_until_empty(Duration::ZERO));
    }
}
