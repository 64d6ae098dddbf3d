//! Issue times by the clocks of their writers, and what they are in engine time.
//!
//! Engine time never goes back: after one start with a fast clock it stays ahead, and the issue times of right clocks look
//! older than keys are remembered. A correction says how far ahead it is: what is issued from then on is read with that
//! distance. An issue time that its writer had named before is read as it was, or a command that was done could look younger
//! than its forgotten key; so the times that each writer has named are kept, as a few spans. A writer that was as fast as the
//! engine has a span ahead of its right clock, and is read as it was only once its clock comes there.

use crate::codec::{Decoded, Malformed, RecordReader, put, put_signed};
use crate::mix::Mix;
use crate::scope::Scope;

/// Stands for every writer, where it is not known which.
const ANYBODY: u64 = u64::MAX;

/// What a wall clock showed at a moment of engine time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockCorrection {
    /// The wall clock, ms since 1970.
    pub wall_ms: i64,
    /// Engine time, ms since 1970; never before the wall clock.
    pub engine_ms: i64,
}

impl ClockCorrection {
    /// Whether engine time is ahead, by a distance that can be.
    pub(crate) fn is_possible(self) -> bool {
        self.engine_ms.checked_sub(self.wall_ms).is_some_and(|offset_ms| offset_ms >= 0)
    }

    /// How far engine time is ahead, ms.
    pub fn offset_ms(self) -> i64 {
        self.engine_ms.saturating_sub(self.wall_ms)
    }

    pub(crate) fn put(self, out: &mut Vec<u8>) {
        put_signed(out, self.wall_ms);
        put_signed(out, self.engine_ms);
    }

    pub(crate) fn read(from: &mut RecordReader<'_>) -> Decoded<Self> {
        Ok(ClockCorrection { wall_ms: from.signed()?, engine_ms: from.signed()? })
    }
}

/// Spans that are so close are one: what lies between counts as named.
const GAP_MS: i64 = 3_600_000;
/// Most spans of one writer; beyond it the closest two are one.
const SPANS_MAX: usize = 8;

/// The issue times of one writer, as spans from the first to the last.
type Spans = Vec<(i64, i64)>;

/// The issue times that writers have named.
#[derive(Clone, Default)]
struct Named {
    /// By writer.
    spans: Vec<(u64, Spans)>,
    /// Where the writer is that was noted last: mostly it is the next one too, and each command is noted.
    near: usize,
}

impl Named {
    #[inline]
    fn note(&mut self, writer: u64, from_ms: i64, to_ms: i64) {
        if let Some((near, spans)) = self.spans.get_mut(self.near)
            && *near == writer
            && let Some(last) = spans.last_mut()
            && last.0 <= from_ms
            && from_ms.saturating_sub(GAP_MS) <= last.1
        {
            last.1 = to_ms.max(last.1);
        } else {
            self.add(writer, (from_ms, to_ms));
        }
    }

    /// Puts a span among those of its writer, and makes those one that are too close or too many.
    #[inline(never)]
    fn add(&mut self, writer: u64, span: (i64, i64)) {
        self.near = self.spans.partition_point(|other| other.0 < writer);
        if self.spans.get(self.near).is_none_or(|found| found.0 != writer) {
            self.spans.insert(self.near, (writer, Spans::new()));
        }
        let spans = &mut self.spans[self.near].1;
        if let Some(last) = spans.last_mut().filter(|last| last.0 <= span.0 && span.0.saturating_sub(GAP_MS) <= last.1)
        {
            last.1 = span.1.max(last.1);
            return;
        }
        let place = spans.partition_point(|other| other.0 <= span.0);
        spans.insert(place, span);
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
        found.is_ok_and(|place| self.spans[place].1.iter().any(|span| span.0 <= at_ms && at_ms <= span.1))
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

    fn read(from: &mut RecordReader<'_>) -> Decoded<Self> {
        let mut named = Named::default();
        for _ in 0..from.count(2)? {
            let writer = from.number()?;
            for _ in 0..from.count(2)? {
                named.note(writer, from.signed()?, from.signed()?);
            }
        }
        Ok(named)
    }
}

/// The issue times that writers have named, and the correction in force.
#[derive(Default)]
pub(crate) struct Issued {
    named: Named,
    /// Those at the correction in force, which are read as they were before.
    before: Named,
    correction: Option<ClockCorrection>,
}

impl Issued {
    /// A writer said that something was issued then.
    #[inline]
    pub fn note(&mut self, scope: Scope, issue_time_ms: i64) {
        self.named.note(scope.word(), issue_time_ms, issue_time_ms);
    }

    /// Nobody knows what issue times writers have named up to this moment.
    pub fn note_unknown(&mut self, until_ms: i64) {
        self.named.note(ANYBODY, i64::MIN, until_ms);
    }

    /// Begins to read what is issued from now on with another distance; false for a correction that cannot be.
    pub fn correct(&mut self, correction: ClockCorrection) -> bool {
        if !correction.is_possible() {
            return false;
        }
        self.before = self.named.clone();
        self.correction = Some(correction);
        true
    }

    /// An issue time of this writer in engine time.
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

    /// The hash of the correction; 0 if there is none.
    pub fn digest(&self) -> u128 {
        let hash = |correction: ClockCorrection| {
            Mix::new(0x20).signed(correction.wall_ms).signed(correction.engine_ms).digest()
        };
        self.correction.map_or(0, hash)
    }

    /// Writes it down.
    pub fn put(&self, out: &mut Vec<u8>) {
        self.named.put(out);
        put(out, u64::from(self.correction.is_some()));
        if let Some(correction) = self.correction {
            correction.put(out);
            self.before.put(out);
        }
    }

    /// Reads it back.
    pub fn read(from: &mut RecordReader<'_>) -> Decoded<Self> {
        let mut issued = Issued { named: Named::read(from)?, ..Issued::default() };
        match from.number()? {
            0 => {}
            1 => {
                issued.correction = Some(ClockCorrection::read(from)?).filter(|correction| correction.is_possible());
                issued.before = Named::read(from)?;
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
        let (mut together, mut alone) = (Named::default(), [const { Vec::new() }; 4]);
        for at_ms in times {
            for (writer, single) in writers.iter().zip(&mut alone) {
                let at_ms = if writer % 2 == 0 { at_ms } else { at_ms / 2 };
                together.note(*writer, at_ms, at_ms);
                let mut own = Named { spans: vec![(*writer, std::mem::take(single))], near: 0 };
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
