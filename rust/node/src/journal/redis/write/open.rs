//! Opens a journal in Redis: checks everything, replays snapshot and frames, and only then claims the next writer epoch.

use std::cmp::Ordering;
use std::time::Duration;

use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::encode;
use crate::journal::redis::connection::errors::Failure;
use crate::journal::redis::connection::functions::{self, Owner, Reply};
use crate::journal::redis::connection::keys::EntryId;
use crate::journal::redis::connection::server::Server;
use crate::journal::redis::connection::session::{Backoff, Room, Session};
use crate::journal::redis::connection::state::{self, RedisPosition};
use crate::journal::redis::connection::{Connection, ConnectionTarget};
use crate::journal::redis::read::walk::StreamWalk;
use crate::journal::redis::recovery::Recovery;
use crate::journal::{JournalError, Replay};

/// After this many failed claims the previous writer is refused first, so that it cannot outrun us forever.
const CLAIMS_BEFORE_SEAL: usize = 20;

/// A journal that was read to its end and claimed.
pub struct ClaimedJournal {
    /// The connection it was claimed on.
    pub connection: Connection,
    /// The server at its end.
    pub server: Server,
    /// The claim.
    pub claim: AcceptedClaim,
}

/// A claim that Redis accepted.
pub struct AcceptedClaim {
    /// The new owner.
    pub owner: Owner,
    /// The state after the claim.
    pub tip: ChainTip,
    /// Where the stream ends.
    pub end: RedisPosition,
    /// Whether there is room for more.
    pub room: Room,
}

/// Opens the journal of a session.
pub fn open(
    session: &Session,
    retry_timeout: Duration,
    replay: &mut dyn Replay,
) -> Result<ClaimedJournal, JournalError> {
    let mut backoff = Backoff::of(retry_timeout, &session.target.environment);
    let mut connection = Some(first_connection(&session.target, &mut backoff)?);
    let token = token()?;
    let mut recovery = None;
    loop {
        match attempt(session, connection.take(), &mut recovery, &token, replay) {
            Ok(claimed) => return Ok(claimed),
            Err(Failure::Transient(_)) if backoff.wait() => {}
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// The first connection: an unreachable server is reported at once, one that is still loading is waited for.
fn first_connection(target: &ConnectionTarget, backoff: &mut Backoff) -> Result<Connection, JournalError> {
    loop {
        let connected = target.connect().and_then(|mut connection| Server::ask(&mut connection).map(|_| connection));
        let error = match connected {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        if !error.is("LOADING") || !backoff.wait() {
            return Err(error.into());
        }
    }
}

/// Reads what is new and claims. What was read is kept for the next attempt.
fn attempt(
    session: &Session,
    connection: Option<Connection>,
    recovery: &mut Option<Recovery>,
    token: &str,
    replay: &mut dyn Replay,
) -> Result<ClaimedJournal, Failure> {
    let mut connection = connection.map_or_else(|| session.target.connect(), Ok)?;
    let server = Server::ask(&mut connection)?;
    server.check(session.ack)?;
    let earlier = state::read(&mut connection, &session.keys, &session.ledger)?;
    functions::ensure(&mut connection, &session.keys)?;
    let recovery = match recovery {
        Some(recovery) => recovery,
        none => none.insert(Recovery::begin(session, &mut connection, earlier.as_ref(), replay)?),
    };
    recovery.read_on(session, &mut connection, replay)?;
    let later = state::read(&mut connection, &session.keys, &session.ledger)?;
    recovery.walk.compare(session, earlier.as_ref(), later.as_ref())?;
    for claims in 0.. {
        replay.admit()?;
        if let Some(claim) = try_claim(session, &mut connection, &server, &recovery.walk, token)? {
            return Ok(ClaimedJournal { connection, server, claim });
        }
        // The previous writer still appends: read on, and try again.
        match claims.cmp(&CLAIMS_BEFORE_SEAL) {
            Ordering::Less => {}
            Ordering::Equal => seal(session, &mut connection, &server, token)?,
            Ordering::Greater => break,
        }
        recovery.read_on(session, &mut connection, replay)?;
    }
    let directory = format!("{} of Redis at {}", session.keys.frames, connection.server());
    Err(Failure::Transient(JournalError::Locked { directory, owner: "another server that is starting".into() }))
}

fn seal(session: &Session, connection: &mut Connection, server: &Server, token: &str) -> Result<(), Failure> {
    let owner = Owner { token: token.into(), epoch: 0 };
    session.execute(connection, &functions::seal(&session.keys, token), server, &owner).map(drop)
}

/// Claims the next epoch if the journal still ends at the position it was read to; `None` if not.
fn try_claim(
    session: &Session,
    connection: &mut Connection,
    server: &Server,
    walk: &StreamWalk,
    token: &str,
) -> Result<Option<AcceptedClaim>, Failure> {
    let mut tip = *walk.walk.tip();
    let (epoch_before, before) = (tip.writer_epoch, walk.position());
    let header = tip.claim_header(session.writer_epoch_min);
    let owner = Owner { token: token.to_owned(), epoch: header.writer_epoch };
    let mut frame = Vec::new();
    let crc = encode(&mut frame, &header, &[]);
    tip.advance(&header, crc);
    let end = RedisPosition::of(&tip, before.entries + 1);
    let call = functions::claim(
        &session.keys,
        &functions::Claim {
            owner: &owner,
            ledger: &session.ledger,
            epoch_before,
            before,
            after: end,
            id: EntryId::of(&header),
            frame: &frame,
        },
    );
    let (reply, room) = session.exchange(connection, &call, server)?;
    match reply {
        Reply::Done(_) => Ok(Some(AcceptedClaim { owner, tip, end, room })),
        Reply::Elsewhere(_) => Ok(None),
        other => Err(session.stopped(connection.server(), &owner, other).into()),
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
