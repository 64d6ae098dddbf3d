//! How many are inside: connections, calls under way, readers of the journal, bytes of messages that came in part and of
//! answers that were not taken. Who finds no room is told so at once.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::bounds::{Bound, Bounds};
use super::places::{Place, Places};
use super::settings::DoorSettings;
use crate::refusal::Refusal;

/// Calls that a connection may have under way however many others have: nobody is locked out.
const CALLS_ASSURED: usize = 16;
/// Bytes of answers that a connection may leave untaken however many others do.
const ANSWER_BYTES_ASSURED: usize = 64 << 10;

/// Counts and limits of one door.
pub(super) struct Census {
    pub(super) places: Arc<Places>,
    pub(super) bounds: Bounds,
    calls: Limited,
    readers: Limited,
    forwards: Limited,
    service_streams: Limited,
    partial_bytes: Limited,
    answer_bytes: Limited,
    connection_answer_bytes_max: usize,
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

    /// Counts without a limit.
    fn force(&self, count: usize) {
        self.count.fetch_add(count, Relaxed);
    }

    fn leave(&self, count: usize) {
        self.count.fetch_sub(count, Relaxed);
    }

    fn count(&self) -> usize {
        self.count.load(Relaxed)
    }
}

/// One call under way.
pub(super) struct UnderWay {
    pub(super) census: Arc<Census>,
    pub(super) place: Arc<Place>,
}

/// One caller who reads the journal.
pub(super) struct Reading(Arc<Census>);

/// One call that the service behind the door answers.
pub(super) struct Forwarded {
    census: Arc<Census>,
    streams: bool,
}

/// Bytes of a message that has come in part.
pub(super) struct Partial {
    census: Arc<Census>,
    bytes: usize,
}

/// Bytes of an answer that its caller has not taken.
pub(super) struct Untaken {
    census: Arc<Census>,
    place: Arc<Place>,
    bytes: usize,
}

impl Census {
    pub(super) fn new(settings: &DoorSettings) -> Self {
        Census {
            places: Arc::new(Places::new(settings.connections_max)),
            bounds: Bounds::default(),
            calls: Limited::new(settings.calls_max),
            readers: Limited::new(settings.readers_max),
            forwards: Limited::new(settings.forwards_max),
            service_streams: Limited::new(settings.service_streams_max),
            partial_bytes: Limited::new(settings.partial_bytes_max),
            answer_bytes: Limited::new(settings.answer_bytes_max),
            connection_answer_bytes_max: settings.connection_answer_bytes_max,
        }
    }

    /// Lets a call begin, unless too many are under way, or too much of earlier answers was not taken.
    pub(super) fn call(self: &Arc<Self>, place: &Arc<Place>) -> Result<UnderWay, Refusal> {
        if !self.has_room(place) {
            self.bounds.acted(Bound::AnswersRefused);
            return Err(Refusal::overloaded());
        }
        if !self.calls.enter(1) {
            if place.calls.load(Relaxed) >= CALLS_ASSURED {
                self.bounds.acted(Bound::CallRefused);
                return Err(Refusal::overloaded());
            }
            self.calls.force(1);
        }
        place.calls.fetch_add(1, Relaxed);
        Ok(UnderWay { census: Arc::clone(self), place: Arc::clone(place) })
    }

    /// True if a connection may be given further answers.
    pub(super) fn has_room(&self, place: &Place) -> bool {
        let untaken = place.answer_bytes.load(Relaxed);
        untaken < self.connection_answer_bytes_max
            && (untaken < ANSWER_BYTES_ASSURED || self.answer_bytes.count() < self.answer_bytes.most)
    }

    /// Counts an answer until it is taken; nothing if there is no room for it.
    pub(super) fn untaken(self: &Arc<Self>, place: &Arc<Place>, bytes: usize) -> Option<Untaken> {
        if !self.answer_bytes.enter(bytes) {
            if place.answer_bytes.load(Relaxed) + bytes > ANSWER_BYTES_ASSURED {
                self.bounds.acted(Bound::AnswerDropped);
                return None;
            }
            self.answer_bytes.force(bytes);
        }
        place.answer_bytes.fetch_add(bytes, Relaxed);
        Some(Untaken { census: Arc::clone(self), place: Arc::clone(place), bytes })
    }

    pub(super) fn reader(self: &Arc<Self>) -> Result<Reading, Refusal> {
        self.enter(&self.readers, Bound::ReaderRefused)?;
        Ok(Reading(Arc::clone(self)))
    }

    /// Lets a call go to the service; those that `stream` there are fewer, since they last.
    pub(super) fn forward(self: &Arc<Self>, streams: bool) -> Result<Forwarded, Refusal> {
        let limited = if streams { &self.service_streams } else { &self.forwards };
        self.enter(limited, Bound::ForwardRefused)?;
        Ok(Forwarded { census: Arc::clone(self), streams })
    }

    fn enter(&self, limited: &Limited, bound: Bound) -> Result<(), Refusal> {
        if limited.enter(1) {
            return Ok(());
        }
        self.bounds.acted(bound);
        Err(Refusal::overloaded())
    }

    pub(super) fn partial(self: &Arc<Self>) -> Partial {
        Partial { census: Arc::clone(self), bytes: 0 }
    }

    /// What is counted now, and what the bounds did, as JSON.
    pub(super) fn stats(&self) -> String {
        let mut stats = serde_json::json!({
            "connections": self.places.count(),
            "calls": self.calls.count(),
            "answer_bytes": self.answer_bytes.count(),
            "partial_bytes": self.partial_bytes.count(),
        });
        // Looked at last: whoever is seen to have left was counted by the bound that made it leave.
        let bounds: serde_json::Map<_, _> =
            self.bounds.counts().map(|(name, count)| (name.to_owned(), count.into())).collect();
        stats["bounds"] = bounds.into();
        stats.to_string()
    }
}

impl Partial {
    /// Counts more bytes.
    ///
    /// # Errors
    /// There is no room for them.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        if !self.census.partial_bytes.enter(bytes) {
            self.census.bounds.acted(Bound::PartialRefused);
            return Err(Refusal::overloaded());
        }
        self.bytes += bytes;
        Ok(())
    }

    /// The message is complete, or given up.
    pub(super) fn clear(&mut self) {
        self.census.partial_bytes.leave(std::mem::take(&mut self.bytes));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.census.calls.leave(1);
        self.place.calls.fetch_sub(1, Relaxed);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.readers.leave(1);
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        let limited = if self.streams { &self.census.service_streams } else { &self.census.forwards };
        limited.leave(1);
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        self.census.answer_bytes.leave(self.bytes);
        self.place.answer_bytes.fetch_sub(self.bytes, Relaxed);
    }
}
