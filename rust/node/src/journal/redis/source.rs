//! A journal in Redis for those who do not own it: read beside its server or without one, no claim, nothing written.

use std::sync::Arc;

use super::RedisOptions;
use super::connection::Link;
use super::ground::{Ground, Machine};
use super::keys::PLACES;
use super::places::{self, Placed};
use super::recovery::Recovery;
use super::server::Server;
use super::session::Session;
use super::state::{self, Stored};
use super::trouble::Fault;
use super::walk::{Visit, Walk};
use crate::journal::{JournalError, Mark, Replay};

/// So often a look is begun again because a server beside it made room meanwhile.
const LOOKS_MAX: u32 = 8;

/// One connection to the server that takes the writes of a ledger.
pub struct RedisSource {
    pub(super) session: Session,
    pub(super) link: Link,
}

/// What changes when a server gives up what it no longer needs.
type Age = (String, Vec<Placed>, [u64; PLACES]);

impl RedisSource {
    /// Connects.
    ///
    /// # Errors
    /// No server is there, it lets us not in, is too old, or a replica, which may lack what was acknowledged.
    pub fn connect(options: &RedisOptions) -> Result<Self, JournalError> {
        Ok(Self::connect_on(options, Arc::new(Machine))?.0)
    }

    /// The same on another network; also what the server says of itself.
    pub(super) fn connect_on(options: &RedisOptions, ground: Arc<dyn Ground>) -> Result<(Self, Server), JournalError> {
        let session = options.session(ground)?;
        let mut link = session.place.connect()?;
        let server = Server::ask(&mut link)?;
        server.check_version()?;
        server.check_role()?;
        Ok((Self { session, link }, server))
    }

    /// Name of the ledger.
    pub fn ledger(&self) -> &str {
        &self.session.ledger
    }

    /// The ledger and its server, for messages.
    pub fn describe(&self) -> String {
        format!("ledger {:?} in Redis at {}", self.session.ledger, self.link.server())
    }

    /// What the server says of the journal besides its frames.
    ///
    /// # Errors
    /// There is no journal, or something else has its keys.
    pub fn stored(&mut self) -> Result<Stored, JournalError> {
        let stored = self.look_up()?;
        stored.ok_or_else(|| {
            let why = "no journal is there: name the --redis-url and the --ledger of a server".into();
            JournalError::NoJournal { directory: self.describe(), why }
        })
    }

    /// The same, or nothing if there is no journal.
    pub fn look_up(&mut self) -> Result<Option<Stored>, JournalError> {
        state::read(&mut self.link, &self.session.keys, &self.session.ledger).map_err(Fault::error)
    }

    /// Has the newest good snapshot loaded, as a start would; answers where the frames to replay begin.
    ///
    /// # Errors
    /// Those of a start.
    pub fn begin(&mut self, stored: &Stored, replay: &mut dyn Replay) -> Result<Recovery, JournalError> {
        Recovery::begin(&self.session, &mut self.link, Some(stored), replay).map_err(Fault::error)
    }

    /// Has the state rebuilt as a start would, without a claim; nothing happens if there is no journal.
    ///
    /// # Errors
    /// Those of a start.
    pub fn rebuild(&mut self, replay: &mut dyn Replay) -> Result<(), JournalError> {
        let Some(stored) = self.look_up()? else { return Ok(()) };
        let mut recovery = self.begin(&stored, replay)?;
        recovery.read_on(&self.session, &mut self.link, replay).map_err(Fault::error)
    }

    pub(super) fn places(&mut self) -> Result<Vec<places::Place>, JournalError> {
        places::look(&mut self.link, &self.session.keys, &self.session.ledger).map_err(Fault::error)
    }

    /// A walk from the first entry that is still there, on the way to a mark.
    ///
    /// # Errors
    /// The entry is damaged or cannot be read.
    pub fn from_first(&mut self, mark: Option<&Mark>) -> Result<Walk, JournalError> {
        Walk::from_first(&self.session, &mut self.link, mark).map_err(Fault::error)
    }

    /// Walks on to the end of the stream, or until `visit` says that it is enough.
    ///
    /// # Errors
    /// Damage, or the server does not answer.
    pub fn read_on(&mut self, walk: &mut Walk, visit: &mut Visit<'_>) -> Result<(), JournalError> {
        walk.read_on(&self.session, &mut self.link, visit).map_err(Fault::error)
    }

    /// Refuses a journal that does not end where its state, read before and after, says so.
    ///
    /// # Errors
    /// As said.
    pub fn compare(&mut self, walk: &Walk, earlier: &Stored) -> Result<(), JournalError> {
        let later = self.look_up()?;
        walk.compare(&self.session, Some(earlier), later.as_ref()).map_err(Fault::error)
    }

    /// Does something, and again if it failed while the server beside made room.
    ///
    /// # Errors
    /// Those of the last time.
    pub fn look_again<T>(
        &mut self,
        has_failed: impl Fn(&Result<T, JournalError>) -> bool,
        mut look: impl FnMut(&mut Self) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        for _ in 1..LOOKS_MAX {
            let before = self.age()?;
            let seen = look(self);
            if !has_failed(&seen) || self.age().map_or(true, |after| after == before) {
                return seen;
            }
        }
        look(self)
    }

    fn age(&mut self) -> Result<Age, JournalError> {
        let places = self.places()?;
        let extent = std::array::from_fn(|index| places[index].extent);
        let trimmed = state::field(&mut self.link, &self.session.keys, "trimmed").map_err(Fault::error)?;
        Ok((trimmed, places::snapshots(&places), extent))
    }
}
