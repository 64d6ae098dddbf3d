//! A journal in Redis for readers that do not own it: with or without a running server, no claim, nothing written.

use std::sync::Arc;

use super::Recovery;
use crate::journal::inspect::look_again;
use crate::journal::redis::RedisOptions;
use crate::journal::redis::connection::environment::{RedisEnvironment, SystemEnvironment};
use crate::journal::redis::connection::keys::LOCATIONS;
use crate::journal::redis::connection::server::Server;
use crate::journal::redis::connection::session::RedisSource;
use crate::journal::redis::connection::state::{self, StoredState};
use crate::journal::redis::read::walk::StreamWalk;
use crate::journal::redis::snapshot::locations::{self, LocatedSnapshot};
use crate::journal::{JournalError, Replay};

/// What changes when a server trims what it no longer needs.
type Retained = (String, Vec<LocatedSnapshot>, [u64; LOCATIONS]);

impl RedisSource {
    /// Connects.
    ///
    /// # Errors
    /// The server is unreachable, denies access, is too old, or is a replica, which may lack what was acknowledged.
    pub fn connect(options: &RedisOptions) -> Result<Self, JournalError> {
        Ok(Self::connect_on(options, Arc::new(SystemEnvironment))?.0)
    }

    /// The same in another environment; also returns the facts of the server.
    pub(in crate::journal) fn connect_on(
        options: &RedisOptions,
        environment: Arc<dyn RedisEnvironment>,
    ) -> Result<(Self, Server), JournalError> {
        let mut source = Self::of(&Arc::new(options.session(environment)?))?;
        let server = Server::ask(&mut source.connection)?;
        server.check_version()?;
        server.check_role()?;
        Ok((source, server))
    }

    /// Name of the ledger.
    pub fn ledger(&self) -> &str {
        &self.session.ledger
    }

    /// The ledger and its server, for messages.
    pub fn describe(&self) -> String {
        format!("ledger {:?} in Redis at {}", self.session.ledger, self.connection.server())
    }

    /// The state of the journal that the server stores besides its frames.
    ///
    /// # Errors
    /// There is no journal, or something else has its keys.
    pub fn stored(&mut self) -> Result<StoredState, JournalError> {
        let stored = self.look_up()?;
        stored.ok_or_else(|| {
            let why = "no journal is there: name the --redis-url and the --ledger of a server".into();
            JournalError::NoJournal { directory: self.describe(), why }
        })
    }

    /// The same; `None` if there is no journal.
    pub fn look_up(&mut self) -> Result<Option<StoredState>, JournalError> {
        Ok(state::read(&mut self.connection, &self.session.keys, &self.session.ledger)?)
    }

    /// Rebuilds the state as a start would, without a claim; does nothing if there is no journal.
    ///
    /// # Errors
    /// Those of a start.
    pub fn rebuild(&mut self, replay: &mut dyn Replay) -> Result<(), JournalError> {
        let Some(stored) = self.look_up()? else { return Ok(()) };
        let mut recovery = Recovery::begin(self, Some(&stored), replay)?;
        Ok(recovery.read_on(self, replay)?)
    }

    /// Checks that a journal ends where its state says, read before and after.
    ///
    /// # Errors
    /// It does not, or the server does not answer.
    pub fn compare(&mut self, walk: &StreamWalk, earlier: &StoredState) -> Result<(), JournalError> {
        let later = self.look_up()?;
        walk.compare(&self.session, Some(earlier), later.as_ref())
    }

    /// Runs `look`, and again if it failed while a running server trimmed something.
    ///
    /// # Errors
    /// Those of the last attempt.
    pub fn look_again<T>(
        &mut self,
        has_failed: impl Fn(&Result<T, JournalError>) -> bool,
        look: impl FnMut(&mut Self) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        look_again(self, Self::retained, has_failed, look)
    }

    fn retained(&mut self) -> Result<Retained, JournalError> {
        let locations = locations::read_locations(self)?;
        let extent = std::array::from_fn(|index| locations[index].extent);
        let trimmed = state::field(&mut self.connection, &self.session.keys, "trimmed")?;
        Ok((trimmed, locations::snapshots(&locations), extent))
    }
}
