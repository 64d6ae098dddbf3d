//! The last frames of a writer, kept so that they can be appended again to a server that lost them.

use std::collections::VecDeque;

use crate::journal::redis::connection::keys::EntryId;
use crate::journal::redis::connection::state::RedisPosition;

/// Frames beyond this are dropped, oldest first; at least the newest stays.
const TAIL_BYTES_MAX: usize = 32 << 20;

/// One frame, confirmed by the server or not.
pub struct TailFrame {
    /// The position after it.
    pub after: RedisPosition,
    /// Id of its entry.
    pub id: EntryId,
    /// The frame, encoded.
    pub frame: Vec<u8>,
}

/// Consecutive frames, and the position before the first of them.
pub struct Tail {
    base: RedisPosition,
    kept: VecDeque<TailFrame>,
    bytes: usize,
}

impl Tail {
    /// An empty tail.
    pub fn new(base: RedisPosition) -> Self {
        Self { base, kept: VecDeque::new(), bytes: 0 }
    }

    /// The position after the last frame.
    pub fn end(&self) -> RedisPosition {
        self.kept.back().map_or(self.base, |kept| kept.after)
    }

    /// Sequence from which on frames can be appended again.
    pub fn reaches_back_to(&self) -> u64 {
        self.base.last
    }

    /// Adds a frame. Drops old ones, but never those from index `needed` on; returns how many it dropped.
    pub fn push(&mut self, kept: TailFrame, needed: usize) -> usize {
        self.bytes += kept.frame.len();
        self.kept.push_back(kept);
        let mut dropped = 0;
        while self.bytes > TAIL_BYTES_MAX && dropped < needed && self.kept.len() > 1 {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.frame.len();
            self.base = oldest.after;
            dropped += 1;
        }
        dropped
    }

    /// Index of the first frame after a position; `None` if the position is not in this tail.
    pub fn find(&self, position: &RedisPosition) -> Option<usize> {
        if self.base == *position {
            return Some(0);
        }
        let found = self.kept.iter().rposition(|kept| kept.after == *position)?;
        Some(found + 1)
    }

    /// A frame with the position before it.
    pub fn get(&self, index: usize) -> Option<(RedisPosition, &TailFrame)> {
        let kept = self.kept.get(index)?;
        let before = index.checked_sub(1).and_then(|before| self.kept.get(before)).map_or(self.base, |kept| kept.after);
        Some((before, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(last: u64) -> RedisPosition {
        RedisPosition { last, chain: last * 7, entries: last }
    }

    fn kept(last: u64, bytes: usize) -> TailFrame {
        TailFrame { after: position(last), id: EntryId { sequence: last, claim: 0 }, frame: vec![0; bytes] }
    }

    #[test]
    fn a_position_is_found_only_if_all_its_fields_match() {
        let mut tail = Tail::new(position(4));
        for last in 5..8 {
            tail.push(kept(last, 10), usize::MAX);
        }
        for (last, index) in [(4, Some(0)), (5, Some(1)), (7, Some(3)), (3, None), (8, None)] {
            assert_eq!(tail.find(&position(last)), index, "{last}");
        }
        assert_eq!(tail.find(&RedisPosition { chain: 1, ..position(6) }), None);
        assert_eq!(tail.find(&RedisPosition { entries: 1, ..position(6) }), None);
        assert_eq!(tail.get(0).map(|(before, kept)| (before.last, kept.after.last)), Some((4, 5)));
        assert_eq!(tail.get(2).map(|(before, kept)| (before.last, kept.after.last)), Some((6, 7)));
        assert!(tail.get(3).is_none());
    }

    #[test]
    fn its_memory_is_bounded_but_unconfirmed_frames_stay() {
        let mut tail = Tail::new(position(0));
        let mut dropped = 0;
        for last in 1..=10 {
            dropped += tail.push(kept(last, TAIL_BYTES_MAX / 4), usize::MAX);
        }
        assert_eq!((dropped, tail.reaches_back_to(), tail.end()), (6, 6, position(10)));
        assert_eq!(tail.push(kept(11, TAIL_BYTES_MAX), 2), 2);
        assert_eq!(tail.reaches_back_to(), 8);
    }
}
