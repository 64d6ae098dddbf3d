//! One connection to the simulated Redis. What was sent is executed when the first answer is waited for.

use std::collections::VecDeque;
use std::io;

use invengine_node::journal::redis::ground::Wire;
use redis::{RedisResult, Value};

use super::house::Fate;
use super::resp::commands;
use super::shore::Shore;
use crate::storage::lock;

/// How long a client waits for an answer.
const PATIENCE_US: u64 = 2_000_000;

/// A connection that was let in.
pub struct Line {
    shore: Shore,
    generation: u64,
    asked: Vec<u8>,
    answers: VecDeque<Value>,
    fate: Fate,
    broken: bool,
}

impl Line {
    /// A connection of this generation.
    pub fn new(shore: Shore, generation: u64) -> Self {
        Line { shore, generation, asked: Vec::new(), answers: VecDeque::new(), fate: Fate::Well, broken: false }
    }

    fn is_whole(&self) -> bool {
        let redis = lock(self.shore.redis());
        let stands = redis.generation == self.generation && redis.reaches(self.shore.who().0, self.shore.now_us());
        stands && !self.shore.has_ended()
    }

    fn exchange(&mut self) -> RedisResult<()> {
        let sent_us = self.shore.now_us();
        self.shore.pass(self.shore.latency_us());
        if !self.is_whole() {
            // Silence is as likely as a reset.
            if sent_us.is_multiple_of(2) {
                self.shore.pass(PATIENCE_US);
                return timed_out();
            }
            return lost();
        }
        if self.fate == Fate::Unheard {
            return lost();
        }
        let asked = std::mem::take(&mut self.asked);
        for words in commands(&asked) {
            let answer = self.execute(&words);
            self.answers.push_back(answer);
        }
        self.shore.pass(self.shore.latency_us());
        if let Fate::Late(time_us) = self.fate {
            self.shore.pass(time_us.min(PATIENCE_US));
            if time_us >= PATIENCE_US {
                return timed_out();
            }
        }
        if self.fate == Fate::Untold || !self.is_whole() {
            return lost();
        }
        Ok(())
    }

    fn execute(&self, words: &[&[u8]]) -> Value {
        let now_us = self.shore.now_us();
        match words {
            [b"WAIT", _, wait_ms] => Value::Int(self.wait(wait_ms)),
            [b"WAITAOF", own, _, wait_ms] => {
                let own = i64::from(*own == b"1");
                Value::Array(vec![Value::Int(own), Value::Int(self.wait(wait_ms))])
            }
            _ => lock(self.shore.redis()).execute(self.shore.who(), words, now_us),
        }
    }

    fn wait(&self, wait_ms: &[u8]) -> i64 {
        let wait_ms: u64 = std::str::from_utf8(wait_ms).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let now_us = self.shore.now_us();
        self.shore.pass(self.shore.latency_us());
        if !self.is_whole() {
            return 0;
        }
        let (known_us, replicas) = lock(self.shore.redis()).confirmed(now_us, now_us + wait_ms * 1_000);
        self.shore.pass(known_us.saturating_sub(self.shore.now_us()));
        replicas
    }
}

impl Wire for Line {
    fn send(&mut self, packed: &[u8]) -> RedisResult<()> {
        self.answers.clear();
        self.asked.extend_from_slice(packed);
        self.fate = self.shore.fate();
        Ok(())
    }

    fn receive(&mut self) -> RedisResult<Value> {
        if self.broken {
            return lost();
        }
        if self.answers.is_empty()
            && let Err(error) = self.exchange()
        {
            self.broken = true;
            return Err(error);
        }
        self.answers.pop_front().map_or_else(lost, Ok)
    }
}

fn lost<T>() -> RedisResult<T> {
    Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
}

fn timed_out<T>() -> RedisResult<T> {
    Err(io::Error::from(io::ErrorKind::TimedOut).into())
}
