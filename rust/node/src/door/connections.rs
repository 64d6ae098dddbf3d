//! The connections of a door: which are open, which are idle, and which one is closed when a new one arrives at a full
//! door.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Connections beyond the limit whose calls are refused OVERLOADED; further ones are closed at once.
const OVER_LIMIT_MAX: usize = 64;
/// Connections that may be closing for others at once.
const CLOSING_MAX: usize = 64;
/// The value of `idle_since` while a connection is not idle.
const BUSY: u64 = u64::MAX;

/// Every connection of a door.
pub(super) struct Connections {
    table: Mutex<Table>,
    closed: Condvar,
    most: usize,
}

#[derive(Default)]
struct Table {
    by_number: HashMap<u64, Arc<ConnectionState>>,
    next: u64,
    /// Connections that were told to close and are no longer in the table.
    closing: usize,
}

/// The state of one connection.
pub(super) struct ConnectionState {
    accepted: Instant,
    /// Since when it has had no call in progress, ms after it was accepted; or BUSY.
    idle_since: AtomicU64,
    /// A call has begun on it, whatever its outcome.
    has_called: AtomicBool,
    evict_notice: Notify,
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
        Connections { table: Mutex::default(), closed: Condvar::new(), most }
    }

    /// Admits a connection. If there is no room, the one that has been idle longest is closed for it; one with a call
    /// in progress never is. While more than half of the connections are idle and never made a call, one of those is
    /// closed: however many arrive at once and say nothing, they do not displace callers that are idle between calls.
    pub(super) fn admit(self: &Arc<Self>) -> Admission {
        let mut table = self.table();
        let count = table.by_number.len();
        let mut evicts = false;
        if count >= self.most {
            match table.to_evict(self.most) {
                Some(_) if table.closing >= CLOSING_MAX => return Admission::Retry,
                Some(number) => evicts = table.evict(number),
                None if count >= self.most + OVER_LIMIT_MAX => return Admission::Full,
                None => {}
            }
        }
        let over_limit = count >= self.most && !evicts;
        Admission::Admitted { guard: self.insert(&mut table, over_limit), evicts }
    }

    fn insert(self: &Arc<Self>, table: &mut Table, over_limit: bool) -> ConnectionGuard {
        let number = table.next;
        table.next += 1;
        let state = Arc::new(ConnectionState::new(over_limit));
        table.by_number.insert(number, Arc::clone(&state));
        ConnectionGuard { connections: Arc::clone(self), number, state, over_limit }
    }

    /// The number of open connections.
    pub(super) fn count(&self) -> usize {
        self.table().by_number.len()
    }

    /// Returns true once the last connection has closed, false if some are still open after `timeout`.
    pub(super) fn wait_until_empty(&self, timeout: Duration) -> bool {
        let started = Instant::now();
        let mut table = self.table();
        while table.by_number.len() + table.closing > 0 {
            let Some(left) = timeout.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) else {
                return false;
            };
            table = self.closed.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn to_evict(&self, most: usize) -> Option<u64> {
        let silent = self.by_number.values().filter(|state| state.is_silent()).count();
        let only_silent = silent > most / 2;
        let candidates = self.by_number.iter().filter(|(_, state)| !only_silent || state.is_silent());
        let idle = candidates.filter_map(|(number, state)| Some((state.idle_time()?, *number)));
        idle.max_by_key(|(idle_time, number)| (*idle_time, u64::MAX - number)).map(|(_, number)| number)
    }

    fn evict(&mut self, number: u64) -> bool {
        let Some(state) = self.by_number.remove(&number) else { return false };
        self.closing += 1;
        state.evict_notice.notify_one();
        true
    }
}

impl ConnectionState {
    fn new(over_limit: bool) -> Self {
        // A connection beyond the limit is never evicted: it ends by itself.
        let idle_since = AtomicU64::new(if over_limit { BUSY } else { 0 });
        let (calls, answer_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (accepted, has_called) = (Instant::now(), AtomicBool::new(false));
        ConnectionState { accepted, idle_since, has_called, evict_notice: Notify::new(), calls, answer_bytes }
    }

    /// Notes whether a call is in progress, and whether one has begun since the last note: it may have ended already.
    pub(super) fn note(&self, busy: bool, began: bool) {
        if began {
            self.has_called.store(true, Relaxed);
        }
        let was_busy = self.idle_since.load(Relaxed) == BUSY;
        if busy != was_busy || began && !busy {
            let now = u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(BUSY - 1);
            self.idle_since.store(if busy { BUSY } else { now }, Relaxed);
        }
    }

    /// True if it is idle and never made a call.
    fn is_silent(&self) -> bool {
        !self.has_called.load(Relaxed) && self.idle_since.load(Relaxed) != BUSY
    }

    /// How long it has had no call in progress; `None` while it has one.
    pub(super) fn idle_time(&self) -> Option<Duration> {
        let since = Some(self.idle_since.load(Relaxed)).filter(|since| *since != BUSY)?;
        Some(self.accepted.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    /// Completes once it must close for another.
    pub(super) async fn evicted(&self) {
        self.evict_notice.notified().await;
    }
}

impl ConnectionGuard {
    /// It was told to close but stays open, because a call has begun.
    pub(super) fn stay_open(&self) {
        let mut table = self.connections.table();
        if table.by_number.insert(self.number, Arc::clone(&self.state)).is_none() {
            table.closing -= 1;
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut table = self.connections.table();
        if table.by_number.remove(&self.number).is_none() {
            table.closing -= 1;
        }
        drop(table);
        self.connections.closed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(connections: &Arc<Connections>) -> (ConnectionGuard, bool) {
        match connections.admit() {
            Admission::Admitted { guard, evicts } => (guard, evicts),
            _ => panic!("there should have been room"),
        }
    }

    #[tokio::test]
    async fn the_longest_idle_connection_closes_for_a_newcomer_and_a_busy_one_never_does() {
        let connections = Arc::new(Connections::new(3));
        let [(busy, _), (longest, _), (shorter, _)] =
            [admitted(&connections), admitted(&connections), admitted(&connections)];
        busy.state.note(true, true);
        std::thread::sleep(Duration::from_millis(3));
        // Its call began and ended between two notes.
        shorter.state.note(false, true);
        let (newcomer, evicts) = admitted(&connections);
        assert!(evicts && !newcomer.over_limit);
        longest.state.evicted().await;
        newcomer.state.note(true, true);
        let (_another, evicts) = admitted(&connections);
        assert!(evicts, "the other idle one");
        shorter.state.evicted().await;
        assert_eq!(connections.count(), 3);
    }

    #[test]
    fn a_caller_is_not_displaced_by_many_that_never_call() {
        let connections = Arc::new(Connections::new(4));
        let caller = admitted(&connections).0;
        caller.state.note(false, true);
        let silent: Vec<ConnectionGuard> = (0..20).map(|_| admitted(&connections).0).collect();
        assert!(silent.iter().all(|guard| !guard.over_limit));
        assert!(connections.table().by_number.contains_key(&caller.number));
    }

    #[test]
    fn newcomers_do_not_displace_each_other_while_callers_are_idle() {
        let connections = Arc::new(Connections::new(4));
        let callers: Vec<ConnectionGuard> = (0..4).map(|_| admitted(&connections).0).collect();
        callers.iter().for_each(|caller| caller.state.note(false, true));
        std::thread::sleep(Duration::from_millis(3));
        let newcomers = [admitted(&connections).0, admitted(&connections).0];
        let is_open = |guard: &ConnectionGuard| connections.table().by_number.contains_key(&guard.number);
        assert_eq!(newcomers.iter().filter(|newcomer| is_open(newcomer)).count(), 2);
        assert_eq!(callers.iter().filter(|caller| is_open(caller)).count(), 2);
    }

    #[test]
    fn without_idle_connections_a_few_are_admitted_to_be_refused_and_the_rest_are_closed() {
        let connections = Arc::new(Connections::new(1));
        let first = admitted(&connections).0;
        first.state.note(true, true);
        let refused: Vec<ConnectionGuard> = (0..OVER_LIMIT_MAX).map(|_| admitted(&connections).0).collect();
        assert!(refused.iter().all(|guard| guard.over_limit));
        assert!(matches!(connections.admit(), Admission::Full));
        drop(refused);
        drop(first);
        assert!(connections.wait_until_empty(Duration::ZERO));
    }

    #[test]
    fn few_connections_close_at_once_and_they_are_waited_for() {
        let connections = Arc::new(Connections::new(1));
        let mut guards: Vec<ConnectionGuard> = (0..=CLOSING_MAX).map(|_| admitted(&connections).0).collect();
        assert!(matches!(connections.admit(), Admission::Retry));
        let one = guards.remove(0);
        one.state.note(true, true);
        one.stay_open();
        assert!(admitted(&connections).1, "one that stays open is not waited for");
        drop(one);
        assert!(!connections.wait_until_empty(Duration::ZERO));
        drop(guards);
        assert!(connections.wait_until_empty(Duration::ZERO));
    }
}
