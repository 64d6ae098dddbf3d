//! Inspection of damaged journals: it reports the damage that an open refuses, wherever that is, and what surrounds it.

use crate::journal_disk::state::run;
use crate::journal_disk::{Disk, TestStorage, expected, written};
use invengine_node::journal::inspect::{AfterDamage, Damage, Inspection};
use invengine_node::journal::{FileInspection, JournalError, scan_on};

const FILE_BYTES: u64 = 8 << 10;
const FRAMES: usize = 150;

/// The last intact sequence, the damage and what follows it.
fn inspect(disk: &Disk) -> Result<(u64, Option<Damage>, AfterDamage), JournalError> {
    let storage = TestStorage::on(disk.clone());
    let mut inspection = FileInspection::on(storage.shared())?.expect("there is a journal");
    let mut whole = 0;
    let (_, damage) = inspection.walk(None, &mut |frame, _, _| {
        whole = frame.last_sequence;
        Ok(true)
    })?;
    let after = damage.as_ref().map_or(Ok(AfterDamage::default()), |damage| inspection.after_damage(damage))?;
    assert_eq!(storage.count(), 0, "it writes nothing");
    Ok((whole, damage, after))
}

/// Where an open finds damage on the same disk.
fn refused(disk: &Disk) -> Option<(String, u64)> {
    match scan_on(TestStorage::on(disk.clone()).shared(), &mut |_| true) {
        Ok(_) => None,
        Err(JournalError::Corrupt { file, offset, .. }) => Some((file, offset)),
        Err(other) => panic!("{other}"),
    }
}

/// The last sequence of a run of `frames` frames.
fn end_of(frames: usize) -> u64 {
    (0..frames).fold(0, |last, _| expected(last + 1, false).last_sequence)
}

/// Inspects a changed disk, and requires that the result matches what an open finds and what was written.
fn check(disk: &Disk, what: &str) -> bool {
    let (whole, damage, after) = inspect(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let location = damage.as_ref().map(|damage| (damage.file.clone(), damage.offset));
    assert_eq!(location, refused(disk), "{what}");
    if damage.is_some() {
        assert!(after.frames > 0, "{what}: only whole frames after tell it from a torn tail");
        assert!(after.last_sequence <= end_of(FRAMES), "{what}: {after:?}");
        assert!(after.first_sequence > whole || after.first_sequence == 0, "{what}: {whole}, {after:?}");
    }
    damage.is_some()
}

// case: E04, E10
#[test]
fn every_flipped_byte_is_reported_as_an_open_reports_it() {
    let disk = written(FRAMES, FILE_BYTES, false).disk();
    let files = disk.journals();
    assert!(files.len() > 2);
    let mut damaged = 0;
    for name in &files {
        for at in 0..disk.bytes(name).len() {
            let mut changed = disk.clone();
            changed.bytes_mut(name)[at] ^= 1 << (at % 8);
            damaged += u32::from(check(&changed, &format!("{name}, byte {at}")));
        }
    }
    assert!(damaged > 20_000, "{damaged} flips are damage");
}

// case: E03
#[test]
fn a_file_cut_at_any_byte_is_reported_as_an_open_reports_it() {
    let disk = written(FRAMES, FILE_BYTES, false).disk();
    let files = disk.journals();
    for name in &files[..files.len() - 1] {
        for cut in (0..disk.bytes(name).len()).step_by(7) {
            let mut changed = disk.clone();
            let bytes = disk.bytes(name)[..cut].to_vec();
            changed.put(name, bytes);
            assert!(check(&changed, &format!("{name} cut at {cut}")));
        }
    }
}

#[test]
fn frames_after_damage_are_counted_and_bounded() {
    let disk = written(FRAMES, FILE_BYTES, false).disk();
    let name = disk.journals().remove(0);
    let starts: Vec<usize> =
        (4096..8192).step_by(8).filter(|at| disk.bytes(&name)[*at..].starts_with(&[0xFE, b'I', b'V', b'F'])).collect();
    let mut changed = disk;
    // Two frames are gone, wholly.
    changed.bytes_mut(&name)[starts[3]..starts[5]].fill(0x55);
    let (whole, damage, after) = inspect(&changed).unwrap();
    // The claim is the first frame of all.
    assert_eq!((whole, damage.unwrap().offset), (end_of(2), starts[3] as u64));
    assert_eq!(after.unreadable_bytes, (starts[5] - starts[3]) as u64);
    assert_eq!(after.frames, (FRAMES + 1 - 5) as u64);
    assert_eq!((after.first_sequence, after.last_sequence), (end_of(4) + 1, end_of(FRAMES)));
}

// case: E12
#[test]
fn a_missing_file_is_damage_and_a_missing_beginning_is_known() {
    let storage = TestStorage::default();
    run(&storage, 320);
    let whole = storage.disk();
    let mut names = whole.journals();
    let mut disk = whole.clone();
    disk.remove(&names.remove(names.len() - 2));
    let (last, damage, after) = inspect(&disk).unwrap();
    assert!(damage.is_some_and(|damage| damage.why.contains("missing")));
    assert!(after.first_sequence > last + 1 && after.frames > 0, "{last}, {after:?}");

    let mut disk = whole;
    disk.names_with("archive/").iter().for_each(|name| disk.remove(name));
    let mut inspection = FileInspection::on(TestStorage::on(disk).shared()).unwrap().unwrap();
    assert!(!inspection.has_head() && inspection.first_sequence() > 1);
    let snapshots = inspection.snapshots().unwrap();
    assert_eq!(snapshots.len(), 2);
    for snapshot in snapshots {
        let manifest = snapshot.manifest.unwrap();
        let (mut bytes, mut frames) = (0, 0);
        let mut take = |piece: &[u8]| {
            bytes += piece.len() as u64;
            Ok(())
        };
        inspection.read(&snapshot.name, &manifest, &mut take).unwrap();
        assert_eq!(bytes, manifest.bytes);
        let (summary, damage) = inspection
            .walk(Some(&manifest.position), &mut |_, _, _| {
                Ok({
                    frames += 1;
                    true
                })
            })
            .unwrap();
        assert!(damage.is_none() && frames > 0 && summary.is_some_and(|found| found.last_sequence == end_of(320)));
    }
    let start = invengine_node::journal::JournalPosition::start("main");
    let (_, damage) = inspection.walk(Some(&start), &mut |_, _, _| Ok(true)).unwrap();
    assert!(damage.is_some_and(|damage| damage.why.contains("does not match any position")));
}
