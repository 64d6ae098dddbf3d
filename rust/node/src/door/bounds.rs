//! What the bounds of a door did: one counter each, so that whoever runs the server sees an attack, and what stopped it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A bound of the door. `docs/operations.md` says of each where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// A connection was told that there is no room, or closed without a word.
    ConnectionRefused,
    /// The connection that had rested longest left for a new one.
    ConnectionEvicted,
    /// A connection rested for too long.
    ConnectionIdle,
    /// A connection did not begin to speak HTTP/2.
    ConnectionSilent,
    /// A connection took nothing that was written.
    ConnectionStalled,
    /// A connection sent more frames of control than its calls need.
    ControlFrames,
    /// A call found too many under way.
    CallRefused,
    /// A reader of the journal found too many.
    ReaderRefused,
    /// A call for the service behind the door found too many.
    ForwardRefused,
    /// A message came while too much of others had come in part.
    PartialRefused,
    /// A message took too long to come.
    MessageLate,
    /// A call brought more metadata than a call may.
    MetadataRefused,
    /// A call found too many bytes of answers that its connection has not taken.
    AnswersRefused,
    /// An answer was dropped for want of room.
    AnswerDropped,
    /// An answer was given up because its caller took nothing of it.
    AnswerStalled,
    /// A stream of reflection came to its end.
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
    /// Counts that a bound acted.
    pub(super) fn acted(&self, bound: Bound) {
        self.0[bound as usize].fetch_add(1, Relaxed);
    }

    /// Every bound by its name.
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
