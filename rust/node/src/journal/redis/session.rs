//! A writer's dealings with Redis: every call carries the wait for its durability, and after any trouble the connection is
//! thrown away and the journal compared before anything is appended again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Value, cmd};

use super::Ack;
use super::connection::{Link, Place};
use super::functions::{self, Owner, Said};
use super::ground::Ground;
use super::keys::Keys;
use super::server::Server;
use super::state::Position;
use super::trouble::{Fault, Outlook, Trouble};
use crate::journal::JournalError;

const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Copies on other machines that `replicated` waits for.
const REPLICAS: u32 = 1;

/// How long to go on trying.
pub struct Patience {
    until: Instant,
    pause: Duration,
    ground: Arc<dyn Ground>,
}

impl Patience {
    /// Starts now.
    pub fn of(whole: Duration, ground: &Arc<dyn Ground>) -> Self {
        Self { until: ground.now() + whole, pause: PAUSE_FIRST, ground: Arc::clone(ground) }
    }

    /// Waits a little, longer each time; false once it has run out.
    pub fn wait(&mut self) -> bool {
        let left = self.until.saturating_duration_since(self.ground.now());
        if left.is_zero() {
            return false;
        }
        self.ground.pause(self.pause.min(left));
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

/// Whether the server would take another write.
pub type Room = Result<(), JournalError>;

/// What a writer keeps between calls.
pub struct Session {
    /// Where Redis is.
    pub place: Place,
    /// The keys of the journal.
    pub keys: Keys,
    /// Name of the ledger, for messages.
    pub ledger: String,
    /// What an acknowledgement means.
    pub ack: Ack,
    /// No claim is of an earlier epoch.
    pub writer_epoch_min: u64,
}

impl Session {
    /// Sends a call of a function, then asks for room and waits for durability, all in one go.
    ///
    /// `Ok` means that it is as durable as the mode promises, and tells whether there is room for more.
    pub fn exchange(&self, link: &mut Link, call: &Cmd, server: &Server) -> Result<(Said, Room), Fault> {
        let mut packed = call.get_packed_command();
        packed.extend(functions::room(&self.keys).get_packed_command());
        let wait = self.wait(server);
        packed.extend(wait.as_ref().map(Cmd::get_packed_command).unwrap_or_default());
        let mut answers = link.calls(&packed, 2 + usize::from(wait.is_some()))?.into_iter();
        let mut next = || answers.next().unwrap_or_else(|| Err(Trouble::nonsense(link.server(), "FCALL")));
        let (told, room) = (next(), next());
        let told = told.map_err(|trouble| match trouble {
            trouble if trouble.is_unknown_function() => {
                Fault::Lasting(functions::other_version(link.server(), functions::NO_VERSION))
            }
            other => other.into(),
        })?;
        let said = functions::said(told).ok_or_else(|| Trouble::nonsense(link.server(), "FCALL"))?;
        if wait.is_some() && matches!(said, Said::Done(_)) {
            is_confirmed(&next()?, server.has_aof(), link.server())?;
        }
        Ok((said, room_of(room)))
    }

    /// Waits until everything that was written on a connection is as durable as this mode promises.
    pub fn settle(&self, link: &mut Link, server: &Server) -> Result<(), Fault> {
        match self.wait(server) {
            Some(wait) => is_confirmed(&link.call(&wait)?, server.has_aof(), link.server()),
            None => Ok(()),
        }
    }

    /// The command that waits for what this mode promises beyond the server's own answer.
    fn wait(&self, server: &Server) -> Option<Cmd> {
        if self.ack != Ack::Replicated {
            return None;
        }
        // Shorter than the patience for the answer, so that "nobody confirmed" is heard.
        let wait_ms = u64::try_from(self.place.patience.as_millis() / 2).unwrap_or(u64::MAX).max(1);
        let mut wait = if server.has_waitaof() { cmd("WAITAOF") } else { cmd("WAIT") };
        if server.has_waitaof() {
            wait.arg(u32::from(server.has_aof()));
        }
        wait.arg(REPLICAS).arg(wait_ms);
        Some(wait)
    }

    /// Connects again: the same checks as at the start, then whether this writer still owns the journal and where that ends.
    pub fn resume(&self, owner: &Owner) -> Result<Resumed, Fault> {
        let mut link = self.place.connect()?;
        let server = Server::ask(&mut link)?;
        // A replica that was just promoted may have none yet: waiting for one is what WAIT is for.
        let asked = if self.ack == Ack::Replicated { Ack::Memory } else { self.ack };
        server.check(asked).map_err(|error| match error {
            error @ JournalError::Refused { .. } => Fault::Passing(error),
            other => Fault::Lasting(other),
        })?;
        let (said, room) = self.exchange(&mut link, &functions::resume(&self.keys, owner), &server)?;
        match said {
            Said::Done(Some(end)) => Ok(Resumed { link, server, end, room }),
            other => Err(Fault::Lasting(self.stopped(link.server(), owner, other))),
        }
    }

    /// What ends a writer for good.
    pub fn stopped(&self, server: &str, owner: &Owner, said: Said) -> JournalError {
        let (server, ledger) = (server.to_owned(), self.ledger.clone());
        match said {
            Said::Fenced(found) => JournalError::Fenced { server, ledger, ours: owner.epoch, found },
            Said::Version(found) => functions::other_version(&server, &found),
            Said::Gone => JournalError::Lost { server, ledger, why: "its state is gone".into() },
            Said::Elsewhere(why) | Said::Damaged(why) => JournalError::Lost { server, ledger, why },
            Said::Unfit => JournalError::NoSnapshot { why: "what was begun is not there any more".into() },
            Said::Done(_) => Trouble::nonsense(&server, "FCALL").into(),
        }
    }
}

/// A connection on which the writer may go on.
pub struct Resumed {
    /// The connection.
    pub link: Link,
    /// The server at its end.
    pub server: Server,
    /// Where the journal ends there.
    pub end: Position,
    /// Whether there is room for more.
    pub room: Room,
}

fn is_confirmed(answer: &Value, needs_own_file: bool, server: &str) -> Result<(), Fault> {
    let confirmed = match answer {
        Value::Int(replicas) => *replicas >= i64::from(REPLICAS),
        Value::Array(counts) => match counts.as_slice() {
            [Value::Int(own), Value::Int(replicas)] => {
                *own >= i64::from(needs_own_file) && *replicas >= i64::from(REPLICAS)
            }
            _ => return Err(Trouble::nonsense(server, "WAITAOF").into()),
        },
        _ => return Err(Trouble::nonsense(server, "WAIT").into()),
    };
    if confirmed {
        return Ok(());
    }
    let (server, code) = (server.to_owned(), "NOREPLICAS".to_owned());
    Err(Trouble::Refused { server, code, text: "no replica confirmed in time".into() }.into())
}

/// Only lack of room counts: any other trouble shows again at the next write.
fn room_of(answer: Result<Value, Trouble>) -> Room {
    match answer {
        Err(trouble) if trouble.outlook() == Outlook::NoRoom => Err(trouble.into()),
        _ => Ok(()),
    }
}
