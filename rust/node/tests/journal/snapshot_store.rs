//! Every journal with snapshots gives the same guarantees about them: one suite, run against each of them.

use std::cell::Cell;

use crate::journal_disk::{Rebuilt, Sum, TestStorage, append_next, small, snapshot};
use crate::journal_redis::{Kind, Redis};
use invengine_node::journal::{
    FileJournal, Frame, Journal, JournalError, JournalPosition, Manifest, PIECE_BYTES_MAX, RedisJournal, Replay,
    SnapshotStore,
};
use invengine_node::positions::EventPosition;

/// Opens one journal, any number of times.
type Recover = Box<dyn Fn(&mut dyn Replay) -> Box<dyn Journal>>;
/// A new journal with each call.
type Factory<'f> = &'f dyn Fn() -> Recover;

fn contract(factory: Factory<'_>) {
    starts_with_no_snapshot(factory);
    keeps_the_two_newest_and_returns_them_unchanged(factory);
    recovers_from_the_newest_to_the_same_state(factory);
    an_unfinished_snapshot_is_ignored(factory);
    a_snapshot_that_differs_from_its_manifest_gives_way_to_the_older_one(factory);
    refuses_what_is_not_a_snapshot(factory);
    positions_are_between_frames(factory);
    distinguishes_positions_at_one_sequence(factory);
    replays_every_frame_if_snapshots_are_declined(factory);
    finds_the_last_event_of_every_writer(factory);
}

fn recover(open: &Recover) -> (Box<dyn Journal>, Rebuilt) {
    let mut rebuilt = Rebuilt::default();
    let journal = open(&mut rebuilt);
    assert_eq!(journal.durable_sequence(), rebuilt.sum.last);
    assert_eq!(rebuilt.sum, Sum::at(rebuilt.sum.last));
    (journal, rebuilt)
}

fn store_of(journal: &dyn Journal) -> Box<dyn SnapshotStore> {
    journal.snapshot_store().unwrap().unwrap()
}

fn append(journal: &mut dyn Journal, frames: usize) -> u64 {
    (0..frames).map(|_| append_next(journal, false).unwrap()).last().unwrap_or(0)
}

fn pieces(store: &mut dyn SnapshotStore, manifest: &Manifest) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let keep = &mut |piece: &[u8]| {
        pieces.push(piece.to_vec());
        Ok(())
    };
    store.read(manifest, keep).unwrap();
    pieces
}

fn to_the_end(store: &mut dyn SnapshotStore, position: &JournalPosition) -> JournalPosition {
    store.frames_after(position, &mut |_| true).unwrap()
}

fn starts_with_no_snapshot(factory: Factory<'_>) {
    let (journal, rebuilt) = recover(&factory());
    assert!(!rebuilt.from_snapshot && rebuilt.notes.is_empty());
    let mut store = store_of(journal.as_ref());
    assert_eq!(store.snapshots().unwrap(), []);
    let trimmed = store.trim(i64::MAX).unwrap();
    assert_eq!((trimmed.archived_bytes, trimmed.removed_bytes, trimmed.first_sequence), (0, 0, 1));
    let mut claims = 0;
    let position = store
        .frames_after(&JournalPosition::start("main"), &mut |frame| {
            claims += usize::from(frame.is_claim());
            true
        })
        .unwrap();
    assert_eq!((claims, position.sequence(), position.writer_epoch()), (1, 0, 1));
}

fn keeps_the_two_newest_and_returns_them_unchanged(factory: Factory<'_>) {
    let (mut journal, _) = recover(&factory());
    let (mut position, mut sum, mut kept) = (JournalPosition::start("main"), Sum::default(), Vec::new());
    for round in 1..=5 {
        let last = append(journal.as_mut(), 20);
        snapshot(journal.as_ref(), &mut position, &mut sum).unwrap();
        assert_eq!((position.sequence(), sum), (last, Sum::at(last)));
        let mut store = store_of(journal.as_ref());
        let snapshots = store.snapshots().unwrap();
        let newest = &snapshots[0];
        assert_eq!(
            (newest.position, newest.digest.as_str(), newest.pieces, newest.bytes),
            (position, &*sum.digest(), 2, 316)
        );
        let read = pieces(store.as_mut(), newest);
        assert_eq!(read, [[sum.last.to_le_bytes(), sum.hash.to_le_bytes()].concat(), vec![7; 300]]);
        kept.insert(0, newest.clone());
        kept.truncate(2);
        assert_eq!(snapshots, kept, "round {round}");
        assert_eq!(pieces(store.as_mut(), kept.last().unwrap()).len(), 2);
    }
}

fn recovers_from_the_newest_to_the_same_state(factory: Factory<'_>) {
    let open = factory();
    let (mut position, mut sum) = (JournalPosition::start("main"), Sum::default());
    for round in 0..4 {
        let (mut journal, rebuilt) = recover(&open);
        assert_eq!((rebuilt.from_snapshot, rebuilt.notes.len()), (round > 0, 0), "round {round}");
        append(journal.as_mut(), 30);
        snapshot(journal.as_ref(), &mut position, &mut sum).unwrap();
        append(journal.as_mut(), round * 7);
    }
    assert!(recover(&open).1.from_snapshot);
}

fn an_unfinished_snapshot_is_ignored(factory: Factory<'_>) {
    let open = factory();
    let (mut position, mut sum) = (JournalPosition::start("main"), Sum::default());
    for snapshots in 0..3 {
        let (mut journal, _) = recover(&open);
        append(journal.as_mut(), 10);
        for pieces in 0..3 {
            let mut store = store_of(journal.as_ref());
            let reached = to_the_end(store.as_mut(), &position);
            store.begin(&reached).unwrap();
            (0..pieces).for_each(|_| store.piece(b"piece").unwrap());
        }
        drop(journal);
        let (journal, rebuilt) = recover(&open);
        assert_eq!((rebuilt.from_snapshot, rebuilt.notes.len()), (snapshots > 0, 0));
        assert_eq!(store_of(journal.as_ref()).snapshots().unwrap().len(), snapshots.min(2));
        snapshot(journal.as_ref(), &mut position, &mut sum).unwrap();
    }
}

fn a_snapshot_that_differs_from_its_manifest_gives_way_to_the_older_one(factory: Factory<'_>) {
    let open = factory();
    let (mut journal, _) = recover(&open);
    let (mut position, mut sum) = (JournalPosition::start("main"), Sum::default());
    append(journal.as_mut(), 10);
    snapshot(journal.as_ref(), &mut position, &mut sum).unwrap();
    append(journal.as_mut(), 10);
    let mut store = store_of(journal.as_ref());
    let reached = to_the_end(store.as_mut(), &position);
    store.begin(&reached).unwrap();
    store.piece(&[9; 16]).unwrap();
    store.commit(&sum.digest()).unwrap();
    drop((store, journal));
    let (_, rebuilt) = recover(&open);
    assert!(rebuilt.from_snapshot);
    assert!(matches!(&rebuilt.notes[..], [note] if note.contains("manifest")), "{:?}", rebuilt.notes);
}

fn refuses_what_is_not_a_snapshot(factory: Factory<'_>) {
    let (mut journal, _) = recover(&factory());
    append(journal.as_mut(), 10);
    let mut store = store_of(journal.as_ref());
    let position = to_the_end(store.as_mut(), &JournalPosition::start("main"));
    let refused = |result: Result<(), JournalError>| assert!(matches!(result, Err(JournalError::NoSnapshot { .. })));
    refused(store.piece(b"nothing was begun"));
    refused(store.commit(&Sum::default().digest()).map(drop));
    store.begin(&position).unwrap();
    refused(store.piece(&vec![1; PIECE_BYTES_MAX + 1]));
    refused(store.commit("no digest").map(drop));
    store.piece(&vec![1; PIECE_BYTES_MAX]).unwrap();
    let manifest = store.commit(&Sum::default().digest()).unwrap();
    assert_eq!((manifest.pieces, manifest.bytes), (1, PIECE_BYTES_MAX as u64));
    assert_eq!(pieces(store.as_mut(), &manifest), [vec![1; PIECE_BYTES_MAX]]);
    refused(store.piece(b"it is finished"));
    append(journal.as_mut(), 10);
}

fn positions_are_between_frames(factory: Factory<'_>) {
    let (mut journal, _) = recover(&factory());
    let last = append(journal.as_mut(), 40);
    let mut store = store_of(journal.as_ref());
    let (mut position, mut sum) = (JournalPosition::start("main"), Sum::default());
    let mut steps = 0;
    while position.sequence() < last {
        position = store
            .frames_after(&position, &mut |frame: Frame<'_>| {
                if !frame.is_claim() {
                    sum.fold(frame.last_sequence, frame.payload);
                }
                frame.is_claim()
            })
            .unwrap();
        assert_eq!((position.sequence(), sum), (sum.last, Sum::at(sum.last)));
        steps += 1;
    }
    assert_eq!(
        (steps, position.time_ms()),
        (40, to_the_end(store.as_mut(), &JournalPosition::start("main")).time_ms())
    );
    assert_eq!(to_the_end(store.as_mut(), &position), position);
}

fn distinguishes_positions_at_one_sequence(factory: Factory<'_>) {
    let open = factory();
    let (mut position, mut sum) = (JournalPosition::start("main"), Sum::default());
    append(recover(&open).0.as_mut(), 10);
    // Each opening claims an epoch: three positions at one sequence.
    let mut positions = Vec::new();
    for _ in 0..3 {
        snapshot(recover(&open).0.as_ref(), &mut position, &mut sum).unwrap();
        positions.insert(0, position);
    }
    let (journal, rebuilt) = recover(&open);
    assert!(rebuilt.from_snapshot);
    let snapshots = store_of(journal.as_ref()).snapshots().unwrap();
    assert_eq!(snapshots.iter().map(|manifest| manifest.position).collect::<Vec<_>>(), positions[..2]);
    assert_eq!(positions.iter().map(JournalPosition::writer_epoch).collect::<Vec<_>>(), [4, 3, 2]);
}

/// A replay that declines snapshots.
struct Every(Rebuilt);

impl Replay for Every {
    fn begin(&mut self, _snapshot: &Manifest) -> bool {
        false
    }
    fn piece(&mut self, _bytes: &[u8]) -> Result<(), String> {
        Err("no piece was wanted".into())
    }
    fn end(&mut self, _snapshot: &Manifest) -> Result<(), String> {
        Err("no snapshot was wanted".into())
    }
    fn begin_empty(&mut self) {
        self.0.begin_empty();
    }
    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        self.0.frame(frame)
    }
    fn note(&mut self, note: &str) {
        self.0.note(note);
    }
    fn progress(&mut self, _done_bytes: u64, _of_bytes: u64) {}
}

fn replays_every_frame_if_snapshots_are_declined(factory: Factory<'_>) {
    let open = factory();
    let (mut journal, _) = recover(&open);
    let (mut position, mut sum) = (JournalPosition::start("main"), Sum::default());
    let mut last = 0;
    for _ in 0..3 {
        last = append(journal.as_mut(), 20);
        snapshot(journal.as_ref(), &mut position, &mut sum).unwrap();
    }
    drop(journal);
    let mut every = Every(Rebuilt::default());
    let journal = open(&mut every);
    assert_eq!((every.0.sum, journal.durable_sequence()), (Sum::at(last), last));
}

fn finds_the_last_event_of_every_writer(factory: Factory<'_>) {
    let open = factory();
    // Some writers write nothing, some fill many files.
    let mut ends = Vec::new();
    for frames in [3, 0, 40, 1, 0, 0, 25, 2] {
        let (mut journal, _) = recover(&open);
        append(journal.as_mut(), frames);
        ends.push(EventPosition { writer_epoch: journal.writer_epoch(), sequence: journal.durable_sequence() });
    }
    let (journal, _) = recover(&open);
    let mut reader = journal.reader().unwrap();
    let end = journal.durable_sequence();
    let written: Vec<EventPosition> = ends
        .iter()
        .enumerate()
        .filter(|(place, last)| place.checked_sub(1).map_or(0, |before| ends[before].sequence) < last.sequence)
        .map(|(_, last)| *last)
        .collect();
    for epoch in 0..=ends.len() as u64 + 2 {
        let expected = written.iter().rfind(|last| last.writer_epoch <= epoch).copied();
        assert_eq!(reader.newest_up_to(epoch, end).unwrap(), expected, "epoch {epoch}");
    }
    for sequence in 1..=end {
        let writer = written.iter().find(|last| sequence <= last.sequence).unwrap().writer_epoch;
        assert_eq!(reader.epoch_of(sequence).unwrap(), Some(writer), "{sequence}");
        let newest = Some(EventPosition { writer_epoch: writer, sequence });
        assert_eq!(reader.newest_up_to(writer, sequence).unwrap(), newest);
    }
}

#[test]
fn files_keep_the_contract() {
    contract(&|| {
        let storage = TestStorage::default();
        Box::new(move |replay| {
            let journal = FileJournal::recover_on(storage.shared(), &small(8 << 10), replay);
            Box::new(journal.unwrap())
        })
    });
}

fn redis_keeps_the_contract(kind: Kind) {
    let ledgers = Cell::new(0);
    let server = std::rc::Rc::new(Redis::start(&kind));
    contract(&|| {
        // The ledger is always the same, as positions carry its name: each journal has a database of its own.
        let mut options = server.options("main");
        options.url = format!("{}?db={}", server.url(), ledgers.get()).into();
        ledgers.set(ledgers.get() + 1);
        Box::new(move |replay| Box::new(RedisJournal::recover(&options, replay).unwrap()))
    });
}

both!(redis_keeps_the_contract);
