//! Engine time: it starts at the later of the journal's last time and the wall clock, follows the monotonic clock, and
//! never goes back. A jump of the wall clock does not affect a running engine.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use invengine_ledger::planted;

/// The clock of one engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
    start_ms: i64,
    scale: f64,
}

impl Clock {
    /// Starts now, at the later of the journal's last time and the wall clock.
    pub fn start(now: Instant, journal_ms: i64, wall_ms: i64, scale: f64) -> Self {
        Clock {
            started: now,
            start_ms: if planted::is("time_goes_back") { wall_ms } else { journal_ms.max(wall_ms) },
            scale,
        }
    }

    /// Engine time at this moment, ms since 1970.
    #[inline]
    pub fn at(&self, moment: Instant) -> i64 {
        let elapsed = moment.saturating_duration_since(self.started);
        if self.scale == 1.0 {
            return self.start_ms + elapsed.as_millis() as i64;
        }
        self.start_ms.saturating_add((elapsed.as_secs_f64() * 1_000.0 * self.scale) as i64)
    }

    /// How long until engine time reaches this; zero if it has.
    pub fn until(&self, engine_ms: i64, moment: Instant) -> Duration {
        let left_ms = engine_ms.saturating_sub(self.at(moment)).max(0) as f64 / self.scale;
        Duration::from_secs_f64((left_ms / 1_000.0).clamp(0.0, 3_600.0))
    }

    /// How much faster than the clock engine time runs.
    pub fn scale(&self) -> f64 {
        self.scale
    }
}

/// The machine's wall clock, ms since 1970.
pub(crate) fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_the_later_time_and_runs_at_its_scale() {
        let clock = Clock::start(Instant::now(), 5_000, 3_000, 10.0);
        assert_eq!(clock.at(clock.started), 5_000);
        assert_eq!(clock.at(clock.started + Duration::from_millis(7)), 5_070);
        assert_eq!(clock.until(5_100, clock.started), Duration::from_millis(10));
        assert_eq!(clock.until(4_000, clock.started), Duration::ZERO);
        let behind = clock.started.checked_sub(Duration::from_secs(1)).unwrap_or(clock.started);
        assert_eq!(clock.at(behind), 5_000, "never back");
    }
}
