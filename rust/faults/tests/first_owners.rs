//! Two processes that claim the same ledger at once, one standing still after every so many moments of the other.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use invengine_faults::faults::{Injector, Mask};
use invengine_faults::follower::Follower;
use invengine_faults::redis::house::House;
use invengine_faults::redis::shore::{Redis, Shore};
use invengine_faults::strand::{Halt, Strand};
use invengine_faults::swarm::{Pace, Swarm};
use invengine_node::journal::{Ack, Journal, JournalError, RedisJournal, RedisOptions};

type Opened = Result<RedisJournal, JournalError>;

fn empty_redis() -> Redis {
    let mut swarm = Swarm::of(1, Pace::Hours);
    (swarm.ack, swarm.redis_ppm) = (Ack::Fsync, 0);
    let faults = Arc::new(Mutex::new(Injector::new(1, Mask::default())));
    Arc::new(Mutex::new(House::new(&swarm, 2, faults, Arc::new(Mutex::new(Follower::new(2, swarm.window_ms))))))
}

fn opening(redis: &Redis, number: usize) -> Strand<Opened> {
    let shore = Shore::new(Instant::now(), (number, 1), redis.clone(), 1);
    let ground = Arc::new(shore.clone());
    let options = RedisOptions::new("redis://simulated", "main");
    Strand::new(&shore, move || RedisJournal::open_on(&options, ground, &mut |_| Ok(())))
}

/// Lets it run for so many moments; what came of it, if it ended.
fn run(strand: &mut Strand<Opened>, moments: usize) -> Option<Opened> {
    (0..moments).find_map(|_| match strand.go_on() {
        Some(Halt::Ends(opened)) => Some(opened),
        _ => None,
    })
}

// case: F05
#[test]
fn two_owners_that_come_at_once_to_an_empty_redis_follow_each_other() {
    for moments in 0.. {
        let redis = empty_redis();
        let (mut first, mut second) = (opening(&redis, 0), opening(&redis, 1));
        if run(&mut first, moments).is_some() {
            assert!(moments > 10, "an opening takes many moments");
            break;
        }
        let second = run(&mut second, usize::MAX).unwrap();
        let first = run(&mut first, usize::MAX).unwrap();
        let told = |opened: &Opened| opened.as_ref().err().map(ToString::to_string);
        assert_eq!((told(&first), told(&second)), (None, None), "after {moments} moments");
        let (mut first, mut second) = (first.unwrap(), second.unwrap());
        let (older, newer) = if first.writer_epoch() < second.writer_epoch() {
            (&mut first, &mut second)
        } else {
            (&mut second, &mut first)
        };
        assert_eq!((older.writer_epoch(), newer.writer_epoch()), (1, 2));
        assert!(matches!(older.append(1, 1, 5, b"late"), Err(JournalError::Fenced { .. })));
        assert!(newer.append(1, 1, 5, b"owner").is_ok());
    }
}
