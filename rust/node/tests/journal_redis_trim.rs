//! The stream of the Redis journal is trimmed behind its snapshots, and nothing else ever goes unnoticed.

mod journal_disk;
mod journal_house;
mod journal_redis;

use std::time::Duration;

use invengine_node::journal::{Frame, Journal, JournalError, JournalReader, Mark, PIECE_BYTES_MAX, RedisJournal};
use journal_disk::{Kept, Sum, append_next, expected};
use journal_house::{FRAMES, House, STATE, all_of, append, entries, field, newest_and_older, recover, short_memory};
use journal_redis::{Kind, Redis};

both!(
    pieces_are_short_and_memory_is_given_back,
    the_stream_is_trimmed_as_the_retention_says,
    what_others_trim_is_noticed_on_a_trimmed_stream,
    damage_behind_the_snapshot_is_refused,
    a_reader_that_fell_behind_is_told_so,
    lack_of_memory_ends_the_snapshot_and_not_the_writer,
);

fn pieces_are_short_and_memory_is_given_back(kind: Kind) {
    let server = Redis::start(&kind);
    let options = server.options("main");
    let mut house = House::open(&options);
    let memory = |key: &str| server.run(&format!("MEMORY USAGE {key} SAMPLES 0")).parse::<u64>().unwrap_or(0);
    let all = || (0..3).map(|place| memory(&format!("invengine:{{main}}:snapshot:{place}"))).collect::<Vec<_>>();
    let pieces = 20;
    for round in 1..=4_u64 {
        append(&mut house.journal, 5);
        let mut history = house.journal.history().unwrap().unwrap();
        let mark = history.frames_after(&Mark::start("main"), &mut |_| true).unwrap();
        history.begin(&mark).unwrap();
        (0..pieces).for_each(|_| history.piece(&vec![round as u8; PIECE_BYTES_MAX]).unwrap());
        history.commit(&Sum::default().digest()).unwrap();
        history.trim(0).unwrap();
        let large = all().into_iter().filter(|bytes| *bytes > 1 << 20).count();
        assert_eq!(large, round.min(2) as usize, "{:?}", all());
        for piece in 0..pieces {
            let key = newest_and_older(&server)[0].clone();
            let length: usize = server.run(&format!("HSTRLEN {key} {piece}")).parse().unwrap();
            assert_eq!(length, PIECE_BYTES_MAX + 12);
        }
    }
    // A shorter one in the place of a longer one has no pieces of that.
    for _ in 0..3 {
        append(&mut house.journal, 1);
        house.snapshot().unwrap();
    }
    assert!(all().into_iter().all(|bytes| bytes < 1 << 16), "{:?}", all());
    recover(&options).unwrap();
}

fn the_stream_is_trimmed_as_the_retention_says(kind: Kind) {
    for (archive_ms, archive_bytes_max, keeps_all) in
        [(0, 0, true), (1_000_000, 0, true), (0, 1 << 30, true), (1, 0, false), (0, 1, false), (1_000_000, 1, false)]
    {
        let server = Redis::start(&kind);
        let mut options = server.options("main");
        (options.archive_ms, options.archive_bytes_max) = (archive_ms, archive_bytes_max);
        let mut house = House::open(&options);
        house.rounds(4, 300);
        append(&mut house.journal, 40);
        house.snapshot().unwrap();
        let older = house.journal.history().unwrap().unwrap().snapshots().unwrap()[1].mark;
        let (left, trimmed) = (entries(&server), field(&server, "trimmed"));
        assert_eq!(left + trimmed, field(&server, "entries"));
        assert_eq!(trimmed == 0, keeps_all, "{archive_ms} ms, {archive_bytes_max} bytes: {trimmed} of {left}");
        let last = append(&mut house.journal, 1);
        let mut reader = house.journal.reader().unwrap();
        if keeps_all {
            assert_eq!(read(reader.as_mut(), 0).unwrap().0, 1);
            continue;
        }
        assert!(left < trimmed, "{left} entries are there, {trimmed} were trimmed");
        // Everything from the older snapshot on is there, and the beginning is told.
        assert_eq!(read(reader.as_mut(), older.sequence() + 1).unwrap().1, last);
        let Err(JournalError::Trimmed { sequence: 1, first_sequence }) = read(reader.as_mut(), 1) else { panic!("1") };
        assert!(first_sequence > 1 && first_sequence <= older.sequence() + 1, "{first_sequence}");
        assert_eq!(read(reader.as_mut(), first_sequence).unwrap(), (first_sequence, last));
        assert!(matches!(read(reader.as_mut(), first_sequence - 1), Err(JournalError::Trimmed { .. })));
        let history = house.journal.history().unwrap().unwrap().trim(0).unwrap();
        assert_eq!(history.first_sequence, first_sequence);
        // Whoever wants every frame is refused, whoever takes a snapshot is not.
        drop(house);
        let refused = RedisJournal::open(&options, &mut |_| Ok(())).map(drop).unwrap_err();
        assert!(matches!(refused, JournalError::Trimmed { sequence: 1, .. }), "{refused}");
        assert_eq!(recover(&options).unwrap().1.sum.last, last);
    }
}

/// Reads on from a sequence, checks every frame, and answers the first sequence that was seen and the last one.
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
fn what_others_trim_is_noticed_on_a_trimmed_stream(kind: Kind) {
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
        let mut house = House::open(&options);
        house.rounds(3, 100);
        append(&mut house.journal, 20);
        assert!(field(&server, "trimmed") > 0 && entries(&server) > 60);
        let first = server.run(&format!("XRANGE {FRAMES} - + COUNT 1"));
        let id = first.split(' ').next().unwrap();
        server.run(&harm.replace("$frames", FRAMES).replace("$state", STATE).replace("$id", id));
        let before = all_of(&server);
        let refused = append_next(&mut house.journal, false).unwrap_err();
        assert!(matches!(refused, JournalError::Lost { .. }), "{harm}: {refused}");
        let history = house.journal.history().unwrap().unwrap().begin(&house.mark);
        assert!(matches!(history, Err(JournalError::Lost { .. })), "{harm}: {history:?}");
        drop(house);
        if harm != "FLUSHALL" {
            let refused = recover(&options).map(drop).unwrap_err();
            assert!(matches!(refused, JournalError::Lost { .. } | JournalError::Foreign { .. }), "{harm}: {refused}");
        }
        assert_eq!(all_of(&server), before, "{harm}");
    }
}

// case: F09, F10
fn damage_behind_the_snapshot_is_refused(kind: Kind) {
    for harm in ["flip", "gap", "end"] {
        let server = Redis::start(&kind);
        let options = short_memory(&server);
        let mut house = House::open(&options);
        house.rounds(3, 100);
        append(&mut house.journal, 20);
        drop(house);
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
        // The id of what is damaged, of what comes after the gap, or of what is the last one now.
        let wanted = &all[if harm == "end" { at - 1 } else { at }].0;
        assert!(matches!(&refused, JournalError::CorruptEntry { id, .. } if id == wanted), "{harm}: {refused}");
    }
}

fn a_reader_that_fell_behind_is_told_so(kind: Kind) {
    let server = Redis::start(&kind);
    let mut house = House::open(&short_memory(&server));
    append(&mut house.journal, 50);
    let mut reader = house.journal.reader().unwrap();
    let mut place = 0;
    let mut left = 10;
    let some = &mut |frame: Frame<'_>| {
        place = frame.last_sequence;
        left -= 1;
        left > 0
    };
    reader.read_from(1, some).unwrap();
    house.rounds(4, 300);
    append(&mut house.journal, 40);
    let refused = read(reader.as_mut(), place + 1);
    let Err(JournalError::Trimmed { sequence, first_sequence }) = refused else { panic!("{refused:?}") };
    assert!(sequence == place + 1 && first_sequence > sequence);
    assert_eq!(read(reader.as_mut(), first_sequence).unwrap().0, first_sequence);
}

fn lack_of_memory_ends_the_snapshot_and_not_the_writer(kind: Kind) {
    let server = Redis::start(&kind);
    let mut house = House::open(&server.options("main"));
    append(&mut house.journal, 20);
    let used: u64 = server
        .run("INFO memory")
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok())
        .unwrap();
    server.run(&format!("CONFIG SET maxmemory {}", used + (16 << 20)));
    let refused = house.snapshot().unwrap_err();
    assert!(matches!(&refused, JournalError::NoRoomForSnapshot { why } if why.contains("maxmemory")), "{refused}");
    house.journal.ensure_room(1_000).unwrap();
    append(&mut house.journal, 20);
    server.run("CONFIG SET maxmemory 0");
    house.mark = Mark::start("main");
    house.sum = Sum::default();
    house.snapshot().unwrap();
    let mut options = server.options("main");
    options.patience = Duration::from_secs(1);
    assert!(recover(&options).unwrap().1.from_snapshot);
}
