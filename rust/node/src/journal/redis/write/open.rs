//! Opens a journal in Redis: checks everything, replays snapshot and frames, and only then claims the next writer epoch.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::encode;
use crate::journal::redis::connection::errors::Failure;
use crate::journal::redis::connection::functions::{self, Owner, Reply};
use crate::journal::redis::connection::keys::EntryId;
use crate::journal::redis::connection::server::Server;
use crate::journal::redis::connection::session::{Backoff, RedisSource, Room, Session};
use crate::journal::redis::connection::state::{self, RedisPosition};
use crate::journal::redis::connection::{Connection, ConnectionTarget};
use crate::journal::redis::read::walk::StreamWalk;
use crate::journal::redis::recovery::Recovery;
use crate::journal::{JournalError, Replay};

/// After this many failed claims the previous writer is refused first, so that it cannot outrun us forever.
const CLAIMS_BEFORE_SEAL: usize = 20;

/// A journal that was read to its end and claimed.
pub struct ClaimedJournal {
    /// The session, and the connection it was claimed on.
    pub source: RedisSource,
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
    session: &Arc<Session>,
    retry_timeout: Duration,
    replay: &mut dyn Replay,
) -> Result<ClaimedJournal, JournalError> {
    let mut backoff = Backoff::of(retry_timeout, &session.target.environment);
    let connection = first_connection(&session.target, &mut backoff)?;
    let mut source = Ok(RedisSource { session: Arc::clone(session), connection });
    let token = token()?;
    let mut recovery = None;
    loop {
        match source.and_then(|source| attempt(source, &mut recovery, &token, replay)) {
            Ok(claimed) => return Ok(claimed),
            Err(Failure::Transient(_)) if backoff.wait() => source = RedisSource::of(session),
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
    mut source: RedisSource,
    recovery: &mut Option<Recovery>,
    token: &str,
    replay: &mut dyn Replay,
) -> Result<ClaimedJournal, Failure> {
    let server = Server::ask(&mut source.connection)?;
    server.check(source.session.ack)?;
    let earlier = state::read(&mut source.connection, &source.session.keys, &source.session.ledger)?;
    if earlier.is_none() {
        // A refusal of a new ledger leaves the server as it was, without the functions too.
        replay.admit()?;
    }
    functions::ensure(&mut source.connection, &source.session.keys)?;
    let recovery = match recovery {
        Some(recovery) => recovery,
        none => none.insert(Recovery::begin(&mut source, earlier.as_ref(), replay)?),
    };
    recovery.read_on(&mut source, replay)?;
    let later = state::read(&mut source.connection, &source.session.keys, &source.session.ledger)?;
    recovery.walk.compare(&source.session, earlier.as_ref(), later.as_ref())?;
    for claims in 0.. {
        replay.admit()?;
        if let Some(claim) = try_claim(&mut source, &server, &recovery.walk, token)? {
            return Ok(ClaimedJournal { source, server, claim });
        }
        // The previous writer still appends: read on, and try again.
        match claims.cmp(&CLAIMS_BEFORE_SEAL) {
            Ordering::Less => {}
            Ordering::Equal => seal(&mut source, &server, token)?,
            Ordering::Greater => break,
        }
        recovery.read_on(&mut source, replay)?;
    }
    let directory = format!("{} of Redis at {}", source.session.keys.frames, source.connection.server());
    Err(Failure::Transient(JournalError::Locked { directory, owner: "another server that is starting".into() }))
}

fn seal(RedisSource { session, connection }: &mut RedisSource, server: &Server, token: &str) -> Result<(), Failure> {
    let owner = Owner { token: token.into(), epoch: 0 };
    session.execute(connection, &functions::seal(&session.keys, token), server, &owner).map(drop)
}

/// Claims the next epoch if the journal still ends at the position it was read to; `None` if not.
fn try_claim(
    RedisSource { session, connection }: &mut RedisSource,
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
