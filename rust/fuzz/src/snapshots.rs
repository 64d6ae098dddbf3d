//! Snapshot files: whatever they contain, a recovery gives the state that the journal describes or is refused; it never gives
//! another state.
//!
//! The bytes are a list of damages to the two snapshots of a journal. If a forger corrects the checksums, the forged state
//! may be accepted: then only the absence of panics and bounded memory are guaranteed.

use std::sync::LazyLock;

use invengine_node::journal::frame::ledger_id;
use invengine_node::journal::{
    FileJournal, FileOptions, Frame, Journal, JournalError, JournalPosition, Manifest, Replay,
};

use crate::Signature;
use crate::byte_source::ByteSource;
use crate::memory_disk::{Contents, MemoryDisk};
use crate::script;

const FILE_BYTES: u64 = 8 << 10;
const HEADER_BYTES: usize = 4_096;
const PIECE_HEADER_BYTES: usize = 12;
const MANIFEST_BYTES: usize = 64;
const DAMAGES_MAX: usize = 6;
const DAMAGES: u8 = 8;
const ROUNDS: usize = 3;
const FRAMES_A_ROUND: usize = 40;

/// A state that depends on every frame: the last sequence and a hash of all payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FoldedState {
    last: u64,
    hash: u64,
}

impl FoldedState {
    fn fold(&mut self, frame: &Frame<'_>) {
        if !frame.is_claim() {
            self.last = frame.last_sequence;
            self.hash = self.hash.wrapping_mul(31).wrapping_add(u64::from(crc32c::crc32c(frame.payload)) + self.last);
        }
    }

    fn digest(self) -> String {
        format!("{:032x}", self.hash)
    }
}

#[derive(Default)]
struct Rebuilt {
    state: FoldedState,
    bytes: Vec<u8>,
    begun: usize,
    notes: usize,
}

impl Replay for Rebuilt {
    fn begin(&mut self, _snapshot: &Manifest) -> bool {
        self.begin_empty();
        self.begun += 1;
        true
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, snapshot: &Manifest) -> Result<(), String> {
        let mut feed = ByteSource::new(&self.bytes);
        self.state = FoldedState { last: feed.long(), hash: feed.long() };
        let same = self.state.last == snapshot.position.sequence() && self.state.digest() == snapshot.digest;
        same.then_some(()).ok_or_else(|| "not the state of its manifest".into())
    }

    fn begin_empty(&mut self) {
        (self.state, self.bytes) = (FoldedState::default(), Vec::new());
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        self.state.fold(&frame);
        Ok(())
    }

    fn note(&mut self, note: &str) {
        assert!(!note.contains('\n'), "a note of more than one line: {note:?}");
        self.notes += 1;
    }

    fn progress(&mut self, done_bytes: u64, of_bytes: u64) {
        assert!(done_bytes <= of_bytes);
    }
}

/// A journal with its archive and two snapshots; the second without the beginning of the journal.
static JOURNALS: LazyLock<([Contents; 2], FoldedState)> = LazyLock::new(|| {
    let (whole, state) = written();
    let mut headless = whole.clone();
    headless.retain(|name, _| !name.starts_with("archive/"));
    ([whole, headless], state)
});

fn recover(disk: &MemoryDisk) -> Result<(FileJournal, Rebuilt), JournalError> {
    let mut options = FileOptions::new("", "main");
    options.journal_file_bytes = FILE_BYTES;
    options.preallocate = false;
    let mut rebuilt = Rebuilt::default();
    FileJournal::recover_on(disk.shared(), &options, &mut rebuilt).map(|journal| (journal, rebuilt))
}

fn written() -> (Contents, FoldedState) {
    let disk = MemoryDisk::default();
    let (mut journal, _) = recover(&disk).expect("an empty directory opens");
    let (mut position, mut state) = (JournalPosition::start("main"), FoldedState::default());
    for number in 0..ROUNDS * FRAMES_A_ROUND {
        let kept = &script::FRAMES[number % script::FRAMES.len()];
        let first = journal.durable_sequence() + 1;
        let last = first + (kept.last_sequence - kept.first_sequence);
        journal.append(first, last, kept.time_ms + number as i64, &kept.payload).expect("there is room");
        if (number + 1) % FRAMES_A_ROUND == 0 && number + 1 < ROUNDS * FRAMES_A_ROUND {
            snapshot(&journal, &mut position, &mut state).expect("a snapshot is written");
        }
    }
    drop(journal);
    let (_, rebuilt) = recover(&disk).expect("an undamaged journal opens");
    assert_eq!((rebuilt.begun, rebuilt.notes), (1, 0));
    (disk.contents(), rebuilt.state)
}

fn snapshot(
    journal: &FileJournal,
    position: &mut JournalPosition,
    state: &mut FoldedState,
) -> Result<(), JournalError> {
    let mut history = journal.snapshot_store()?.expect("the file journal has a history");
    *position = history.frames_after(position, &mut |frame| {
        state.fold(&frame);
        true
    })?;
    history.begin(position)?;
    history.piece(&[state.last.to_le_bytes(), state.hash.to_le_bytes()].concat())?;
    history.piece(&[7; 200])?;
    history.commit(&state.digest())?;
    history.trim(position.time_ms()).map(drop)
}

/// Damages the snapshots, then recovers and appends.
pub fn run(bytes: &[u8]) -> Signature {
    let mut feed = ByteSource::new(bytes);
    let (journals, truth) = &*JOURNALS;
    let kind = feed.byte();
    let headless = kind & 1 == 1;
    let mut contents = journals[usize::from(headless)].clone();
    for _ in 0..DAMAGES_MAX {
        if !feed.is_empty() {
            damage(&mut contents, &mut feed);
        }
    }
    let forged = kind & 2 == 2 && names(&contents).iter().filter(|name| seal(&mut contents, name)).count() > 0;
    match recover(&MemoryDisk::with(&contents)) {
        Ok((mut journal, rebuilt)) => {
            assert!(forged || rebuilt.state == *truth, "another state: {:?}, not {truth:?}", rebuilt.state);
            let next = journal.durable_sequence() + 1;
            assert_eq!(next, rebuilt.state.last + 1);
            journal.append(next, next, i64::MAX, b"on").expect("the journal can be continued");
            Signature::of((headless, forged, rebuilt.begun, rebuilt.notes))
        }
        Err(error) => {
            let why = error.to_string();
            assert!(forged || headless, "the journal is whole, and it is refused: {why}");
            assert!(!why.contains('\n'), "more than one line: {why:?}");
            Signature::of((
                headless,
                forged,
                why.chars().filter(|letter| !letter.is_ascii_hexdigit()).collect::<String>(),
            ))
        }
    }
}

fn names(contents: &Contents) -> Vec<String> {
    contents.keys().filter(|name| name.starts_with("snapshot-")).cloned().collect()
}

fn damage(contents: &mut Contents, feed: &mut ByteSource<'_>) {
    let (kind, names) = (feed.byte() % DAMAGES, names(contents));
    let (Some(name), Some(other)) = (names.get(usize::from(feed.byte() & 1)), names.last()) else { return };
    let source = contents[other].clone();
    if kind == 0 {
        contents.remove(name);
        return;
    }
    let file = contents.get_mut(name).expect("it is there");
    // Most of a header is zeros: only its first bytes and those after it matter.
    let place = feed.below(2 * HEADER_BYTES);
    let place = if place < HEADER_BYTES { place % 128 } else { place - 8 };
    let at = place.min(file.len().saturating_sub(1));
    if file.is_empty() {
        return;
    }
    match kind {
        1 => file[at] ^= 1 << (feed.byte() % 8),
        2 => file[at..].iter_mut().zip(feed.take(8)).for_each(|(to, from)| *to = *from),
        3 => file.truncate(at),
        4 => file.extend_from_slice(&source[..at.min(source.len())]),
        5 => *file = source,
        6 => file[at..].iter_mut().zip(&source[at.min(source.len())..]).for_each(|(to, from)| *to = *from),
        _ => drop(file.splice(at..at, feed.take(12).iter().copied())),
    }
}

/// Corrects every checksum of a snapshot, as someone who knows the format could. Returns false if there is nothing to seal.
fn seal(contents: &mut Contents, name: &str) -> bool {
    let file = contents.get_mut(name).expect("it is there");
    if file.len() < HEADER_BYTES + MANIFEST_BYTES {
        return false;
    }
    let id = ledger_id("main").to_le_bytes();
    file[56..64].copy_from_slice(&id);
    let crc = crc32c::crc32c(&file[..HEADER_BYTES - 4]).to_le_bytes();
    file[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc);
    let end = file.len() - MANIFEST_BYTES;
    let mut at = HEADER_BYTES;
    while let Some(length) = file[..end].get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    {
        let next = (at + PIECE_HEADER_BYTES).saturating_add(length as usize);
        if next > end {
            break;
        }
        let head = crc32c::crc32c_append(crc32c::crc32c(&crc), &file[at..at + 8]);
        let piece = crc32c::crc32c_append(head, &file[at + PIECE_HEADER_BYTES..next]).to_le_bytes();
        file[at + 8..at + PIECE_HEADER_BYTES].copy_from_slice(&piece);
        at = next;
    }
    file[end + MANIFEST_BYTES - 8..end + MANIFEST_BYTES - 4].copy_from_slice(&crc);
    let manifest = crc32c::crc32c(&file[end..end + MANIFEST_BYTES - 4]).to_le_bytes();
    file[end + MANIFEST_BYTES - 4..].copy_from_slice(&manifest);
    true
}

/// No damage, and each kind of damage to each snapshot at some offsets, with and without the beginning of the journal.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..4).map(|kind| vec![kind]).collect();
    for kind in 0..DAMAGES {
        for (which, at) in [(0, 8_u16), (1, 16), (1, 4_104), (0, 4_110), (1, 4_400)] {
            let damage = [&[kind, which][..], &at.to_le_bytes(), &[2, 0, 0, 0, 0, 0, 0, 0]].concat();
            seeds.extend((0..4).map(|first| [&[first][..], &damage].concat()));
        }
    }
    seeds
}
