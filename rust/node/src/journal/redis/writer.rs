//! The Redis journal: one writer, one connection, one frame on its way at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use invengine_ledger::planted;

use super::connection::Link;
use super::functions::{self, Owner, Said};
use super::ground::{Ground, Machine};
use super::keys::Id;
use super::open::open;
use super::reader::RedisReader;
use super::retention::Retention;
use super::server::{Server, memory_left};
use super::session::{Patience, Room, Session};
use super::shelf::Shelf;
use super::state::Position;
use super::tail::{Kept, Tail};
use super::trouble::{Fault, Trouble};
use super::{RedisOptions, SEQUENCE_MAX};
use crate::journal::frame::{FRAME_HEADER_BYTES, FrameHeader, encode};
use crate::journal::line::Line;
use crate::journal::{EveryFrame, Frame, History, Journal, JournalError, JournalReader, Replay};

/// Length of the longest frame: a page of them must fit into memory, and one of them into the time for an answer.
pub const FRAME_BYTES_MAX: u64 = 8 << 20;

/// What a frame of so many bytes takes of the server's memory: its way in and its entry, and something for others.
const ROOM_FACTOR: u64 = 2;
const ROOM_SLACK: u64 = 1 << 20;
/// What others took meanwhile is unknown: ask again after this.
const BUDGET_AGE_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Poisoned,
    Closed,
}

/// A journal in a stream of Redis; its keys and functions are described in the [module documentation](super).
///
/// What `append` has confirmed is as durable as the acknowledgement mode says, and no more.
pub struct RedisJournal {
    session: Arc<Session>,
    owner: Owner,
    link: Option<(Link, Server)>,
    tail: Tail,
    /// Frames of the tail that the server is known to have.
    stored: usize,
    line: Line,
    room: Room,
    /// Memory that the server has left, and when it said so.
    budget: Option<(u64, Instant)>,
    durable: Arc<AtomicU64>,
    loss_window: String,
    patience: Duration,
    retention: Retention,
    state: State,
}

impl RedisJournal {
    /// Opens the journal of a ledger, new or not, after calling `replay` with every frame it holds, claims included.
    ///
    /// Claims the next writer epoch only when all frames were replayed: from then on an earlier writer is refused by Redis
    /// itself. An `Err` of `replay` ends in `Replay` and changes nothing.
    pub fn open(
        options: &RedisOptions,
        replay: &mut dyn FnMut(Frame<'_>) -> Result<(), String>,
    ) -> Result<Self, JournalError> {
        Self::recover(options, &mut EveryFrame(replay))
    }

    /// The same, beginning with the newest snapshot that is good, for whoever can.
    ///
    /// Snapshots that cannot be used are noted and left where they are: the older one and a longer tail give the same state.
    pub fn recover(options: &RedisOptions, replay: &mut dyn Replay) -> Result<Self, JournalError> {
        Self::recover_on(options, Arc::new(Machine), replay)
    }

    /// As `open`, on another clock and another network.
    pub fn open_on(
        options: &RedisOptions,
        ground: Arc<dyn Ground>,
        replay: &mut dyn FnMut(Frame<'_>) -> Result<(), String>,
    ) -> Result<Self, JournalError> {
        Self::recover_on(options, ground, &mut EveryFrame(replay))
    }

    /// As `recover`, on another clock and another network.
    pub fn recover_on(
        options: &RedisOptions,
        ground: Arc<dyn Ground>,
        replay: &mut dyn Replay,
    ) -> Result<Self, JournalError> {
        let session = options.session(ground)?;
        let claimed = open(&session, options.patience, replay)?;
        Ok(Self {
            session: Arc::new(session),
            loss_window: claimed.server.loss_window(options.ack),
            durable: Arc::new(AtomicU64::new(claimed.end.last)),
            tail: Tail::new(claimed.end),
            stored: 0,
            line: claimed.line,
            room: claimed.room,
            budget: None,
            owner: claimed.owner,
            link: Some((claimed.link, claimed.server)),
            patience: options.patience,
            retention: Retention { archive_ms: options.archive_ms, archive_bytes_max: options.archive_bytes_max },
            state: State::Open,
        })
    }

    fn usable(&self) -> Result<(), JournalError> {
        match self.state {
            State::Open => Ok(()),
            State::Poisoned => Err(JournalError::Poisoned),
            State::Closed => Err(JournalError::Closed),
        }
    }

    fn poison(&mut self, error: JournalError) -> JournalError {
        self.state = State::Poisoned;
        self.link = None;
        error
    }

    fn check_size(&self, bytes: u64) -> Result<(), JournalError> {
        let bytes_max = self.payload_bytes_max();
        if bytes > bytes_max { Err(JournalError::FrameTooLarge { bytes, bytes_max }) } else { Ok(()) }
    }

    fn try_append(&mut self, first: u64, last: u64, time_ms: i64, payload: &[u8]) -> Result<(), JournalError> {
        let expected = self.line.next_sequence;
        if first != expected || last < first || last > SEQUENCE_MAX {
            return Err(JournalError::OutOfOrder { first_sequence: first, last_sequence: last, expected });
        }
        self.check_size(payload.len() as u64)?;
        let header = self.line.frame_header(last, time_ms);
        let crc = self.keep(&header, payload);
        self.deliver()?;
        self.line.advance(&header, crc);
        self.durable.store(last, Ordering::Release);
        Ok(())
    }

    /// Puts a frame at the end of the tail.
    fn keep(&mut self, header: &FrameHeader, payload: &[u8]) -> u32 {
        let mut frame = Vec::new();
        let crc = encode(&mut frame, header, payload);
        let mut line = self.line;
        line.advance(header, crc);
        let after = Position::of(&line, self.tail.end().entries + 1);
        self.stored -= self.tail.push(Kept { after, id: Id::of(header), frame }, self.stored);
        crc
    }

    /// Makes everything that is kept durable in Redis, however often the connection breaks meanwhile.
    fn deliver(&mut self) -> Result<(), JournalError> {
        let mut patience = Patience::of(self.patience, &self.session.place.ground);
        loop {
            match self.try_deliver() {
                Ok(()) => return Ok(()),
                Err(Fault::Passing(_) | Fault::NoRoom(_)) if patience.wait() => self.link = None,
                Err(fault) => return Err(fault.error()),
            }
        }
    }

    fn try_deliver(&mut self) -> Result<(), Fault> {
        self.connected()?;
        let Some((link, server)) = self.link.as_mut() else { return Ok(()) };
        while let Some((before, kept)) = self.tail.get(self.stored) {
            let call = functions::append(&self.session.keys, &self.owner, &before, &kept.after, kept.id, &kept.frame);
            let (said, room) = self.session.exchange(link, &call, server)?;
            self.room = room;
            match said {
                Said::Done(_) => {
                    self.stored += 1;
                    if let Some((left, _)) = &mut self.budget {
                        *left = left.saturating_sub(kept.frame.len() as u64 * ROOM_FACTOR);
                    }
                }
                other => return Err(Fault::Lasting(self.session.stopped(link.server(), &self.owner, other))),
            }
        }
        Ok(())
    }

    /// Makes sure that there is a connection on which the journal was compared with what is kept.
    fn connected(&mut self) -> Result<(), Fault> {
        if self.link.is_some() {
            return Ok(());
        }
        let resumed = self.session.resume(&self.owner)?;
        let unlooked = planted::is("tail_not_compared").then_some(self.stored);
        let Some(stored) = unlooked.or_else(|| self.tail.find(&resumed.end)) else {
            let why = format!(
                "it ends at sequence {}, this writer is at {} and can append again from {}",
                resumed.end.last,
                self.tail.end().last,
                self.tail.reaches_back_to() + 1
            );
            let said = Said::Elsewhere(why);
            return Err(Fault::Lasting(self.session.stopped(resumed.link.server(), &self.owner, said)));
        };
        self.stored = stored;
        self.room = resumed.room;
        self.link = Some((resumed.link, resumed.server));
        Ok(())
    }

    /// Proves that the journal still belongs to this writer: a new connection does so by itself.
    fn try_verify(&mut self) -> Result<(), Fault> {
        let Some((link, server)) = self.link.as_mut() else { return self.try_deliver() };
        let (said, room) = self.session.exchange(link, &functions::resume(&self.session.keys, &self.owner), server)?;
        self.room = room;
        match said {
            Said::Done(_) => Ok(()),
            other => Err(Fault::Lasting(self.session.stopped(link.server(), &self.owner, other))),
        }
    }

    /// Whether the server is known to have room.
    fn has_room(&self, bytes: u64) -> bool {
        let now = self.session.place.ground.now();
        let fresh = self.budget.filter(|(_, asked)| now.saturating_duration_since(*asked) < BUDGET_AGE_MAX);
        self.room.is_ok() && fresh.is_some_and(|(left, _)| left >= bytes)
    }

    /// Asks the server for room, on whichever connection there is.
    fn ask_for_room(&mut self, bytes: u64) -> Result<(), Fault> {
        self.connected()?;
        let Some((link, _)) = self.link.as_mut() else { return Ok(()) };
        link.call(&functions::room(&self.session.keys))?;
        let left = memory_left(link)?.unwrap_or(u64::MAX);
        self.budget = Some((left, self.session.place.ground.now()));
        self.room = Ok(());
        if left >= bytes {
            return Ok(());
        }
        let (server, text) = (link.server().to_owned(), format!("only {left} bytes are left below maxmemory"));
        Err(Trouble::Refused { server, code: "OOM".into(), text }.into())
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
        self.line.next_sequence - 1
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
        self.usable()?;
        self.try_append(first_sequence, last_sequence, time_ms, payload).map_err(|error| self.poison(error))
    }

    fn ensure_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        self.usable()?;
        self.check_size(bytes)?;
        let room_bytes = bytes * ROOM_FACTOR + ROOM_SLACK;
        if self.has_room(room_bytes) {
            return Ok(());
        }
        let mut patience = Patience::of(self.patience, &self.session.place.ground);
        loop {
            match self.ask_for_room(room_bytes) {
                Ok(()) => return Ok(()),
                Err(Fault::NoRoom(error)) => return Err(full(&error, bytes)),
                Err(Fault::Passing(_)) if patience.wait() => self.link = None,
                Err(fault) => return Err(self.poison(fault.error())),
            }
        }
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(Box::new(RedisReader::new(self.session.clone(), self.durable.clone(), self.owner.epoch)))
    }

    fn history(&self) -> Result<Option<Box<dyn History>>, JournalError> {
        let (session, owner, durable) = (self.session.clone(), self.owner.clone(), self.durable.clone());
        Ok(Some(Box::new(Shelf::new(session, owner, durable, self.retention))))
    }

    fn is_leased(&self) -> bool {
        true
    }

    /// Asks once and goes on later if Redis does not answer: only time makes ownership uncertain, only another owner ends it.
    fn verify_ownership(&mut self) -> Result<bool, JournalError> {
        self.usable()?;
        match self.try_verify() {
            Ok(()) => Ok(true),
            Err(Fault::Passing(_) | Fault::NoRoom(_)) => {
                self.link = None;
                Ok(false)
            }
            Err(fault) => Err(self.poison(fault.error())),
        }
    }

    fn close(&mut self) -> Result<(), JournalError> {
        // Every append was confirmed, so there is nothing left to send.
        self.state = State::Closed;
        self.link = None;
        Ok(())
    }
}

/// The error that leaves a writer usable.
fn full(error: &JournalError, bytes: u64) -> JournalError {
    JournalError::Full { file: format!("Redis ({error})"), bytes }
}
