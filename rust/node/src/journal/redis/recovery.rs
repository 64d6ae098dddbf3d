//! Has the state rebuilt: from the newest good snapshot and the frames behind it, else from every frame. Claims nothing.

use super::connection::Link;
use super::entries::corrupt;
use super::places::{self, Held, Pieces, Placed};
use super::progress::Progress;
use super::session::Session;
use super::state::Stored;
use super::trouble::Fault;
use super::walk::{Walk, first};
use crate::journal::{JournalError, Manifest, Replay};

/// A state that is being rebuilt.
pub struct Recovery {
    /// How far the frames were read.
    pub walk: Walk,
    /// The snapshot that it began with.
    pub snapshot: Option<Manifest>,
    progress: Progress,
}

impl Recovery {
    /// Has the newest snapshot loaded that is good, if there is one: the frames to replay begin behind it, else with the first
    /// of all.
    pub fn begin(
        session: &Session,
        link: &mut Link,
        stored: Option<&Stored>,
        replay: &mut dyn Replay,
    ) -> Result<Self, Fault> {
        let wants_any = match stored {
            Some(stored) => match newest(session, link, stored, replay)? {
                Newest::Loaded(recovery) => return Ok(*recovery),
                Newest::NoneIsGood => true,
                Newest::NotWanted => false,
            },
            None => false,
        };
        if let Some(stored) = stored.filter(|stored| stored.trimmed > 0) {
            let id = first(session, link)?.map(|entry| entry.id).unwrap_or_default();
            if wants_any {
                let why = format!("{} entries before it were trimmed, and no snapshot is good", stored.trimmed);
                return Err(Fault::Lasting(corrupt(&session.keys, &id.to_string(), &why)));
            }
            let first_sequence = id.sequence.max(1);
            return Err(Fault::Lasting(JournalError::Trimmed { sequence: 1, first_sequence }));
        }
        replay.begin_empty();
        let progress = Progress::start(0, stored.map_or(0, |stored| stored.end.entries));
        Ok(Self { walk: Walk::start(&session.ledger), snapshot: None, progress })
    }

    /// Replays everything that follows, to the end of the stream.
    pub fn read_on(&mut self, session: &Session, link: &mut Link, replay: &mut dyn Replay) -> Result<(), Fault> {
        let server = link.server().to_owned();
        let progress = &mut self.progress;
        self.walk.read_on(session, link, &mut |entry, decoded, _| {
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
    NoneIsGood,
    NotWanted,
}

/// Has the newest snapshot loaded that is good; notes those that are not. Looks again after each failure, since a writer that
/// still runs may have put a newer one there.
fn newest(session: &Session, link: &mut Link, stored: &Stored, replay: &mut dyn Replay) -> Result<Newest, Fault> {
    let mut failed: Vec<Placed> = Vec::new();
    loop {
        let places = places::look(link, &session.keys, &session.ledger)?;
        if failed.is_empty() {
            for place in &places {
                if let Held::Bad(error) = &place.held {
                    replay.note(&error.to_string());
                }
            }
        }
        let mut candidates = places::snapshots(&places).into_iter();
        let Some(placed) = candidates.find(|placed| !failed.contains(placed)) else { return Ok(Newest::NoneIsGood) };
        if !replay.begin(&placed.manifest) {
            return Ok(Newest::NotWanted);
        }
        match load(session, link, stored, &placed, replay) {
            Ok(recovery) => return Ok(Newest::Loaded(Box::new(recovery))),
            Err(Fault::Lasting(error @ JournalError::BadSnapshot { .. })) => {
                replay.note(&format!("{error}; an older one is tried"));
            }
            Err(other) => return Err(other),
        }
        failed.push(placed);
    }
}

fn load(
    session: &Session,
    link: &mut Link,
    stored: &Stored,
    placed: &Placed,
    replay: &mut dyn Replay,
) -> Result<Recovery, Fault> {
    let (keys, manifest) = (&session.keys, &placed.manifest);
    let bad = |why: String| {
        let file = format!("{} of Redis", keys.places[placed.place]);
        Fault::Lasting(JournalError::BadSnapshot { file, why })
    };
    if manifest.mark.frames > stored.end.entries || manifest.mark.frames < stored.trimmed {
        return Err(bad("the journal does not have the frames behind it".into()));
    }
    let mut progress = Progress::start(manifest.bytes, stored.end.entries - manifest.mark.frames);
    let mut pieces = Pieces::of(placed, &session.ledger);
    while let Some(piece) = pieces.next(link, keys)? {
        progress.piece(replay, piece.len());
        replay.piece(&piece).map_err(bad)?;
    }
    replay.end(manifest).map_err(bad)?;
    Ok(Recovery { walk: Walk::behind(&manifest.mark), snapshot: Some(manifest.clone()), progress })
}
