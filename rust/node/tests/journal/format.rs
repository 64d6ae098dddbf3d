//! The format: every journal ever written stays readable, and no bytes make the decoder panic.

use std::path::{Path, PathBuf};

use crate::journal_disk::{Disk, TestStorage, small};
use invengine_node::journal::frame::{FrameError, FrameHeader, decode, encode, frame_bytes};
use invengine_node::journal::{EveryFrame, FileJournal, FileOptions, Journal, ScanSummary, TornTail, scan, scan_on};
use proptest::prelude::*;

const FILE_BYTES: u64 = 8 << 10;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-v1")
}

/// The content of the fixture; never to be changed.
const FIXTURE_FRAMES: [(u64, u64, i64, &[u8]); 5] = [
    (1, 1, 1_700_000_000_000, b"one event"),
    (2, 4, 1_700_000_000_001, b"three events \xF0\x9F\x93\xA6"),
    (5, 5, 1_700_000_000_001, b""),
    (6, 6, 1_700_000_000_500, &[0xA5; 3_600]),
    (7, 1_000, 1_700_000_001_000, b"in the second file"),
];

/// Writes the journal of the fixture: two writers, two files, and the start of a frame that was
/// never finished.
fn write_fixture() -> Disk {
    let storage = TestStorage::default();
    for frames in [&FIXTURE_FRAMES[..2], &FIXTURE_FRAMES[2..]] {
        let mut journal =
            FileJournal::recover_on(storage.shared(), &small(FILE_BYTES), &mut EveryFrame(&mut |_| Ok(()))).unwrap();
        for (first, last, time_ms, payload) in frames {
            journal.append(*first, *last, *time_ms, payload).unwrap();
        }
    }
    let mut disk = storage.disk();
    let name = disk.journals().pop().unwrap();
    let end = scan_on(storage.shared(), &mut |_| true).unwrap();
    assert_eq!(end.torn_tail, None);
    let bytes = disk.bytes_mut(&name);
    let tail = bytes.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(8);
    bytes[tail..tail + 4].copy_from_slice(b"\xFEIVF");
    disk
}

// case: E16
#[test]
fn version_1_is_written_byte_for_byte_as_it_was() {
    let disk = write_fixture();
    assert_eq!(std::fs::read_dir(fixture()).unwrap().count(), disk.journals().len());
    for name in disk.journals() {
        assert!(std::fs::read(fixture().join(&name)).unwrap() == disk.bytes(&name), "{name} differs");
    }
}

// case: E16
#[test]
fn version_1_stays_readable() {
    let (mut frames, mut claims) = (Vec::new(), Vec::new());
    let summary = scan(&fixture(), &mut |frame| {
        match frame.is_claim() {
            true => claims.push((frame.first_sequence, frame.writer_epoch, frame.time_ms)),
            false => frames.push((frame.first_sequence, frame.last_sequence, frame.time_ms, frame.payload.to_vec())),
        }
        true
    })
    .unwrap();
    let wanted: Vec<_> = FIXTURE_FRAMES.iter().map(|(f, l, t, p)| (*f, *l, *t, p.to_vec())).collect();
    assert_eq!(frames, wanted);
    assert_eq!(claims, [(1, 1, 0), (5, 2, 1_700_000_000_001)]);
    let torn_tail = TornTail {
        file: fixture().join("journal-0000000000000007-00000001").display().to_string(),
        offset: 4184,
        bytes: 4,
    };
    let known = ScanSummary {
        ledger: "main".into(),
        files: 2,
        frames: 7,
        last_sequence: 1_000,
        time_ms: 1_700_000_001_000,
        writer_epoch: 2,
        torn_tail: Some(torn_tail),
    };
    assert_eq!(summary, known);
}

// case: E16
#[test]
fn a_version_1_journal_is_continued() {
    let directory = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    let mut options = FileOptions::new(directory.path(), "main");
    options.journal_file_bytes = 1 << 20;
    let mut replayed = 0;
    let mut journal = FileJournal::recover(
        &options,
        &mut EveryFrame(&mut |_| {
            replayed += 1;
            Ok(())
        }),
    )
    .unwrap();
    assert_eq!((replayed, journal.writer_epoch(), journal.durable_sequence()), (7, 3, 1_000));
    journal.append(1_001, 1_001, 5, &[9; 100_000]).unwrap();
    journal.close().unwrap();
    let summary = scan(directory.path(), &mut |_| true).unwrap();
    assert_eq!((summary.last_sequence, summary.files, summary.torn_tail), (1_001, 3, None));
}

#[test]
fn a_directory_without_a_journal_scans_as_empty_and_a_missing_one_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let summary = scan(directory.path(), &mut |_| true).unwrap();
    assert_eq!((summary.frames, summary.ledger.as_str()), (0, ""));
    let missing = scan(&directory.path().join("nowhere"), &mut |_| true).unwrap_err();
    assert!(missing.to_string().starts_with("cannot list "), "{missing}");
}

#[test]
fn a_scan_ends_when_asked() {
    let mut seen = 0;
    let summary = scan(&fixture(), &mut |_| {
        seen += 1;
        seen < 3
    })
    .unwrap();
    assert_eq!((seen, summary.frames, summary.last_sequence, summary.torn_tail), (3, 3, 4, None));
}

prop_compose! {
    fn header()(
        claim: bool, first_sequence: u64, last_sequence: u64, writer_epoch: u64,
        time_ms: i64, ledger_id: u64, chain: u64,
    ) -> FrameHeader {
        FrameHeader { claim, first_sequence, last_sequence, writer_epoch, time_ms, ledger_id, chain }
    }
}

proptest! {
    #[test]
    fn a_frame_is_decoded_as_it_was_encoded(
        header in header(), payload in prop::collection::vec(any::<u8>(), 0..600), before in 0usize..3,
    ) {
        let mut bytes = vec![0xAA; 8 * before];
        let crc = encode(&mut bytes, &header, &payload);
        let frame = &bytes[8 * before..];
        prop_assert_eq!(frame.len(), frame_bytes(payload.len()));
        let decoded = decode(frame).unwrap();
        prop_assert_eq!(decoded.header, header);
        prop_assert_eq!(decoded.payload, &payload[..]);
        prop_assert_eq!((decoded.crc, decoded.bytes.len()), (crc, frame.len()));
    }

    #[test]
    fn a_changed_byte_is_always_detected(
        header in header(), payload in prop::collection::vec(any::<u8>(), 0..300),
        at: prop::sample::Index, change in 1u8..,
    ) {
        let mut bytes = Vec::new();
        encode(&mut bytes, &header, &payload);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert!(matches!(decode(&bytes), Err(FrameError::Broken(_))));
    }

    #[test]
    fn any_bytes_after_the_header_are_cut_or_refused(
        tail in prop::collection::vec(any::<u8>(), 0..2_000), magic: bool, length in 0u32..4_000,
    ) {
        let storage = TestStorage::default();
        drop(FileJournal::recover_on(storage.shared(), &small(FILE_BYTES), &mut EveryFrame(&mut |_| Ok(()))).unwrap());
        let mut disk = storage.disk();
        let name = disk.journals().remove(0);
        let bytes = &mut disk.bytes_mut(&name)[4160..];
        bytes[..tail.len()].copy_from_slice(&tail);
        if magic {
            bytes[..4].copy_from_slice(b"\xFEIVF");
            bytes[8..12].copy_from_slice(&length.to_le_bytes());
        }
        let summary = scan_on(TestStorage::on(disk).shared(), &mut |_| true).unwrap();
        prop_assert_eq!((summary.frames, summary.last_sequence), (1, 0));
    }

    #[test]
    fn any_bytes_as_a_file_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..9_000), magic: bool) {
        if magic && bytes.len() > 8 {
            bytes[..8].copy_from_slice(b"\xFEIVJRNL\n");
        }
        let mut disk = Disk::default();
        disk.put("journal-0000000000000001-00000000", bytes);
        prop_assert!(scan_on(TestStorage::on(disk).shared(), &mut |_| true).is_err());
    }
}
