//! The Redis journal: one writer, one connection, one frame in flight at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use invengine_ledger::planted;

use super::open::{ClaimedJournal, open};
use super::tail::{Tail, TailFrame};
use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::{FRAME_HEADER_BYTES, FrameHeader, encode};
use crate::journal::redis::connection::Connection;
use crate::journal::redis::connection::environment::{RedisEnvironment, SystemEnvironment};
use crate::journal::redis::connection::errors::{Failure, RedisError};
use crate::journal::redis::connection::functions::{self, Owner, Reply};
use crate::journal::redis::connection::keys::EntryId;
use crate::journal::redis::connection::server::{Server, memory_left};
use crate::journal::redis::connection::session::{Backoff, Room, Session};
use crate::journal::redis::connection::state::RedisPosition;
use crate::journal::redis::read::reader::RedisReader;
use crate::journal::redis::snapshot::store::RedisSnapshotStore;
use crate::journal::redis::{RedisOptions, SEQUENCE_MAX};
use crate::journal::snapshot_store::Retention;
use crate::journal::writer_state::{WriterState, check_order, check_size};
use crate::journal::{Journal, JournalError, JournalReader, Replay, SnapshotStore};

/// Length of the longest frame: a page of them must fit into memory, and one of them must be transferred within the reply
/// timeout.
pub const FRAME_BYTES_MAX: u64 = 8 << 20;

/// Memory of the server that a frame needs: its length times the factor, for the input buffer and the entry, plus a reserve for
/// others.
const ROOM_FACTOR: u64 = 2;
const ROOM_SLACK: u64 = 1 << 20;
/// What others have allocated meanwhile is unknown: query again after this.
const BUDGET_AGE_MAX: Duration = Duration::from_secs(1);

/// A journal in a stream of Redis; its keys and functions are described in the [module documentation](super).
///
/// What `append` has confirmed is as durable as the acknowledgement mode promises, and no more.
pub struct RedisJournal {
    session: Arc<Session>,
    owner: Owner,
    connection: Option<(Connection, Server)>,
    tail: Tail,
    /// Frames of the tail that the server is known to have.
    stored: usize,
    tip: ChainTip,
    room: Room,
    /// Memory that the server has left, and when it reported that.
    budget: Option<(u64, Instant)>,
    durable: Arc<AtomicU64>,
    loss_window: String,
    retry_timeout: Duration,
    retention: Retention,
    state: WriterState,
}

impl RedisJournal {
    /// Opens the journal of a ledger, new or not, after passing what it holds to `replay`: the newest good snapshot if `replay`
    /// accepts one, and every frame behind that, claims included.
    ///
    /// Claims the next writer epoch only when all frames were replayed: from then on an earlier writer is refused by Redis
    /// itself. An `Err` of `replay` is returned as `Replay` and changes nothing. Snapshots that cannot be used are noted and left
    /// where they are: the older one and a longer tail give the same state.
    pub fn recover(options: &RedisOptions, replay: &mut dyn Replay) -> Result<Self, JournalError> {
        Self::recover_on(options, Arc::new(SystemEnvironment), replay)
    }

    /// The same with another clock and another network.
    pub fn recover_on(
        options: &RedisOptions,
        environment: Arc<dyn RedisEnvironment>,
        replay: &mut dyn Replay,
    ) -> Result<Self, JournalError> {
        let session = Arc::new(options.session(environment)?);
        let ClaimedJournal { source, server, claim } = open(&session, options.retry_timeout, replay)?;
        Ok(Self {
            session,
            loss_window: server.loss_window(options.ack),
            durable: Arc::new(AtomicU64::new(claim.end.last)),
            tail: Tail::new(claim.end),
            stored: 0,
            tip: claim.tip,
            room: claim.room,
            budget: None,
            owner: claim.owner,
            connection: Some((source.connection, server)),
            retry_timeout: options.retry_timeout,
            retention: Retention { archive_ms: options.archive_ms, archive_bytes_max: options.archive_bytes_max },
            state: WriterState::Open,
        })
    }

    fn poison(&mut self, error: JournalError) -> JournalError {
        self.state = WriterState::Poisoned;
        self.connection = None;
        error
    }

    fn try_append(&mut self, first: u64, last: u64, time_ms: i64, payload: &[u8]) -> Result<(), JournalError> {
        let expected = self.tip.next_sequence;
        check_order(first, last, expected, SEQUENCE_MAX)?;
        check_size(payload.len() as u64, self.payload_bytes_max())?;
        let header = self.tip.frame_header(last, time_ms);
        let crc = self.keep(&header, payload);
        self.deliver()?;
        self.tip.advance(&header, crc);
        self.durable.store(last, Ordering::Release);
        Ok(())
    }

    /// Adds a frame to the end of the tail.
    fn keep(&mut self, header: &FrameHeader, payload: &[u8]) -> u32 {
        let mut frame = Vec::new();
        let crc = encode(&mut frame, header, payload);
        let mut tip = self.tip;
        tip.advance(header, crc);
        let after = RedisPosition::of(&tip, self.tail.end().entries + 1);
        self.stored -= self.tail.push(TailFrame { after, id: EntryId::of(header), frame }, self.stored);
        crc
    }

    /// Makes the whole tail durable in Redis, however often the connection breaks meanwhile.
    fn deliver(&mut self) -> Result<(), JournalError> {
        let mut backoff = Backoff::of(self.retry_timeout, &self.session.target.environment);
        loop {
            match self.try_deliver() {
                Ok(()) => return Ok(()),
                Err(Failure::Transient(_) | Failure::NoRoom(_)) if backoff.wait() => self.connection = None,
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    fn try_deliver(&mut self) -> Result<(), Failure> {
        self.connected()?;
        let Some((connection, server)) = self.connection.as_mut() else { return Ok(()) };
        while let Some((before, kept)) = self.tail.get(self.stored) {
            let call = functions::append(&self.session.keys, &self.owner, &before, &kept.after, kept.id, &kept.frame);
            self.room = self.session.execute(connection, &call, server, &self.owner)?.1;
            self.stored += 1;
            if let Some((left, _)) = &mut self.budget {
                *left = left.saturating_sub(kept.frame.len() as u64 * ROOM_FACTOR);
            }
        }
        Ok(())
    }

    /// Makes sure that there is a connection on which the journal was compared with the tail.
    fn connected(&mut self) -> Result<(), Failure> {
        if self.connection.is_some() {
            return Ok(());
        }
        let resumed = self.session.resume(&self.owner)?;
        let unchecked = planted::is("tail_not_compared").then_some(self.stored);
        let Some(stored) = unchecked.or_else(|| self.tail.find(&resumed.end)) else {
            let why = format!(
                "it ends at sequence {}, this writer is at {} and can append again from {}",
                resumed.end.last,
                self.tail.end().last,
                self.tail.reaches_back_to() + 1
            );
            let reply = Reply::Elsewhere(why);
            return Err(self.session.stopped(resumed.connection.server(), &self.owner, reply).into());
        };
        self.stored = stored;
        self.room = resumed.room;
        self.connection = Some((resumed.connection, resumed.server));
        Ok(())
    }

    /// Verifies that the journal still belongs to this writer: a new connection does so by itself.
    fn try_verify(&mut self) -> Result<(), Failure> {
        let Some((connection, server)) = self.connection.as_mut() else { return self.try_deliver() };
        let call = functions::resume(&self.session.keys, &self.owner);
        self.room = self.session.execute(connection, &call, server, &self.owner)?.1;
        Ok(())
    }

    /// Whether the server is known to have room.
    fn has_room(&self, bytes: u64) -> bool {
        let now = self.session.target.environment.now();
        let fresh = self.budget.filter(|(_, asked)| now.saturating_duration_since(*asked) < BUDGET_AGE_MAX);
        self.room.is_ok() && fresh.is_some_and(|(left, _)| left >= bytes)
    }

    /// Queries the server for room, on the current or a new connection.
    fn query_room(&mut self, bytes: u64) -> Result<(), Failure> {
        self.connected()?;
        let Some((connection, _)) = self.connection.as_mut() else { return Ok(()) };
        connection.call(&functions::room(&self.session.keys))?;
        let left = memory_left(connection)?.unwrap_or(u64::MAX);
        self.budget = Some((left, self.session.target.environment.now()));
        self.room = Ok(());
        if left >= bytes {
            return Ok(());
        }
        let (server, text) = (connection.server().to_owned(), format!("only {left} bytes are left below maxmemory"));
        Err(RedisError::Refused { server, code: "OOM".into(), text }.into())
    }
}

impl Journal for RedisJournal {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn loss_window(&self) -> String {
        self.loss_window.clone()
    }

    fn writer_epoch(&self) -> u64 {
        self.owner.epoch
    }

    fn durable_sequence(&self) -> u64 {
        self.tip.next_sequence - 1
    }

    fn payload_bytes_max(&self) -> u64 {
        FRAME_BYTES_MAX - FRAME_HEADER_BYTES as u64
    }

    fn append(
        &mut self,
        first_sequence: u64,
        last_sequence: u64,
        time_ms: i64,
        payload: &[u8],
    ) -> Result<(), JournalError> {
        self.state.usable()?;
        self.try_append(first_sequence, last_sequence, time_ms, payload).map_err(|error| self.poison(error))
    }

    fn ensure_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        self.state.usable()?;
        check_size(bytes, self.payload_bytes_max())?;
        let room_bytes = bytes * ROOM_FACTOR + ROOM_SLACK;
        if self.has_room(room_bytes) {
            return Ok(());
        }
        let mut backoff = Backoff::of(self.retry_timeout, &self.session.target.environment);
        loop {
            match self.query_room(room_bytes) {
                Ok(()) => return Ok(()),
                Err(Failure::NoRoom(error)) => return Err(full(&error, bytes)),
                Err(Failure::Transient(_)) if backoff.wait() => self.connection = None,
                Err(failure) => return Err(self.poison(failure.into())),
            }
        }
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(Box::new(RedisReader::new(self.session.clone(), self.durable.clone(), self.owner.epoch)))
    }

    fn snapshot_store(&self) -> Result<Option<Box<dyn SnapshotStore>>, JournalError> {
        let (session, owner, durable) = (self.session.clone(), self.owner.clone(), self.durable.clone());
        Ok(Some(Box::new(RedisSnapshotStore::new(session, owner, durable, self.retention))))
    }

    fn is_leased(&self) -> bool {
        true
    }

    /// Asks once and leaves it to a later call if Redis does not answer: only time makes ownership uncertain, and only another
    /// owner ends it.
    fn verify_ownership(&mut self) -> Result<bool, JournalError> {
        self.state.usable()?;
        match self.try_verify() {
            Ok(()) => Ok(true),
            Err(Failure::Transient(_) | Failure::NoRoom(_)) => {
                self.connection = None;
                Ok(false)
            }
            Err(failure) => Err(self.poison(failure.into())),
        }
    }

    fn close(&mut self) -> Result<(), JournalError> {
        // Every append was confirmed, so there is nothing left to send.
        self.state = WriterState::Closed;
        self.connection = None;
        Ok(())
    }
}

/// The error that leaves the writer usable.
fn full(error: &JournalError, bytes: u64) -> JournalError {
    JournalError::Full { file: format!("Redis ({error})"), bytes }
}
