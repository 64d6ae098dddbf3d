//! Converts issue times, which are by the clocks of their writers, to engine time.
//!
//! Engine time never goes back: after one start with a fast clock it stays ahead, and issue times by correct clocks look
//! older than the oldest remembered keys. A correction states how far ahead engine time is, and this offset is added to
//! what is issued from then on. No offset is added to an issue time that its writer had used before, or a command that was
//! done could look younger than its forgotten key; therefore the issue times of each writer are kept, as a few spans. A
//! writer whose clock was as fast as the engine's has a span ahead of its correct clock; it gets no offset only while its
//! clock passes this span.

use crate::codec::{Decoded, Field, Malformed, Reader, put, put_signed};
use crate::scope::Scope;
use crate::stable_hash::StableHash;

/// Stands for every writer where the writer is unknown.
const ANYBODY: u64 = u64::MAX;

/// The reading of a wall clock at a moment of engine time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockCorrection {
    /// The wall clock, ms since 1970.
    pub wall_ms: i64,
    /// Engine time, ms since 1970; never before the wall clock.
    pub engine_ms: i64,
}

impl ClockCorrection {
    /// Whether engine time is ahead, and the offset does not overflow.
    pub(crate) fn is_possible(self) -> bool {
        self.engine_ms.checked_sub(self.wall_ms).is_some_and(|offset_ms| offset_ms >= 0)
    }

    /// How far engine time is ahead, ms.
    pub fn offset_ms(self) -> i64 {
        self.engine_ms.saturating_sub(self.wall_ms)
    }
}

impl Field for ClockCorrection {
    fn put(&self, out: &mut Vec<u8>) {
        put_signed(out, self.wall_ms);
        put_signed(out, self.engine_ms);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(ClockCorrection { wall_ms: from.signed()?, engine_ms: from.signed()? })
    }
}

/// Spans that are at most this far apart are merged: what lies between counts as used.
const GAP_MS: i64 = 3_600_000;
/// Most spans of one writer; beyond this the closest two are merged.
const SPANS_MAX: usize = 8;

/// The issue times of one writer, as spans from first to last.
type Spans = Vec<(i64, i64)>;

/// The issue times that writers have used.
#[derive(Clone, Default)]
struct NamedTimes {
    /// By writer.
    spans: Vec<(u64, Spans)>,
    /// The index of the writer that was noted last: every command is noted, and the next one is mostly by the same writer.
    latest: usize,
}

impl NamedTimes {
    #[inline]
    fn note(&mut self, writer: u64, from_ms: i64, to_ms: i64) {
        if let Some((latest, spans)) = self.spans.get_mut(self.latest)
            && *latest == writer
            && let Some(last) = spans.last_mut()
            && last.0 <= from_ms
            && from_ms.saturating_sub(GAP_MS) <= last.1
        {
            last.1 = to_ms.max(last.1);
        } else {
            self.add(writer, (from_ms, to_ms));
        }
    }

    /// Adds a span to those of its writer, and merges spans that are too close or too many.
    #[inline(never)]
    fn add(&mut self, writer: u64, span: (i64, i64)) {
        self.latest = self.spans.partition_point(|other| other.0 < writer);
        if self.spans.get(self.latest).is_none_or(|found| found.0 != writer) {
            self.spans.insert(self.latest, (writer, Spans::new()));
        }
        let spans = &mut self.spans[self.latest].1;
        if let Some(last) = spans.last_mut().filter(|last| last.0 <= span.0 && span.0.saturating_sub(GAP_MS) <= last.1)
        {
            last.1 = span.1.max(last.1);
            return;
        }
        let index = spans.partition_point(|other| other.0 <= span.0);
        spans.insert(index, span);
        loop {
            let gap = |next: usize| spans[next].0.saturating_sub(spans[next - 1].1);
            let Some(closest) = (1..spans.len()).min_by_key(|next| gap(*next)) else { return };
            if gap(closest) > GAP_MS && spans.len() <= SPANS_MAX {
                return;
            }
            let (_, end) = spans.remove(closest);
            spans[closest - 1].1 = end.max(spans[closest - 1].1);
        }
    }

    fn has(&self, writer: u64, at_ms: i64) -> bool {
        let found = self.spans.binary_search_by_key(&writer, |other| other.0);
        found.is_ok_and(|index| self.spans[index].1.iter().any(|span| span.0 <= at_ms && at_ms <= span.1))
    }

    fn put(&self, out: &mut Vec<u8>) {
        put(out, self.spans.len() as u64);
        for (writer, spans) in &self.spans {
            put(out, *writer);
            put(out, spans.len() as u64);
            for (from_ms, to_ms) in spans {
                put_signed(out, *from_ms);
                put_signed(out, *to_ms);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let mut named = NamedTimes::default();
        for _ in 0..from.count(2)? {
            let writer = from.number()?;
            for _ in 0..from.count(2)? {
                named.note(writer, from.signed()?, from.signed()?);
            }
        }
        Ok(named)
    }
}

/// The issue times that writers have used, and the current correction.
#[derive(Default)]
pub(crate) struct IssueTimes {
    named: NamedTimes,
    /// The spans at the time of the current correction; no offset is added to these.
    before: NamedTimes,
    correction: Option<ClockCorrection>,
}

impl IssueTimes {
    /// Records an issue time of a writer.
    #[inline]
    pub fn note(&mut self, scope: Scope, issue_time_ms: i64) {
        self.named.note(scope.word(), issue_time_ms, issue_time_ms);
    }

    /// Treats every issue time up to this moment as used, because it is not known which were.
    pub fn note_unknown(&mut self, until_ms: i64) {
        self.named.note(ANYBODY, i64::MIN, until_ms);
    }

    /// Starts a correction for what is issued from now on; returns false if it is impossible.
    pub fn correct(&mut self, correction: ClockCorrection) -> bool {
        if !correction.is_possible() {
            return false;
        }
        self.before = self.named.clone();
        self.correction = Some(correction);
        true
    }

    /// Converts an issue time of this writer to engine time.
    #[inline]
    pub fn in_engine_time(&self, scope: Scope, issue_time_ms: i64) -> i64 {
        match self.correction {
            Some(correction) if issue_time_ms >= correction.wall_ms && self.is_new(scope, issue_time_ms) => {
                issue_time_ms.saturating_add(correction.offset_ms())
            }
            _ => issue_time_ms,
        }
    }

    fn is_new(&self, scope: Scope, issue_time_ms: i64) -> bool {
        !self.before.has(scope.word(), issue_time_ms) && !self.before.has(ANYBODY, issue_time_ms)
    }

    /// How far engine time is ahead of the wall clock, ms.
    pub fn offset_ms(&self) -> i64 {
        self.correction.map_or(0, ClockCorrection::offset_ms)
    }

    /// The hash of the correction; 0 without one.
    pub fn digest(&self) -> u128 {
        let hash = |correction: ClockCorrection| {
            StableHash::new(0x20).signed(correction.wall_ms).signed(correction.engine_ms).digest()
        };
        self.correction.map_or(0, hash)
    }

    /// Encodes the issue times and the correction.
    pub fn put(&self, out: &mut Vec<u8>) {
        self.named.put(out);
        put(out, u64::from(self.correction.is_some()));
        if let Some(correction) = self.correction {
            correction.put(out);
            self.before.put(out);
        }
    }

    /// Decodes the issue times and the correction.
    pub fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let mut issued = IssueTimes { named: NamedTimes::read(from)?, ..IssueTimes::default() };
        match from.number()? {
            0 => {}
            1 => {
                issued.correction = Some(ClockCorrection::read(from)?).filter(|correction| correction.is_possible());
                issued.before = NamedTimes::read(from)?;
            }
            _ => return Err(Malformed("a clock is corrected once or not at all")),
        }
        Ok(issued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_that_take_turns_have_the_spans_that_each_has_alone() {
        let times = [0, 1, 3 * GAP_MS, 2, 9 * GAP_MS, i64::MIN, i64::MAX, 10 * GAP_MS, i64::MIN, 6 * GAP_MS];
        let writers = [3, u64::MAX, 0, 2];
        let (mut together, mut alone) = (NamedTimes::default(), [const { Vec::new() }; 4]);
        for at_ms in times {
            for (writer, single) in writers.iter().zip(&mut alone) {
                let at_ms = if writer % 2 == 0 { at_ms } else { at_ms / 2 };
                together.note(*writer, at_ms, at_ms);
                let mut own = NamedTimes { spans: vec![(*writer, std::mem::take(single))], latest: 0 };
                own.note(*writer, at_ms, at_ms);
                *single = own.spans.remove(0).1;
            }
        }
        assert!(together.spans.is_sorted_by_key(|writer| writer.0));
        for (writer, single) in writers.iter().zip(alone) {
            let found = together.spans.iter().find(|other| other.0 == *writer).map(|other| &other.1);
            assert_eq!(found, Some(&single), "writer {writer}");
            assert!(single.iter().all(|span| together.has(*writer, span.0) && together.has(*writer, span.1)));
        }
        assert!(!together.has(1, 0) && !together.has(2, 20 * GAP_MS));
    }
}
