//! Restores a journal into the keys of a ledger that has none, and raises the writer epoch in the step that makes it valid.
//!
//! Its steps are those of `restore.lua`. A server refuses what a crash leaves behind, and the next restore removes that and
//! begins again.

use std::sync::Arc;

use redis::{Cmd, cmd};

use super::connection::environment::RedisEnvironment;
use super::connection::errors::RedisError;
use super::connection::functions::Owner;
use super::connection::keys::EntryId;
use super::connection::server::Server;
use super::connection::session::RedisSource;
use super::connection::state::RedisPosition;
use super::connection::texts;
use super::read::walk::StreamWalk;
use super::snapshot::locations::{LocatedSnapshot, PieceReader};
use super::write::open::token;
use super::write::writer::FRAME_BYTES_MAX;
use super::{RedisOptions, SEQUENCE_MAX};
use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::{DecodedFrame, FORMAT_VERSION, FrameHeader, encode};
use crate::journal::snapshot::{SnapshotDraft, header};
use crate::journal::{JournalError, JournalPosition, Manifest};

const SCRIPT: &str = include_str!("restore.lua");
/// Frames are sent in batches up to this size: few round trips, and none that blocks the other users of the server for long.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_FRAMES: usize = 256;
/// The location of a restored snapshot.
const LOCATION: usize = 0;

/// A ledger in Redis that is to be restored.
pub struct RedisTarget {
    source: RedisSource,
    server: Server,
}

/// A restore in progress, which is not valid yet.
pub struct RedisRestore {
    target: RedisTarget,
    token: String,
    /// The tip before the first frame, and after the last one so far.
    start: ChainTip,
    tip: ChainTip,
    /// Number of entries that the server has, and those to send next.
    sent: u64,
    batch: Vec<(EntryId, Vec<u8>)>,
    batch_bytes: usize,
    bytes: u64,
    snapshot: Option<Snapshot>,
}

struct Snapshot {
    manifest: Manifest,
    draft: SnapshotDraft,
    /// Entries in the stream before it, and their bytes; known once its position was passed.
    before: Option<(u64, u64)>,
}

impl RedisTarget {
    /// Connects to the server.
    ///
    /// # Errors
    /// Those of a start: it is unreachable, denies access, or cannot guarantee what `options.ack` promises.
    pub fn connect(options: &RedisOptions, environment: Arc<dyn RedisEnvironment>) -> Result<Self, JournalError> {
        let (source, server) = RedisSource::connect_on(options, environment)?;
        server.check(options.ack)?;
        Ok(Self { source, server })
    }

    /// Name of the ledger.
    pub fn ledger(&self) -> &str {
        self.source.ledger()
    }

    /// Refuses a ledger that has a journal, and keys that belong to something else.
    ///
    /// # Errors
    /// The ledger is not empty. The leftovers of an unfinished restore are not an error.
    pub fn check_empty(&mut self) -> Result<(), JournalError> {
        let found = match self.source.look_up() {
            Ok(None) | Err(JournalError::NoJournal { .. }) => return Ok(()),
            Err(other) => return Err(other),
            Ok(Some(stored)) => format!("a journal up to sequence {}", stored.end.last),
        };
        Err(JournalError::NotEmpty { directory: self.source.describe(), found })
    }

    /// Reserves the ledger for a journal that begins with this tip, and for the snapshot that a start will begin with.
    ///
    /// # Errors
    /// It is not empty, or its user lacks a permission.
    pub(in crate::journal) fn begin(
        self,
        start: ChainTip,
        snapshot: Option<&Manifest>,
    ) -> Result<RedisRestore, JournalError> {
        let snapshot = snapshot.map(|manifest| Snapshot {
            draft: SnapshotDraft::begin(self.ledger(), &manifest.position).0,
            manifest: manifest.clone(),
            before: None,
        });
        let mut restore = RedisRestore {
            target: self,
            token: token()?,
            start,
            tip: start,
            sent: 0,
            batch: Vec::new(),
            batch_bytes: 0,
            bytes: 0,
            snapshot,
        };
        let begin = restore.step("begin");
        restore.run(&begin)?;
        restore.note_position();
        Ok(restore)
    }
}

impl RedisRestore {
    fn step(&self, name: &str) -> Cmd {
        let keys = &self.target.source.session.keys;
        let mut step = cmd("EVAL");
        step.arg(SCRIPT).arg(2 + keys.locations.len()).arg(&keys.state).arg(&keys.frames).arg(&keys.locations);
        step.arg(name).arg(&self.token);
        step
    }

    fn run(&mut self, step: &Cmd) -> Result<(), JournalError> {
        let connection = &mut self.target.source.connection;
        let answer = connection.call(step)?;
        match texts(answer).as_deref() {
            Some([word]) if word == "OK" => Ok(()),
            Some([word]) if word == "TAKEN" => {
                let found = "what another process has written meanwhile".into();
                Err(JournalError::NotEmpty { directory: self.target.source.describe(), found })
            }
            _ => Err(RedisError::nonsense(connection.server(), "EVAL").into()),
        }
    }

    /// Notes when the frames so far are those before the snapshot.
    fn note_position(&mut self) {
        let there = (self.sent + self.batch.len() as u64, self.bytes);
        if let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| snapshot.manifest.position.tip == self.tip) {
            snapshot.before.get_or_insert(there);
        }
    }

    /// Writes the next frame, which continues the journal.
    ///
    /// # Errors
    /// It is too long for a stream, or the server rejects it.
    pub(in crate::journal) fn frame(&mut self, frame: &DecodedFrame<'_>) -> Result<(), JournalError> {
        let (header, length) = (&frame.header, frame.bytes.len() as u64);
        if length > FRAME_BYTES_MAX {
            return Err(JournalError::FrameTooLarge { bytes: length, bytes_max: FRAME_BYTES_MAX });
        }
        if header.last_sequence > SEQUENCE_MAX {
            let expected = self.tip.next_sequence;
            let (first_sequence, last_sequence) = (header.first_sequence, header.last_sequence);
            return Err(JournalError::OutOfOrder { first_sequence, last_sequence, expected });
        }
        self.tip.advance(header, frame.crc);
        self.bytes += length;
        self.batch_bytes += frame.bytes.len();
        self.batch.push((EntryId::of(header), frame.bytes.to_vec()));
        self.note_position();
        if self.batch_bytes < BATCH_BYTES && self.batch.len() < BATCH_FRAMES { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), JournalError> {
        let mut step = self.step("frames");
        step.arg(self.sent);
        let batch = std::mem::take(&mut self.batch);
        for (id, frame) in &batch {
            step.arg(id.to_string()).arg(frame);
        }
        self.batch_bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        self.run(&step)?;
        self.sent += batch.len() as u64;
        Ok(())
    }

    /// Writes the next piece of the snapshot.
    ///
    /// # Errors
    /// The server rejects it.
    pub fn piece(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let mut step = self.step("snapshot");
        let Some(snapshot) = &mut self.snapshot else { return Ok(()) };
        let number = snapshot.draft.pieces;
        let stored = [&snapshot.draft.piece(bytes)?[..], bytes].concat();
        step.arg(number).arg(stored).arg("extent").arg(snapshot.draft.pieces);
        self.run(&step)
    }

    /// Reads everything back, then makes it valid under a writer epoch of at least `epoch_min`; returns that epoch.
    ///
    /// # Errors
    /// It differs from what was written, the server lacks room, or no replica confirmed that it is durable.
    pub fn finish(mut self, epoch_min: u64) -> Result<u64, JournalError> {
        self.send()?;
        self.check_frames()?;
        self.check_snapshot()?;
        // Everything before is as durable as the mode promises before any of it is valid.
        self.settle()?;
        let header = self.tip.claim_header(epoch_min);
        let mut claim = Vec::new();
        let crc = encode(&mut claim, &header, &[]);
        let step = self.last_step(&header, crc, &claim)?;
        self.run(&step)?;
        self.settle()?;
        Ok(header.writer_epoch)
    }

    fn last_step(&self, header: &FrameHeader, crc: u32, claim: &[u8]) -> Result<Cmd, JournalError> {
        let trimmed = self.trimmed()?;
        let mut tip = self.tip;
        tip.advance(header, crc);
        let end = RedisPosition::of(&tip, trimmed + self.sent + 1);
        let owner = Owner { token: self.token.clone(), epoch: header.writer_epoch };
        let manifest = self.snapshot.as_ref().map(|its| its.draft.end(&its.manifest.digest)).transpose()?;
        let manifest = manifest.map_or_else(Vec::new, |(_, bytes)| bytes);
        let mut step = self.step("finish");
        step.arg(self.sent).arg(EntryId::of(header).to_string()).arg(claim).arg(manifest);
        step.arg("format").arg(FORMAT_VERSION).arg("ledger").arg(self.target.ledger());
        step.arg("owner").arg(&owner.token).arg("epoch").arg(owner.epoch);
        step.arg("last").arg(end.last).arg("chain").arg(end.chain_text()).arg("entries").arg(end.entries);
        step.arg("trimmed").arg(trimmed).arg("begun").arg(u64::from(self.snapshot.is_some()));
        Ok(step)
    }

    /// Number of frames of the journal before the first one of the stream.
    fn trimmed(&self) -> Result<u64, JournalError> {
        let Some(snapshot) = &self.snapshot else { return Ok(0) };
        let frames = snapshot.manifest.position.frames;
        let trimmed = snapshot.before.and_then(|(entries, _)| frames.checked_sub(entries));
        trimmed.ok_or_else(|| self.differs("its snapshot does not match any position in it"))
    }

    fn differs(&self, why: &str) -> JournalError {
        JournalError::BadBackup { file: self.target.source.describe(), why: why.into() }
    }

    /// Reads the frames back.
    fn check_frames(&mut self) -> Result<(), JournalError> {
        let mut walk = StreamWalk::start(JournalPosition { tip: self.start, frames: 0 });
        walk.read_on(&mut self.target.source, "", &mut |_| Ok(true))?;
        if walk.walk.position() == (JournalPosition { tip: self.tip, frames: self.sent }) {
            return Ok(());
        }
        Err(self.differs("Redis does not have the frames that were written"))
    }

    /// Stores the header, and reads the pieces back.
    fn check_snapshot(&mut self) -> Result<(), JournalError> {
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let bytes_before = snapshot.before.map_or(0, |(_, bytes)| bytes);
        let located = LocatedSnapshot { location: LOCATION, manifest: snapshot.manifest.clone(), bytes_before };
        let mut step = self.step("snapshot");
        step.arg("header")
            .arg(header(self.target.ledger(), &located.manifest.position))
            .arg("before")
            .arg(bytes_before);
        self.run(&step)?;
        let mut pieces = PieceReader::of(&located, self.target.ledger());
        while pieces.next(&mut self.target.source)?.is_some() {}
        Ok(())
    }

    /// Waits until everything is as durable as the mode promises.
    fn settle(&mut self) -> Result<(), JournalError> {
        let RedisTarget { source, server } = &mut self.target;
        Ok(source.session.settle(&mut source.connection, server)?)
    }
}
