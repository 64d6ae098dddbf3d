//! Opens a journal in Redis: checks everything, replays snapshot and frames, and only then claims the next writer epoch.

use std::cmp::Ordering;
use std::time::Duration;

use super::connection::{Link, Place};
use super::functions::{self, Owner, Said};
use super::keys::Id;
use super::recovery::Recovery;
use super::server::Server;
use super::session::{Patience, Room, Session};
use super::state::{self, Position};
use super::trouble::Fault;
use super::walk::Walk;
use crate::journal::frame::encode;
use crate::journal::line::Line;
use crate::journal::{JournalError, Replay};

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
    let mut recovery = None;
    loop {
        match attempt(session, link.take(), &mut recovery, &token, replay) {
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
    recovery: &mut Option<Recovery>,
    token: &str,
    replay: &mut dyn Replay,
) -> Result<Claimed, Fault> {
    let mut link = link.map_or_else(|| session.place.connect(), Ok)?;
    let server = Server::ask(&mut link)?;
    server.check(session.ack).map_err(Fault::Lasting)?;
    let earlier = state::read(&mut link, &session.keys, &session.ledger)?;
    functions::ensure(&mut link, &session.keys)?;
    let recovery = match recovery {
        Some(recovery) => recovery,
        none => none.insert(Recovery::begin(session, &mut link, earlier.as_ref(), replay)?),
    };
    recovery.read_on(session, &mut link, replay)?;
    let later = state::read(&mut link, &session.keys, &session.ledger)?;
    recovery.walk.compare(session, earlier.as_ref(), later.as_ref())?;
    for claims in 0.. {
        replay.admit().map_err(Fault::Lasting)?;
        if let Some(claimed) = try_claim(session, &mut link, &server, &recovery.walk, token)? {
            let Claim { owner, line, end, room } = claimed;
            return Ok(Claimed { link, server, owner, line, end, room });
        }
        // The writer before us still appends: read on, and try again.
        match claims.cmp(&CLAIMS_BEFORE_SEAL) {
            Ordering::Less => {}
            Ordering::Equal => seal(session, &mut link, &server, token)?,
            Ordering::Greater => break,
        }
        recovery.read_on(session, &mut link, replay)?;
    }
    let directory = format!("{} of Redis at {}", session.keys.frames, link.server());
    Err(Fault::Passing(JournalError::Locked { directory, owner: "another server that is starting".into() }))
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

/// 128 random bits in hex.
pub fn token() -> Result<String, JournalError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let source = std::io::Error::other(error);
        JournalError::Io { operation: "draw random bytes from", file: "the operating system".into(), source }
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
