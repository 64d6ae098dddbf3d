//! Reads a Redis journal while it grows, on a connection of its own and never beyond what its writer knows to be durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::connection::Link;
use super::entries::{Entry, From, Pace, Page, accept, corrupt, decoded, line_before, page};
use super::keys::Id;
use super::session::Session;
use super::state;
use super::trouble::Fault;
use crate::journal::frame::FrameHeader;
use crate::journal::line::Line;
use crate::journal::{Frame, JournalError, JournalReader, Mark};

/// Once in vain is a connection that broke meanwhile; twice is a server that is not there.
const ATTEMPTS: usize = 2;

/// A reader of the durable part of a Redis journal.
pub struct RedisReader {
    session: Arc<Session>,
    durable: Arc<AtomicU64>,
    writer_epoch: u64,
    link: Option<Link>,
    pace: Pace,
    at: Option<At>,
}

/// Behind the last entry that was taken.
#[derive(Clone, Copy)]
struct At {
    line: Line,
    id: Id,
}

/// Whether reading goes on.
#[derive(PartialEq, Eq)]
enum Next {
    More,
    End,
}

impl RedisReader {
    /// A reader for as long as the journal belongs to this epoch.
    pub fn new(session: Arc<Session>, durable: Arc<AtomicU64>, writer_epoch: u64) -> Self {
        Self { session, durable, writer_epoch, link: None, pace: Pace::start(), at: None }
    }

    fn page(&mut self, from: From) -> Result<Page, JournalError> {
        let mut pace = self.pace;
        let page = self.on_link(&mut |session, link| page(link, &session.keys, from, &mut pace))?;
        self.pace = pace;
        Ok(page)
    }

    /// Asks something on a connection, once more if that broke.
    fn on_link<T>(&mut self, ask: &mut dyn FnMut(&Session, &mut Link) -> Result<T, Fault>) -> Result<T, JournalError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.try_on_link(ask) {
                Err(Fault::Passing(_)) if attempts < ATTEMPTS => self.link = None,
                Err(fault) => {
                    self.link = None;
                    return Err(fault.error());
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    fn try_on_link<T>(&mut self, ask: &mut dyn FnMut(&Session, &mut Link) -> Result<T, Fault>) -> Result<T, Fault> {
        let link = match &mut self.link {
            Some(link) => link,
            none => none.insert(self.session.place.connect()?),
        };
        ask(&self.session, link)
    }

    /// The entry that comes first in the stream, and how many before it were trimmed.
    fn beginning(&mut self) -> Result<(Option<Entry>, u64), JournalError> {
        self.on_link(&mut |session, link| {
            let first =
                page(link, &session.keys, From::At(Id::default()), &mut Pace::one())?.entries.into_iter().next();
            let trimmed = state::field(link, &session.keys, "trimmed")?;
            Ok((first, trimmed.parse().unwrap_or(0)))
        })
    }

    /// The first sequence that is still there.
    pub fn first_sequence(&mut self) -> Result<u64, JournalError> {
        match self.beginning()?.0 {
            Some(first) => Ok(decoded(&first, &self.session.keys)?.header.first_sequence),
            None => Ok(1),
        }
    }

    /// Why a sequence is not where it should be: history that was trimmed, or damage before an entry.
    fn missing(&mut self, sequence: u64, before: Id) -> JournalError {
        match self.beginning() {
            Ok((Some(first), 1..)) if first.id >= before => match decoded(&first, &self.session.keys) {
                Ok(frame) => JournalError::Trimmed { sequence, first_sequence: frame.header.first_sequence },
                Err(error) => error,
            },
            Ok(_) => corrupt(&self.session.keys, &before.to_string(), "entries before it are gone"),
            Err(error) => error,
        }
    }

    /// Hands out the entries of one page, as far as they are durable and wanted.
    fn hand_out(
        &mut self,
        entries: &[Entry],
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
            let mut line = match &self.at {
                Some(at) if at.line.next_sequence < header.first_sequence => {
                    let next = at.line.next_sequence;
                    return Err(self.missing(next, entry.id));
                }
                Some(at) => at.line,
                None if sequence.max(1) < header.first_sequence => return Err(self.missing(sequence, entry.id)),
                None => line_before(entry, keys, &self.session.ledger)?,
            };
            let keys = &self.session.keys;
            let frame = accept(&mut line, entry, keys)?;
            if header.last_sequence >= sequence && !f(frame.frame()) {
                // The caller may ask for this very frame again.
                return Ok(Next::End);
            }
            self.at = Some(At { line, id: entry.id });
        }
        Ok(Next::More)
    }

    /// What another writer appended after this one was fenced was never durable for this one.
    fn is_durable(&self, header: &FrameHeader, durable: u64) -> bool {
        header.last_sequence <= durable && header.writer_epoch <= self.writer_epoch
    }

    /// Calls `f` with every durable frame behind a mark until it returns false; answers the mark behind the last one that `f`
    /// saw, and the bytes of those that it saw.
    pub fn read_after(
        &mut self,
        mark: &Mark,
        f: &mut dyn FnMut(Frame<'_>) -> bool,
    ) -> Result<(Mark, u64), JournalError> {
        let durable = self.durable.load(Ordering::Acquire);
        let (mut reached, mut bytes, mut last) = (*mark, 0, Id::before(mark));
        loop {
            let page = self.page(From::After(last))?;
            for entry in &page.entries {
                let keys = &self.session.keys;
                if !self.is_durable(&decoded(entry, keys)?.header, durable) {
                    return Ok((reached, bytes));
                }
                let frame = accept(&mut reached.line, entry, keys)?;
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

    /// A durable event was not found.
    fn gone(&self, last_seen: u64, durable: u64) -> JournalError {
        let server = self.session.place.address.to_string();
        let why = format!("events {} to {durable} are not there", last_seen + 1);
        JournalError::Lost { server, ledger: self.session.ledger.clone(), why }
    }
}

impl JournalReader for RedisReader {
    fn read_from(&mut self, sequence: u64, f: &mut dyn FnMut(Frame<'_>) -> bool) -> Result<(), JournalError> {
        let durable = self.durable.load(Ordering::Acquire);
        if self.at.is_some() && sequence > durable {
            return Ok(());
        }
        // Seeking costs one round trip, reading on from further back could cost thousands.
        self.at = self.at.filter(|at| at.line.next_sequence == sequence);
        // Ids start with the last sequence: the first id from here on is the frame that holds the sequence.
        let start = Id { sequence, claim: 0 };
        loop {
            let from = self.at.map_or(From::At(start), |at| From::After(at.id));
            let page = self.page(from)?;
            if self.hand_out(&page.entries, sequence, durable, f)? == Next::End {
                return Ok(());
            }
            if page.is_last {
                let seen = self.at.map_or(sequence.saturating_sub(1), |at| at.line.next_sequence - 1);
                return if seen < durable { Err(self.gone(seen, durable)) } else { Ok(()) };
            }
        }
    }
}
