//! Reads a Redis journal while it grows, on a connection of its own and never beyond what its writer knows to be durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entries::{EntryPage, PageSize, PageStart, StreamEntry, accept, corrupt, decoded, page, tip_before};
use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::FrameHeader;
use crate::journal::redis::connection::Connection;
use crate::journal::redis::connection::errors::Failure;
use crate::journal::redis::connection::keys::EntryId;
use crate::journal::redis::connection::session::Session;
use crate::journal::redis::connection::state;
use crate::journal::{Frame, JournalError, JournalPosition, JournalReader};

/// One failure may be a connection that broke meanwhile; two mean that the server is unreachable.
const ATTEMPTS: usize = 2;

/// A reader of the durable part of a Redis journal.
pub struct RedisReader {
    session: Arc<Session>,
    durable: Arc<AtomicU64>,
    writer_epoch: u64,
    connection: Option<Connection>,
    page_size: PageSize,
    at: Option<At>,
}

/// The position after the last entry that was passed on.
#[derive(Clone, Copy)]
struct At {
    tip: ChainTip,
    id: EntryId,
}

/// Whether reading continues.
#[derive(PartialEq, Eq)]
enum Next {
    More,
    End,
}

impl RedisReader {
    /// A reader of what was written up to this epoch.
    pub fn new(session: Arc<Session>, durable: Arc<AtomicU64>, writer_epoch: u64) -> Self {
        Self { session, durable, writer_epoch, connection: None, page_size: PageSize::start(), at: None }
    }

    fn page(&mut self, from: PageStart) -> Result<EntryPage, JournalError> {
        let mut page_size = self.page_size;
        let page =
            self.on_connection(&mut |session, connection| page(connection, &session.keys, from, &mut page_size))?;
        self.page_size = page_size;
        Ok(page)
    }

    /// Runs a query on a connection, once more if the connection broke.
    fn on_connection<T>(
        &mut self,
        query: &mut dyn FnMut(&Session, &mut Connection) -> Result<T, Failure>,
    ) -> Result<T, JournalError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.try_on_connection(query) {
                Err(Failure::Transient(_)) if attempts < ATTEMPTS => self.connection = None,
                Err(failure) => {
                    self.connection = None;
                    return Err(failure.into_error());
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    fn try_on_connection<T>(
        &mut self,
        query: &mut dyn FnMut(&Session, &mut Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.session.target.connect()?),
        };
        query(&self.session, connection)
    }

    /// The first entry of the stream, and the number of entries trimmed before it.
    fn beginning(&mut self) -> Result<(Option<StreamEntry>, u64), JournalError> {
        self.on_connection(&mut |session, connection| {
            let first = page(connection, &session.keys, PageStart::At(EntryId::default()), &mut PageSize::one())?
                .entries
                .into_iter()
                .next();
            let trimmed = state::field(connection, &session.keys, "trimmed")?;
            Ok((first, trimmed.parse().unwrap_or(0)))
        })
    }

    /// The first sequence that is still stored.
    pub fn first_sequence(&mut self) -> Result<u64, JournalError> {
        match self.beginning()?.0 {
            Some(first) => Ok(decoded(&first, &self.session.keys)?.header.first_sequence),
            None => Ok(1),
        }
    }

    /// Why a sequence is missing: it was trimmed, or there is damage before an entry.
    fn missing(&mut self, sequence: u64, before: EntryId) -> JournalError {
        match self.beginning() {
            Ok((Some(first), 1..)) if first.id >= before => match decoded(&first, &self.session.keys) {
                Ok(frame) => JournalError::Trimmed { sequence, first_sequence: frame.header.first_sequence },
                Err(error) => error,
            },
            Ok(_) => corrupt(&self.session.keys, &before.to_string(), "entries before it are gone"),
            Err(error) => error,
        }
    }

    /// Passes the entries of one page to `f`, as far as they are durable and wanted.
    fn pass_on(
        &mut self,
        entries: &[StreamEntry],
        sequence: u64,
        durable: u64,
        f: &mut dyn FnMut(Frame<'_>) -> bool,
    ) -> Result<Next, JournalError> {
        for entry in entries {
            let keys = &self.session.keys;
            let header = decoded(entry, keys)?.header;
            if !self.is_durable(&header, durable) {
                return Ok(Next::End);
            }
            let mut tip = match &self.at {
                Some(at) if at.tip.next_sequence < header.first_sequence => {
                    let next = at.tip.next_sequence;
                    return Err(self.missing(next, entry.id));
                }
                Some(at) => at.tip,
                None if sequence.max(1) < header.first_sequence => return Err(self.missing(sequence, entry.id)),
                None => tip_before(entry, keys, &self.session.ledger)?,
            };
            let keys = &self.session.keys;
            let frame = accept(&mut tip, entry, keys)?;
            if header.last_sequence >= sequence && !f(frame.frame()) {
                // The caller may ask for this very frame again.
                return Ok(Next::End);
            }
            self.at = Some(At { tip, id: entry.id });
        }
        Ok(Next::More)
    }

    /// What another writer appended after this one was fenced does not count as durable here.
    fn is_durable(&self, header: &FrameHeader, durable: u64) -> bool {
        header.last_sequence <= durable && header.writer_epoch <= self.writer_epoch
    }

    /// Calls `f` with every durable frame after a position until it returns false; returns the position after the last one that
    /// `f` saw, and the bytes of those that it saw.
    pub fn read_after(
        &mut self,
        position: &JournalPosition,
        f: &mut dyn FnMut(Frame<'_>) -> bool,
    ) -> Result<(JournalPosition, u64), JournalError> {
        let durable = self.durable.load(Ordering::Acquire);
        let (mut reached, mut bytes, mut last) = (*position, 0, EntryId::before(position));
        loop {
            let page = self.page(PageStart::After(last))?;
            for entry in &page.entries {
                let keys = &self.session.keys;
                if !self.is_durable(&decoded(entry, keys)?.header, durable) {
                    return Ok((reached, bytes));
                }
                let frame = accept(&mut reached.tip, entry, keys)?;
                reached.frames += 1;
                bytes += entry.frame.len() as u64;
                last = entry.id;
                if !f(frame.frame()) {
                    return Ok((reached, bytes));
                }
            }
            if page.is_last {
                return Ok((reached, bytes));
            }
        }
    }

    /// The error for a durable event that was not found.
    fn gone(&self, last_seen: u64, durable: u64) -> JournalError {
        let server = self.session.target.address.to_string();
        let why = format!("events {} to {durable} are missing", last_seen + 1);
        JournalError::Lost { server, ledger: self.session.ledger.clone(), why }
    }
}

impl JournalReader for RedisReader {
    fn read_from(&mut self, sequence: u64, f: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<(), JournalError> {
        let durable = self.durable.load(Ordering::Acquire);
        if self.at.is_some() && sequence > durable {
            return Ok(());
        }
        // Seeking costs one round trip; reading on from further back could cost thousands.
        self.at = self.at.filter(|at| at.tip.next_sequence == sequence);
        // Ids start with the last sequence: the first id from here on is the frame that holds the sequence.
        let start = EntryId { sequence, claim: 0 };
        loop {
            let from = self.at.map_or(PageStart::At(start), |at| PageStart::After(at.id));
            let page = self.page(from)?;
            if self.pass_on(&page.entries, sequence, durable, f)? == Next::End {
                return Ok(());
            }
            if page.is_last {
                let seen = self.at.map_or(sequence.saturating_sub(1), |at| at.tip.next_sequence - 1);
                return if seen < durable { Err(self.gone(seen, durable)) } else { Ok(()) };
            }
        }
    }
}
