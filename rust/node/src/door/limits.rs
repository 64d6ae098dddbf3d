//! The limits of a door: connections, calls in progress, readers of the journal, bytes of incomplete messages and of
//! unread answers. What exceeds a limit is refused at once.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::bounds::{Bound, Bounds};
use super::connections::{ConnectionState, Connections};
use super::settings::DoorSettings;
use crate::refusal::Refusal;

/// Calls that a connection may always have in progress, however many others have: nobody is locked out.
const CALLS_ASSURED: usize = 16;
/// Bytes of answers that a connection may always leave unread, however many others do.
const ANSWER_BYTES_ASSURED: usize = 64 << 10;

/// Counts and limits of one door.
pub(super) struct Limits {
    pub(super) connections: Arc<Connections>,
    pub(super) bounds: Bounds,
    calls: Quota,
    readers: Quota,
    forwards: Quota,
    service_streams: Quota,
    partial_bytes: Quota,
    answer_bytes: Quota,
    connection_answer_bytes_max: usize,
}

struct Quota {
    count: AtomicUsize,
    most: usize,
}

impl Quota {
    fn new(most: usize) -> Self {
        Quota { count: AtomicUsize::new(0), most }
    }

    fn try_acquire(&self, count: usize) -> bool {
        let before = self.count.fetch_add(count, Relaxed);
        let fits = before.saturating_add(count) <= self.most;
        if !fits {
            self.release(count);
        }
        fits
    }

    /// Counts without a limit.
    fn acquire(&self, count: usize) {
        self.count.fetch_add(count, Relaxed);
    }

    fn release(&self, count: usize) {
        self.count.fetch_sub(count, Relaxed);
    }

    fn count(&self) -> usize {
        self.count.load(Relaxed)
    }
}

/// One call in progress.
pub(super) struct ActiveCall {
    pub(super) limits: Arc<Limits>,
    pub(super) state: Arc<ConnectionState>,
}

/// One reader of the journal.
pub(super) struct ActiveReader(Arc<Limits>);

/// One call that the service behind the door answers.
pub(super) struct ActiveForward {
    limits: Arc<Limits>,
    streams: bool,
}

/// Bytes of an incomplete message.
pub(super) struct PartialBytes {
    limits: Arc<Limits>,
    bytes: usize,
}

/// Bytes of an answer that its caller has not read.
pub(super) struct UnsentAnswer {
    limits: Arc<Limits>,
    state: Arc<ConnectionState>,
    bytes: usize,
}

impl Limits {
    pub(super) fn new(settings: &DoorSettings) -> Self {
        Limits {
            connections: Arc::new(Connections::new(settings.connections_max)),
            bounds: Bounds::default(),
            calls: Quota::new(settings.calls_max),
            readers: Quota::new(settings.readers_max),
            forwards: Quota::new(settings.forwards_max),
            service_streams: Quota::new(settings.service_streams_max),
            partial_bytes: Quota::new(settings.partial_bytes_max),
            answer_bytes: Quota::new(settings.answer_bytes_max),
            connection_answer_bytes_max: settings.connection_answer_bytes_max,
        }
    }

    /// Lets a call begin, unless too many are in progress or too many bytes of earlier answers are unread.
    pub(super) fn call(self: &Arc<Self>, state: &Arc<ConnectionState>) -> Result<ActiveCall, Refusal> {
        if !self.has_room(state) {
            self.bounds.acted(Bound::AnswersRefused);
            return Err(Refusal::overloaded());
        }
        if !self.calls.try_acquire(1) {
            if state.calls.load(Relaxed) >= CALLS_ASSURED {
                self.bounds.acted(Bound::CallRefused);
                return Err(Refusal::overloaded());
            }
            self.calls.acquire(1);
        }
        state.calls.fetch_add(1, Relaxed);
        Ok(ActiveCall { limits: Arc::clone(self), state: Arc::clone(state) })
    }

    /// True if a connection may get further answers.
    pub(super) fn has_room(&self, state: &ConnectionState) -> bool {
        let unsent = state.answer_bytes.load(Relaxed);
        unsent < self.connection_answer_bytes_max
            && (unsent < ANSWER_BYTES_ASSURED || self.answer_bytes.count() < self.answer_bytes.most)
    }

    /// Counts an answer until it is read; `None` if there is no room for it.
    pub(super) fn unsent(self: &Arc<Self>, state: &Arc<ConnectionState>, bytes: usize) -> Option<UnsentAnswer> {
        if !self.answer_bytes.try_acquire(bytes) {
            if state.answer_bytes.load(Relaxed) + bytes > ANSWER_BYTES_ASSURED {
                self.bounds.acted(Bound::AnswerDropped);
                return None;
            }
            self.answer_bytes.acquire(bytes);
        }
        state.answer_bytes.fetch_add(bytes, Relaxed);
        Some(UnsentAnswer { limits: Arc::clone(self), state: Arc::clone(state), bytes })
    }

    pub(super) fn reader(self: &Arc<Self>) -> Result<ActiveReader, Refusal> {
        self.acquire_one(&self.readers, Bound::ReaderRefused)?;
        Ok(ActiveReader(Arc::clone(self)))
    }

    /// Lets a call go to the service. Calls that stream have a limit of their own, which is lower because they last.
    pub(super) fn forward(self: &Arc<Self>, streams: bool) -> Result<ActiveForward, Refusal> {
        let quota = if streams { &self.service_streams } else { &self.forwards };
        self.acquire_one(quota, Bound::ForwardRefused)?;
        Ok(ActiveForward { limits: Arc::clone(self), streams })
    }

    fn acquire_one(&self, quota: &Quota, bound: Bound) -> Result<(), Refusal> {
        if quota.try_acquire(1) {
            return Ok(());
        }
        self.bounds.acted(bound);
        Err(Refusal::overloaded())
    }

    pub(super) fn partial(self: &Arc<Self>) -> PartialBytes {
        PartialBytes { limits: Arc::clone(self), bytes: 0 }
    }

    /// The current counts, and how often each bound acted, as JSON.
    pub(super) fn stats(&self) -> String {
        let mut stats = serde_json::json!({
            "connections": self.connections.count(),
            "calls": self.calls.count(),
            "answer_bytes": self.answer_bytes.count(),
            "partial_bytes": self.partial_bytes.count(),
        });
        // Read last: a connection that is seen to be gone was counted by the bound that closed it.
        let bounds: serde_json::Map<_, _> =
            self.bounds.counts().map(|(name, count)| (name.to_owned(), count.into())).collect();
        stats["bounds"] = bounds.into();
        stats.to_string()
    }
}

impl PartialBytes {
    /// Counts more bytes.
    ///
    /// # Errors
    /// There is no room for them.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        if !self.limits.partial_bytes.try_acquire(bytes) {
            self.limits.bounds.acted(Bound::PartialRefused);
            return Err(Refusal::overloaded());
        }
        self.bytes += bytes;
        Ok(())
    }

    /// The message is complete or was dropped: its bytes no longer count.
    pub(super) fn clear(&mut self) {
        self.limits.partial_bytes.release(std::mem::take(&mut self.bytes));
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        self.limits.calls.release(1);
        self.state.calls.fetch_sub(1, Relaxed);
    }
}

impl Drop for ActiveReader {
    fn drop(&mut self) {
        self.0.readers.release(1);
    }
}

impl Drop for ActiveForward {
    fn drop(&mut self) {
        let quota = if self.streams { &self.limits.service_streams } else { &self.limits.forwards };
        quota.release(1);
    }
}

impl Drop for PartialBytes {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Drop for UnsentAnswer {
    fn drop(&mut self) {
        self.limits.answer_bytes.release(self.bytes);
        self.state.answer_bytes.fetch_sub(self.bytes, Relaxed);
    }
}
