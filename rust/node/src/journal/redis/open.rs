//! Opens a journal in Redis: checks everything, replays snapshot and frames, and only then claims the next writer epoch.

use std::cmp::Ordering;
use std::time::Duration;

use super::connection::{Link, Place};
use super::entries::{From, Pace, accept, corrupt, page};
use super::functions::{self, Owner, Said};
use super::keys::Id;
use super::places::{self, Held, Pieces, Placed};
use super::progress::Progress;
use super::server::Server;
use super::session::{Patience, Room, Session};
use super::state::{self, Position, Stored};
use super::trouble::Fault;
use crate::journal::frame::encode;
use crate::journal::line::Line;
use crate::journal::{JournalError, Mark, Replay};

/// Claims in vain after which the writer before is refused first, so that it cannot outrun us for ever.
const CLAIMS_BEFORE_SEAL: usize = 20;

/// A journal that was read to its end and claimed.
pub struct Claimed {
    /// The connection it was claimed on.
    pub link: Link,
    /// The server at its end.
    pub server: Server,
    /// The new owner.
    pub owner: Owner,
    /// The state after the claim.
    pub line: Line,
    /// Where the stream ends.
    pub end: Position,
    /// Whether there is room for more.
    pub room: Room,
}

/// Opens the journal of a session.
pub fn open(session: &Session, patience: Duration, replay: &mut dyn Replay) -> Result<Claimed, JournalError> {
    let mut patience = Patience::of(patience, &session.place.ground);
    let mut link = Some(first_link(&session.place, &mut patience)?);
    let token = token()?;
    let mut walk = None;
    loop {
        match attempt(session, link.take(), &mut walk, &token, replay) {
            Ok(claimed) => return Ok(claimed),
            Err(Fault::Passing(_)) if patience.wait() => {}
            Err(fault) => return Err(fault.error()),
        }
    }
}

/// The first connection: a server that is not there is told at once, one that is still starting is waited for.
fn first_link(place: &Place, patience: &mut Patience) -> Result<Link, JournalError> {
    loop {
        let connected = place.connect().and_then(|mut link| Server::ask(&mut link).map(|_| link));
        let trouble = match connected {
            Ok(link) => return Ok(link),
            Err(trouble) => trouble,
        };
        if !trouble.is("LOADING") || !patience.wait() {
            return Err(trouble.into());
        }
    }
}

/// Reads what is new and claims. What was read stays read for the next attempt.
fn attempt(
    session: &Session,
    link: Option<Link>,
    walk: &mut Option<Walk>,
    token: &str,
    replay: &mut dyn Replay,
) -> Result<Claimed, Fault> {
    let mut link = link.map_or_else(|| session.place.connect(), Ok)?;
    let server = Server::ask(&mut link)?;
    server.check(session.ack).map_err(Fault::Lasting)?;
    let earlier = state::read(&mut link, &session.keys, &session.ledger)?;
    functions::ensure(&mut link, &session.keys)?;
    let walk = match walk {
        Some(walk) => walk,
        none => none.insert(begin(session, &mut link, earlier.as_ref(), replay)?),
    };
    walk.read_on(session, &mut link, replay)?;
    let later = state::read(&mut link, &session.keys, &session.ledger)?;
    walk.compare(session, earlier.as_ref(), later.as_ref())?;
    for claims in 0.. {
        if let Some(claimed) = try_claim(session, &mut link, &server, walk, token)? {
            let Claim { owner, line, end, room } = claimed;
            return Ok(Claimed { link, server, owner, line, end, room });
        }
        // The writer before us still appends: read on, and try again.
        match claims.cmp(&CLAIMS_BEFORE_SEAL) {
            Ordering::Less => {}
            Ordering::Equal => seal(session, &mut link, &server, token)?,
            Ordering::Greater => break,
        }
        walk.read_on(session, &mut link, replay)?;
    }
    let directory = format!("{} of Redis at {}", session.keys.frames, link.server());
    Err(Fault::Passing(JournalError::Locked { directory, owner: "another server that is starting".into() }))
}

/// Where the frames to replay begin: behind the newest snapshot that is good, else with the first of all.
fn begin(session: &Session, link: &mut Link, stored: Option<&Stored>, replay: &mut dyn Replay) -> Result<Walk, Fault> {
    let wants_any = match stored {
        Some(stored) => match newest(session, link, stored, replay)? {
            Newest::Loaded(walk) => return Ok(*walk),
            Newest::NoneIsGood => true,
            Newest::NotWanted => false,
        },
        None => false,
    };
    if let Some(stored) = stored.filter(|stored| stored.trimmed > 0) {
        let first = page(link, &session.keys, From::At(Id::default()), &mut Pace::one())?.entries.into_iter().next();
        let id = first.as_ref().map(|entry| entry.id).unwrap_or_default();
        if wants_any {
            let why = format!("{} entries before it were trimmed, and no snapshot is good", stored.trimmed);
            return Err(Fault::Lasting(corrupt(&session.keys, &id.to_string(), &why)));
        }
        let first_sequence = id.sequence.max(1);
        return Err(Fault::Lasting(JournalError::Trimmed { sequence: 1, first_sequence }));
    }
    replay.begin_empty();
    Ok(Walk::start(&session.ledger, stored.map_or(0, |stored| stored.end.entries)))
}

enum Newest {
    Loaded(Box<Walk>),
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
            Ok(walk) => return Ok(Newest::Loaded(Box::new(walk))),
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
) -> Result<Walk, Fault> {
    let (keys, manifest) = (&session.keys, &placed.manifest);
    let bad = |why: String| {
        let file = format!("{} of Redis", keys.places[placed.place]);
        Fault::Lasting(JournalError::BadSnapshot { file, why })
    };
    if manifest.mark.frames > stored.end.entries || manifest.mark.frames < stored.trimmed {
        return Err(bad("the journal does not have the frames behind it".into()));
    }
    let mut walk = Walk::behind(&manifest.mark, manifest.bytes, stored.end.entries);
    let mut pieces = Pieces::of(placed, &session.ledger);
    while let Some(piece) = pieces.next(link, keys)? {
        walk.progress.piece(replay, piece.len());
        replay.piece(&piece).map_err(bad)?;
    }
    replay.end(manifest).map_err(bad)?;
    Ok(walk)
}

fn seal(session: &Session, link: &mut Link, server: &Server, token: &str) -> Result<(), Fault> {
    match session.exchange(link, &functions::seal(&session.keys, token), server)?.0 {
        Said::Done(_) => Ok(()),
        other => Err(Fault::Lasting(session.stopped(link.server(), &Owner { token: token.into(), epoch: 0 }, other))),
    }
}

/// A claim that Redis accepted.
struct Claim {
    owner: Owner,
    line: Line,
    end: Position,
    room: Room,
}

/// Claims the next epoch if the journal still ends where it was read to.
fn try_claim(
    session: &Session,
    link: &mut Link,
    server: &Server,
    walk: &Walk,
    token: &str,
) -> Result<Option<Claim>, Fault> {
    let header = walk.line.claim_header(session.writer_epoch_min);
    let owner = Owner { token: token.to_owned(), epoch: header.writer_epoch };
    let mut frame = Vec::new();
    let crc = encode(&mut frame, &header, &[]);
    let mut line = walk.line;
    line.advance(&header, crc);
    let end = Position::of(&line, walk.entries + 1);
    let call = functions::claim(
        &session.keys,
        &functions::Claim {
            owner: &owner,
            ledger: &session.ledger,
            epoch_before: walk.line.writer_epoch,
            before: walk.position(),
            after: end,
            id: Id::of(&header),
            frame: &frame,
        },
    );
    let (said, room) = session.exchange(link, &call, server)?;
    match said {
        Said::Done(_) => Ok(Some(Claim { owner, line, end, room })),
        Said::Elsewhere(_) => Ok(None),
        other => Err(Fault::Lasting(session.stopped(link.server(), &owner, other))),
    }
}

/// How far a journal was read.
struct Walk {
    line: Line,
    entries: u64,
    last: Option<Id>,
    pace: Pace,
    progress: Progress,
}

impl Walk {
    /// Before the first of so many entries.
    fn start(ledger: &str, entries: u64) -> Self {
        let progress = Progress::start(0, entries);
        Self { line: Line::start(ledger), entries: 0, last: None, pace: Pace::start(), progress }
    }

    /// Behind a snapshot of so many bytes, in a journal that had so many entries.
    fn behind(mark: &Mark, snapshot_bytes: u64, entries: u64) -> Self {
        let progress = Progress::start(snapshot_bytes, entries - mark.frames);
        Self { line: mark.line, entries: mark.frames, last: Some(Id::before(mark)), pace: Pace::start(), progress }
    }

    fn position(&self) -> Position {
        Position::of(&self.line, self.entries)
    }

    /// Replays everything that follows, to the end of the stream.
    fn read_on(&mut self, session: &Session, link: &mut Link, replay: &mut dyn Replay) -> Result<(), Fault> {
        loop {
            let from = self.last.map_or(From::At(Id::default()), From::After);
            let page = page(link, &session.keys, from, &mut self.pace)?;
            for entry in &page.entries {
                let decoded = accept(&mut self.line, entry, &session.keys).map_err(Fault::Lasting)?;
                self.progress.frame(replay, entry.frame.len());
                replay.frame(decoded.frame()).map_err(|why| {
                    let file = format!("entry {} of {} in Redis at {}", entry.id, session.keys.frames, link.server());
                    Fault::Lasting(JournalError::Replay { file, offset: 0, why })
                })?;
                self.entries += 1;
                self.last = Some(entry.id);
            }
            if page.is_last {
                return Ok(());
            }
        }
    }

    /// Refuses a journal whose frames and state, read before and after them, do not fit together.
    fn compare(&self, session: &Session, earlier: Option<&Stored>, later: Option<&Stored>) -> Result<(), Fault> {
        let entries_of = |stored: Option<&Stored>| stored.map_or(0, |stored| stored.end.entries);
        let broken = |why: &str| {
            let id = self.last.map_or_else(|| "0-0".to_owned(), |id| id.to_string());
            Err(Fault::Lasting(corrupt(&session.keys, &id, why)))
        };
        if entries_of(earlier) > self.entries {
            return broken("entries after it are gone");
        }
        match later {
            Some(later) if later.end.entries < self.entries => broken("the state does not know of it"),
            Some(later) if later.end.entries > self.entries => Ok(()),
            Some(later) if later.end != self.position() || later.epoch != self.line.writer_epoch => {
                broken("the state does not match it")
            }
            None if self.entries > 0 => broken("the state is gone"),
            _ => Ok(()),
        }
    }
}

/// 128 random bits in hex.
fn token() -> Result<String, JournalError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let source = std::io::Error::other(error);
        JournalError::Io { operation: "draw random bytes from", file: "the operating system".into(), source }
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
