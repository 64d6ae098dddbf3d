//! The one walk over the frames of a stream that opening, copying and verifying share: every entry in order, every rule
//! checked. It reads and never writes.

use super::entries::{PageSize, PageStart, StreamEntry, accept, corrupt, page, tip_before};
use crate::journal::chain_tip::ChainTip;
use crate::journal::frame::DecodedFrame;
use crate::journal::redis::connection::Connection;
use crate::journal::redis::connection::errors::Failure;
use crate::journal::redis::connection::keys::EntryId;
use crate::journal::redis::connection::session::Session;
use crate::journal::redis::connection::state::{RedisPosition, StoredState};
use crate::journal::{JournalError, JournalPosition};

/// Called with each entry, its frame, and whether the target position was reached before it; false ends the walk.
pub type EntryVisitor<'v> = dyn FnMut(&StreamEntry, &DecodedFrame<'_>, bool) -> Result<bool, JournalError> + 'v;

/// How far a stream was read.
pub struct Walk {
    /// What the next frame must continue.
    pub(in crate::journal) tip: ChainTip,
    /// Entries before it, trimmed ones included; not known before the position is reached.
    pub entries: u64,
    last: Option<EntryId>,
    page_size: PageSize,
    /// The target position, until it is reached.
    position: Option<JournalPosition>,
}

impl Walk {
    /// Starts before the very first frame.
    pub fn start(ledger: &str) -> Self {
        Self::before_first(ChainTip::start(ledger))
    }

    /// Starts after a position.
    pub fn after(position: &JournalPosition) -> Self {
        Self {
            tip: position.tip,
            entries: position.frames,
            last: Some(EntryId::before(position)),
            page_size: PageSize::start(),
            position: None,
        }
    }

    /// Starts before the first entry that is stored, which continues this tip.
    pub(in crate::journal) fn before_first(tip: ChainTip) -> Self {
        Self { tip, entries: 0, last: None, page_size: PageSize::start(), position: None }
    }

    /// Starts before the first entry that is still stored, whatever its id, and walks towards a position.
    pub fn from_first(
        session: &Session,
        connection: &mut Connection,
        position: Option<&JournalPosition>,
    ) -> Result<Self, Failure> {
        let first = first(session, connection)?;
        let tip = first.map(|entry| tip_before(&entry, &session.keys, &session.ledger)).transpose();
        let tip = tip.map_err(Failure::Permanent)?;
        // Without any entry it has already reached the position.
        let tip = tip.or(position.map(|position| position.tip)).unwrap_or_else(|| ChainTip::start(&session.ledger));
        let mut walk = Self { position: position.copied(), ..Self::before_first(tip) };
        walk.note_position();
        Ok(walk)
    }

    /// The position it has reached.
    pub fn position(&self) -> RedisPosition {
        RedisPosition::of(&self.tip, self.entries)
    }

    /// Whether it has reached its target position.
    pub fn has_reached(&self) -> bool {
        self.position.is_none()
    }

    /// Id of the entry that it read last.
    pub fn last(&self) -> EntryId {
        self.last.unwrap_or_default()
    }

    /// The chain represents all earlier frames, so it identifies the position; time and epoch are unknown before the first
    /// frame was read.
    fn note_position(&mut self) {
        let is_there = |position: &JournalPosition| {
            position.tip.chain == self.tip.chain && position.tip.next_sequence == self.tip.next_sequence
        };
        if let Some(position) = self.position.take_if(|position| is_there(position)) {
            self.tip = position.tip;
            self.entries = position.frames;
        }
    }

    /// Reads everything that follows, to the end of the stream or until `visit` returns false.
    pub fn read_on(
        &mut self,
        session: &Session,
        connection: &mut Connection,
        visit: &mut EntryVisitor<'_>,
    ) -> Result<(), Failure> {
        loop {
            let from = self.last.map_or(PageStart::At(EntryId::default()), PageStart::After);
            let page = page(connection, &session.keys, from, &mut self.page_size)?;
            for entry in &page.entries {
                let decoded = accept(&mut self.tip, entry, &session.keys).map_err(Failure::Permanent)?;
                self.last = Some(entry.id);
                let goes_on = visit(entry, &decoded, self.has_reached()).map_err(Failure::Permanent)?;
                self.entries += 1;
                self.note_position();
                if !goes_on {
                    return Ok(());
                }
            }
            if page.is_last {
                return Ok(());
            }
        }
    }

    /// Refuses a journal whose frames do not match the state read before and after them.
    pub fn compare(
        &self,
        session: &Session,
        earlier: Option<&StoredState>,
        later: Option<&StoredState>,
    ) -> Result<(), Failure> {
        let entries_of = |stored: Option<&StoredState>| stored.map_or(0, |stored| stored.end.entries);
        let broken = |why: &str| Err(Failure::Permanent(corrupt(&session.keys, &self.last().to_string(), why)));
        if !self.has_reached() {
            return broken("the snapshot to begin with does not match any position before it");
        }
        if entries_of(earlier) > self.entries {
            return broken("entries after it are gone");
        }
        match later {
            Some(later) if later.end.entries < self.entries => broken("the state does not include it"),
            Some(later) if later.end.entries > self.entries => Ok(()),
            Some(later) if later.end != self.position() || later.epoch != self.tip.writer_epoch => {
                broken("the state does not match it")
            }
            None if self.entries > 0 => broken("the state is gone"),
            _ => Ok(()),
        }
    }
}

/// The first entry that is still stored.
pub fn first(session: &Session, connection: &mut Connection) -> Result<Option<StreamEntry>, Failure> {
    let page = page(connection, &session.keys, PageStart::At(EntryId::default()), &mut PageSize::one())?;
    Ok(page.entries.into_iter().next())
}
