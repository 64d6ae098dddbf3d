//! One connection to the simulated Redis. What was sent is executed when the client waits for the first reply.

use std::collections::VecDeque;
use std::io;

use invengine_node::journal::redis::environment::RedisTransport;
use redis::{RedisResult, Value};

use super::environment::SimulatedEnvironment;
use super::resp::commands;
use super::simulated::ExchangeOutcome;
use crate::storage::lock;

/// How long a client waits for a reply.
const TIMEOUT_US: u64 = 2_000_000;

/// An accepted connection.
pub struct SimulatedConnection {
    environment: SimulatedEnvironment,
    generation: u64,
    request: Vec<u8>,
    replies: VecDeque<Value>,
    outcome: ExchangeOutcome,
    broken: bool,
}

impl SimulatedConnection {
    /// A connection of this generation.
    pub fn new(environment: SimulatedEnvironment, generation: u64) -> Self {
        SimulatedConnection {
            environment,
            generation,
            request: Vec::new(),
            replies: VecDeque::new(),
            outcome: ExchangeOutcome::Success,
            broken: false,
        }
    }

    fn is_intact(&self) -> bool {
        let redis = lock(self.environment.redis());
        let stands = redis.generation == self.generation
            && redis.reaches(self.environment.process_id().0, self.environment.now_us());
        stands && !self.environment.has_ended()
    }

    fn exchange(&mut self) -> RedisResult<()> {
        let sent_us = self.environment.now_us();
        self.environment.pass(self.environment.latency_us());
        if !self.is_intact() {
            // A timeout is as likely as a reset.
            if sent_us.is_multiple_of(2) {
                self.environment.pass(TIMEOUT_US);
                return timed_out();
            }
            return lost();
        }
        if self.outcome == ExchangeOutcome::RequestLost {
            return lost();
        }
        let request = std::mem::take(&mut self.request);
        for words in commands(&request) {
            let answer = self.execute(&words);
            self.replies.push_back(answer);
        }
        self.environment.pass(self.environment.latency_us());
        if let ExchangeOutcome::Delayed(time_us) = self.outcome {
            self.environment.pass(time_us.min(TIMEOUT_US));
            if time_us >= TIMEOUT_US {
                return timed_out();
            }
        }
        if self.outcome == ExchangeOutcome::ReplyLost || !self.is_intact() {
            return lost();
        }
        Ok(())
    }

    fn execute(&self, words: &[&[u8]]) -> Value {
        let now_us = self.environment.now_us();
        match words {
            [b"WAIT", _, wait_ms] => Value::Int(self.wait(wait_ms)),
            [b"WAITAOF", own, _, wait_ms] => {
                let own = i64::from(*own == b"1");
                Value::Array(vec![Value::Int(own), Value::Int(self.wait(wait_ms))])
            }
            _ => lock(self.environment.redis()).execute(self.environment.process_id(), words, now_us),
        }
    }

    fn wait(&self, wait_ms: &[u8]) -> i64 {
        let wait_ms: u64 = std::str::from_utf8(wait_ms).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let now_us = self.environment.now_us();
        self.environment.pass(self.environment.latency_us());
        if !self.is_intact() {
            return 0;
        }
        let (known_us, replicas) = lock(self.environment.redis()).confirmed(now_us, now_us + wait_ms * 1_000);
        self.environment.pass(known_us.saturating_sub(self.environment.now_us()));
        replicas
    }
}

impl RedisTransport for SimulatedConnection {
    fn send(&mut self, packed: &[u8]) -> RedisResult<()> {
        self.replies.clear();
        self.request.extend_from_slice(packed);
        self.outcome = self.environment.outcome();
        Ok(())
    }

    fn receive(&mut self) -> RedisResult<Value> {
        if self.broken {
            return lost();
        }
        if self.replies.is_empty()
            && let Err(error) = self.exchange()
        {
            self.broken = true;
            return Err(error);
        }
        self.replies.pop_front().map_or_else(lost, Ok)
    }
}

fn lost<T>() -> RedisResult<T> {
    Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
}

fn timed_out<T>() -> RedisResult<T> {
    Err(io::Error::from(io::ErrorKind::TimedOut).into())
}
