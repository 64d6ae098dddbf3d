//! The connections of a door: who is inside, who rests, and who leaves when somebody new comes to a full door.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Connections beyond the limit that are told OVERLOADED rather than closed without a word.
const CROWD_MAX: usize = 64;
/// Connections that may be on their way out for others at once.
const LEAVING_MAX: usize = 64;
/// The moment at which a connection began to rest that does not.
const BUSY: u64 = u64::MAX;

/// Every connection of a door.
pub(super) struct Places {
    inside: Mutex<Inside>,
    left: Condvar,
    most: usize,
}

#[derive(Default)]
struct Inside {
    by_number: HashMap<u64, Arc<Place>>,
    next: u64,
    /// Those that were told to leave and are no longer among the others.
    leaving: usize,
}

/// What is known of one connection.
pub(super) struct Place {
    made: Instant,
    /// Since when no call is under way, ms after it was made; or BUSY.
    resting: AtomicU64,
    /// A call has come on it, whatever became of it.
    called: AtomicBool,
    leave: Notify,
    /// Calls under way.
    pub(super) calls: AtomicUsize,
    /// Bytes of answers that were not taken yet.
    pub(super) answer_bytes: AtomicUsize,
}

/// One connection inside; dropping it makes room for another.
pub(super) struct Present {
    places: Arc<Places>,
    number: u64,
    pub(super) place: Arc<Place>,
    /// It is beyond the limit and only told so.
    pub(super) crowded: bool,
}

/// What becomes of somebody who comes.
pub(super) enum Entry {
    /// In, perhaps in the place of another that rested.
    Inside {
        present: Present,
        evicts: bool,
    },
    /// Once one of those who leave has left.
    Later,
    Full,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Places { inside: Mutex::default(), left: Condvar::new(), most }
    }

    /// Lets a connection in. If there is no room, the one that has rested longest leaves for it: one with a call under
    /// way never does. While more than half of the places are taken by those that never made a call, one of those
    /// leaves: however many come at once and say nothing, they do not drive out those who call and rest in between.
    pub(super) fn enter(self: &Arc<Self>) -> Entry {
        let mut inside = self.inside();
        let count = inside.by_number.len();
        let mut evicts = false;
        if count >= self.most {
            match inside.who_leaves(self.most) {
                Some(_) if inside.leaving >= LEAVING_MAX => return Entry::Later,
                Some(number) => evicts = inside.evict(number),
                None if count >= self.most + CROWD_MAX => return Entry::Full,
                None => {}
            }
        }
        let crowded = count >= self.most && !evicts;
        Entry::Inside { present: self.present(&mut inside, crowded), evicts }
    }

    fn present(self: &Arc<Self>, inside: &mut Inside, crowded: bool) -> Present {
        let number = inside.next;
        inside.next += 1;
        let place = Arc::new(Place::new(crowded));
        inside.by_number.insert(number, Arc::clone(&place));
        Present { places: Arc::clone(self), number, place, crowded }
    }

    /// Connections inside.
    pub(super) fn count(&self) -> usize {
        self.inside().by_number.len()
    }

    /// Returns true once the last connection has left, false if some are still there after `timeout`.
    pub(super) fn wait_until_empty(&self, timeout: Duration) -> bool {
        let started = Instant::now();
        let mut inside = self.inside();
        while inside.by_number.len() + inside.leaving > 0 {
            let Some(left) = timeout.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) else {
                return false;
            };
            inside = self.left.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn who_leaves(&self, most: usize) -> Option<u64> {
        let mute = self.by_number.values().filter(|place| place.is_mute()).count();
        let only_mute = mute > most / 2;
        let may_leave = self.by_number.iter().filter(|(_, place)| !only_mute || place.is_mute());
        let resting = may_leave.filter_map(|(number, place)| Some((place.rested()?, *number)));
        resting.max_by_key(|(rested, number)| (*rested, u64::MAX - number)).map(|(_, number)| number)
    }

    fn evict(&mut self, number: u64) -> bool {
        let Some(place) = self.by_number.remove(&number) else { return false };
        self.leaving += 1;
        place.leave.notify_one();
        true
    }
}

impl Place {
    fn new(crowded: bool) -> Self {
        // Whoever is only told that there is no room leaves by itself.
        let resting = AtomicU64::new(if crowded { BUSY } else { 0 });
        let (calls, answer_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let called = AtomicBool::new(false);
        Place { made: Instant::now(), resting, called, leave: Notify::new(), calls, answer_bytes }
    }

    /// Notes whether a call is under way, and whether one has begun since the last note: it may have ended already.
    pub(super) fn note(&self, busy: bool, began: bool) {
        if began {
            self.called.store(true, Relaxed);
        }
        let was_busy = self.resting.load(Relaxed) == BUSY;
        if busy != was_busy || began && !busy {
            let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(BUSY - 1);
            self.resting.store(if busy { BUSY } else { now }, Relaxed);
        }
    }

    /// True if it rests and never made a call.
    fn is_mute(&self) -> bool {
        !self.called.load(Relaxed) && self.resting.load(Relaxed) != BUSY
    }

    /// For how long no call has been under way; nothing while one is.
    pub(super) fn rested(&self) -> Option<Duration> {
        let since = Some(self.resting.load(Relaxed)).filter(|since| *since != BUSY)?;
        Some(self.made.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    /// Done once it must leave for another.
    pub(super) async fn must_leave(&self) {
        self.leave.notified().await;
    }
}

impl Present {
    /// It was told to leave and does not, since a call has come.
    pub(super) fn stays(&self) {
        let mut inside = self.places.inside();
        if inside.by_number.insert(self.number, Arc::clone(&self.place)).is_none() {
            inside.leaving -= 1;
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut inside = self.places.inside();
        if inside.by_number.remove(&self.number).is_none() {
            inside.leaving -= 1;
        }
        drop(inside);
        self.places.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(places: &Arc<Places>) -> (Present, bool) {
        match places.enter() {
            Entry::Inside { present, evicts } => (present, evicts),
            _ => panic!("there was to be room"),
        }
    }

    #[tokio::test]
    async fn who_rested_longest_leaves_for_a_newcomer_and_who_is_busy_never_does() {
        let places = Arc::new(Places::new(3));
        let [(busy, _), (longest, _), (shorter, _)] = [inside(&places), inside(&places), inside(&places)];
        busy.place.note(true, true);
        std::thread::sleep(Duration::from_millis(3));
        // Its call came and ended between two notes.
        shorter.place.note(false, true);
        let (newcomer, evicts) = inside(&places);
        assert!(evicts && !newcomer.crowded);
        longest.place.must_leave().await;
        newcomer.place.note(true, true);
        let (_another, evicts) = inside(&places);
        assert!(evicts, "the other one that rests");
        shorter.place.must_leave().await;
        assert_eq!(places.count(), 3);
    }

    #[test]
    fn who_calls_is_not_driven_out_by_many_who_never_do() {
        let places = Arc::new(Places::new(4));
        let caller = inside(&places).0;
        caller.place.note(false, true);
        let mute: Vec<Present> = (0..20).map(|_| inside(&places).0).collect();
        assert!(mute.iter().all(|present| !present.crowded));
        assert!(places.inside().by_number.contains_key(&caller.number));
    }

    #[test]
    fn newcomers_do_not_drive_each_other_out_while_those_who_called_rest() {
        let places = Arc::new(Places::new(4));
        let callers: Vec<Present> = (0..4).map(|_| inside(&places).0).collect();
        callers.iter().for_each(|caller| caller.place.note(false, true));
        std::thread::sleep(Duration::from_millis(3));
        let newcomers = [inside(&places).0, inside(&places).0];
        let is_there = |present: &Present| places.inside().by_number.contains_key(&present.number);
        assert_eq!(newcomers.iter().filter(|newcomer| is_there(newcomer)).count(), 2);
        assert_eq!(callers.iter().filter(|caller| is_there(caller)).count(), 2);
    }

    #[test]
    fn where_nobody_rests_a_crowd_is_told_and_the_rest_is_not() {
        let places = Arc::new(Places::new(1));
        let first = inside(&places).0;
        first.place.note(true, true);
        let crowd: Vec<Present> = (0..CROWD_MAX).map(|_| inside(&places).0).collect();
        assert!(crowd.iter().all(|present| present.crowded));
        assert!(matches!(places.enter(), Entry::Full));
        drop(crowd);
        drop(first);
        assert!(places.wait_until_empty(Duration::ZERO));
    }

    #[test]
    fn those_who_leave_are_few_at_once_and_are_waited_for() {
        let places = Arc::new(Places::new(1));
        let mut present: Vec<Present> = (0..=LEAVING_MAX).map(|_| inside(&places).0).collect();
        assert!(matches!(places.enter(), Entry::Later));
        let stays = present.remove(0);
        stays.place.note(true, true);
        stays.stays();
        assert!(inside(&places).1, "whoever stays is not waited for");
        drop(stays);
        assert!(!places.wait_until_empty(Duration::ZERO));
        drop(present);
        assert!(places.wait_until_empty(Duration::ZERO));
    }
}
