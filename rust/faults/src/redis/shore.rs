//! What the Redis journal of one process stands on: a clock of virtual time and a way to the simulated Redis.
//!
//! Usually an exchange is over at once, and the clock only says how long it took. Where something unusual may happen the
//! process is run as a strand, and gives the turn back whenever time passes.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use invengine_node::journal::redis::ground::{Ground, Wire};
use redis::RedisResult;

use super::house::{Fate, House, Who};
use super::wire::Line;
use crate::random::Random;
use crate::storage::lock;
use crate::strand::Turn;

/// A process that has ended sees time fly, so that it gives everything up.
const AFTER_THE_END: Duration = Duration::from_secs(1 << 30);

/// The Redis of a run, shared.
pub type Redis = Arc<Mutex<House>>;

struct Tide {
    now_us: u64,
    ended: bool,
    turn: Option<Turn>,
    /// What happens to the next exchange, if that is known already.
    fate: Option<Fate>,
    /// Nothing happens to any exchange.
    spared: bool,
    latency: Random,
    /// Generation of the last connection.
    generation: u64,
}

struct Inner {
    base: Instant,
    who: Who,
    redis: Redis,
    tide: Mutex<Tide>,
}

/// The ground of one process; clones share it.
#[derive(Clone)]
pub struct Shore(Arc<Inner>);

impl fmt::Debug for Shore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shore({:?})", self.0.who)
    }
}

impl Shore {
    /// The ground of a process; `base` is the beginning of virtual time.
    pub fn new(base: Instant, who: Who, redis: Redis, seed: u64) -> Self {
        let latency = Random::new(seed, 0x5604_0000 + (who.1 << 8) + who.0 as u64);
        let tide =
            Tide { now_us: 0, ended: false, turn: None, fate: None, spared: false, latency, generation: u64::MAX };
        Shore(Arc::new(Inner { base, who, redis, tide: Mutex::new(tide) }))
    }

    /// Whose it is.
    pub fn who(&self) -> Who {
        self.0.who
    }

    /// The Redis at its other end.
    pub fn redis(&self) -> &Redis {
        &self.0.redis
    }

    /// It is this moment.
    pub fn set(&self, now_us: u64) {
        lock(&self.0.tide).now_us = now_us;
    }

    /// Which moment it is.
    pub fn now_us(&self) -> u64 {
        lock(&self.0.tide).now_us
    }

    /// From now on time passes by giving the turn back; `None`: at once.
    pub fn take_turns(&self, turn: Option<Turn>) {
        lock(&self.0.tide).turn = turn;
    }

    /// Draws what happens to the next exchange; true if that is nothing and nothing else is unusual either.
    pub fn is_calm(&self) -> bool {
        let fate = lock(&self.0.redis).fate();
        let mut tide = lock(&self.0.tide);
        tide.fate = Some(fate);
        fate == Fate::Well && lock(&self.0.redis).is_calm(self.0.who.0, tide.generation, tide.now_us)
    }

    /// Whether nothing happens to any exchange from now on.
    pub fn spare(&self, spared: bool) {
        lock(&self.0.tide).spared = spared;
    }

    /// What happens to this exchange.
    pub fn fate(&self) -> Fate {
        let mut tide = lock(&self.0.tide);
        let known = tide.fate.take();
        if tide.spared {
            return Fate::Well;
        }
        drop(tide);
        known.unwrap_or_else(|| lock(&self.0.redis).fate())
    }

    /// The process has ended.
    pub fn end(&self) {
        lock(&self.0.tide).ended = true;
    }

    /// Whether it has.
    pub fn has_ended(&self) -> bool {
        lock(&self.0.tide).ended
    }

    /// Lets time pass.
    pub fn pass(&self, time_us: u64) {
        let mut tide = lock(&self.0.tide);
        if tide.ended {
            return;
        }
        let Some(turn) = tide.turn.take() else {
            tide.now_us += time_us;
            return;
        };
        drop(tide);
        let goes_on = turn.give_back(time_us);
        let mut tide = lock(&self.0.tide);
        tide.turn = Some(turn);
        tide.ended |= !goes_on;
    }

    /// How long a message takes now.
    pub fn latency_us(&self) -> u64 {
        lock(&self.0.tide).latency.between(50, 1_000)
    }
}

impl Ground for Shore {
    fn now(&self) -> Instant {
        let tide = lock(&self.0.tide);
        let end = if tide.ended { AFTER_THE_END } else { Duration::ZERO };
        self.0.base + Duration::from_micros(tide.now_us) + end
    }

    fn pause(&self, time: Duration) {
        self.pass(time.as_micros() as u64);
    }

    fn connect(&self) -> Option<RedisResult<Box<dyn Wire>>> {
        self.pass(self.latency_us());
        let redis = lock(&self.0.redis);
        if self.has_ended() || !redis.reaches(self.0.who.0, self.now_us()) {
            return Some(Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()));
        }
        let generation = redis.generation;
        drop(redis);
        lock(&self.0.tide).generation = generation;
        Some(Ok(Box::new(Line::new(self.clone(), generation))))
    }
}
