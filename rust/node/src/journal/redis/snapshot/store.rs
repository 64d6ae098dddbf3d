//! The snapshots of the Redis journal, for one thread beside the writer and on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use redis::Cmd;

use super::calls::{CLEARED_AT_ONCE_MAX, SnapshotCaller};
use super::locations::{self, LocatedSnapshot, LocationContent, PieceReader, SnapshotLocation};
use super::retention::{Milestone, Milestones};
use crate::journal::redis::connection::errors::{Failure, RedisError};
use crate::journal::redis::connection::functions::Owner;
use crate::journal::redis::connection::keys::EntryId;
use crate::journal::redis::connection::server::{Server, memory_left};
use crate::journal::redis::connection::session::{Reconnecting, RedisSource, Session};
use crate::journal::redis::connection::state;
use crate::journal::redis::read::reader::RedisReader;
use crate::journal::snapshot::{SnapshotDraft, no_draft};
use crate::journal::snapshot_store::Retention;
use crate::journal::{Frame, JournalError, JournalPosition, Manifest, SNAPSHOTS_KEPT, SnapshotStore, Trimmed};

/// Memory that is reserved for the journal and that no snapshot may take.
const MEMORY_LEFT_MIN: u64 = 32 << 20;

/// The snapshots of one open journal.
pub struct RedisSnapshotStore {
    link: Reconnecting<(RedisSource, Server)>,
    owner: Owner,
    retention: Retention,
    reader: RedisReader,
    draft: Option<Draft>,
    /// The position that was reached last, and the bytes of the frames before it.
    reached: Option<(JournalPosition, u64)>,
    /// Snapshots whose pieces were found damaged.
    damaged: Vec<LocatedSnapshot>,
}

#[derive(Clone, Copy)]
struct Draft {
    location: usize,
    number: u64,
    content: SnapshotDraft,
}

impl RedisSnapshotStore {
    /// The store of the journal that this owner claimed.
    pub fn new(session: Arc<Session>, owner: Owner, durable: Arc<AtomicU64>, retention: Retention) -> Self {
        let reader = RedisReader::new(session.clone(), durable, owner.epoch);
        let link = Reconnecting::new(session, |session| {
            let mut source = RedisSource::of(session)?;
            let server = Server::ask(&mut source.connection)?;
            Ok((source, server))
        });
        Self { link, owner, retention, reader, draft: None, reached: None, damaged: Vec::new() }
    }

    /// Runs `act` on a connection, once more if the connection broke.
    fn on_connection<T>(
        &mut self,
        act: &mut dyn FnMut(&mut RedisSource, &Server) -> Result<T, Failure>,
    ) -> Result<T, JournalError> {
        self.link.run(&mut |(source, server)| act(source, server)).map_err(|failure| match failure {
            Failure::NoRoom(error) => JournalError::NoRoomForSnapshot { why: error.to_string() },
            failure => failure.into(),
        })
    }

    /// Calls a function that changes something, and waits until that is durable.
    fn change(&mut self, begun: u64, call: impl FnOnce(&SnapshotCaller<'_>) -> Cmd) -> Result<(), JournalError> {
        let owner = self.owner.clone();
        let call = call(&SnapshotCaller { keys: &self.link.session.keys, owner: &owner, begun });
        self.on_connection(&mut |RedisSource { session, connection }, server| {
            session.execute(connection, &call, server, &owner).map(drop)
        })
    }

    fn locations(&mut self) -> Result<Vec<SnapshotLocation>, JournalError> {
        let mut locations = self.on_connection(&mut |source, _| locations::read_locations(source))?;
        for (location, key) in locations.iter_mut().zip(&self.link.session.keys.locations) {
            let is_damaged =
                matches!(&location.content, LocationContent::Snapshot(located) if self.damaged.contains(located));
            if is_damaged {
                let why = "its pieces are damaged".into();
                location.content = LocationContent::Bad(JournalError::BadSnapshot { file: key.clone(), why });
            }
        }
        Ok(locations)
    }

    fn begun(&mut self) -> Result<u64, JournalError> {
        self.on_connection(&mut |RedisSource { session, connection }, _| {
            let text = state::field(connection, &session.keys, "begun")?;
            let number = if text.is_empty() { Ok(0) } else { text.parse() };
            number.map_err(|_| RedisError::nonsense(connection.server(), "HMGET").into())
        })
    }

    /// Clears a location, a few pieces at a time.
    fn clear(&mut self, location: usize, extent: u64, begun: u64) -> Result<(), JournalError> {
        for _ in 0..extent.div_ceil(CLEARED_AT_ONCE_MAX).max(1) {
            self.change(begun, |caller| caller.clear(location))?;
        }
        Ok(())
    }

    /// Refuses to take memory that the journal needs.
    fn check_memory(&mut self, bytes: u64) -> Result<(), JournalError> {
        match self.on_connection(&mut |source, _| Ok(memory_left(&mut source.connection)?))? {
            Some(left) if left < bytes * 2 + MEMORY_LEFT_MIN => {
                let why = format!("Redis has only {left} bytes left below maxmemory");
                Err(JournalError::NoRoomForSnapshot { why })
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the frames before a position: as counted while reading up to it, else those of the latest snapshot before it.
    fn bytes_before(&self, position: &JournalPosition, locations: &[SnapshotLocation]) -> u64 {
        match self.reached {
            Some((reached, bytes)) if reached == *position => bytes,
            _ => {
                let snapshots = locations::snapshots(locations);
                let before = snapshots.iter().find(|located| located.manifest.position.frames <= position.frames);
                before.map_or(0, |located| located.bytes_before)
            }
        }
    }
}

impl SnapshotStore for RedisSnapshotStore {
    fn snapshots(&mut self) -> Result<Vec<Manifest>, JournalError> {
        let locations = self.locations()?;
        Ok(locations::snapshots(&locations).into_iter().map(|located| located.manifest).collect())
    }

    fn read(
        &mut self,
        snapshot: &Manifest,
        f: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), JournalError> {
        let bad = |why: String| JournalError::BadSnapshot { file: "in Redis".into(), why };
        let locations = self.locations()?;
        let located = locations::snapshots(&locations).into_iter().find(|located| located.manifest == *snapshot);
        let located = located.ok_or_else(|| bad("it is gone".into()))?;
        let mut pieces = PieceReader::of(&located, &self.link.session.ledger);
        loop {
            match self.on_connection(&mut |source, _| pieces.next(source)) {
                Ok(Some(piece)) => f(&piece).map_err(bad)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    if matches!(error, JournalError::BadSnapshot { .. }) {
                        self.damaged.push(located.clone());
                    }
                    return Err(error);
                }
            }
        }
    }

    fn frames_after(
        &mut self,
        position: &JournalPosition,
        f: &mut dyn FnMut(Frame<'_>) -> bool,
    ) -> Result<JournalPosition, JournalError> {
        let locations = self.locations()?;
        let before = self.bytes_before(position, &locations);
        let (reached, bytes) = self.reader.read_after(position, f)?;
        self.reached = Some((reached, before + bytes));
        Ok(reached)
    }

    fn begin(&mut self, position: &JournalPosition) -> Result<(), JournalError> {
        self.draft = None;
        let (locations, begun) = (self.locations()?, self.begun()?);
        let kept: Vec<usize> =
            locations::snapshots(&locations).iter().take(SNAPSHOTS_KEPT).map(|located| located.location).collect();
        // A bad snapshot is kept for diagnosis, as long as there is another location.
        let is_bad = |location: &usize| matches!(locations[*location].content, LocationContent::Bad(_));
        let location = (0..locations.len()).filter(|location| !kept.contains(location)).min_by_key(is_bad);
        let location = location.ok_or_else(|| JournalError::NoSnapshot { why: "no location is free".into() })?;
        self.clear(location, locations[location].extent, begun)?;
        let (content, header) = SnapshotDraft::begin(&self.link.session.ledger, position);
        let bytes_before = self.bytes_before(position, &locations);
        self.change(begun, |caller| caller.begin(location, &header, bytes_before))?;
        self.draft = Some(Draft { location, number: begun + 1, content });
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let Some(Draft { location, number: begun, mut content }) = self.draft else { return Err(no_draft()) };
        let number = content.pieces;
        let stored = [&content.piece(bytes)?[..], bytes].concat();
        self.check_memory(stored.len() as u64)?;
        self.change(begun, |caller| caller.piece(location, number.into(), &stored))?;
        self.draft = Some(Draft { location, number: begun, content });
        Ok(())
    }

    fn commit(&mut self, digest: &str) -> Result<Manifest, JournalError> {
        let Some(Draft { location, number: begun, content }) = self.draft else { return Err(no_draft()) };
        let (manifest, end) = content.end(digest)?;
        let (pieces, frames) = (manifest.pieces, manifest.position.frames);
        self.change(begun, |caller| caller.commit(location, pieces, frames, &end))?;
        self.draft = None;
        Ok(manifest)
    }

    fn trim(&mut self, now_ms: i64) -> Result<Trimmed, JournalError> {
        let (locations, begun) = (self.locations()?, self.begun()?);
        let snapshots = locations::snapshots(&locations);
        let kept = snapshots.iter().take(SNAPSHOTS_KEPT).map(|located| located.location);
        let kept: Vec<usize> = kept.chain(self.draft.as_ref().map(|draft| draft.location)).collect();
        for (index, location) in locations.iter().enumerate() {
            let is_void = matches!(location.content, LocationContent::Nothing) && location.extent == 0;
            // A bad snapshot is kept for diagnosis, until its location is needed.
            if !kept.contains(&index) && !is_void && !matches!(location.content, LocationContent::Bad(_)) {
                self.clear(index, location.extent, begun)?;
            }
        }
        let mut trimmed = Trimmed::default();
        if let [newest, older, ..] = &snapshots[..] {
            let text = self.on_connection(&mut |RedisSource { session, connection }, _| {
                state::field(connection, &session.keys, "milestones")
            })?;
            let mut milestones = Milestones::read(&text);
            let position = &older.manifest.position;
            let milestone =
                Milestone { id: EntryId::before(position), time_ms: position.time_ms(), bytes: older.bytes_before };
            trimmed.removed_bytes = milestones.advance(milestone, self.retention, now_ms);
            let (first_kept, covering) = (milestones.first_kept(), [newest.location, older.location]);
            self.change(begun, |caller| caller.trim(covering, first_kept, &milestones.text()))?;
        }
        trimmed.first_sequence = self.first_sequence()?;
        Ok(trimmed)
    }

    fn first_sequence(&mut self) -> Result<u64, JournalError> {
        self.reader.first_sequence()
    }
}
