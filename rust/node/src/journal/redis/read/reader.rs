//! Reads a Redis journal while it grows, on a connection of its own and never beyond what its writer knows to be durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entries::{EntryPage, PageSize, PageStart, StreamEntry, corrupt, decoded, page, tip_before};
use super::walk::{StreamWalk, first};
use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::FrameHeader;
use crate::journal::redis::connection::keys::EntryId;
use crate::journal::redis::connection::session::{Reconnecting, RedisSource, Session};
use crate::journal::redis::connection::state;
use crate::journal::walk::WalkedFrame;
use crate::journal::{Frame, JournalError, JournalPosition, JournalReader};

/// A reader of the durable part of a Redis journal.
pub struct RedisReader {
    link: Reconnecting<RedisSource>,
    durable: Arc<AtomicU64>,
    writer_epoch: u64,
    page_size: PageSize,
    at: Option<At>,
}

/// The position after the last entry that was passed on.
#[derive(Clone, Copy)]
struct At {
    tip: ChainTip,
    id: EntryId,
}

impl RedisReader {
    /// A reader of what was written up to this epoch.
    pub fn new(session: Arc<Session>, durable: Arc<AtomicU64>, writer_epoch: u64) -> Self {
        let link = Reconnecting::new(session, RedisSource::of);
        Self { link, durable, writer_epoch, page_size: PageSize::start(), at: None }
    }

    fn page(&mut self, from: PageStart) -> Result<EntryPage, JournalError> {
        let page_size = &mut self.page_size;
        Ok(self.link.run(&mut |source| page(source, from, page_size))?)
    }

    /// The first entry of the stream, and the number of entries trimmed before it.
    fn beginning(&mut self) -> Result<(Option<StreamEntry>, u64), JournalError> {
        Ok(self.link.run(&mut |source| {
            let first = first(source)?;
            let trimmed = state::field(&mut source.connection, &source.session.keys, "trimmed")?;
            Ok((first, trimmed.parse().unwrap_or(0)))
        })?)
    }

    /// The first sequence that is still stored.
    pub fn first_sequence(&mut self) -> Result<u64, JournalError> {
        match self.beginning()?.0 {
            Some(first) => Ok(decoded(&first, &self.link.session.keys)?.header.first_sequence),
            None => Ok(1),
        }
    }

    /// Why a sequence is missing: it was trimmed, or there is damage before an entry.
    fn missing(&mut self, sequence: u64, before: EntryId) -> JournalError {
        match self.beginning() {
            Ok((Some(first), 1..)) if first.id >= before => match decoded(&first, &self.link.session.keys) {
                Ok(frame) => JournalError::Trimmed { sequence, first_sequence: frame.header.first_sequence },
                Err(error) => error,
            },
            Ok(_) => corrupt(&self.link.session.keys, before, "entries before it are gone"),
            Err(error) => error,
        }
    }

    /// Passes the entries of one page to `f`, as far as they are durable and wanted; returns whether reading continues.
    fn pass_on(
        &mut self,
        entries: &[StreamEntry],
        sequence: u64,
        durable: u64,
        f: &mut dyn FnMut(Frame<'_>) -> bool,
    ) -> Result<bool, JournalError> {
        let session = Arc::clone(&self.link.session);
        for entry in entries {
            let frame = decoded(entry, &session.keys)?;
            let header = frame.header;
            if !self.is_durable(&header, durable) {
                return Ok(false);
            }
            let mut tip = match &self.at {
                Some(at) if at.tip.next_sequence < header.first_sequence => {
                    let next = at.tip.next_sequence;
                    return Err(self.missing(next, entry.id));
                }
                Some(at) => at.tip,
                None if sequence.max(1) < header.first_sequence => return Err(self.missing(sequence, entry.id)),
                None => tip_before(entry, &session.keys, &session.ledger)?,
            };
            tip.accept(&frame).map_err(|why| corrupt(&session.keys, entry.id, why))?;
            if header.last_sequence >= sequence && !f(frame.frame()) {
                // The caller may ask for this very frame again.
                return Ok(false);
            }
            self.at = Some(At { tip, id: entry.id });
        }
        Ok(true)
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
        let (mut walk, mut bytes) = (StreamWalk::after(position).up_to(durable, self.writer_epoch), 0);
        let visit = &mut |frame: &WalkedFrame<'_>| {
            bytes += frame.decoded.bytes.len() as u64;
            Ok(f(frame.decoded.frame()))
        };
        while self.link.run(&mut |source| walk.read_page(source, "", visit))? {}
        Ok((walk.walk.position(), bytes))
    }

    /// The error for a durable event that was not found.
    fn gone(&self, last_seen: u64, durable: u64) -> JournalError {
        let session = &self.link.session;
        let why = format!("events {} to {durable} are missing", last_seen + 1);
        JournalError::Lost { server: session.target.address.to_string(), ledger: session.ledger.clone(), why }
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
            if !self.pass_on(&page.entries, sequence, durable, f)? {
                return Ok(());
            }
            if page.is_last {
                let seen = self.at.map_or(sequence.saturating_sub(1), |at| at.tip.next_sequence - 1);
                return if seen < durable { Err(self.gone(seen, durable)) } else { Ok(()) };
            }
        }
    }
}
