//! How many are inside: connections, calls under way, readers of the journal, bytes of messages that came in part. Who
//! finds no room is told so at once.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::settings::DoorSettings;

/// Connections beyond the limit that are told OVERLOADED rather than closed without a word.
const CROWD_MAX: usize = 64;

/// Counts and limits of one door.
pub(super) struct Census {
    connections: Mutex<usize>,
    left: Condvar,
    connections_max: usize,
    calls: Limited,
    readers: Limited,
    partial_bytes: Limited,
}

struct Limited {
    count: AtomicUsize,
    most: usize,
}

impl Limited {
    fn new(most: usize) -> Self {
        Limited { count: AtomicUsize::new(0), most }
    }

    fn enter(&self, count: usize) -> bool {
        let before = self.count.fetch_add(count, Relaxed);
        let fits = before.saturating_add(count) <= self.most;
        if !fits {
            self.leave(count);
        }
        fits
    }

    fn leave(&self, count: usize) {
        self.count.fetch_sub(count, Relaxed);
    }
}

/// One connection; dropping it makes room for another.
pub(super) struct Present {
    census: Arc<Census>,
    /// It is beyond the limit and only told so.
    pub(super) crowded: bool,
}

/// One call under way.
pub(super) struct UnderWay(Arc<Census>);

/// One caller who reads the journal.
pub(super) struct Reading(Arc<Census>);

/// Bytes of a message that has come in part.
pub(super) struct Partial {
    census: Arc<Census>,
    bytes: usize,
}

impl Census {
    pub(super) fn new(settings: &DoorSettings) -> Self {
        Census {
            connections: Mutex::new(0),
            left: Condvar::new(),
            connections_max: settings.connections_max,
            calls: Limited::new(settings.calls_max),
            readers: Limited::new(settings.readers_max),
            partial_bytes: Limited::new(settings.partial_bytes_max),
        }
    }

    /// Lets a connection in; nothing if there is not even room to tell it that there is none.
    pub(super) fn connection(self: &Arc<Self>) -> Option<Present> {
        let mut connections = self.connections();
        if *connections >= self.connections_max + CROWD_MAX {
            return None;
        }
        let crowded = *connections >= self.connections_max;
        *connections += 1;
        Some(Present { census: Arc::clone(self), crowded })
    }

    pub(super) fn call(self: &Arc<Self>) -> Option<UnderWay> {
        self.calls.enter(1).then(|| UnderWay(Arc::clone(self)))
    }

    pub(super) fn reader(self: &Arc<Self>) -> Option<Reading> {
        self.readers.enter(1).then(|| Reading(Arc::clone(self)))
    }

    pub(super) fn partial(self: &Arc<Self>) -> Partial {
        Partial { census: Arc::clone(self), bytes: 0 }
    }

    /// Returns true once the last connection has left, false if some are still there after `timeout`.
    pub(super) fn wait_until_empty(&self, timeout: Duration) -> bool {
        let started = Instant::now();
        let mut connections = self.connections();
        while *connections > 0 {
            let Some(left) = timeout.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) else {
                return false;
            };
            connections = self.left.wait_timeout(connections, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn connections(&self) -> MutexGuard<'_, usize> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partial {
    /// Counts more bytes; false if there is no room for them.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let fits = self.census.partial_bytes.enter(bytes);
        if fits {
            self.bytes += bytes;
        }
        fits
    }

    /// The message is complete, or given up.
    pub(super) fn clear(&mut self) {
        self.census.partial_bytes.leave(std::mem::take(&mut self.bytes));
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        *self.census.connections() -= 1;
        self.census.left.notify_all();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.calls.leave(1);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.readers.leave(1);
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.clear();
    }
}
