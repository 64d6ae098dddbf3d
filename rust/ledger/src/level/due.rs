//! The units of a level that expire, counted per tick.

use std::collections::VecDeque;

/// Reserved units of one level by the tick at which they expire, in order of time. The earliest tick is stored in the level
/// itself, because most levels have no other.
#[derive(Clone, Debug, Default)]
#[expect(clippy::box_collection, reason = "a level is one cache line, and few have more than one tick")]
pub(super) struct DueUnits {
    first: (i64, i64),
    /// Never `Some` and empty.
    rest: Option<Box<VecDeque<(i64, i64)>>>,
}

impl DueUnits {
    /// Adds units that expire at this time, or removes them if negative.
    #[inline]
    pub fn add(&mut self, expire_ms: i64, units: i64) {
        if units == 0 {
            return;
        }
        if self.first.1 == 0 {
            self.first = (expire_ms, units);
        } else if self.first.0 == expire_ms {
            self.first.1 += units;
            if self.first.1 == 0 && self.rest.is_some() {
                self.first = self.rest.as_mut().and_then(|rest| rest.pop_front()).unwrap_or_default();
                self.drop_if_empty();
            }
        } else {
            self.add_another(expire_ms, units);
        }
    }

    #[cold]
    fn add_another(&mut self, expire_ms: i64, units: i64) {
        let rest = self.rest.get_or_insert_default();
        if expire_ms < self.first.0 {
            return rest.push_front(std::mem::replace(&mut self.first, (expire_ms, units)));
        }
        let position = match rest.back() {
            Some(last) if last.0 == expire_ms => rest.len() - 1,
            Some(last) if last.0 > expire_ms => rest.partition_point(|tick| tick.0 < expire_ms),
            _ => return rest.push_back((expire_ms, units)),
        };
        if rest[position].0 != expire_ms {
            return rest.insert(position, (expire_ms, units));
        }
        rest[position].1 += units;
        if rest[position].1 == 0 {
            rest.remove(position);
        }
        self.drop_if_empty();
    }

    fn drop_if_empty(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.is_empty()) {
            self.rest = None;
        }
    }

    /// Units that have expired at this time.
    #[inline]
    pub fn over(&self, now_ms: i64) -> i64 {
        if self.first.0 > now_ms || self.first.1 == 0 {
            return 0;
        }
        self.first.1 + self.later().take_while(|tick| tick.0 <= now_ms).map(|tick| tick.1).sum::<i64>()
    }

    /// All units, expired or not.
    pub fn total(&self) -> i64 {
        self.first.1 + self.later().map(|tick| tick.1).sum::<i64>()
    }

    /// The last tick, if there is more than one.
    #[inline]
    pub fn last_of_rest(&self) -> Option<i64> {
        self.rest.as_ref()?.back().map(|tick| tick.0)
    }

    fn later(&self) -> impl Iterator<Item = &(i64, i64)> {
        self.rest.iter().flat_map(|rest| rest.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_due_are_counted_exactly_per_tick() {
        let mut due = DueUnits::default();
        due.add(300, 2);
        due.add(100, 1);
        due.add(200, 5);
        due.add(300, 1);
        assert_eq!([99, 100, 199, 200, 299, 300].map(|now| due.over(now)), [0, 1, 1, 6, 6, 9]);
        due.add(200, -5);
        due.add(300, -3);
        assert_eq!(due.over(i64::MAX), 1);
        due.add(100, -1);
        assert_eq!((due.total(), due.first.1, due.rest.is_none()), (0, 0, true));
    }
}
