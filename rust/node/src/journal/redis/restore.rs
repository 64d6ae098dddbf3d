//! Restores a journal into the keys of a ledger that has none, and raises the writer epoch in the step that makes it count.
//!
//! Its steps are those of `restore.lua`. A server refuses what a crash leaves, and the next restore removes that and begins
//! again.

use std::sync::Arc;

use redis::{Cmd, cmd};

use super::connection::texts;
use super::functions::Owner;
use super::ground::Ground;
use super::keys::Id;
use super::open::token;
use super::places::{Pieces, Placed};
use super::server::Server;
use super::source::RedisSource;
use super::state::Position;
use super::trouble::{Fault, Trouble};
use super::walk::Walk;
use super::writer::FRAME_BYTES_MAX;
use super::{RedisOptions, SEQUENCE_MAX};
use crate::journal::frame::{FORMAT_VERSION, FrameHeader, encode};
use crate::journal::line::Line;
use crate::journal::snapshot::{crc_of, header, manifest, piece_header};
use crate::journal::{Frame, JournalError, Manifest};

const SCRIPT: &str = include_str!("restore.lua");
/// Frames are sent together up to this: few round trips, and none that holds up the other users of the server for long.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_FRAMES: usize = 256;
/// The place that a restored snapshot lies in.
const PLACE: usize = 0;

/// A ledger in Redis that is to be restored.
pub struct RedisTarget {
    source: RedisSource,
    server: Server,
}

/// A restore under way, which does not count yet.
pub struct RedisRestoring {
    target: RedisTarget,
    token: String,
    /// Before the first frame, and behind the last one so far.
    start: Line,
    line: Line,
    /// Entries that the server has, and those that are to be sent next.
    sent: u64,
    batch: Vec<(Id, Vec<u8>)>,
    batch_bytes: usize,
    bytes: u64,
    snapshot: Option<Snapshot>,
}

struct Snapshot {
    manifest: Manifest,
    header_crc: u32,
    pieces: u32,
    /// Entries in the stream before it, and their bytes, once it was passed.
    before: Option<(u64, u64)>,
}

impl RedisTarget {
    /// Connects to the server.
    ///
    /// # Errors
    /// Those of a start: it is not there, lets us not in, or cannot keep what `options.ack` promises.
    pub fn connect(options: &RedisOptions, ground: Arc<dyn Ground>) -> Result<Self, JournalError> {
        let (source, server) = RedisSource::connect_on(options, ground)?;
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
    /// As said. What an unfinished restore has left is no error.
    pub fn check_empty(&mut self) -> Result<(), JournalError> {
        let found = match self.source.look_up() {
            Ok(None) | Err(JournalError::NoJournal { .. }) => return Ok(()),
            Err(other) => return Err(other),
            Ok(Some(stored)) => format!("a journal up to sequence {}", stored.end.last),
        };
        Err(JournalError::NotEmpty { directory: self.source.describe(), found })
    }

    /// Takes the ledger for a journal that begins with this line, and for the snapshot that a start will begin with.
    ///
    /// # Errors
    /// It is not empty, or its user lacks a right.
    pub(in crate::journal) fn begin(
        self,
        start: Line,
        snapshot: Option<&Manifest>,
    ) -> Result<RedisRestoring, JournalError> {
        let snapshot = snapshot.map(|manifest| Snapshot {
            header_crc: crc_of(&header(self.ledger(), &manifest.mark)),
            manifest: manifest.clone(),
            pieces: 0,
            before: None,
        });
        let mut restoring = RedisRestoring {
            target: self,
            token: token()?,
            start,
            line: start,
            sent: 0,
            batch: Vec::new(),
            batch_bytes: 0,
            bytes: 0,
            snapshot,
        };
        let begin = restoring.step("begin");
        restoring.run(&begin)?;
        restoring.note_mark();
        Ok(restoring)
    }
}

impl RedisRestoring {
    fn step(&self, name: &str) -> Cmd {
        let keys = &self.target.source.session.keys;
        let mut step = cmd("EVAL");
        step.arg(SCRIPT).arg(2 + keys.places.len()).arg(&keys.state).arg(&keys.frames).arg(&keys.places);
        step.arg(name).arg(&self.token);
        step
    }

    fn run(&mut self, step: &Cmd) -> Result<(), JournalError> {
        let link = &mut self.target.source.link;
        let answer = link.call(step)?;
        match texts(answer).as_deref() {
            Some([word]) if word == "OK" => Ok(()),
            Some([word]) if word == "TAKEN" => {
                let found = "what another process has written meanwhile".into();
                Err(JournalError::NotEmpty { directory: self.target.source.describe(), found })
            }
            _ => Err(Trouble::nonsense(link.server(), "EVAL").into()),
        }
    }

    /// Notes when the frames so far are those before the snapshot.
    fn note_mark(&mut self) {
        let there = (self.sent + self.batch.len() as u64, self.bytes);
        if let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| snapshot.manifest.mark.line == self.line) {
            snapshot.before.get_or_insert(there);
        }
    }

    /// Writes the next frame, which continues the journal.
    ///
    /// # Errors
    /// It is too long for a stream, or the server does not take it.
    pub fn frame(&mut self, frame: &Frame<'_>) -> Result<(), JournalError> {
        let header = FrameHeader {
            claim: frame.is_claim(),
            first_sequence: frame.first_sequence,
            last_sequence: frame.last_sequence,
            writer_epoch: frame.writer_epoch,
            time_ms: frame.time_ms,
            ledger_id: self.line.ledger_id,
            chain: self.line.chain,
        };
        let mut bytes = Vec::new();
        let crc = encode(&mut bytes, &header, frame.payload);
        let length = bytes.len() as u64;
        if length > FRAME_BYTES_MAX {
            return Err(JournalError::FrameTooLarge { bytes: length, bytes_max: FRAME_BYTES_MAX });
        }
        if header.last_sequence > SEQUENCE_MAX {
            let expected = self.line.next_sequence;
            let (first_sequence, last_sequence) = (header.first_sequence, header.last_sequence);
            return Err(JournalError::OutOfOrder { first_sequence, last_sequence, expected });
        }
        self.line.advance(&header, crc);
        self.bytes += length;
        self.batch_bytes += bytes.len();
        self.batch.push((Id::of(&header), bytes));
        self.note_mark();
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
    /// The server does not take it.
    pub fn piece(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let mut step = self.step("snapshot");
        let Some(snapshot) = &mut self.snapshot else { return Ok(()) };
        let mut stored = piece_header(snapshot.header_crc, snapshot.pieces, bytes).to_vec();
        stored.extend_from_slice(bytes);
        step.arg(snapshot.pieces).arg(stored).arg("extent").arg(snapshot.pieces + 1);
        snapshot.pieces += 1;
        self.run(&step)
    }

    /// Reads everything back, then makes it count under a writer epoch of at least `epoch_min`; answers that epoch.
    ///
    /// # Errors
    /// It is not what was written, the server lacks room, or nobody confirmed that it is durable.
    pub fn finish(mut self, epoch_min: u64) -> Result<u64, JournalError> {
        self.send()?;
        self.check_frames()?;
        self.check_snapshot()?;
        // Everything before is as durable as the mode promises before anything counts.
        self.settle()?;
        let header = self.line.claim_header(epoch_min);
        let mut claim = Vec::new();
        let crc = encode(&mut claim, &header, &[]);
        let step = self.last_step(&header, crc, &claim)?;
        self.run(&step)?;
        self.settle()?;
        Ok(header.writer_epoch)
    }

    fn last_step(&self, header: &FrameHeader, crc: u32, claim: &[u8]) -> Result<Cmd, JournalError> {
        let trimmed = self.trimmed()?;
        let mut line = self.line;
        line.advance(header, crc);
        let end = Position::of(&line, trimmed + self.sent + 1);
        let owner = Owner { token: self.token.clone(), epoch: header.writer_epoch };
        let mut step = self.step("finish");
        step.arg(self.sent).arg(Id::of(header).to_string()).arg(claim).arg(self.snapshot_manifest());
        step.arg("format").arg(FORMAT_VERSION).arg("ledger").arg(self.target.ledger());
        step.arg("owner").arg(&owner.token).arg("epoch").arg(owner.epoch);
        step.arg("last").arg(end.last).arg("chain").arg(end.chain_text()).arg("entries").arg(end.entries);
        step.arg("trimmed").arg(trimmed).arg("begun").arg(u64::from(self.snapshot.is_some()));
        Ok(step)
    }

    /// Frames of the journal that the stream does not begin with.
    fn trimmed(&self) -> Result<u64, JournalError> {
        let Some(snapshot) = &self.snapshot else { return Ok(0) };
        let frames = snapshot.manifest.mark.frames;
        let trimmed = snapshot.before.and_then(|(entries, _)| frames.checked_sub(entries));
        trimmed.ok_or_else(|| self.differs("its snapshot stands nowhere in it"))
    }

    fn snapshot_manifest(&self) -> Vec<u8> {
        let Some(Snapshot { manifest: its, header_crc, .. }) = &self.snapshot else { return Vec::new() };
        manifest(*header_crc, its.pieces, its.bytes, &its.digest)
    }

    fn differs(&self, why: &str) -> JournalError {
        JournalError::BadBackup { file: self.target.source.describe(), why: why.into() }
    }

    /// Reads the frames back.
    fn check_frames(&mut self) -> Result<(), JournalError> {
        let mut walk = Walk::before_first(self.start);
        self.target.source.read_on(&mut walk, &mut |_, _, _| Ok(true))?;
        if walk.line == self.line && walk.entries == self.sent {
            return Ok(());
        }
        Err(self.differs("Redis does not have the frames that were written"))
    }

    /// Stores the header, and reads the pieces back.
    fn check_snapshot(&mut self) -> Result<(), JournalError> {
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let bytes_before = snapshot.before.map_or(0, |(_, bytes)| bytes);
        let placed = Placed { place: PLACE, manifest: snapshot.manifest.clone(), bytes_before };
        let mut step = self.step("snapshot");
        step.arg("header").arg(header(self.target.ledger(), &placed.manifest.mark)).arg("before").arg(bytes_before);
        self.run(&step)?;
        let RedisSource { session, link } = &mut self.target.source;
        let mut pieces = Pieces::of(&placed, &session.ledger);
        while pieces.next(link, &session.keys).map_err(Fault::error)?.is_some() {}
        Ok(())
    }

    /// Waits until everything is as durable as the mode promises.
    fn settle(&mut self) -> Result<(), JournalError> {
        let RedisTarget { source, server } = &mut self.target;
        source.session.settle(&mut source.link, server).map_err(Fault::error)
    }
}
