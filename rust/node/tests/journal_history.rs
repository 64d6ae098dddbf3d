//! Every journal with snapshots keeps the same promises about them: one suite, run against each of them.

mod journal_disk;
mod journal_redis;

use std::cell::Cell;

use invengine_node::journal::{
    FileJournal, Frame, History, Journal, JournalError, Manifest, Mark, PIECE_BYTES_MAX, RedisJournal, Replay,
};
use invengine_node::positions::EventPosition;
use journal_disk::{Rebuilt, Sum, TestStorage, append_next, small, snapshot};
use journal_redis::{Kind, Redis};

/// Opens one journal, again and again.
type Recover = Box<dyn Fn(&mut dyn Replay) -> Box<dyn Journal>>;
/// A new journal with each call.
type Factory<'f> = &'f dyn Fn() -> Recover;

fn contract(factory: Factory<'_>) {
    starts_with_no_snapshot(factory);
    keeps_the_two_newest_and_hands_them_out_as_they_were_given(factory);
    recovers_from_the_newest_to_the_same_state(factory);
    an_unfinished_one_is_none(factory);
    one_that_is_not_the_state_of_its_manifest_means_the_older_one(factory);
    refuses_what_is_no_snapshot(factory);
    marks_stand_between_frames(factory);
    tells_apart_what_stands_at_one_sequence(factory);
    serves_those_who_want_every_frame(factory);
    finds_the_last_event_of_every_writer(factory);
}

fn recover(open: &Recover) -> (Box<dyn Journal>, Rebuilt) {
    let mut rebuilt = Rebuilt::default();
    let journal = open(&mut rebuilt);
    assert_eq!(journal.durable_sequence(), rebuilt.sum.last);
    assert_eq!(rebuilt.sum, Sum::at(rebuilt.sum.last));
    (journal, rebuilt)
}

fn history(journal: &dyn Journal) -> Box<dyn History> {
    journal.history().unwrap().unwrap()
}

fn append(journal: &mut dyn Journal, frames: usize) -> u64 {
    (0..frames).map(|_| append_next(journal, false).unwrap()).last().unwrap_or(0)
}

fn pieces(history: &mut dyn History, manifest: &Manifest) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let keep = &mut |piece: &[u8]| {
        pieces.push(piece.to_vec());
        Ok(())
    };
    history.read(manifest, keep).unwrap();
    pieces
}

fn to_the_end(history: &mut dyn History, mark: &Mark) -> Mark {
    history.frames_after(mark, &mut |_| true).unwrap()
}

fn starts_with_no_snapshot(factory: Factory<'_>) {
    let (journal, rebuilt) = recover(&factory());
    assert!(!rebuilt.from_snapshot && rebuilt.notes.is_empty());
    let mut history = history(journal.as_ref());
    assert_eq!(history.snapshots().unwrap(), []);
    let trimmed = history.trim(i64::MAX).unwrap();
    assert_eq!((trimmed.archived_bytes, trimmed.removed_bytes, trimmed.first_sequence), (0, 0, 1));
    let mut claims = 0;
    let mark = history
        .frames_after(&Mark::start("main"), &mut |frame| {
            claims += usize::from(frame.is_claim());
            true
        })
        .unwrap();
    assert_eq!((claims, mark.sequence(), mark.writer_epoch()), (1, 0, 1));
}

fn keeps_the_two_newest_and_hands_them_out_as_they_were_given(factory: Factory<'_>) {
    let (mut journal, _) = recover(&factory());
    let (mut mark, mut sum, mut kept) = (Mark::start("main"), Sum::default(), Vec::new());
    for round in 1..=5 {
        let last = append(journal.as_mut(), 20);
        snapshot(journal.as_ref(), &mut mark, &mut sum).unwrap();
        assert_eq!((mark.sequence(), sum), (last, Sum::at(last)));
        let mut history = history(journal.as_ref());
        let snapshots = history.snapshots().unwrap();
        let newest = &snapshots[0];
        assert_eq!((newest.mark, newest.digest.as_str(), newest.pieces, newest.bytes), (mark, &*sum.digest(), 2, 316));
        let read = pieces(history.as_mut(), newest);
        assert_eq!(read, [[sum.last.to_le_bytes(), sum.hash.to_le_bytes()].concat(), vec![7; 300]]);
        kept.insert(0, newest.clone());
        kept.truncate(2);
        assert_eq!(snapshots, kept, "round {round}");
        assert_eq!(pieces(history.as_mut(), kept.last().unwrap()).len(), 2);
    }
}

fn recovers_from_the_newest_to_the_same_state(factory: Factory<'_>) {
    let open = factory();
    let (mut mark, mut sum) = (Mark::start("main"), Sum::default());
    for round in 0..4 {
        let (mut journal, rebuilt) = recover(&open);
        assert_eq!((rebuilt.from_snapshot, rebuilt.notes.len()), (round > 0, 0), "round {round}");
        append(journal.as_mut(), 30);
        snapshot(journal.as_ref(), &mut mark, &mut sum).unwrap();
        append(journal.as_mut(), round * 7);
    }
    assert!(recover(&open).1.from_snapshot);
}

fn an_unfinished_one_is_none(factory: Factory<'_>) {
    let open = factory();
    let (mut mark, mut sum) = (Mark::start("main"), Sum::default());
    for snapshots in 0..3 {
        let (mut journal, _) = recover(&open);
        append(journal.as_mut(), 10);
        for pieces in 0..3 {
            let mut history = history(journal.as_ref());
            let reached = to_the_end(history.as_mut(), &mark);
            history.begin(&reached).unwrap();
            (0..pieces).for_each(|_| history.piece(b"piece").unwrap());
        }
        drop(journal);
        let (journal, rebuilt) = recover(&open);
        assert_eq!((rebuilt.from_snapshot, rebuilt.notes.len()), (snapshots > 0, 0));
        assert_eq!(history(journal.as_ref()).snapshots().unwrap().len(), snapshots.min(2));
        snapshot(journal.as_ref(), &mut mark, &mut sum).unwrap();
    }
}

fn one_that_is_not_the_state_of_its_manifest_means_the_older_one(factory: Factory<'_>) {
    let open = factory();
    let (mut journal, _) = recover(&open);
    let (mut mark, mut sum) = (Mark::start("main"), Sum::default());
    append(journal.as_mut(), 10);
    snapshot(journal.as_ref(), &mut mark, &mut sum).unwrap();
    append(journal.as_mut(), 10);
    let mut history = history(journal.as_ref());
    let reached = to_the_end(history.as_mut(), &mark);
    history.begin(&reached).unwrap();
    history.piece(&[9; 16]).unwrap();
    history.commit(&sum.digest()).unwrap();
    drop((history, journal));
    let (_, rebuilt) = recover(&open);
    assert!(rebuilt.from_snapshot);
    assert!(matches!(&rebuilt.notes[..], [note] if note.contains("manifest")), "{:?}", rebuilt.notes);
}

fn refuses_what_is_no_snapshot(factory: Factory<'_>) {
    let (mut journal, _) = recover(&factory());
    append(journal.as_mut(), 10);
    let mut history = history(journal.as_ref());
    let mark = to_the_end(history.as_mut(), &Mark::start("main"));
    let refused = |result: Result<(), JournalError>| assert!(matches!(result, Err(JournalError::NoSnapshot { .. })));
    refused(history.piece(b"nothing was begun"));
    refused(history.commit(&Sum::default().digest()).map(drop));
    history.begin(&mark).unwrap();
    refused(history.piece(&vec![1; PIECE_BYTES_MAX + 1]));
    refused(history.commit("no digest").map(drop));
    history.piece(&vec![1; PIECE_BYTES_MAX]).unwrap();
    let manifest = history.commit(&Sum::default().digest()).unwrap();
    assert_eq!((manifest.pieces, manifest.bytes), (1, PIECE_BYTES_MAX as u64));
    assert_eq!(pieces(history.as_mut(), &manifest), [vec![1; PIECE_BYTES_MAX]]);
    refused(history.piece(b"it is finished"));
    append(journal.as_mut(), 10);
}

fn marks_stand_between_frames(factory: Factory<'_>) {
    let (mut journal, _) = recover(&factory());
    let last = append(journal.as_mut(), 40);
    let mut history = history(journal.as_ref());
    let (mut mark, mut sum) = (Mark::start("main"), Sum::default());
    let mut steps = 0;
    while mark.sequence() < last {
        mark = history
            .frames_after(&mark, &mut |frame: Frame<'_>| {
                if !frame.is_claim() {
                    sum.fold(frame.last_sequence, frame.payload);
                }
                frame.is_claim()
            })
            .unwrap();
        assert_eq!((mark.sequence(), sum), (sum.last, Sum::at(sum.last)));
        steps += 1;
    }
    assert_eq!((steps, mark.time_ms()), (40, to_the_end(history.as_mut(), &Mark::start("main")).time_ms()));
    assert_eq!(to_the_end(history.as_mut(), &mark), mark);
}

fn tells_apart_what_stands_at_one_sequence(factory: Factory<'_>) {
    let open = factory();
    let (mut mark, mut sum) = (Mark::start("main"), Sum::default());
    append(recover(&open).0.as_mut(), 10);
    // Each opening claims an epoch: three marks at one sequence.
    let mut marks = Vec::new();
    for _ in 0..3 {
        snapshot(recover(&open).0.as_ref(), &mut mark, &mut sum).unwrap();
        marks.insert(0, mark);
    }
    let (journal, rebuilt) = recover(&open);
    assert!(rebuilt.from_snapshot);
    let snapshots = history(journal.as_ref()).snapshots().unwrap();
    assert_eq!(snapshots.iter().map(|manifest| manifest.mark).collect::<Vec<_>>(), marks[..2]);
    assert_eq!(marks.iter().map(Mark::writer_epoch).collect::<Vec<_>>(), [4, 3, 2]);
}

/// A replay that wants no snapshot.
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

fn serves_those_who_want_every_frame(factory: Factory<'_>) {
    let open = factory();
    let (mut journal, _) = recover(&open);
    let (mut mark, mut sum) = (Mark::start("main"), Sum::default());
    let mut last = 0;
    for _ in 0..3 {
        last = append(journal.as_mut(), 20);
        snapshot(journal.as_ref(), &mut mark, &mut sum).unwrap();
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
        // The ledger is always the same, as marks carry its name: each has a database of its own.
        let mut options = server.options("main");
        options.url = format!("{}?db={}", server.url(), ledgers.get()).into();
        ledgers.set(ledgers.get() + 1);
        Box::new(move |replay| Box::new(RedisJournal::recover(&options, replay).unwrap()))
    });
}

both!(redis_keeps_the_contract);
