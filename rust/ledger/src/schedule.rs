//! Which reservations are over when, by tick. Entries are hints: whoever takes one looks whether the hold is really due,
//! so that extending or releasing a hold costs nothing here.

use std::collections::BTreeMap;

use crate::event::Slot;

/// Slots by the time at which their hold is over.
#[derive(Default)]
pub(crate) struct Schedule {
    ticks: BTreeMap<i64, Vec<Slot>>,
    /// The tick that was added to last, kept out of the tree: holds with one time to live come in runs.
    run: Option<(i64, Vec<Slot>)>,
}

impl Schedule {
    /// A hold in this slot may be over at this time.
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

    /// The earliest time at which a hold may be over.
    pub fn next(&self) -> Option<i64> {
        let run = self.run.as_ref().map(|run| run.0);
        let first = self.ticks.first_key_value().map(|entry| *entry.0);
        [run, first].into_iter().flatten().min()
    }

    /// Takes the earliest tick that is over, with its slots in order.
    pub fn take_over(&mut self, now_ms: i64) -> Option<(i64, Vec<Slot>)> {
        if self.next()? > now_ms {
            return None;
        }
        self.put_run_back();
        let (tick, mut slots) = self.ticks.pop_first()?;
        // Later slots first, so that taking from the end gives the order (expire time, id).
        slots.sort_unstable_by(|a, b| b.cmp(a));
        slots.dedup();
        Some((tick, slots))
    }

    /// Gives back what of a tick could not be done now.
    pub fn give_back(&mut self, tick: i64, slots: Vec<Slot>) {
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
        let mut schedule = Schedule::default();
        for (tick, slot) in [(200, 5), (100, 9), (200, 1), (100, 2), (300, 3), (200, 5)] {
            schedule.add(tick, slot);
        }
        assert_eq!(schedule.next(), Some(100));
        assert_eq!(schedule.take_over(99), None);
        assert_eq!(schedule.take_over(250), Some((100, vec![9, 2])));
        assert_eq!(schedule.take_over(250), Some((200, vec![5, 1])));
        assert_eq!(schedule.take_over(250), None);
        schedule.give_back(200, vec![5]);
        assert_eq!(schedule.next(), Some(200));
    }
}
