//! How often the bounds of a door acted: one counter each, so that operators see an attack and what stopped it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A bound of the door. `docs/operations.md` states the value of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// A connection had its calls refused or was closed at once, because there was no room.
    ConnectionRefused,
    /// The connection that had been idle longest was closed for a new one.
    ConnectionEvicted,
    /// A connection was idle for too long.
    ConnectionIdle,
    /// A connection did not complete its HTTP/2 handshake in time.
    ConnectionSilent,
    /// A connection read nothing of what was written.
    ConnectionStalled,
    /// A connection sent more control frames than its calls need.
    ControlFrames,
    /// A call was refused because too many were in progress.
    CallRefused,
    /// A reader of the journal was refused because there were too many.
    ReaderRefused,
    /// A call for the service behind the door was refused because there were too many.
    ForwardRefused,
    /// A message was refused because incomplete messages held too many bytes.
    PartialRefused,
    /// A message took too long to arrive.
    MessageLate,
    /// A call had more metadata than a call may have.
    MetadataRefused,
    /// A call was refused because its connection had too many bytes of unread answers.
    AnswersRefused,
    /// An answer was dropped because there was no room for it.
    AnswerDropped,
    /// An answer was dropped because its caller read nothing of it.
    AnswerStalled,
    /// A reflection stream reached its time limit.
    ReflectionEnded,
}

const NAMES: [(Bound, &str); 16] = [
    (Bound::ConnectionRefused, "connection_refused"),
    (Bound::ConnectionEvicted, "connection_evicted"),
    (Bound::ConnectionIdle, "connection_idle"),
    (Bound::ConnectionSilent, "connection_silent"),
    (Bound::ConnectionStalled, "connection_stalled"),
    (Bound::ControlFrames, "control_frames"),
    (Bound::CallRefused, "call_refused"),
    (Bound::ReaderRefused, "reader_refused"),
    (Bound::ForwardRefused, "forward_refused"),
    (Bound::PartialRefused, "partial_refused"),
    (Bound::MessageLate, "message_late"),
    (Bound::MetadataRefused, "metadata_refused"),
    (Bound::AnswersRefused, "answers_refused"),
    (Bound::AnswerDropped, "answer_dropped"),
    (Bound::AnswerStalled, "answer_stalled"),
    (Bound::ReflectionEnded, "reflection_ended"),
];

/// How often each bound acted since the start.
#[derive(Default)]
pub(super) struct Bounds([AtomicU64; NAMES.len()]);

impl Bounds {
    /// Counts one action of a bound.
    pub(super) fn acted(&self, bound: Bound) {
        self.0[bound as usize].fetch_add(1, Relaxed);
    }

    /// The count of every bound, by name.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.iter().map(|(bound, name)| (*name, self.0[*bound as usize].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_has_its_own_counter_under_its_own_name() {
        for (at, (bound, name)) in NAMES.into_iter().enumerate() {
            assert_eq!(bound as usize, at, "{name}");
            let bounds = Bounds::default();
            bounds.acted(bound);
            let acted: Vec<_> = bounds.counts().filter(|(_, count)| *count > 0).collect();
            assert_eq!(acted, [(name, 1)]);
        }
    }
}
