//! Inspects journal files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::files::{ARCHIVE, file_names, list};
use super::header::{FILE_HEADER_BYTES, FileHeader, FileName};
use super::markers::refuse_unfinished;
use super::recovery::rebuild;
use super::scan::torn_tail;
use super::snapshots::{read_manifest, read_pieces};
use super::storage::{Directory, Storage};
use super::walk::{BufferedFile, WalkStart, walk_files};
use crate::journal::frame::{FRAME_ALIGN, FRAME_MAGIC, ledger_id};
use crate::journal::inspect::{self, AfterDamage, Damage, Inspection, StoredSnapshot, WalkSummary};
use crate::journal::snapshot::parse_name;
use crate::journal::snapshot_store::{JournalPosition, Manifest, Replay};
use crate::journal::{FrameVisitor, JournalError};

const BLOCK_BYTES: u64 = 4096;

/// Inspects a directory, and again if that failed while files were created or removed: a running server may trim its journal.
///
/// # Errors
/// Those of the last attempt.
pub fn look_again<T>(
    directory: &Path,
    has_failed: impl Fn(&Result<T, JournalError>) -> bool,
    mut look: impl FnMut() -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    let names = |storage: &mut Directory| Ok(BTreeSet::from_iter(list(storage)?));
    inspect::look_again(&mut Directory::existing(directory), names, has_failed, |_| look())
}

/// One journal, perhaps damaged.
pub struct FileInspection {
    storage: Arc<dyn Storage>,
    ledger: String,
    /// Files in order up to the first one that is missing, and those after it.
    names: Vec<FileName>,
    after_gap: Vec<FileName>,
}

impl FileInspection {
    /// Opens the journal in a directory for inspection; `None` if there is none yet.
    ///
    /// # Errors
    /// The directory cannot be read, or holds names that belong to no journal.
    pub fn of(directory: &Path) -> Result<Option<Self>, JournalError> {
        Self::on(Arc::new(Directory::existing(directory)))
    }

    /// The same on any storage.
    ///
    /// # Errors
    /// As for `of`.
    pub fn on(storage: Arc<dyn Storage>) -> Result<Option<Self>, JournalError> {
        refuse_unfinished(storage.as_ref())?;
        let mut names = file_names(storage.as_ref())?;
        let gap = names.windows(2).position(|pair| pair[1].number != pair[0].number + 1);
        let after_gap = gap.map_or_else(Vec::new, |last| names.split_off(last + 1));
        let headers = names.iter().chain(&after_gap).rev();
        let ledger =
            headers.filter_map(|name| header_of(storage.as_ref(), *name).ok()).map(|header| header.ledger).next();
        match (ledger, names.first()) {
            (Some(ledger), _) => Ok(Some(Self { storage, ledger, names, after_gap })),
            (None, Some(first)) => header_of(storage.as_ref(), *first).map(|_| None),
            (None, None) => Ok(None),
        }
    }

    /// The damage of a snapshot that does not belong to its journal.
    fn unmatched_snapshot(&self) -> Damage {
        let why = "the snapshot to begin with does not match any position of the journal beside it".into();
        Damage { file: self.storage.describe(""), offset: 0, entry: None, why }
    }

    /// A missing file, as damage.
    fn gap(&self) -> Option<Damage> {
        let (last, next) = (self.names.last()?, self.after_gap.first()?);
        let why = format!("the file after it is missing; the next one here is {}", next.text());
        let file = self.storage.describe(&last.text());
        let offset = header_of(self.storage.as_ref(), *last).map_or(0, |header| header.file_bytes);
        Some(Damage { file, offset, entry: None, why })
    }
}

impl Inspection for FileInspection {
    fn ledger(&self) -> &str {
        &self.ledger
    }

    fn has_head(&self) -> bool {
        self.names.first().is_some_and(|first| first.number == 0 && first.first_sequence == 1)
    }

    fn first_sequence(&self) -> u64 {
        self.names.first().map_or(1, |first| first.first_sequence)
    }

    fn parts(&self) -> (&'static str, u64) {
        ("files", (self.names.len() + self.after_gap.len()) as u64)
    }

    fn snapshots(&mut self) -> Result<Vec<StoredSnapshot>, JournalError> {
        let mut found = Vec::new();
        for name in list(self.storage.as_ref())? {
            let bare = name.strip_prefix(ARCHIVE).unwrap_or(&name);
            if let Some(position) = parse_name(bare) {
                let manifest = read_manifest(self.storage.as_ref(), &name, Some(&self.ledger));
                let manifest = manifest.map_err(|error| error.to_string());
                found.push((position, StoredSnapshot { name, manifest }));
            }
        }
        found.sort_by_key(|(position, _)| *position);
        Ok(found.into_iter().map(|(_, snapshot)| snapshot).collect())
    }

    fn read(
        &mut self,
        name: &str,
        manifest: &Manifest,
        f: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), JournalError> {
        read_pieces(self.storage.as_ref(), name, manifest, &self.ledger, f)
    }

    fn is_gone(&mut self, name: &str) -> bool {
        self.storage.open(name, false).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    }

    fn walk(
        &mut self,
        position: Option<&JournalPosition>,
        visit: &mut FrameVisitor<'_>,
    ) -> Result<(Option<WalkSummary>, Option<Damage>), JournalError> {
        let start = match position {
            Some(position) => WalkStart::Towards(position),
            None if self.has_head() => WalkStart::FirstOfAll,
            None => WalkStart::FirstHere,
        };
        let walked = walk_files(&self.storage, &self.names, Some(&self.ledger), &start, &mut |frame| {
            Ok(!frame.reached || visit(frame.decoded.frame(), frame.place, frame.offset)?)
        });
        match walked {
            Ok(None) => Ok((None, self.gap())),
            Ok(Some(walked)) => {
                let lost = (!walked.walk.has_reached()).then(|| self.unmatched_snapshot());
                let (last_sequence, torn_tail) =
                    (walked.walk.position().sequence(), torn_tail(&walked, self.storage.as_ref()));
                let damage = lost.or_else(|| self.gap().filter(|_| !walked.stopped));
                Ok((Some(WalkSummary { last_sequence, torn_tail }), damage))
            }
            Err(JournalError::Corrupt { file, offset, why } | JournalError::Replay { file, offset, why }) => {
                Ok((None, Some(Damage { file, offset, entry: None, why })))
            }
            Err(other) => Err(other),
        }
    }

    fn no_head(&self) -> Damage {
        let head = FileName { first_sequence: 1, number: 0 };
        let why = "this first file is missing, and there is no good snapshot where the journal begins".into();
        Damage { file: self.storage.describe(&head.text()), offset: 0, entry: None, why }
    }

    fn start(&mut self, replay: &mut dyn Replay) -> Result<Option<u64>, JournalError> {
        let (snapshot, _) = rebuild(&self.storage, &self.ledger, replay)?;
        Ok(snapshot.map(|snapshot| snapshot.position.sequence()))
    }

    fn after_damage(&mut self, damage: &Damage) -> Result<AfterDamage, JournalError> {
        let all: Vec<FileName> = self.names.iter().chain(&self.after_gap).copied().collect();
        let here = all.iter().position(|name| self.storage.describe(&name.text()) == damage.file);
        let mut after = AfterDamage::default();
        let mut from = damage.offset;
        for name in &all[here.unwrap_or(0)..] {
            let mut file = BufferedFile::open(self.storage.as_ref(), *name)?;
            let end = file.length()?;
            after.scan(&mut file, from.max(FILE_HEADER_BYTES as u64), end, ledger_id(&self.ledger))?;
            from = 0;
        }
        Ok(after)
    }
}

impl AfterDamage {
    fn scan(&mut self, file: &mut BufferedFile, mut from: u64, end: u64, id: u64) -> Result<(), JournalError> {
        let damage = (self.frames == 0).then_some(from);
        let mut written = from;
        while from < end {
            // Frames start only at multiples of 8.
            from = from.next_multiple_of(FRAME_ALIGN as u64);
            let block_end = (from + 1).next_multiple_of(BLOCK_BYTES).min(end);
            if from >= end {
                break;
            }
            let block = file.bytes(from, (block_end - from) as usize, end)?.to_vec();
            if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
                written = from + last as u64 + 1;
            }
            from = match self.frame_in(file, &block, from, end, id)? {
                Some((start, next)) => {
                    if let Some(damage) = damage.filter(|_| self.frames == 1) {
                        self.unreadable_bytes += start - damage;
                    }
                    next
                }
                None => block_end,
            };
        }
        if self.frames == 0 {
            self.unreadable_bytes += damage.map_or(0, |damage| written.saturating_sub(damage));
        }
        Ok(())
    }

    /// Counts the first valid frame that starts in a block; returns where it starts and ends.
    fn frame_in(
        &mut self,
        file: &mut BufferedFile,
        block: &[u8],
        start: u64,
        end: u64,
        id: u64,
    ) -> Result<Option<(u64, u64)>, JournalError> {
        let starts = block.chunks(FRAME_ALIGN).enumerate().filter(|(_, bytes)| bytes.starts_with(&FRAME_MAGIC));
        for (index, _) in starts {
            let offset = start + (index * FRAME_ALIGN) as u64;
            let Ok(frame) = file.frame(offset, end)? else { continue };
            if frame.header.ledger_id != id {
                continue;
            }
            self.count(&frame.header);
            return Ok(Some((offset, offset + frame.bytes.len() as u64)));
        }
        Ok(None)
    }
}

fn header_of(storage: &dyn Storage, name: FileName) -> Result<FileHeader, JournalError> {
    BufferedFile::open(storage, name)?.header(name)
}
