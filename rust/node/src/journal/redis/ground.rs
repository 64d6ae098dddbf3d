//! What a Redis journal stands on besides the server: a clock, a way to wait, and a way to reach the server, so that tests can
//! put a simulated server and a simulated clock beneath it.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use redis::{Connection, RedisResult, Value};

/// Clock and network beneath a journal. The defaults are those of this machine.
pub trait Ground: Debug + Send + Sync {
    /// This moment.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Lets time pass.
    fn pause(&self, time: Duration) {
        thread::sleep(time);
    }

    /// A connection to a server other than the one that the options name; `None`: connect to that one.
    fn connect(&self) -> Option<RedisResult<Box<dyn Wire>>> {
        None
    }
}

/// The machine itself.
#[derive(Debug)]
pub struct Machine;

impl Ground for Machine {}

/// A connection: commands go out in one piece, answers come back one by one.
pub trait Wire: Send {
    /// Sends packed commands.
    fn send(&mut self, packed: &[u8]) -> RedisResult<()>;
    /// Waits for the next answer; an error that the server sent is a value.
    fn receive(&mut self) -> RedisResult<Value>;
}

impl Wire for Connection {
    fn send(&mut self, packed: &[u8]) -> RedisResult<()> {
        self.send_packed_command(packed)
    }

    fn receive(&mut self) -> RedisResult<Value> {
        self.recv_response()
    }
}
