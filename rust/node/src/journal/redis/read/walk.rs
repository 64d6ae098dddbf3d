//! Walks a stream for the one walk of all journals. It reads and never writes; an entry that is not a valid next frame is damage.

use super::entries::{PageSize, PageStart, StreamEntry, corrupt, decoded, page, tip_before};
use crate::journal::chain_tip::ChainTip;
use crate::journal::redis::connection::errors::Failure;
use crate::journal::redis::connection::keys::EntryId;
use crate::journal::redis::connection::session::{RedisSource, Session};
use crate::journal::redis::connection::state::{RedisPosition, StoredState};
use crate::journal::walk::{Walk, WalkVisitor};
use crate::journal::{JournalError, JournalPosition};

/// How far a stream was read.
pub struct StreamWalk {
    pub(in crate::journal) walk: Walk,
    last: Option<EntryId>,
    page_size: PageSize,
    /// The last sequence and the highest epoch to read.
    limit: Option<(u64, u64)>,
}

impl StreamWalk {
    /// Starts before the first entry that is stored, which continues this position.
    pub fn start(position: JournalPosition) -> Self {
        Self { walk: Walk::from(position), last: None, page_size: PageSize::start(), limit: None }
    }

    /// Starts after a position.
    pub fn after(position: &JournalPosition) -> Self {
        Self { last: Some(EntryId::before(position)), ..Self::start(*position) }
    }

    /// Starts before the first entry that is still stored, whatever its id, and walks towards a position if there is one.
    pub fn from_first(
        source: &mut RedisSource,
        stored: &StoredState,
        target: Option<&JournalPosition>,
    ) -> Result<Self, Failure> {
        let (first, session) = (first(source)?, &source.session);
        let tip = first.map(|entry| tip_before(&entry, &session.keys, &session.ledger)).transpose()?;
        // Time and epoch before the first entry are unknown, but the chain represents all earlier frames, so it identifies the
        // position. Without any entry the target is reached already.
        let is_there = |target: &&JournalPosition| {
            tip.is_none_or(|tip| target.tip.chain == tip.chain && target.tip.next_sequence == tip.next_sequence)
        };
        let known = target.filter(is_there).map(|target| target.tip);
        let tip = known.or(tip).unwrap_or_else(|| ChainTip::start(&session.ledger));
        let walk = Self::start(JournalPosition { tip, frames: stored.trimmed });
        Ok(match target {
            Some(target) => Self { walk: Walk::towards(tip, *target), ..walk },
            None => walk,
        })
    }

    /// Ends before the first frame that has a later sequence or a higher epoch.
    pub fn up_to(self, sequence: u64, epoch: u64) -> Self {
        Self { limit: Some((sequence, epoch)), ..self }
    }

    /// The position it has reached.
    pub fn position(&self) -> RedisPosition {
        RedisPosition::of(self.walk.tip(), self.walk.position().frames)
    }

    /// Id of the entry that it read last.
    pub fn last(&self) -> EntryId {
        self.last.unwrap_or_default()
    }

    /// Reads everything that follows, to the end of the stream or until `visit` returns false. `journal` is its name for messages.
    pub(in crate::journal) fn read_on(
        &mut self,
        source: &mut RedisSource,
        journal: &str,
        visit: &mut WalkVisitor<'_>,
    ) -> Result<(), Failure> {
        while self.read_page(source, journal, visit)? {}
        Ok(())
    }

    /// The same for one page; returns whether there may be more.
    pub(in crate::journal) fn read_page(
        &mut self,
        source: &mut RedisSource,
        journal: &str,
        visit: &mut WalkVisitor<'_>,
    ) -> Result<bool, Failure> {
        let from = self.last.map_or(PageStart::At(EntryId::default()), PageStart::After);
        let page = page(source, from, &mut self.page_size)?;
        let keys = &source.session.keys;
        for entry in &page.entries {
            let frame = decoded(entry, keys)?;
            let (sequence, epoch) = (frame.header.last_sequence, frame.header.writer_epoch);
            if self.limit.is_some_and(|limit| sequence > limit.0 || epoch > limit.1) {
                return Ok(false);
            }
            self.walk.accept(&frame).map_err(|why| corrupt(keys, entry.id, why))?;
            self.last = Some(entry.id);
            if !self.walk.pass(frame, &format_args!("entry {} of {journal}", entry.id), 0, visit)? {
                return Ok(false);
            }
        }
        Ok(!page.is_last)
    }

    /// Refuses a journal whose frames do not match the state read before and after them.
    pub fn compare(
        &self,
        session: &Session,
        earlier: Option<&StoredState>,
        later: Option<&StoredState>,
    ) -> Result<(), JournalError> {
        let entries_of = |stored: Option<&StoredState>| stored.map_or(0, |stored| stored.end.entries);
        let broken = |why: &str| Err(corrupt(&session.keys, self.last(), why));
        let end = self.position();
        if !self.walk.has_reached() {
            return broken("the snapshot to begin with does not match any position before it");
        }
        if entries_of(earlier) > end.entries {
            return broken("entries after it are gone");
        }
        match later {
            Some(later) if later.end.entries < end.entries => broken("the state does not include it"),
            Some(later) if later.end.entries > end.entries => Ok(()),
            Some(later) if later.end != end || later.epoch != self.walk.tip().writer_epoch => {
                broken("the state does not match it")
            }
            None if end.entries > 0 => broken("the state is gone"),
            _ => Ok(()),
        }
    }
}

/// The first entry that is still stored.
pub fn first(source: &mut RedisSource) -> Result<Option<StreamEntry>, Failure> {
    let page = page(source, PageStart::At(EntryId::default()), &mut PageSize::one())?;
    Ok(page.entries.into_iter().next())
}
