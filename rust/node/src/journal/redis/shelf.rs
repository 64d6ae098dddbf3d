//! Snapshots of the Redis journal, for one thread beside the writer and on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use redis::Cmd;

use super::connection::Link;
use super::drafts::{CLEARED_AT_ONCE_MAX, Caller};
use super::functions::{Owner, Said};
use super::keys::Id;
use super::places::{self, Held, Pieces, Place, Placed};
use super::reader::RedisReader;
use super::retention::{Milestone, Milestones, Retention};
use super::server::{Server, memory_left};
use super::session::Session;
use super::state;
use super::trouble::{Fault, Trouble};
use crate::journal::snapshot::{crc_of, header, is_digest, manifest, piece_header};
use crate::journal::{Frame, History, JournalError, Manifest, Mark, PIECE_BYTES_MAX, SNAPSHOTS_KEPT, Trimmed};

/// Once in vain is a connection that broke meanwhile; twice is a server that is not there.
const ATTEMPTS: usize = 2;
/// Memory that no snapshot takes from the journal.
const MEMORY_LEFT_MIN: u64 = 32 << 20;

/// The snapshots of one open journal.
pub struct Shelf {
    session: Arc<Session>,
    owner: Owner,
    retention: Retention,
    reader: RedisReader,
    link: Option<(Link, Server)>,
    draft: Option<Draft>,
    /// The mark that was reached last, and the bytes of the frames before it.
    reached: Option<(Mark, u64)>,
    /// Snapshots whose pieces were found damaged.
    damaged: Vec<Placed>,
}

struct Draft {
    place: usize,
    number: u64,
    mark: Mark,
    header_crc: u32,
    pieces: u64,
    bytes: u64,
}

impl Shelf {
    /// Those of the journal that this owner claimed.
    pub fn new(session: Arc<Session>, owner: Owner, durable: Arc<AtomicU64>, retention: Retention) -> Self {
        let reader = RedisReader::new(session.clone(), durable, owner.epoch);
        Self { session, owner, retention, reader, link: None, draft: None, reached: None, damaged: Vec::new() }
    }

    /// Does something on a connection, once more if that broke.
    fn on_link<T>(
        &mut self,
        act: &mut dyn FnMut(&Session, &mut Link, &Server) -> Result<T, Fault>,
    ) -> Result<T, JournalError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.try_on_link(act) {
                Err(Fault::Passing(_)) if attempts < ATTEMPTS => self.link = None,
                Err(Fault::NoRoom(error)) => return Err(JournalError::NoRoomForSnapshot { why: error.to_string() }),
                Err(fault) => {
                    self.link = None;
                    return Err(fault.error());
                }
                Ok(done) => return Ok(done),
            }
        }
    }

    fn try_on_link<T>(
        &mut self,
        act: &mut dyn FnMut(&Session, &mut Link, &Server) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (link, server) = match &mut self.link {
            Some(linked) => linked,
            none => {
                let mut link = self.session.place.connect()?;
                let server = Server::ask(&mut link)?;
                none.insert((link, server))
            }
        };
        act(&self.session, link, server)
    }

    /// Calls a function that changes something, and waits until that is durable.
    fn change(&mut self, begun: u64, call: impl FnOnce(&Caller<'_>) -> Cmd) -> Result<(), JournalError> {
        let owner = self.owner.clone();
        let call = call(&Caller { keys: &self.session.keys, owner: &owner, begun });
        self.on_link(&mut |session, link, server| match session.exchange(link, &call, server)?.0 {
            Said::Done(_) => Ok(()),
            other => Err(Fault::Lasting(session.stopped(link.server(), &owner, other))),
        })
    }

    fn look(&mut self) -> Result<Vec<Place>, JournalError> {
        let mut places = self.on_link(&mut |session, link, _| places::look(link, &session.keys, &session.ledger))?;
        for (place, key) in places.iter_mut().zip(&self.session.keys.places) {
            let is_damaged = matches!(&place.held, Held::Snapshot(placed) if self.damaged.contains(placed));
            if is_damaged {
                let why = "its pieces are damaged".into();
                place.held = Held::Bad(JournalError::BadSnapshot { file: key.clone(), why });
            }
        }
        Ok(places)
    }

    fn begun(&mut self) -> Result<u64, JournalError> {
        self.on_link(&mut |session, link, _| {
            let text = state::field(link, &session.keys, "begun")?;
            let number = if text.is_empty() { Ok(0) } else { text.parse() };
            number.map_err(|_| Trouble::nonsense(link.server(), "HMGET").into())
        })
    }

    /// Makes a place void, a few pieces at a time.
    fn clear(&mut self, place: usize, extent: u64, begun: u64) -> Result<(), JournalError> {
        for _ in 0..extent.div_ceil(CLEARED_AT_ONCE_MAX).max(1) {
            self.change(begun, |caller| caller.clear(place))?;
        }
        Ok(())
    }

    /// Refuses to take memory that the journal needs.
    fn check_memory(&mut self, bytes: u64) -> Result<(), JournalError> {
        match self.on_link(&mut |_, link, _| Ok(memory_left(link)?))? {
            Some(left) if left < bytes * 2 + MEMORY_LEFT_MIN => {
                let why = format!("Redis has only {left} bytes left below maxmemory");
                Err(JournalError::NoRoomForSnapshot { why })
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the frames before a mark: as counted on the way to it, else as of the latest snapshot before.
    fn bytes_before(&self, mark: &Mark, places: &[Place]) -> u64 {
        match self.reached {
            Some((reached, bytes)) if reached == *mark => bytes,
            _ => {
                let snapshots = places::snapshots(places);
                let before = snapshots.iter().find(|placed| placed.manifest.mark.frames <= mark.frames);
                before.map_or(0, |placed| placed.bytes_before)
            }
        }
    }
}

impl History for Shelf {
    fn snapshots(&mut self) -> Result<Vec<Manifest>, JournalError> {
        let places = self.look()?;
        Ok(places::snapshots(&places).into_iter().map(|placed| placed.manifest).collect())
    }

    fn read(
        &mut self,
        snapshot: &Manifest,
        f: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), JournalError> {
        let bad = |why: String| JournalError::BadSnapshot { file: "in Redis".into(), why };
        let places = self.look()?;
        let placed = places::snapshots(&places).into_iter().find(|placed| placed.manifest == *snapshot);
        let placed = placed.ok_or_else(|| bad("it is not there any more".into()))?;
        let mut pieces = Pieces::of(&placed, &self.session.ledger);
        loop {
            match self.on_link(&mut |session, link, _| pieces.next(link, &session.keys)) {
                Ok(Some(piece)) => f(&piece).map_err(bad)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    if matches!(error, JournalError::BadSnapshot { .. }) {
                        self.damaged.push(placed.clone());
                    }
                    return Err(error);
                }
            }
        }
    }

    fn frames_after(&mut self, mark: &Mark, f: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<Mark, JournalError> {
        let places = self.look()?;
        let before = self.bytes_before(mark, &places);
        let (reached, bytes) = self.reader.read_after(mark, f)?;
        self.reached = Some((reached, before + bytes));
        Ok(reached)
    }

    fn begin(&mut self, mark: &Mark) -> Result<(), JournalError> {
        self.draft = None;
        let (places, begun) = (self.look()?, self.begun()?);
        let kept: Vec<usize> =
            places::snapshots(&places).iter().take(SNAPSHOTS_KEPT).map(|placed| placed.place).collect();
        // What is bad stays for whoever looks into it, as long as there is another place.
        let is_bad = |place: &usize| matches!(places[*place].held, Held::Bad(_));
        let place = (0..places.len()).filter(|place| !kept.contains(place)).min_by_key(is_bad);
        let place = place.ok_or_else(|| JournalError::NoSnapshot { why: "no place is free".into() })?;
        self.clear(place, places[place].extent, begun)?;
        let header = header(&self.session.ledger, mark);
        let bytes_before = self.bytes_before(mark, &places);
        self.change(begun, |caller| caller.begin(place, &header, bytes_before))?;
        let header_crc = crc_of(&header);
        self.draft = Some(Draft { place, number: begun + 1, mark: *mark, header_crc, pieces: 0, bytes: 0 });
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let Some(draft) = &self.draft else { return Err(no_draft()) };
        let number = u32::try_from(draft.pieces).ok().filter(|_| bytes.len() <= PIECE_BYTES_MAX);
        let number = number.ok_or(JournalError::NoSnapshot { why: "a piece is too long or one too many".into() })?;
        let (place, begun) = (draft.place, draft.number);
        let mut stored = piece_header(draft.header_crc, number, bytes).to_vec();
        stored.extend_from_slice(bytes);
        self.check_memory(stored.len() as u64)?;
        self.change(begun, |caller| caller.piece(place, number.into(), &stored))?;
        let Some(draft) = &mut self.draft else { return Err(no_draft()) };
        draft.pieces += 1;
        draft.bytes += bytes.len() as u64;
        Ok(())
    }

    fn commit(&mut self, digest: &str) -> Result<Manifest, JournalError> {
        let Some(draft) = &self.draft else { return Err(no_draft()) };
        if !is_digest(digest) {
            return Err(JournalError::NoSnapshot { why: "its digest is none".into() });
        }
        let Draft { place, number, mark, pieces, bytes, .. } = *draft;
        let end = manifest(draft.header_crc, pieces, bytes, digest);
        self.change(number, |caller| caller.commit(place, pieces, mark.frames, &end))?;
        self.draft = None;
        Ok(Manifest { mark, digest: digest.to_owned(), pieces, bytes })
    }

    fn trim(&mut self, now_ms: i64) -> Result<Trimmed, JournalError> {
        let (places, begun) = (self.look()?, self.begun()?);
        let snapshots = places::snapshots(&places);
        let kept = snapshots.iter().take(SNAPSHOTS_KEPT).map(|placed| placed.place);
        let kept: Vec<usize> = kept.chain(self.draft.as_ref().map(|draft| draft.place)).collect();
        for (index, place) in places.iter().enumerate() {
            let is_void = matches!(place.held, Held::Nothing) && place.extent == 0;
            // What is bad stays for whoever looks into it, until its place is needed.
            if !kept.contains(&index) && !is_void && !matches!(place.held, Held::Bad(_)) {
                self.clear(index, place.extent, begun)?;
            }
        }
        let mut trimmed = Trimmed::default();
        if let [newest, older, ..] = &snapshots[..] {
            let text = self.on_link(&mut |session, link, _| state::field(link, &session.keys, "milestones"))?;
            let mut milestones = Milestones::read(&text);
            let mark = &older.manifest.mark;
            let milestone = Milestone { id: Id::before(mark), time_ms: mark.time_ms(), bytes: older.bytes_before };
            trimmed.removed_bytes = milestones.advance(milestone, self.retention, now_ms);
            let (first_kept, covering) = (milestones.first_kept(), [newest.place, older.place]);
            self.change(begun, |caller| caller.trim(covering, first_kept, &milestones.text()))?;
        }
        trimmed.first_sequence = self.first_sequence()?;
        Ok(trimmed)
    }

    fn first_sequence(&mut self) -> Result<u64, JournalError> {
        self.reader.first_sequence()
    }
}

fn no_draft() -> JournalError {
    JournalError::NoSnapshot { why: "none was begun".into() }
}
