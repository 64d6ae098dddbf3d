//! Swarm testing: the settings of one seed, drawn from it: how severe each class of faults is, and what the clients do.

use invengine_node::journal::Ack;

use crate::random::Random;

/// The kind of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Long runs with a crash every 10 s to 1,000 s.
    Hours,
    /// Short journals with crash after crash.
    Recoveries,
}

/// Settings of one seed. Probabilities are in millionths.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Debug)]
pub struct Swarm {
    pub pace: Profile,
    pub horizon_ms: u64,
    pub loss_ppm: u64,
    pub duplicate_ppm: u64,
    pub delay_ms_max: u64,
    pub clog_ms_max: u64,
    pub cut_ppm: u64,
    pub disk_ppm: u64,
    pub sectors_lost_percent: u64,
    pub sync_error_ppm: u64,
    pub crash_every_ms: u64,
    pub pause_ms_max: u64,
    pub clock_jump_every_ms: u64,
    pub client_crash_ppm: u64,
    pub late_ppm: u64,
    pub shoppers: u64,
    pub feeds: u64,
    pub commands_every_ms: u64,
    pub skus: u64,
    pub locations: u64,
    pub stock: u64,
    pub ttl_s_max: u64,
    pub file_bytes: u64,
    pub payload_bytes_max: u64,
    /// The journal is in Redis, otherwise in files.
    pub on_redis: bool,
    pub ack: Ack,
    pub redis_draw: u64,
    pub redis_ppm: u64,
    pub redis_late_ms_max: u64,
    pub failover_ppm: u64,
    pub second_owner_every_ms: u64,
    /// How long keys are remembered.
    pub window_ms: i64,
    /// Probability of a snapshot in each second; half of the seeds have none.
    pub snapshot_ppm: u64,
    /// Rules of authority come and go, and feeds pass on each other's messages.
    pub authority: bool,
}

/// Acknowledgement modes: the most common one is drawn most often.
const ACKS: [Ack; 6] = [Ack::Fsync, Ack::Fsync, Ack::Fsync, Ack::Replicated, Ack::Everysec, Ack::Memory];

impl Swarm {
    /// The settings of a seed.
    pub fn of(seed: u64, pace: Profile) -> Self {
        let mut draw = Random::new(seed, 0x5AA4);
        let short = pace == Profile::Recoveries;
        let skus = draw.between(1, 12);
        Swarm {
            pace,
            horizon_ms: if short { draw.between(20_000, 60_000) } else { draw.between(300_000, 900_000) },
            loss_ppm: draw.below(300_001),
            duplicate_ppm: draw.below(500_001),
            delay_ms_max: draw.between(0, 100),
            clog_ms_max: draw.between(0, 5_000),
            cut_ppm: draw.below(30_001),
            disk_ppm: draw.scale(1, 100_000),
            sectors_lost_percent: draw.between(80, 100),
            sync_error_ppm: draw.below(1_001),
            crash_every_ms: if short { draw.scale(200, 2_000) } else { draw.scale(10_000, 1_000_000) },
            pause_ms_max: draw.scale(1, 60_000),
            clock_jump_every_ms: draw.scale(3_600_000, 36_000_000),
            client_crash_ppm: draw.below(100_001),
            late_ppm: draw.below(10_001),
            shoppers: draw.between(2, 8),
            feeds: draw.between(1, 2),
            commands_every_ms: draw.between(30, 70),
            skus,
            locations: draw.between(1, 3),
            stock: draw.scale(1, 400),
            ttl_s_max: draw.scale(1, 300),
            file_bytes: draw.scale(64 << 10, 1 << 20),
            payload_bytes_max: draw.scale(4 << 10, 32 << 10),
            on_redis: seed % 2 == 1,
            ack: *draw.pick(&ACKS).unwrap_or(&Ack::Fsync),
            redis_draw: draw.draw(),
            redis_ppm: draw.scale(10, 20_000),
            redis_late_ms_max: draw.between(1, 5_000),
            failover_ppm: draw.below(16_667),
            window_ms: draw.between(200_000, 400_000) as i64,
            snapshot_ppm: if draw.chance(500_000) {
                0
            } else {
                draw.scale(5_000, if short { 500_000 } else { 50_000 })
            },
            // A stream of its own: seeds without authority are the runs that they were before.
            authority: Random::new(seed, 0xA07A).chance(500_000),
            second_owner_every_ms: if short { draw.scale(1_000, 10_000) } else { draw.scale(10_000, 300_000) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_has_the_same_settings_and_seeds_differ() {
        let texts: Vec<String> = (0..50).map(|seed| format!("{:?}", Swarm::of(seed, Profile::Hours))).collect();
        assert_eq!(texts[7], format!("{:?}", Swarm::of(7, Profile::Hours)));
        assert!((1..50).all(|seed| texts[seed] != texts[seed - 1]));
    }
}
