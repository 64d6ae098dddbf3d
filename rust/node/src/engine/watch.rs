//! Watches the wall clock: engine time does not follow its jumps, but they are reported, because the next start takes
//! its time from the wall clock.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{Duration, Instant};

/// A difference that is too large for a normal clock adjustment, ms.
const JUMP_MS: i64 = 1_000;
/// How often to check.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How far the wall clock has moved against the monotonic one since the start.
pub(super) struct Watch {
    start: Instant,
    start_ms: i64,
    wall_ms: fn() -> i64,
    checked_ms: AtomicU64,
    drift_ms: AtomicI64,
    jumps: AtomicU64,
}

impl Watch {
    /// Starts a watch that reads the wall clock with this function.
    pub fn start(now: Instant, wall_ms: fn() -> i64) -> Self {
        Watch {
            start: now,
            start_ms: wall_ms(),
            wall_ms,
            checked_ms: AtomicU64::new(0),
            drift_ms: AtomicI64::new(0),
            jumps: AtomicU64::new(0),
        }
    }

    /// Checks the wall clock, if it is time to.
    pub fn check(&self, now: Instant, engine_ms: i64) {
        let elapsed = now.saturating_duration_since(self.start);
        let elapsed_ms = elapsed.as_millis() as u64;
        if elapsed_ms < self.checked_ms.load(Relaxed) + CHECK_INTERVAL.as_millis() as u64 {
            return;
        }
        self.checked_ms.store(elapsed_ms, Relaxed);
        let drift_ms = (self.wall_ms)() - self.start_ms - elapsed_ms as i64;
        let jumped_ms = drift_ms - self.drift_ms.load(Relaxed);
        // Compared with the last reported drift, so that small differences add up.
        if jumped_ms.abs() >= JUMP_MS {
            self.drift_ms.store(drift_ms, Relaxed);
            self.jumps.fetch_add(1, Relaxed);
            eprintln!(
                "invengine: the wall clock jumped by {jumped_ms} ms; engine time ({engine_ms} ms) does not follow it. Fix the \
                 clock of this machine before the next start: a restart takes the later of wall clock and journal"
            );
        }
    }

    /// The last reported difference between the wall clock and the monotonic clock, ms.
    pub fn drift_ms(&self) -> i64 {
        self.drift_ms.load(Relaxed)
    }

    /// Jumps so far.
    pub fn jumps(&self) -> u64 {
        self.jumps.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static WALL_MS: AtomicI64 = AtomicI64::new(1_000_000);

    // case: D02, D03
    #[test]
    fn a_jump_is_reported_once_and_a_drift_is_not_a_jump() {
        let start = Instant::now();
        let watch = Watch::start(start, || WALL_MS.load(Relaxed));
        let check = |elapsed_ms: u64, wall_ms: i64| {
            WALL_MS.store(1_000_000 + wall_ms, Relaxed);
            watch.check(start + Duration::from_millis(elapsed_ms), 0);
            (watch.drift_ms(), watch.jumps())
        };
        assert_eq!(check(1_000, 1_400), (0, 0), "less than a second is no jump");
        assert_eq!(check(1_200, 90_000_000), (0, 0), "it does not check all the time");
        assert_eq!(check(2_000, 86_402_000), (86_400_000, 1), "a day ahead");
        assert_eq!(check(3_000, 86_403_000), (86_400_000, 1), "reported once");
        assert_eq!(check(4_000, -7_196_000), (-7_200_000, 2), "two hours behind");
    }
}
