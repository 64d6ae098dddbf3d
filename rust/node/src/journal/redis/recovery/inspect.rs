//! Inspects a journal in Redis that may be damaged.

use super::Recovery;
use crate::journal::FrameVisitor;
use crate::journal::frame::ledger_id;
use crate::journal::inspect::{AfterDamage, Damage, Inspection, StoredSnapshot, WalkSummary};
use crate::journal::redis::connection::keys::EntryId;
use crate::journal::redis::connection::session::RedisSource;
use crate::journal::redis::connection::state::StoredState;
use crate::journal::redis::read::entries::{PageSize, PageStart, decoded, page};
use crate::journal::redis::read::walk::{StreamWalk, first};
use crate::journal::redis::snapshot::locations::{self, LocationContent, PieceReader};
use crate::journal::{JournalError, JournalPosition, Manifest, Replay};

/// One journal in Redis.
pub struct RedisInspection<'s> {
    source: &'s mut RedisSource,
    ledger: String,
    stored: StoredState,
    /// The first entry that is stored.
    first: EntryId,
    first_sequence: u64,
    /// Where to continue after the damage that was found.
    resume_at: PageStart,
}

impl<'s> RedisInspection<'s> {
    /// Opens the journal for inspection.
    ///
    /// # Errors
    /// There is no journal, something else has its keys, or the server does not answer.
    pub fn of(source: &'s mut RedisSource) -> Result<Self, JournalError> {
        let stored = source.stored()?;
        let entry = first(source);
        let (first, first_sequence) = match entry.map_err(JournalError::from) {
            Ok(Some(entry)) => {
                let frame = decoded(&entry, &source.session.keys).map(|frame| frame.header.first_sequence);
                (entry.id, frame.unwrap_or(entry.id.sequence))
            }
            Ok(None) => (EntryId::default(), stored.end.last + 1),
            // The walk will report this damage.
            Err(JournalError::CorruptEntry { id, .. }) => (EntryId::parse(&id).unwrap_or_default(), 1),
            Err(other) => return Err(other),
        };
        let ledger = source.ledger().to_owned();
        Ok(Self { source, ledger, stored, first, first_sequence, resume_at: PageStart::At(EntryId::default()) })
    }

    /// The damage that an error reports, if it does.
    fn damage(&self, error: JournalError, last: EntryId) -> Result<Damage, JournalError> {
        let file = format!("{} of Redis at {}", self.source.session.keys.frames, self.source.connection.server());
        match error {
            JournalError::CorruptEntry { id, why, .. } => Ok(Damage { file, offset: 0, entry: Some(id), why }),
            JournalError::Replay { why, .. } => Ok(Damage { file, offset: 0, entry: Some(last.to_string()), why }),
            other => Err(other),
        }
    }

    /// Walks to the end, or until `visit` returns false: then there is no walk to compare.
    fn walk_through(
        &mut self,
        position: Option<&JournalPosition>,
        visit: &mut FrameVisitor<'_>,
    ) -> Result<Option<StreamWalk>, (JournalError, EntryId)> {
        let begun = match self.has_head() {
            true => Ok(StreamWalk::start(JournalPosition::start(&self.ledger))),
            false => StreamWalk::from_first(self.source, &self.stored, position),
        };
        let mut walk = begun.map_err(|failure| (failure.into(), self.first))?;
        let journal = self.source.describe();
        let mut stopped = false;
        let read = walk.read_on(self.source, &journal, &mut |frame| {
            stopped = frame.reached && !visit(frame.decoded.frame(), frame.place, frame.offset)?;
            Ok(!stopped)
        });
        read.map_err(|failure| (failure.into(), walk.last()))?;
        Ok((!stopped).then_some(walk))
    }
}

impl Inspection for RedisInspection<'_> {
    fn ledger(&self) -> &str {
        &self.ledger
    }

    fn has_head(&self) -> bool {
        self.stored.trimmed == 0
    }

    fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    fn parts(&self) -> (&'static str, u64) {
        ("entries", self.stored.end.entries - self.stored.trimmed)
    }

    fn snapshots(&mut self) -> Result<Vec<StoredSnapshot>, JournalError> {
        let keys = self.source.session.keys.clone();
        let mut found = Vec::new();
        for (location, name) in locations::read_locations(self.source)?.into_iter().zip(keys.locations) {
            let manifest = match location.content {
                LocationContent::Snapshot(located) => Ok(located.manifest),
                LocationContent::Bad(error) => Err(error.to_string()),
                LocationContent::Nothing | LocationContent::Unfinished => continue,
            };
            found.push(StoredSnapshot { name, manifest });
        }
        found.sort_by_key(|snapshot| snapshot.manifest.as_ref().map_or(0, |manifest| manifest.position.frames));
        Ok(found)
    }

    fn read(
        &mut self,
        name: &str,
        manifest: &Manifest,
        f: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), JournalError> {
        let bad = |why: String| JournalError::BadSnapshot { file: name.into(), why };
        let locations = locations::read_locations(self.source)?;
        let located = locations::snapshots(&locations).into_iter().find(|located| located.manifest == *manifest);
        let located = located.ok_or_else(|| bad("it is gone".into()))?;
        let mut pieces = PieceReader::of(&located, &self.ledger);
        while let Some(piece) = pieces.next(self.source)? {
            f(&piece).map_err(bad)?;
        }
        Ok(())
    }

    fn is_gone(&mut self, name: &str) -> bool {
        let index = self.source.session.keys.locations.iter().position(|key| key == name);
        let locations = locations::read_locations(self.source);
        let is_there =
            |content: &LocationContent| matches!(content, LocationContent::Snapshot(_) | LocationContent::Bad(_));
        index.zip(locations.ok()).is_some_and(|(index, locations)| !is_there(&locations[index].content))
    }

    fn walk(
        &mut self,
        position: Option<&JournalPosition>,
        visit: &mut FrameVisitor<'_>,
    ) -> Result<(Option<WalkSummary>, Option<Damage>), JournalError> {
        let mut last_sequence = 0;
        let walked = self.walk_through(position, &mut |frame, file, offset| {
            last_sequence = frame.last_sequence;
            visit(frame, file, offset)
        });
        let walked = match walked {
            Err((error, last)) => {
                let damage = self.damage(error, last)?;
                let at = damage.entry.as_deref().and_then(EntryId::parse).unwrap_or(last);
                self.resume_at = PageStart::At(at);
                return Ok((None, Some(damage)));
            }
            Ok(walked) => walked,
        };
        let Some(walk) = walked else { return Ok((Some(WalkSummary { last_sequence, torn_tail: None }), None)) };
        let last_sequence = walk.position().last;
        let ended = Some(WalkSummary { last_sequence, torn_tail: None });
        let stored = self.stored.clone();
        match self.source.compare(&walk, &stored) {
            Ok(()) => Ok((ended, None)),
            Err(error) => {
                self.resume_at = PageStart::After(walk.last());
                Ok((ended, Some(self.damage(error, walk.last())?)))
            }
        }
    }

    fn no_head(&self) -> Damage {
        let why = format!(
            "{} entries before it were trimmed, and there is no good snapshot where the journal begins",
            self.stored.trimmed
        );
        let file = format!("{} of Redis at {}", self.source.session.keys.frames, self.source.connection.server());
        Damage { file, offset: 0, entry: Some(self.first.to_string()), why }
    }

    fn start(&mut self, replay: &mut dyn Replay) -> Result<Option<u64>, JournalError> {
        let stored = self.source.stored()?;
        let mut begun = Recovery::begin(self.source, Some(&stored), replay)?;
        begun.read_on(self.source, replay)?;
        self.source.compare(&begun.walk, &stored)?;
        Ok(begun.snapshot.map(|snapshot| snapshot.position.sequence()))
    }

    /// Checks every entry by itself: one that is not a valid frame does not hide the next one.
    fn after_damage(&mut self, damage: &Damage) -> Result<AfterDamage, JournalError> {
        let mut from = if *damage == self.no_head() { PageStart::At(EntryId::default()) } else { self.resume_at };
        let (mut after, mut page_size) = (AfterDamage::default(), PageSize::start());
        let id = ledger_id(&self.ledger);
        loop {
            let page = match page(self.source, from, &mut page_size).map_err(JournalError::from) {
                Err(JournalError::CorruptEntry { id, .. }) => match EntryId::parse(&id) {
                    Some(strange) => {
                        from = PageStart::After(strange);
                        continue;
                    }
                    None => return Ok(after),
                },
                other => other?,
            };
            for entry in &page.entries {
                from = PageStart::After(entry.id);
                match decoded(entry, &self.source.session.keys) {
                    Ok(frame) if frame.header.ledger_id == id => after.count(&frame.header),
                    _ if after.frames == 0 => after.unreadable_bytes += entry.frame.len() as u64,
                    _ => {}
                }
            }
            if page.is_last {
                return Ok(after);
            }
        }
    }
}
