//! Rebuilds the state: from the newest good snapshot and the frames after it, else from every frame. Claims nothing.

pub(in crate::journal::redis) mod inspect;
mod progress;
pub(in crate::journal::redis) mod source;

use self::progress::ReplayProgress;
use crate::journal::redis::connection::Connection;
use crate::journal::redis::connection::errors::Failure;
use crate::journal::redis::connection::session::Session;
use crate::journal::redis::connection::state::StoredState;
use crate::journal::redis::read::entries::corrupt;
use crate::journal::redis::read::walk::{Walk, first};
use crate::journal::redis::snapshot::locations::{self, LocatedSnapshot, LocationContent, PieceReader};
use crate::journal::{JournalError, Manifest, Replay};

/// A state that is being rebuilt.
pub struct Recovery {
    /// How far the frames were read.
    pub walk: Walk,
    /// The snapshot that it began with.
    pub snapshot: Option<Manifest>,
    progress: ReplayProgress,
}

impl Recovery {
    /// Loads the newest good snapshot, if there is one: the frames to replay begin after it, else with the very first.
    pub fn begin(
        session: &Session,
        connection: &mut Connection,
        stored: Option<&StoredState>,
        replay: &mut dyn Replay,
    ) -> Result<Self, Failure> {
        let wants_any = match stored {
            Some(stored) => match newest(session, connection, stored, replay)? {
                Newest::Loaded(recovery) => return Ok(*recovery),
                Newest::NoneGood => true,
                Newest::Declined => false,
            },
            None => false,
        };
        if let Some(stored) = stored.filter(|stored| stored.trimmed > 0) {
            let id = first(session, connection)?.map(|entry| entry.id).unwrap_or_default();
            if wants_any {
                let why = format!("{} entries before it were trimmed, and no snapshot is good", stored.trimmed);
                return Err(Failure::Permanent(corrupt(&session.keys, &id.to_string(), &why)));
            }
            let first_sequence = id.sequence.max(1);
            return Err(Failure::Permanent(JournalError::Trimmed { sequence: 1, first_sequence }));
        }
        replay.begin_empty();
        let progress = ReplayProgress::start(0, stored.map_or(0, |stored| stored.end.entries));
        Ok(Self { walk: Walk::start(&session.ledger), snapshot: None, progress })
    }

    /// Replays everything that follows, to the end of the stream.
    pub fn read_on(
        &mut self,
        session: &Session,
        connection: &mut Connection,
        replay: &mut dyn Replay,
    ) -> Result<(), Failure> {
        let server = connection.server().to_owned();
        let progress = &mut self.progress;
        self.walk.read_on(session, connection, &mut |entry, decoded, _| {
            progress.frame(replay, entry.frame.len());
            replay.frame(decoded.frame()).map_err(|why| {
                let file = format!("entry {} of {} in Redis at {server}", entry.id, session.keys.frames);
                JournalError::Replay { file, offset: 0, why }
            })?;
            Ok(true)
        })
    }
}

enum Newest {
    Loaded(Box<Recovery>),
    NoneGood,
    Declined,
}

/// Loads the newest good snapshot; notes those that are not good. Reads the locations again after each failure, since a writer
/// that still runs may have stored a newer one.
fn newest(
    session: &Session,
    connection: &mut Connection,
    stored: &StoredState,
    replay: &mut dyn Replay,
) -> Result<Newest, Failure> {
    let mut failed: Vec<LocatedSnapshot> = Vec::new();
    loop {
        let locations = locations::read_locations(connection, &session.keys, &session.ledger)?;
        if failed.is_empty() {
            for location in &locations {
                if let LocationContent::Bad(error) = &location.content {
                    replay.note(&error.to_string());
                }
            }
        }
        let mut candidates = locations::snapshots(&locations).into_iter();
        let Some(located) = candidates.find(|located| !failed.contains(located)) else { return Ok(Newest::NoneGood) };
        if !replay.begin(&located.manifest) {
            return Ok(Newest::Declined);
        }
        match load(session, connection, stored, &located, replay) {
            Ok(recovery) => return Ok(Newest::Loaded(Box::new(recovery))),
            Err(Failure::Permanent(error @ JournalError::BadSnapshot { .. })) => {
                replay.note(&format!("{error}; an older one is tried"));
            }
            Err(other) => return Err(other),
        }
        failed.push(located);
    }
}

fn load(
    session: &Session,
    connection: &mut Connection,
    stored: &StoredState,
    located: &LocatedSnapshot,
    replay: &mut dyn Replay,
) -> Result<Recovery, Failure> {
    let (keys, manifest) = (&session.keys, &located.manifest);
    let bad = |why: String| {
        let file = format!("{} of Redis", keys.locations[located.location]);
        Failure::Permanent(JournalError::BadSnapshot { file, why })
    };
    if manifest.position.frames > stored.end.entries || manifest.position.frames < stored.trimmed {
        return Err(bad("the journal does not have the frames after it".into()));
    }
    let mut progress = ReplayProgress::start(manifest.bytes, stored.end.entries - manifest.position.frames);
    let mut pieces = PieceReader::of(located, &session.ledger);
    while let Some(piece) = pieces.next(connection, keys)? {
        progress.piece(replay, piece.len());
        replay.piece(&piece).map_err(bad)?;
    }
    replay.end(manifest).map_err(bad)?;
    Ok(Recovery { walk: Walk::after(&manifest.position), snapshot: Some(manifest.clone()), progress })
}
