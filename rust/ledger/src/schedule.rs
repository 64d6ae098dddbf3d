//! When reservations expire, by tick. Entries are hints: the caller checks whether a hold is really due, so extending or
//! releasing a hold costs nothing here.

use std::collections::BTreeMap;

use crate::ids::Slot;

/// Slots by the time at which their hold expires.
#[derive(Default)]
pub(crate) struct ExpirySchedule {
    ticks: BTreeMap<i64, Vec<Slot>>,
    /// The tick that was added to last, kept out of the tree: holds with the same time to live come in runs.
    run: Option<(i64, Vec<Slot>)>,
}

impl ExpirySchedule {
    /// Notes that the hold in this slot may expire at this time.
    pub fn add(&mut self, expire_ms: i64, slot: Slot) {
        match &mut self.run {
            Some((tick, slots)) if *tick == expire_ms => slots.push(slot),
            _ => {
                self.put_run_back();
                let mut slots = self.ticks.remove(&expire_ms).unwrap_or_default();
                slots.push(slot);
                self.run = Some((expire_ms, slots));
            }
        }
    }

    fn put_run_back(&mut self) {
        if let Some((tick, mut slots)) = self.run.take() {
            self.ticks.entry(tick).or_default().append(&mut slots);
        }
    }

    /// The earliest time at which a hold may expire.
    pub fn next(&self) -> Option<i64> {
        let run = self.run.as_ref().map(|run| run.0);
        let first = self.ticks.first_key_value().map(|entry| *entry.0);
        [run, first].into_iter().flatten().min()
    }

    /// Takes the earliest tick that is due, with its slots in order.
    pub fn take_due(&mut self, now_ms: i64) -> Option<(i64, Vec<Slot>)> {
        if self.next()? > now_ms {
            return None;
        }
        self.put_run_back();
        let (tick, mut slots) = self.ticks.pop_first()?;
        // Later slots first, so that popping from the end gives the order (expire time, id).
        slots.sort_unstable_by(|a, b| b.cmp(a));
        slots.dedup();
        Some((tick, slots))
    }

    /// Puts back the slots of a tick that could not be processed now.
    pub fn put_back(&mut self, tick: i64, slots: Vec<Slot>) {
        if !slots.is_empty() {
            self.ticks.entry(tick).or_default().extend(slots);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_come_in_order_and_slots_within_them() {
        let mut schedule = ExpirySchedule::default();
        for (tick, slot) in [(200, 5), (100, 9), (200, 1), (100, 2), (300, 3), (200, 5)] {
            schedule.add(tick, slot);
        }
        assert_eq!(schedule.next(), Some(100));
        assert_eq!(schedule.take_due(99), None);
        assert_eq!(schedule.take_due(250), Some((100, vec![9, 2])));
        assert_eq!(schedule.take_due(250), Some((200, vec![5, 1])));
        assert_eq!(schedule.take_due(250), None);
        schedule.put_back(200, vec![5]);
        assert_eq!(schedule.next(), Some(200));
    }
}
