//! A look into a journal in Redis that may be damaged.

use super::entries::{From, Pace, decoded, page};
use super::keys::Id;
use super::places::{self, Held, Pieces};
use super::source::RedisSource;
use super::state::Stored;
use super::trouble::Fault;
use super::walk::{Walk, first};
use crate::journal::frame::ledger_id;
use crate::journal::survey::{Behind, Damage, StoredSnapshot, Survey, Walked};
use crate::journal::walk::Visit;
use crate::journal::{JournalError, Manifest, Mark, Replay};

/// One journal in Redis.
pub struct RedisSurvey<'s> {
    source: &'s mut RedisSource,
    ledger: String,
    stored: Stored,
    /// The first entry that is there.
    first: Id,
    first_sequence: u64,
    /// Where to look for what lies behind the damage that was found.
    behind: From,
}

impl<'s> RedisSurvey<'s> {
    /// Looks at the journal there.
    ///
    /// # Errors
    /// There is no journal, something else has its keys, or the server does not answer.
    pub fn of(source: &'s mut RedisSource) -> Result<Self, JournalError> {
        let stored = source.stored()?;
        let entry = first(&source.session, &mut source.link);
        let (first, first_sequence) = match entry.map_err(Fault::error) {
            Ok(Some(entry)) => {
                let frame = decoded(&entry, &source.session.keys).map(|frame| frame.header.first_sequence);
                (entry.id, frame.unwrap_or(entry.id.sequence))
            }
            Ok(None) => (Id::default(), stored.end.last + 1),
            // It is the damage that the walk will find.
            Err(JournalError::CorruptEntry { id, .. }) => (Id::parse(&id).unwrap_or_default(), 1),
            Err(other) => return Err(other),
        };
        let ledger = source.ledger().to_owned();
        Ok(Self { source, ledger, stored, first, first_sequence, behind: From::At(Id::default()) })
    }

    /// The damage that an error speaks of, if it does.
    fn damage(&self, error: JournalError, last: Id) -> Result<Damage, JournalError> {
        let file = format!("{} of Redis at {}", self.source.session.keys.frames, self.source.link.server());
        match error {
            JournalError::CorruptEntry { id, why, .. } => Ok(Damage { file, offset: 0, entry: Some(id), why }),
            JournalError::Replay { why, .. } => Ok(Damage { file, offset: 0, entry: Some(last.to_string()), why }),
            other => Err(other),
        }
    }

    fn walk_through(&mut self, mark: Option<&Mark>, visit: &mut Visit<'_>) -> Result<Option<Walk>, (JournalError, Id)> {
        let begun = if self.has_head() { Ok(Walk::start(&self.ledger)) } else { self.source.from_first(mark) };
        let mut walk = begun.map_err(|error| (error, self.first))?;
        if mark.is_none() {
            walk.entries = self.stored.trimmed;
        }
        let mut stopped = false;
        let server = self.source.describe();
        let read = self.source.read_on(&mut walk, &mut |entry, frame, reached| {
            let file = format!("entry {} of {server}", entry.id);
            stopped = reached && !visit(frame.frame(), &file, 0)?;
            Ok(!stopped)
        });
        read.map_err(|error| (error, walk.last()))?;
        Ok((!stopped).then_some(walk))
    }
}

impl Survey for RedisSurvey<'_> {
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
        for (place, name) in self.source.places()?.into_iter().zip(keys.places) {
            let manifest = match place.held {
                Held::Snapshot(placed) => Ok(placed.manifest),
                Held::Bad(error) => Err(error.to_string()),
                Held::Nothing | Held::Unfinished => continue,
            };
            found.push(StoredSnapshot { name, manifest });
        }
        found.sort_by_key(|snapshot| snapshot.manifest.as_ref().map_or(0, |manifest| manifest.mark.frames));
        Ok(found)
    }

    fn read(
        &mut self,
        name: &str,
        manifest: &Manifest,
        f: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), JournalError> {
        let bad = |why: String| JournalError::BadSnapshot { file: name.into(), why };
        let places = self.source.places()?;
        let placed = places::snapshots(&places).into_iter().find(|placed| placed.manifest == *manifest);
        let placed = placed.ok_or_else(|| bad("it is not there any more".into()))?;
        let mut pieces = Pieces::of(&placed, &self.ledger);
        let RedisSource { session, link } = &mut *self.source;
        while let Some(piece) = pieces.next(link, &session.keys).map_err(Fault::error)? {
            f(&piece).map_err(bad)?;
        }
        Ok(())
    }

    fn is_gone(&mut self, name: &str) -> bool {
        let at = self.source.session.keys.places.iter().position(|key| key == name);
        let places = self.source.places();
        let is_there = |held: &Held| matches!(held, Held::Snapshot(_) | Held::Bad(_));
        at.zip(places.ok()).is_some_and(|(at, places)| !is_there(&places[at].held))
    }

    fn walk(
        &mut self,
        mark: Option<&Mark>,
        visit: &mut Visit<'_>,
    ) -> Result<(Option<Walked>, Option<Damage>), JournalError> {
        let mut last_sequence = 0;
        let walked = self.walk_through(mark, &mut |frame, file, offset| {
            last_sequence = frame.last_sequence;
            visit(frame, file, offset)
        });
        let walked = match walked {
            Err((error, last)) => {
                let damage = self.damage(error, last)?;
                let at = damage.entry.as_deref().and_then(Id::parse).unwrap_or(last);
                self.behind = From::At(at);
                return Ok((None, Some(damage)));
            }
            Ok(walked) => walked,
        };
        let Some(walk) = walked else { return Ok((Some(Walked { last_sequence, torn_tail: None }), None)) };
        let last_sequence = walk.position().last;
        let ended = Some(Walked { last_sequence, torn_tail: None });
        let stored = self.stored.clone();
        match self.source.compare(&walk, &stored) {
            Ok(()) => Ok((ended, None)),
            Err(error) => {
                self.behind = From::After(walk.last());
                Ok((ended, Some(self.damage(error, walk.last())?)))
            }
        }
    }

    fn no_head(&self) -> Damage {
        let why = format!(
            "{} entries before it were trimmed, and no good snapshot stands where the journal begins",
            self.stored.trimmed
        );
        let file = format!("{} of Redis at {}", self.source.session.keys.frames, self.source.link.server());
        Damage { file, offset: 0, entry: Some(self.first.to_string()), why }
    }

    fn start(&mut self, replay: &mut dyn Replay) -> Result<Option<u64>, JournalError> {
        let stored = self.source.stored()?;
        let mut begun = self.source.begin(&stored, replay)?;
        let RedisSource { session, link } = &mut *self.source;
        begun.read_on(session, link, replay).map_err(Fault::error)?;
        self.source.compare(&begun.walk, &stored)?;
        Ok(begun.snapshot.map(|snapshot| snapshot.mark.sequence()))
    }

    /// A look at every entry by itself: one that is no frame does not hide the next one.
    fn behind(&mut self, damage: &Damage) -> Result<Behind, JournalError> {
        let mut from = if *damage == self.no_head() { From::At(Id::default()) } else { self.behind };
        let (mut behind, mut pace) = (Behind::default(), Pace::start());
        let RedisSource { session, link } = &mut *self.source;
        let id = ledger_id(&self.ledger);
        loop {
            let page = match page(link, &session.keys, from, &mut pace).map_err(Fault::error) {
                Err(JournalError::CorruptEntry { id, .. }) => match Id::parse(&id) {
                    Some(strange) => {
                        from = From::After(strange);
                        continue;
                    }
                    None => return Ok(behind),
                },
                other => other?,
            };
            for entry in &page.entries {
                from = From::After(entry.id);
                match decoded(entry, &session.keys) {
                    Ok(frame) if frame.header.ledger_id == id => behind.count(&frame.header),
                    _ if behind.frames == 0 => behind.unreadable_bytes += entry.frame.len() as u64,
                    _ => {}
                }
            }
            if page.is_last {
                return Ok(behind);
            }
        }
    }
}
