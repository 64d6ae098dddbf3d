//! A writer's session with Redis: every call includes the wait for its durability, and after any error the connection is
//! dropped and the journal compared before anything is appended again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Value, cmd};

use super::environment::RedisEnvironment;
use super::errors::{ErrorClass, Failure, RedisError};
use super::functions::{self, Owner, Reply};
use super::keys::RedisKeys;
use super::server::Server;
use super::state::RedisPosition;
use super::{Connection, ConnectionTarget};
use crate::journal::JournalError;
use crate::journal::redis::Ack;

const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Number of replicas that `replicated` waits for.
const REPLICAS: u32 = 1;

/// Pauses between attempts, up to a deadline.
pub struct Backoff {
    until: Instant,
    pause: Duration,
    environment: Arc<dyn RedisEnvironment>,
}

impl Backoff {
    /// Starts now, and expires after `timeout`.
    pub fn of(timeout: Duration, environment: &Arc<dyn RedisEnvironment>) -> Self {
        Self { until: environment.now() + timeout, pause: PAUSE_FIRST, environment: Arc::clone(environment) }
    }

    /// Pauses, longer each time; returns false once it has expired.
    pub fn wait(&mut self) -> bool {
        let left = self.until.saturating_duration_since(self.environment.now());
        if left.is_zero() {
            return false;
        }
        self.environment.pause(self.pause.min(left));
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

/// Whether the server would accept another write.
pub type Room = Result<(), JournalError>;

/// What a writer keeps between calls.
pub struct Session {
    /// How to connect to Redis.
    pub target: ConnectionTarget,
    /// The keys of the journal.
    pub keys: RedisKeys,
    /// Name of the ledger, for messages.
    pub ledger: String,
    /// What an acknowledgement means.
    pub ack: Ack,
    /// The lowest epoch to claim.
    pub writer_epoch_min: u64,
}

impl Session {
    /// Sends a call of a function together with a check for room and the wait for durability.
    ///
    /// `Ok` means that it is as durable as the mode promises, and includes whether there is room for more.
    pub fn exchange(&self, connection: &mut Connection, call: &Cmd, server: &Server) -> Result<(Reply, Room), Failure> {
        let mut packed = call.get_packed_command();
        packed.extend(functions::room(&self.keys).get_packed_command());
        let wait = self.wait(server);
        packed.extend(wait.as_ref().map(Cmd::get_packed_command).unwrap_or_default());
        let mut answers = connection.calls(&packed, 2 + usize::from(wait.is_some()))?.into_iter();
        let mut next = || answers.next().unwrap_or_else(|| Err(RedisError::nonsense(connection.server(), "FCALL")));
        let (answer, room) = (next(), next());
        let answer = answer.map_err(|error| match error {
            error if error.is_unknown_function() => {
                Failure::Permanent(functions::other_version(connection.server(), functions::NO_VERSION))
            }
            other => other.into(),
        })?;
        let reply = functions::parse_reply(answer).ok_or_else(|| RedisError::nonsense(connection.server(), "FCALL"))?;
        if wait.is_some() && matches!(reply, Reply::Done(_)) {
            is_confirmed(&next()?, server.has_aof(), connection.server())?;
        }
        Ok((reply, room_of(room)))
    }

    /// The same for a call that succeeds as long as the journal is this owner's: any other reply stops the writer. Returns where
    /// the journal ends if the call asks for that.
    pub fn execute(
        &self,
        connection: &mut Connection,
        call: &Cmd,
        server: &Server,
        owner: &Owner,
    ) -> Result<(Option<RedisPosition>, Room), Failure> {
        match self.exchange(connection, call, server)? {
            (Reply::Done(end), room) => Ok((end, room)),
            (other, _) => Err(self.stopped(connection.server(), owner, other).into()),
        }
    }

    /// Waits until everything that was written on a connection is as durable as this mode promises.
    pub fn settle(&self, connection: &mut Connection, server: &Server) -> Result<(), Failure> {
        match self.wait(server) {
            Some(wait) => is_confirmed(&connection.call(&wait)?, server.has_aof(), connection.server()),
            None => Ok(()),
        }
    }

    /// The command that waits for what this mode promises beyond the server's own reply.
    fn wait(&self, server: &Server) -> Option<Cmd> {
        if self.ack != Ack::Replicated {
            return None;
        }
        // Shorter than the reply timeout, so that "no replica confirmed" is received.
        let wait_ms = u64::try_from(self.target.timeout.as_millis() / 2).unwrap_or(u64::MAX).max(1);
        let mut wait = if server.has_waitaof() { cmd("WAITAOF") } else { cmd("WAIT") };
        if server.has_waitaof() {
            wait.arg(u32::from(server.has_aof()));
        }
        wait.arg(REPLICAS).arg(wait_ms);
        Some(wait)
    }

    /// Reconnects: the same checks as at the start, then whether this writer still owns the journal and where that ends.
    pub fn resume(&self, owner: &Owner) -> Result<Resumed, Failure> {
        let mut connection = self.target.connect()?;
        let server = Server::ask(&mut connection)?;
        // A replica that was just promoted may have none yet: waiting for one is what WAIT is for.
        let asked = if self.ack == Ack::Replicated { Ack::Memory } else { self.ack };
        server.check(asked).map_err(|error| match error {
            error @ JournalError::Refused { .. } => Failure::Transient(error),
            other => other.into(),
        })?;
        let (end, room) = self.execute(&mut connection, &functions::resume(&self.keys, owner), &server, owner)?;
        let end = end.ok_or_else(|| RedisError::nonsense(connection.server(), "FCALL"))?;
        Ok(Resumed { connection, server, end, room })
    }

    /// The error that stops a writer permanently.
    pub fn stopped(&self, server: &str, owner: &Owner, reply: Reply) -> JournalError {
        let (server, ledger) = (server.to_owned(), self.ledger.clone());
        match reply {
            Reply::Fenced(found) => JournalError::Fenced { server, ledger, ours: owner.epoch, found },
            Reply::Version(found) => functions::other_version(&server, &found),
            Reply::Gone => JournalError::Lost { server, ledger, why: "its state is gone".into() },
            Reply::Elsewhere(why) | Reply::Damaged(why) => JournalError::Lost { server, ledger, why },
            Reply::Unfit => JournalError::NoSnapshot { why: "the snapshot that was begun is gone".into() },
            Reply::Done(_) => RedisError::nonsense(&server, "FCALL").into(),
        }
    }
}

/// One failure may be a connection that broke meanwhile; two mean that the server is unreachable.
const ATTEMPTS: usize = 2;

/// A session with its connection to the server that accepts the writes of a ledger.
pub struct RedisSource {
    pub(in crate::journal) session: Arc<Session>,
    pub(in crate::journal) connection: Connection,
}

impl RedisSource {
    /// Connects.
    pub(in crate::journal) fn of(session: &Arc<Session>) -> Result<Self, Failure> {
        Ok(Self { session: Arc::clone(session), connection: session.target.connect()? })
    }
}

/// A connection that is made when it is needed, and made again if it broke meanwhile.
pub struct Reconnecting<C> {
    /// What it connects to.
    pub session: Arc<Session>,
    connect: fn(&Arc<Session>) -> Result<C, Failure>,
    connected: Option<C>,
}

impl<C> Reconnecting<C> {
    /// Not connected yet.
    pub fn new(session: Arc<Session>, connect: fn(&Arc<Session>) -> Result<C, Failure>) -> Self {
        Self { session, connect, connected: None }
    }

    /// Runs `act` on the connection, once more if it broke.
    pub fn run<T>(&mut self, act: &mut dyn FnMut(&mut C) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let connected = self.connected.take().map_or_else(|| (self.connect)(&self.session), Ok);
            let done = connected.and_then(|mut connection| {
                let done = act(&mut connection);
                if matches!(done, Ok(_) | Err(Failure::NoRoom(_))) {
                    self.connected = Some(connection);
                }
                done
            });
            match done {
                Err(Failure::Transient(_)) if attempts < ATTEMPTS => {}
                other => return other,
            }
        }
    }
}

/// A connection on which the writer may continue.
pub struct Resumed {
    /// The connection.
    pub connection: Connection,
    /// The server at its end.
    pub server: Server,
    /// Where the journal ends there.
    pub end: RedisPosition,
    /// Whether there is room for more.
    pub room: Room,
}

fn is_confirmed(answer: &Value, needs_own_file: bool, server: &str) -> Result<(), Failure> {
    let confirmed = match answer {
        Value::Int(replicas) => *replicas >= i64::from(REPLICAS),
        Value::Array(counts) => match counts.as_slice() {
            [Value::Int(own), Value::Int(replicas)] => {
                *own >= i64::from(needs_own_file) && *replicas >= i64::from(REPLICAS)
            }
            _ => return Err(RedisError::nonsense(server, "WAITAOF").into()),
        },
        _ => return Err(RedisError::nonsense(server, "WAIT").into()),
    };
    if confirmed {
        return Ok(());
    }
    let (server, code) = (server.to_owned(), "NOREPLICAS".to_owned());
    Err(RedisError::Refused { server, code, text: "no replica confirmed in time".into() }.into())
}

/// Only lack of room matters: any other error recurs at the next write.
fn room_of(answer: Result<Value, RedisError>) -> Room {
    match answer {
        Err(error) if error.class() == ErrorClass::NoRoom => Err(error.into()),
        _ => Ok(()),
    }
}
