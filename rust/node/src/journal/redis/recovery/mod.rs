//! Rebuilds the state: from the newest good snapshot and the frames after it, else from every frame. Claims nothing.

pub(in crate::journal::redis) mod inspect;
pub(in crate::journal::redis) mod source;

use std::sync::Arc;

use crate::journal::recovery::{FramesLeft, NewestSnapshot, Progress, load_newest, replay_frame};
use crate::journal::redis::connection::errors::Failure;
use crate::journal::redis::connection::session::RedisSource;
use crate::journal::redis::connection::state::StoredState;
use crate::journal::redis::read::entries::corrupt;
use crate::journal::redis::read::walk::{StreamWalk, first};
use crate::journal::redis::snapshot::locations::{LocatedSnapshot, PieceReader, stored_snapshots};
use crate::journal::{JournalError, JournalPosition, Manifest, Replay};

/// A state that is being rebuilt.
pub struct Recovery {
    /// How far the frames were read.
    pub walk: StreamWalk,
    /// The snapshot that it began with.
    pub snapshot: Option<Manifest>,
    progress: Progress,
}

impl Recovery {
    /// Loads the newest good snapshot, if there is one: the frames to replay begin after it, else with the very first.
    pub fn begin(
        source: &mut RedisSource,
        stored: Option<&StoredState>,
        replay: &mut dyn Replay,
    ) -> Result<Self, Failure> {
        if let Some(stored) = stored {
            let newest = load_newest(source, replay, stored_snapshots, |source, located, replay| {
                match load(source, stored, located, replay) {
                    Err(Failure::Permanent(bad @ JournalError::BadSnapshot { .. })) => Ok(Err(bad)),
                    loaded => loaded.map(Ok),
                }
            })?;
            if let NewestSnapshot::Loaded(LocatedSnapshot { manifest, .. }, progress) = newest {
                let walk = StreamWalk::after(&manifest.position);
                return Ok(Self { walk, snapshot: Some(manifest), progress });
            }
            if stored.trimmed > 0 {
                let id = first(source)?.map(|entry| entry.id).unwrap_or_default();
                if matches!(newest, NewestSnapshot::NoneGood) {
                    let why = format!("{} entries before it were trimmed, and no snapshot is good", stored.trimmed);
                    return Err(corrupt(&source.session.keys, id, &why).into());
                }
                return Err(JournalError::Trimmed { sequence: 1, first_sequence: id.sequence.max(1) }.into());
            }
        }
        replay.begin_empty();
        let progress = Progress::start(0, FramesLeft::Count(stored.map_or(0, |stored| stored.end.entries)));
        Ok(Self { walk: StreamWalk::start(JournalPosition::start(&source.session.ledger)), snapshot: None, progress })
    }

    /// Replays everything that follows, to the end of the stream.
    pub fn read_on(&mut self, source: &mut RedisSource, replay: &mut dyn Replay) -> Result<(), Failure> {
        let stream = format!("{} in Redis at {}", source.session.keys.frames, source.connection.server());
        let progress = &mut self.progress;
        self.walk.read_on(source, &stream, &mut |frame| replay_frame(replay, progress, frame))
    }
}

fn load(
    source: &mut RedisSource,
    stored: &StoredState,
    located: &LocatedSnapshot,
    replay: &mut dyn Replay,
) -> Result<Progress, Failure> {
    let (manifest, session) = (&located.manifest, Arc::clone(&source.session));
    let bad = |why: String| {
        let file = format!("{} of Redis", session.keys.locations[located.location]);
        JournalError::BadSnapshot { file, why }
    };
    if manifest.position.frames > stored.end.entries || manifest.position.frames < stored.trimmed {
        return Err(bad("the journal does not have the frames after it".into()).into());
    }
    let entries = stored.end.entries - manifest.position.frames;
    let mut progress = Progress::start(manifest.bytes, FramesLeft::Count(entries));
    let mut pieces = PieceReader::of(located, &session.ledger);
    while let Some(piece) = pieces.next(source)? {
        progress.piece(replay, piece.len());
        replay.piece(&piece).map_err(bad)?;
    }
    replay.end(manifest).map_err(bad)?;
    Ok(progress)
}
