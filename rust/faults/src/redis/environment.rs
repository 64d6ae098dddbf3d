//! The environment of one process's Redis journal: a virtual clock and connections to the simulated Redis.
//!
//! Usually an exchange completes at once, and the clock only records how long it took. Where a disturbance is possible the
//! process runs as a coroutine, which yields whenever time passes.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use invengine_node::journal::redis::environment::{RedisEnvironment, RedisTransport};
use redis::RedisResult;

use super::connection::SimulatedConnection;
use super::simulated::{ExchangeOutcome, ProcessId, SimulatedRedis};
use crate::coroutine::Yielder;
use crate::random::Random;
use crate::storage::lock;

/// Added to the clock of a process that has ended, so that everything it waits for times out.
const AFTER_THE_END: Duration = Duration::from_secs(1 << 30);

/// The Redis of a run, shared.
pub type SharedRedis = Arc<Mutex<SimulatedRedis>>;

struct EnvironmentState {
    now_us: u64,
    ended: bool,
    yielder: Option<Yielder>,
    /// The outcome of the next exchange, if it was drawn already.
    outcome: Option<ExchangeOutcome>,
    /// Every exchange succeeds.
    fault_free: bool,
    latency: Random,
    /// Generation of the last connection.
    generation: u64,
}

struct Inner {
    base: Instant,
    process: ProcessId,
    redis: SharedRedis,
    state: Mutex<EnvironmentState>,
}

/// The environment of one process; clones share it.
#[derive(Clone)]
pub struct SimulatedEnvironment(Arc<Inner>);

impl fmt::Debug for SimulatedEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedEnvironment({:?})", self.0.process)
    }
}

impl SimulatedEnvironment {
    /// The environment of a process; `base` is the start of virtual time.
    pub fn new(base: Instant, process: ProcessId, redis: SharedRedis, seed: u64) -> Self {
        let latency = Random::new(seed, 0x5604_0000 + (process.1 << 8) + process.0 as u64);
        let state = EnvironmentState {
            now_us: 0,
            ended: false,
            yielder: None,
            outcome: None,
            fault_free: false,
            latency,
            generation: u64::MAX,
        };
        SimulatedEnvironment(Arc::new(Inner { base, process, redis, state: Mutex::new(state) }))
    }

    /// The process it belongs to.
    pub fn process_id(&self) -> ProcessId {
        self.0.process
    }

    /// The simulated Redis.
    pub fn redis(&self) -> &SharedRedis {
        &self.0.redis
    }

    /// Sets the virtual time.
    pub fn set(&self, now_us: u64) {
        lock(&self.0.state).now_us = now_us;
    }

    /// The virtual time.
    pub fn now_us(&self) -> u64 {
        lock(&self.0.state).now_us
    }

    /// From now on time passes by yielding; with `None`, at once.
    pub fn set_yielder(&self, yielder: Option<Yielder>) {
        lock(&self.0.state).yielder = yielder;
    }

    /// Draws the outcome of the next exchange; true if it succeeds and meets no other disturbance.
    pub fn is_undisturbed(&self) -> bool {
        let outcome = lock(&self.0.redis).exchange_outcome();
        let mut state = lock(&self.0.state);
        state.outcome = Some(outcome);
        outcome == ExchangeOutcome::Success
            && lock(&self.0.redis).is_undisturbed(self.0.process.0, state.generation, state.now_us)
    }

    /// Sets whether every exchange succeeds from now on.
    pub fn set_fault_free(&self, fault_free: bool) {
        lock(&self.0.state).fault_free = fault_free;
    }

    /// The outcome of the current exchange.
    pub fn outcome(&self) -> ExchangeOutcome {
        let mut state = lock(&self.0.state);
        let known = state.outcome.take();
        if state.fault_free {
            return ExchangeOutcome::Success;
        }
        drop(state);
        known.unwrap_or_else(|| lock(&self.0.redis).exchange_outcome())
    }

    /// Marks the process as ended.
    pub fn end(&self) {
        lock(&self.0.state).ended = true;
    }

    /// Whether the process has ended.
    pub fn has_ended(&self) -> bool {
        lock(&self.0.state).ended
    }

    /// Lets time pass.
    pub fn pass(&self, time_us: u64) {
        let mut state = lock(&self.0.state);
        if state.ended {
            return;
        }
        let Some(yielder) = state.yielder.take() else {
            state.now_us += time_us;
            return;
        };
        drop(state);
        let resumed = yielder.yield_for(time_us);
        let mut state = lock(&self.0.state);
        state.yielder = Some(yielder);
        state.ended |= !resumed;
    }

    /// Draws the latency of a message.
    pub fn latency_us(&self) -> u64 {
        lock(&self.0.state).latency.between(50, 1_000)
    }
}

impl RedisEnvironment for SimulatedEnvironment {
    fn now(&self) -> Instant {
        let state = lock(&self.0.state);
        let end = if state.ended { AFTER_THE_END } else { Duration::ZERO };
        self.0.base + Duration::from_micros(state.now_us) + end
    }

    fn pause(&self, time: Duration) {
        self.pass(time.as_micros() as u64);
    }

    fn connect(&self) -> Option<RedisResult<Box<dyn RedisTransport>>> {
        self.pass(self.latency_us());
        let redis = lock(&self.0.redis);
        if self.has_ended() || !redis.reaches(self.0.process.0, self.now_us()) {
            return Some(Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()));
        }
        let generation = redis.generation;
        drop(redis);
        lock(&self.0.state).generation = generation;
        Some(Ok(Box::new(SimulatedConnection::new(self.clone(), generation))))
    }
}
