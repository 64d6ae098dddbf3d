//! The stream of the Redis journal is trimmed before its snapshots, and nothing else ever disappears undetected.

use std::time::Duration;

use crate::journal_disk::{Kept, Sum, append_next, expected};
use crate::journal_fixture::{
    FRAMES, JournalFixture, STATE, all_of, append, entries, field, newest_and_older, recover, short_memory,
};
use crate::journal_redis::{Kind, Redis};
use invengine_node::journal::{
    EveryFrame, Frame, Journal, JournalError, JournalPosition, JournalReader, PIECE_BYTES_MAX, RedisJournal,
};

both!(
    pieces_are_short_and_memory_is_freed,
    the_stream_is_trimmed_according_to_the_retention,
    trimming_by_others_is_detected_on_a_trimmed_stream,
    damage_after_the_snapshot_is_refused,
    a_reader_that_fell_behind_gets_an_error,
    lack_of_memory_ends_the_snapshot_and_not_the_writer,
);

fn pieces_are_short_and_memory_is_freed(kind: Kind) {
    let server = Redis::start(&kind);
    let options = server.options("main");
    let mut fixture = JournalFixture::open(&options);
    let memory = |key: &str| server.run(&format!("MEMORY USAGE {key} SAMPLES 0")).parse::<u64>().unwrap_or(0);
    let all = || (0..3).map(|place| memory(&format!("invengine:{{main}}:snapshot:{place}"))).collect::<Vec<_>>();
    let pieces = 20;
    for round in 1..=4_u64 {
        append(&mut fixture.journal, 5);
        let mut store = fixture.journal.snapshot_store().unwrap().unwrap();
        let position = store.frames_after(&JournalPosition::start("main"), &mut |_| true).unwrap();
        store.begin(&position).unwrap();
        (0..pieces).for_each(|_| store.piece(&vec![round as u8; PIECE_BYTES_MAX]).unwrap());
        store.commit(&Sum::default().digest()).unwrap();
        store.trim(0).unwrap();
        let large = all().into_iter().filter(|bytes| *bytes > 1 << 20).count();
        assert_eq!(large, round.min(2) as usize, "{:?}", all());
        for piece in 0..pieces {
            let key = newest_and_older(&server)[0].clone();
            let length: usize = server.run(&format!("HSTRLEN {key} {piece}")).parse().unwrap();
            assert_eq!(length, PIECE_BYTES_MAX + 12);
        }
    }
    // A shorter snapshot that replaces a longer one has no pieces of it.
    for _ in 0..3 {
        append(&mut fixture.journal, 1);
        fixture.snapshot().unwrap();
    }
    assert!(all().into_iter().all(|bytes| bytes < 1 << 16), "{:?}", all());
    recover(&options).unwrap();
}

fn the_stream_is_trimmed_according_to_the_retention(kind: Kind) {
    for (archive_ms, archive_bytes_max, keeps_all) in
        [(0, 0, true), (1_000_000, 0, true), (0, 1 << 30, true), (1, 0, false), (0, 1, false), (1_000_000, 1, false)]
    {
        let server = Redis::start(&kind);
        let mut options = server.options("main");
        (options.archive_ms, options.archive_bytes_max) = (archive_ms, archive_bytes_max);
        let mut fixture = JournalFixture::open(&options);
        fixture.rounds(4, 300);
        append(&mut fixture.journal, 40);
        fixture.snapshot().unwrap();
        let older = fixture.journal.snapshot_store().unwrap().unwrap().snapshots().unwrap()[1].position;
        let (left, trimmed) = (entries(&server), field(&server, "trimmed"));
        assert_eq!(left + trimmed, field(&server, "entries"));
        assert_eq!(trimmed == 0, keeps_all, "{archive_ms} ms, {archive_bytes_max} bytes: {trimmed} of {left}");
        let last = append(&mut fixture.journal, 1);
        let mut reader = fixture.journal.reader().unwrap();
        if keeps_all {
            assert_eq!(read(reader.as_mut(), 0).unwrap().0, 1);
            continue;
        }
        assert!(left < trimmed, "{left} entries are stored, {trimmed} were trimmed");
        // Everything from the older snapshot on is stored, and the first sequence is reported.
        assert_eq!(read(reader.as_mut(), older.sequence() + 1).unwrap().1, last);
        let Err(JournalError::Trimmed { sequence: 1, first_sequence }) = read(reader.as_mut(), 1) else { panic!("1") };
        assert!(first_sequence > 1 && first_sequence <= older.sequence() + 1, "{first_sequence}");
        assert_eq!(read(reader.as_mut(), first_sequence).unwrap(), (first_sequence, last));
        assert!(matches!(read(reader.as_mut(), first_sequence - 1), Err(JournalError::Trimmed { .. })));
        let trim = fixture.journal.snapshot_store().unwrap().unwrap().trim(0).unwrap();
        assert_eq!(trim.first_sequence, first_sequence);
        // A replay of every frame is refused, one that begins with a snapshot is not.
        drop(fixture);
        let refused = RedisJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(()))).map(drop).unwrap_err();
        assert!(matches!(refused, JournalError::Trimmed { sequence: 1, .. }), "{refused}");
        assert_eq!(recover(&options).unwrap().1.sum.last, last);
    }
}

/// Reads on from a sequence, checks every frame, and returns the first and the last sequence that it saw.
fn read(reader: &mut dyn JournalReader, sequence: u64) -> Result<(u64, u64), JournalError> {
    let (mut first, mut last) = (None, 0);
    reader.read_from(sequence, &mut |frame| {
        if !frame.is_claim() {
            assert_eq!(Kept::of(&frame), expected(frame.first_sequence, false));
            first.get_or_insert(frame.first_sequence);
            last = frame.last_sequence;
        }
        true
    })?;
    Ok((first.unwrap_or(0), last))
}

// case: F11
fn trimming_by_others_is_detected_on_a_trimmed_stream(kind: Kind) {
    for harm in [
        "XTRIM $frames MAXLEN 60",
        "XDEL $frames $id",
        "DEL $frames",
        "HSET $state trimmed 0",
        "FLUSHALL",
        "HDEL $state trimmed",
    ] {
        let server = Redis::start(&kind);
        let options = short_memory(&server);
        let mut fixture = JournalFixture::open(&options);
        fixture.rounds(3, 100);
        append(&mut fixture.journal, 20);
        assert!(field(&server, "trimmed") > 0 && entries(&server) > 60);
        let first = server.run(&format!("XRANGE {FRAMES} - + COUNT 1"));
        let id = first.split(' ').next().unwrap();
        server.run(&harm.replace("$frames", FRAMES).replace("$state", STATE).replace("$id", id));
        let before = all_of(&server);
        let refused = append_next(&mut fixture.journal, false).unwrap_err();
        assert!(matches!(refused, JournalError::Lost { .. }), "{harm}: {refused}");
        let begun = fixture.journal.snapshot_store().unwrap().unwrap().begin(&fixture.position);
        assert!(matches!(begun, Err(JournalError::Lost { .. })), "{harm}: {begun:?}");
        drop(fixture);
        if harm != "FLUSHALL" {
            let refused = recover(&options).map(drop).unwrap_err();
            assert!(matches!(refused, JournalError::Lost { .. } | JournalError::Foreign { .. }), "{harm}: {refused}");
        }
        assert_eq!(all_of(&server), before, "{harm}");
    }
}

// case: F09, F10
fn damage_after_the_snapshot_is_refused(kind: Kind) {
    for harm in ["flip", "gap", "end"] {
        let server = Redis::start(&kind);
        let options = short_memory(&server);
        let mut fixture = JournalFixture::open(&options);
        fixture.rounds(3, 100);
        append(&mut fixture.journal, 20);
        drop(fixture);
        let mut raw = server.connection();
        let mut all: Vec<(String, Vec<Vec<u8>>)> =
            redis::cmd("XRANGE").arg(FRAMES).arg("-").arg("+").query(&mut raw).unwrap();
        let at = all.len() - if harm == "end" { 1 } else { 10 };
        match harm {
            "flip" => all[at].1[1][60] ^= 1,
            _ => drop(all.remove(at)),
        }
        server.run(&format!("DEL {FRAMES}"));
        for (id, fields) in &all {
            redis::cmd("XADD").arg(FRAMES).arg(id).arg("frame").arg(&fields[1]).exec(&mut raw).unwrap();
        }
        let refused = recover(&options).map(drop).unwrap_err();
        // The id of the damaged entry, of the one after the gap, or of the one that is last now.
        let wanted = &all[if harm == "end" { at - 1 } else { at }].0;
        assert!(matches!(&refused, JournalError::CorruptEntry { id, .. } if id == wanted), "{harm}: {refused}");
    }
}

fn a_reader_that_fell_behind_gets_an_error(kind: Kind) {
    let server = Redis::start(&kind);
    let mut fixture = JournalFixture::open(&short_memory(&server));
    append(&mut fixture.journal, 50);
    let mut reader = fixture.journal.reader().unwrap();
    let mut place = 0;
    let mut left = 10;
    let some = &mut |frame: Frame<'_>| {
        place = frame.last_sequence;
        left -= 1;
        left > 0
    };
    reader.read_from(1, some).unwrap();
    fixture.rounds(4, 300);
    append(&mut fixture.journal, 40);
    let refused = read(reader.as_mut(), place + 1);
    let Err(JournalError::Trimmed { sequence, first_sequence }) = refused else { panic!("{refused:?}") };
    assert!(sequence == place + 1 && first_sequence > sequence);
    assert_eq!(read(reader.as_mut(), first_sequence).unwrap().0, first_sequence);
}

fn lack_of_memory_ends_the_snapshot_and_not_the_writer(kind: Kind) {
    let server = Redis::start(&kind);
    let mut fixture = JournalFixture::open(&server.options("main"));
    append(&mut fixture.journal, 20);
    let used: u64 = server
        .run("INFO memory")
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok())
        .unwrap();
    server.run(&format!("CONFIG SET maxmemory {}", used + (16 << 20)));
    let refused = fixture.snapshot().unwrap_err();
    assert!(matches!(&refused, JournalError::NoRoomForSnapshot { why } if why.contains("maxmemory")), "{refused}");
    fixture.journal.ensure_room(1_000).unwrap();
    append(&mut fixture.journal, 20);
    server.run("CONFIG SET maxmemory 0");
    fixture.position = JournalPosition::start("main");
    fixture.sum = Sum::default();
    fixture.snapshot().unwrap();
    let mut options = server.options("main");
    options.retry_timeout = Duration::from_secs(1);
    assert!(recover(&options).unwrap().1.from_snapshot);
}
