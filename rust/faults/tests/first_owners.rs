//! Two processes that claim the same ledger at once; one pauses after each possible number of turns of the other.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use invengine_faults::coroutine::{Coroutine, CoroutineState};
use invengine_faults::faults::{Injector, Mask};
use invengine_faults::journal_checker::JournalChecker;
use invengine_faults::redis::environment::{SharedRedis, SimulatedEnvironment};
use invengine_faults::redis::simulated::SimulatedRedis;
use invengine_faults::swarm::{Profile, Swarm};
use invengine_node::journal::{Ack, EveryFrame, Journal, JournalError, RedisJournal, RedisOptions};

type Opened = Result<RedisJournal, JournalError>;

fn empty_redis() -> SharedRedis {
    let mut swarm = Swarm::of(1, Profile::Hours);
    (swarm.ack, swarm.redis_ppm) = (Ack::Fsync, 0);
    let faults = Arc::new(Mutex::new(Injector::new(1, Mask::default())));
    Arc::new(Mutex::new(SimulatedRedis::new(
        &swarm,
        2,
        faults,
        Arc::new(Mutex::new(JournalChecker::new(2, swarm.window_ms))),
    )))
}

fn opening(redis: &SharedRedis, number: usize) -> Coroutine<Opened> {
    let environment = SimulatedEnvironment::new(Instant::now(), (number, 1), redis.clone(), 1);
    let shared = Arc::new(environment.clone());
    let options = RedisOptions::new("redis://simulated", "main");
    Coroutine::new(&environment, move || RedisJournal::recover_on(&options, shared, &mut EveryFrame(&mut |_| Ok(()))))
}

/// Resumes it for this many turns. Returns its result if it completed.
fn run(coroutine: &mut Coroutine<Opened>, turns: usize) -> Option<Opened> {
    (0..turns).find_map(|_| match coroutine.resume() {
        Some(CoroutineState::Complete(opened)) => Some(opened),
        _ => None,
    })
}

// case: F05
#[test]
fn two_owners_that_open_an_empty_redis_at_once_own_it_one_after_the_other() {
    for turns in 0.. {
        let redis = empty_redis();
        let (mut first, mut second) = (opening(&redis, 0), opening(&redis, 1));
        if run(&mut first, turns).is_some() {
            assert!(turns > 10, "an opening takes many turns");
            break;
        }
        let second = run(&mut second, usize::MAX).unwrap();
        let first = run(&mut first, usize::MAX).unwrap();
        let error = |opened: &Opened| opened.as_ref().err().map(ToString::to_string);
        assert_eq!((error(&first), error(&second)), (None, None), "after {turns} turns");
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
