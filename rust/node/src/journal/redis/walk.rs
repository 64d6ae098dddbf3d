//! The one walk over the frames of a stream that opening, copying and verifying share: every entry in order, every rule
//! checked. It reads and never writes.

use super::connection::Link;
use super::entries::{Entry, From, Pace, accept, corrupt, line_before, page};
use super::keys::Id;
use super::session::Session;
use super::state::{Position, Stored};
use super::trouble::Fault;
use crate::journal::frame::Decoded;
use crate::journal::line::Line;
use crate::journal::{JournalError, Mark};

/// Called with each entry, its frame, and whether the place that the walk goes to was reached before it; false ends the walk.
pub type Visit<'v> = dyn FnMut(&Entry, &Decoded<'_>, bool) -> Result<bool, JournalError> + 'v;

/// How far a stream was read.
pub struct Walk {
    /// What the next frame must continue.
    pub(in crate::journal) line: Line,
    /// Entries before it, trimmed ones included; not known before the mark is reached.
    pub entries: u64,
    last: Option<Id>,
    pace: Pace,
    /// The place that it goes to and did not reach yet.
    mark: Option<Mark>,
}

impl Walk {
    /// Before the first frame of all.
    pub fn start(ledger: &str) -> Self {
        Self::before_first(Line::start(ledger))
    }

    /// Behind a mark.
    pub fn behind(mark: &Mark) -> Self {
        Self { line: mark.line, entries: mark.frames, last: Some(Id::before(mark)), pace: Pace::start(), mark: None }
    }

    /// Before the first entry that is there, which continues this line.
    pub(in crate::journal) fn before_first(line: Line) -> Self {
        Self { line, entries: 0, last: None, pace: Pace::start(), mark: None }
    }

    /// Before the first entry that is still there, wherever that stands, on the way to a mark.
    pub fn from_first(session: &Session, link: &mut Link, mark: Option<&Mark>) -> Result<Self, Fault> {
        let first = first(session, link)?;
        let line = first.map(|entry| line_before(&entry, &session.keys, &session.ledger)).transpose();
        let line = line.map_err(Fault::Lasting)?;
        // Without any entry it is at the mark already.
        let line = line.or(mark.map(|mark| mark.line)).unwrap_or_else(|| Line::start(&session.ledger));
        let mut walk = Self { mark: mark.copied(), ..Self::before_first(line) };
        walk.note_mark();
        Ok(walk)
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        Position::of(&self.line, self.entries)
    }

    /// Whether it has been where it goes to.
    pub fn has_reached(&self) -> bool {
        self.mark.is_none()
    }

    /// The entry it read last.
    pub fn last(&self) -> Id {
        self.last.unwrap_or_default()
    }

    /// The chain stands for all history, so it tells the mark; time and epoch are unknown before the first frame that was read.
    fn note_mark(&mut self) {
        let is_there =
            |mark: &Mark| mark.line.chain == self.line.chain && mark.line.next_sequence == self.line.next_sequence;
        if let Some(mark) = self.mark.take_if(|mark| is_there(mark)) {
            self.line = mark.line;
            self.entries = mark.frames;
        }
    }

    /// Reads everything that follows, to the end of the stream or until `visit` says that it is enough.
    pub fn read_on(&mut self, session: &Session, link: &mut Link, visit: &mut Visit<'_>) -> Result<(), Fault> {
        loop {
            let from = self.last.map_or(From::At(Id::default()), From::After);
            let page = page(link, &session.keys, from, &mut self.pace)?;
            for entry in &page.entries {
                let decoded = accept(&mut self.line, entry, &session.keys).map_err(Fault::Lasting)?;
                self.last = Some(entry.id);
                let goes_on = visit(entry, &decoded, self.has_reached()).map_err(Fault::Lasting)?;
                self.entries += 1;
                self.note_mark();
                if !goes_on {
                    return Ok(());
                }
            }
            if page.is_last {
                return Ok(());
            }
        }
    }

    /// Refuses a journal whose frames and state, read before and after them, do not fit together.
    pub fn compare(&self, session: &Session, earlier: Option<&Stored>, later: Option<&Stored>) -> Result<(), Fault> {
        let entries_of = |stored: Option<&Stored>| stored.map_or(0, |stored| stored.end.entries);
        let broken = |why: &str| Err(Fault::Lasting(corrupt(&session.keys, &self.last().to_string(), why)));
        if !self.has_reached() {
            return broken("the snapshot to begin with stands nowhere before it");
        }
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

/// The first entry that is still there.
pub fn first(session: &Session, link: &mut Link) -> Result<Option<Entry>, Fault> {
    let page = page(link, &session.keys, From::At(Id::default()), &mut Pace::one())?;
    Ok(page.entries.into_iter().next())
}
