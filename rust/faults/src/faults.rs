//! Fault classes: which of them a seed has, and the one place where each fault is decided, counted and, when a failure is
//! shrunk, left out.

use crate::random::Random;

macro_rules! classes {
    ($($class:ident $name:literal)*) => {
        /// What can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "each has its name below")]
        pub enum Class { $($class),* }

        impl Class {
            /// All classes.
            pub const ALL: &[Class] = &[$(Class::$class),*];

            /// Its name in reports.
            pub fn name(self) -> &'static str {
                match self { $(Class::$class => $name),* }
            }
        }
    };
}

classes! {
    Loss "message_lost"
    Duplicate "message_duplicated"
    Delay "message_delayed"
    Clog "network_clogged"
    CutOneWay "network_cut_one_way"
    CutBothWays "network_cut_both_ways"
    ReadError "disk_read_error"
    WriteError "disk_write_error"
    ShortWrite "disk_short_write"
    Interrupted "disk_call_interrupted"
    NoSpace "disk_full"
    SlowDisk "disk_slow"
    SyncError "disk_sync_error"
    LostSector "power_loss_lost_sector"
    TornWrite "power_loss_torn_write"
    LostName "power_loss_lost_name"
    FlippedUnsynced "power_loss_flipped_bit"
    FlippedOld "disk_rotten_bit"
    PowerLoss "power_loss"
    Killed "process_killed"
    CrashInCall "crash_inside_an_io_call"
    CrashInRecovery "crash_during_recovery"
    Pause "process_paused"
    ClockJump "wall_clock_jump"
    ClientCrash "client_crashed"
    LateDuplicate "message_duplicated_past_the_window"
    KeyReuse "key_reused_for_another_body"
    RedisRequestLost "redis_connection_lost_before_the_call"
    RedisReplyLost "redis_answer_lost"
    RedisReplyDelayed "redis_answer_delayed"
    RedisCut "redis_cut_off"
    RedisBusy "redis_busy"
    RedisOom "redis_oom"
    RedisMisconf "redis_misconf"
    RedisNoReplicas "redis_noreplicas"
    RedisReadOnly "redis_readonly"
    RedisLoading "redis_loading"
    RedisRestart "redis_restarted"
    RedisHostLost "redis_host_crashed"
    RedisFailover "redis_failover"
    StaleFailover "redis_failover_to_a_stale_replica"
    ReplicaCut "redis_replica_black_holed"
    SecondOwner "second_owner"
    SnapshotRot "snapshot_rotten_bit"
}

/// Number of classes.
pub const CLASSES: usize = Class::ALL.len();

/// One fault of a run: its class and its index within that class, from 0.
pub type Fault = (Class, u64);

/// How often each class happened.
#[derive(Clone, Copy, Debug)]
pub struct Counts([u64; CLASSES]);

impl Default for Counts {
    fn default() -> Self {
        Counts([0; CLASSES])
    }
}

impl Counts {
    /// How often this class happened.
    pub fn of(&self, class: Class) -> u64 {
        self.0[class as usize]
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Counts) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}

/// What is left out of a run.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// Whole classes.
    pub classes: Vec<Class>,
    /// Single faults.
    pub faults: Vec<Fault>,
}

/// Decides every fault of a run.
#[derive(Debug)]
pub struct Injector {
    streams: Vec<Random>,
    enabled: [bool; CLASSES],
    drawn: [u64; CLASSES],
    happened: Counts,
    mask: Mask,
    log: Vec<Fault>,
    healed: bool,
}

impl Injector {
    /// The faults of a seed: each class is off in half of the seeds.
    pub fn new(seed: u64, mask: Mask) -> Self {
        let mut coins = Random::new(seed, 0xFA01);
        let enabled = std::array::from_fn(|class| coins.chance(500_000) && !mask.classes.contains(&Class::ALL[class]));
        let streams = (0..CLASSES as u64).map(|class| Random::new(seed, 0xC1A5_0000 + class)).collect();
        let (drawn, happened) = ([0; CLASSES], Counts::default());
        Injector { streams, enabled, drawn, happened, mask, log: Vec::new(), healed: false }
    }

    /// Turns a class on, unless the mask leaves it out.
    pub fn force(&mut self, class: Class) {
        self.enabled[class as usize] = !self.mask.classes.contains(&class);
    }

    /// Turns a class off.
    pub fn forbid(&mut self, class: Class) {
        self.enabled[class as usize] = false;
    }

    /// Whether this seed has faults of the class.
    pub fn has(&self, class: Class) -> bool {
        self.enabled[class as usize] && !self.healed
    }

    /// Stops all faults from now on.
    pub fn heal(&mut self) {
        self.healed = true;
    }

    /// Whether a fault of this class happens now; it does so with a probability of `ppm` millionths.
    pub fn hits(&mut self, class: Class, ppm: u64) -> bool {
        ppm > 0 && self.has(class) && self.streams[class as usize].chance(ppm) && self.happens(class)
    }

    /// Counts a fault that is due now; false if it is left out.
    pub fn happens(&mut self, class: Class) -> bool {
        if !self.has(class) {
            return false;
        }
        let fault = (class, self.drawn[class as usize]);
        self.drawn[class as usize] += 1;
        if self.mask.faults.contains(&fault) {
            return false;
        }
        self.happened.0[class as usize] += 1;
        self.log.push(fault);
        true
    }

    /// The random stream of a class, from which the extent of a fault is drawn.
    pub fn stream(&mut self, class: Class) -> &mut Random {
        &mut self.streams[class as usize]
    }

    /// How often each class happened.
    pub fn counts(&self) -> Counts {
        self.happened
    }

    /// Every fault that happened, in order.
    pub fn log(&self) -> &[Fault] {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_with(class: Class) -> u64 {
        (0..100).find(|seed| Injector::new(*seed, Mask::default()).has(class)).unwrap()
    }

    #[test]
    fn a_fault_that_is_left_out_leaves_the_others_where_they_were() {
        let seed = first_with(Class::Loss);
        let run = |mask: Mask| {
            let mut injector = Injector::new(seed, mask);
            (0..1_000).map(|_| injector.hits(Class::Loss, 100_000)).collect::<Vec<bool>>()
        };
        let whole = run(Mask::default());
        let third = whole.iter().enumerate().filter(|(_, hit)| **hit).nth(2).unwrap().0;
        let mut expected = whole.clone();
        expected[third] = false;
        assert_eq!(run(Mask { faults: vec![(Class::Loss, 2)], ..Mask::default() }), expected);
        assert!(run(Mask { classes: vec![Class::Loss], ..Mask::default() }).iter().all(|hit| !hit));
    }

    #[test]
    fn each_class_is_off_in_about_half_of_the_seeds() {
        for class in Class::ALL {
            let with = (0..1_000).filter(|seed| Injector::new(*seed, Mask::default()).has(*class)).count();
            assert!((430..570).contains(&with), "{}: {with}", class.name());
        }
    }
}
