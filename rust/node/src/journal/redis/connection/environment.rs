//! The environment of a Redis journal: a clock, a way to wait, and a way to reach the server, so that tests can put a simulated
//! server and a simulated clock beneath it.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use redis::{RedisResult, Value};

/// Clock and network of a journal. The defaults are those of this machine.
pub trait RedisEnvironment: Debug + Send + Sync {
    /// The current time.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Waits for a time.
    fn pause(&self, time: Duration) {
        thread::sleep(time);
    }

    /// A connection to a server other than the one that the options name; `None` means to connect to that one.
    fn connect(&self) -> Option<RedisResult<Box<dyn RedisTransport>>> {
        None
    }
}

/// Clock and network of this machine.
#[derive(Debug)]
pub struct SystemEnvironment;

impl RedisEnvironment for SystemEnvironment {}

/// The transport of a connection: commands are sent together, replies are received one by one.
pub trait RedisTransport: Send {
    /// Sends packed commands.
    fn send(&mut self, packed: &[u8]) -> RedisResult<()>;
    /// Waits for the next reply; an error that the server sent is a value.
    fn receive(&mut self) -> RedisResult<Value>;
}

impl RedisTransport for redis::Connection {
    fn send(&mut self, packed: &[u8]) -> RedisResult<()> {
        self.send_packed_command(packed)
    }

    fn receive(&mut self) -> RedisResult<Value> {
        self.recv_response()
    }
}
