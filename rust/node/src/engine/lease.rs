//! Ownership that another process could take over: how long this engine may still answer.
//!
//! A journal in Redis can be claimed by another server while this one is paused or cut off. Every append and every
//! heartbeat proves that the journal was still ours; an engine whose last proof is older than the grace period answers
//! no calls, reads included, until it has a new one.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

/// Ownership without a proof for longer than this is uncertain.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// How often an idle engine asks for a proof.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// When ownership was last proved.
pub(super) struct Lease {
    start: Instant,
    proved_ms: AtomicU64,
    /// When the engine last asked, whatever the answer.
    asked_ms: AtomicU64,
}

impl Lease {
    /// A lease on a journal that was claimed at this moment.
    pub fn start(now: Instant) -> Self {
        Lease { start: now, proved_ms: AtomicU64::new(0), asked_ms: AtomicU64::new(0) }
    }

    /// The journal was still ours at this moment.
    pub fn confirm(&self, asked: Instant) {
        let proved_ms = asked.saturating_duration_since(self.start).as_millis() as u64;
        self.proved_ms.fetch_max(proved_ms, Release);
    }

    /// Notes that the engine asked at this moment, whatever the answer.
    pub fn note_asked(&self, now: Instant) {
        self.asked_ms.store(now.saturating_duration_since(self.start).as_millis() as u64, Release);
    }

    fn since(&self, ms: &AtomicU64, now: Instant) -> Duration {
        now.saturating_duration_since(self.start).saturating_sub(Duration::from_millis(ms.load(Acquire)))
    }

    fn age(&self, now: Instant) -> Duration {
        self.since(&self.proved_ms, now)
    }

    fn since_asked(&self, now: Instant) -> Duration {
        self.age(now).min(self.since(&self.asked_ms, now))
    }

    /// Whether it is uncertain who owns the journal.
    pub fn is_uncertain(&self, now: Instant) -> bool {
        self.age(now) > GRACE
    }

    /// Whether it is time to ask.
    pub fn is_due(&self, now: Instant) -> bool {
        self.since_asked(now) >= HEARTBEAT
    }

    /// How long until it is due.
    pub fn until_due(&self, now: Instant) -> Duration {
        HEARTBEAT.saturating_sub(self.since_asked(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_without_a_proof_becomes_uncertain_and_a_proof_renews_it() {
        let start = Instant::now();
        let lease = Lease::start(start);
        let after = |ms| start + Duration::from_millis(ms);
        assert!(!lease.is_due(after(499)) && lease.is_due(after(500)));
        assert_eq!(lease.until_due(after(200)), Duration::from_millis(300));
        assert!(!lease.is_uncertain(after(2_000)) && lease.is_uncertain(after(2_001)));
        lease.confirm(after(2_000));
        assert!(!lease.is_uncertain(after(4_000)) && lease.is_uncertain(after(4_001)));
        lease.confirm(after(1_000));
        assert!(!lease.is_uncertain(after(4_000)), "an older proof takes nothing away");
    }
}
