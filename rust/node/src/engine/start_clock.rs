//! How a start judges the machine's wall clock before it claims the journal: engine time never goes back, so the effect
//! of one start with a wrong clock would be permanent.
//!
//! A clock that is far ahead of the journal is trusted if it is synchronised: an idle ledger looks the same as a fast
//! clock. A clock that is behind the journal was wrong then or is wrong now. An operator who knows that it is right
//! accepts it; from then on the ledger corrects issue times by the difference.

use invengine_ledger::Ledger;

use super::clock;
use super::settings::{EngineSettings, JournalKind};
use crate::journal::JournalError;

const HOUR_MS: i64 = 3_600_000;
/// How far ahead of the journal an unsynchronised clock may be.
pub(super) const AHEAD_MS_MAX: i64 = 24 * HOUR_MS;
/// How far behind the journal any clock may be.
pub(super) const BEHIND_MS_MAX: i64 = HOUR_MS;

/// The wall clock at a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartClock {
    /// ms since 1970.
    pub wall_ms: i64,
    /// Whether it is synchronised; `None` if unknown.
    pub synchronised: Option<bool>,
    /// An operator says that it is right.
    pub accepted: bool,
    /// Never refused: in simulations, and where nothing outlives the engine.
    pub exempt: bool,
}

impl StartClock {
    /// The clock that an engine with these settings starts with.
    pub fn of(settings: &EngineSettings) -> Self {
        let simulated = settings.wall_time_ms.is_some() || settings.time_scale != 1.0;
        StartClock {
            wall_ms: settings.wall_time_ms.unwrap_or_else(clock::wall_ms),
            synchronised: settings.clock_synchronised.or_else(invengine_machine::clock_is_synchronised),
            accepted: settings.accept_clock,
            exempt: simulated || settings.journal == JournalKind::Memory,
        }
    }

    /// Refuses a clock that a ledger with this history should not start with.
    ///
    /// # Errors
    /// `WrongClock`, which states both times and what to do.
    pub fn check(&self, ledger: &Ledger) -> Result<(), JournalError> {
        if self.exempt || self.accepted || ledger.sequence() == 0 {
            return Ok(());
        }
        let ahead_ms = self.ahead_ms(ledger);
        let (wall, last) = (text(self.wall_ms), text(self.wall_ms.saturating_sub(ahead_ms)));
        if ahead_ms < -BEHIND_MS_MAX {
            let by = distance(ahead_ms);
            return Err(JournalError::WrongClock {
                why: format!(
                    "says {wall}, {by} before the ledger's last event ({last}): an earlier start had a fast clock, or this \
                     one is slow; set the clock, or if it is right now, start once with --accept-clock (accept_clock)"
                ),
            });
        }
        if ahead_ms > AHEAD_MS_MAX && self.synchronised == Some(false) {
            let by = distance(ahead_ms);
            return Err(JournalError::WrongClock {
                why: format!(
                    "says {wall}, {by} after the ledger's last event ({last}), and nothing keeps it right; run an NTP \
                     service, or if it is right, start once with --accept-clock (accept_clock)"
                ),
            });
        }
        Ok(())
    }

    /// Whether an accepted clock is so far behind that issue times need another correction.
    pub fn corrects(&self, ledger: &Ledger) -> bool {
        self.accepted && ledger.sequence() > 0 && self.ahead_ms(ledger) < -BEHIND_MS_MAX
    }

    /// The wall clock as engine time, with the offset of earlier corrections.
    pub fn engine_ms(&self, ledger: &Ledger) -> i64 {
        self.wall_ms.saturating_add(ledger.clock_offset_ms())
    }

    /// How far the clock is ahead of the end of the journal, ms.
    fn ahead_ms(&self, ledger: &Ledger) -> i64 {
        self.engine_ms(ledger).saturating_sub(ledger.time_ms())
    }
}

/// A moment in UTC, to the second.
fn text(ms: i64) -> String {
    let (days, seconds) = (ms.div_euclid(24 * HOUR_MS), ms.rem_euclid(24 * HOUR_MS) / 1_000);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day since 1970, counted in years that begin in March, so that the leap day is the last.
fn date(days: i64) -> (i64, i64, i64) {
    let since = days + 719_468;
    let (era, of_era) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + turn, month, day)
}

fn distance(ms: i64) -> String {
    let hours = ms.unsigned_abs() as f64 / HOUR_MS as f64;
    if hours < 36.0 { format!("{hours:.1} hours") } else { format!("{:.1} days", hours / 24.0) }
}

#[cfg(test)]
mod tests {
    use invengine_ledger::EntityKind;
    use invengine_ledger::command::{Body, Upsert};
    use invengine_ledger::{Command, Context, LedgerOptions, Payload};

    use super::*;

    const DAY_MS: i64 = 24 * HOUR_MS;
    const LAST_MS: i64 = 1_700_000_000_000;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(LedgerOptions::new("main"));
        let entries = vec![Upsert::labels("mug", "", "")];
        let body = Body::Upsert { kind: EntityKind::Items, entries };
        let command = Command { context: Context::default(), body };
        ledger.execute(&command, LAST_MS, &mut Payload::default(), 1 << 20);
        ledger
    }

    fn clock(ahead_ms: i64, synchronised: Option<bool>) -> StartClock {
        StartClock { wall_ms: LAST_MS + ahead_ms, synchronised, accepted: false, exempt: false }
    }

    #[test]
    fn a_start_is_refused_a_day_ahead_of_the_journal_unsynchronised_or_an_hour_behind_it() {
        let ledger = ledger();
        let rows = [
            (0, Some(false), true),
            (AHEAD_MS_MAX, Some(false), true),
            (AHEAD_MS_MAX + 1, Some(false), false),
            (AHEAD_MS_MAX + 1, Some(true), true),
            (400 * DAY_MS, Some(true), true),
            (400 * DAY_MS, None, true),
            (-BEHIND_MS_MAX, Some(false), true),
            (-BEHIND_MS_MAX - 1, Some(false), false),
            (-BEHIND_MS_MAX - 1, Some(true), false),
            (-2 * DAY_MS, None, false),
        ];
        for (ahead_ms, synchronised, starts) in rows {
            let clock = clock(ahead_ms, synchronised);
            assert_eq!(clock.check(&ledger).is_ok(), starts, "{ahead_ms} ms ahead, {synchronised:?}");
            assert!(StartClock { accepted: true, ..clock }.check(&ledger).is_ok(), "a person knows");
            assert!(StartClock { exempt: true, ..clock }.check(&ledger).is_ok(), "a simulation");
            let empty = Ledger::new(LedgerOptions::new("main"));
            assert!(clock.check(&empty).is_ok(), "an empty ledger has no time");
        }
    }

    #[test]
    fn a_refusal_names_both_times_and_the_way_out() {
        let why = |ahead_ms| clock(ahead_ms, Some(false)).check(&ledger()).unwrap_err().to_string();
        for (ahead_ms, parts) in [
            (-2 * DAY_MS, ["2023-11-12 22:13:20Z", "2.0 days before", "2023-11-14 22:13:20Z"]),
            (3 * DAY_MS, ["2023-11-17 22:13:20Z", "3.0 days after", "2023-11-14 22:13:20Z"]),
        ] {
            let why = why(ahead_ms);
            assert!(parts.into_iter().chain(["--accept-clock"]).all(|part| why.contains(part)), "{why}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00Z"),
            (-1, "1969-12-31 23:59:59Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (4_107_542_399, "2100-02-28 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(text(seconds * 1_000), date);
        }
    }
}
