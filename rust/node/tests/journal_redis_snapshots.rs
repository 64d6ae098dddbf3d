//! Snapshots of the Redis journal: damage, deaths and old writers at every step give the same state or a reason.

mod journal_disk;
mod journal_house;
mod journal_redis;

use invengine_node::journal::{Frame, History, Journal, JournalError, Mark};
use journal_disk::Sum;
use journal_house::{FRAMES, House, STATE, all_of, append, field, newest_and_older, recover, short_memory};
use journal_redis::{Kind, Proxy, Redis, free_port};

both!(
    what_is_damaged_means_the_older_one,
    a_newer_one_is_refused_and_the_older_one_is_not_taken_in_its_place,
    without_a_good_one_every_frame_or_a_refusal,
    a_death_between_any_two_steps_changes_nothing,
    lost_answers_change_nothing,
    a_writer_that_was_fenced_changes_nothing,
    a_server_without_the_frames_gets_no_snapshot_of_them,
);

/// Changes one bit of a field.
fn flip(server: &Redis, key: &str, field: &str, byte: usize) {
    let mut raw = server.connection();
    let mut bytes: Vec<u8> = redis::cmd("HGET").arg(key).arg(field).query(&mut raw).unwrap();
    bytes[byte] ^= 4;
    redis::cmd("HSET").arg(key).arg(field).arg(bytes).exec(&mut raw).unwrap();
}

const DAMAGES: &[&str] = &[
    "flip 0 0",
    "flip 0 5",
    "flip 0 20",
    "flip 1 200",
    "flip header 20",
    "flip header 4000",
    "flip manifest 0",
    "flip manifest 9",
    "flip manifest 30",
    "HDEL 0",
    "HDEL 1",
    "HDEL header",
    "HDEL manifest",
    "HDEL extent",
    "HSET 1 ",
    "HSET 1 x",
    "HSET manifest x",
    "HSET extent 1",
    "HSET extent x",
    "DEL",
];

fn damage(server: &Redis, key: &str, how: &str) {
    let words: Vec<&str> = how.split(' ').collect();
    match words[..] {
        ["flip", field, byte] => flip(server, key, field, byte.parse().unwrap()),
        [command, ref rest @ ..] => {
            server.run_words(&[&[command, key], rest].concat());
        }
        [] => unreachable!(),
    }
}

// case: E11
fn what_is_damaged_means_the_older_one(kind: Kind) {
    let server = Redis::start(&kind);
    let options = short_memory(&server);
    let mut house = House::open(&options);
    house.rounds(3, 60);
    let last = append(&mut house.journal, 25);
    assert!(field(&server, "trimmed") > 0);
    drop(house);
    let (newest, _) = newest_and_older(&server).into();
    let good = server.run_words(&["DUMP", &newest]);
    assert!(!good.is_empty());
    for how in DAMAGES {
        let saved = save(&server, &newest);
        damage(&server, &newest, how);
        let (journal, rebuilt) = recover(&options).unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!((rebuilt.sum.last, rebuilt.from_snapshot), (last, true), "{how}");
        let gone = ["DEL", "HDEL manifest"].contains(how);
        assert_eq!(rebuilt.notes.len(), usize::from(!gone), "{how}: {:?}", rebuilt.notes);
        drop(journal);
        restore(&server, &newest, &saved);
        let (_, rebuilt) = recover(&options).unwrap();
        assert_eq!((rebuilt.sum.last, rebuilt.notes.len()), (last, 0), "{how}, mended");
    }
}

// case: E11, E16
fn a_newer_one_is_refused_and_the_older_one_is_not_taken_in_its_place(kind: Kind) {
    let server = Redis::start(&kind);
    let options = short_memory(&server);
    let mut house = House::open(&options);
    house.rounds(3, 60);
    drop(house);
    for name in newest_and_older(&server) {
        let saved = save(&server, &name);
        let mut newer = saved.clone();
        let header = &mut newer.iter_mut().find(|(field, _)| field == b"header").unwrap().1;
        header[8..12].copy_from_slice(&2_u32.to_le_bytes());
        let end = header.len() - 4;
        let crc = crc32c::crc32c(&header[..end]);
        header[end..].copy_from_slice(&crc.to_le_bytes());
        restore(&server, &name, &newer);
        let before = all_of(&server);
        match recover(&options).map(drop) {
            Err(JournalError::NewerFormat { file, found: 2, known: 1 }) => assert!(file.contains(&name), "{file}"),
            other => panic!("{name} of version 2: {other:?}"),
        }
        assert_eq!(all_of(&server), before, "something was written");
        restore(&server, &name, &saved);
    }
    recover(&options).unwrap();
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn save(server: &Redis, key: &str) -> Fields {
    redis::cmd("HGETALL").arg(key).query(&mut server.connection()).unwrap()
}

fn restore(server: &Redis, key: &str, fields: &Fields) {
    let mut raw = server.connection();
    redis::cmd("DEL").arg(key).exec(&mut raw).unwrap();
    for (name, value) in fields {
        redis::cmd("HSET").arg(key).arg(name).arg(value).exec(&mut raw).unwrap();
    }
}

// case: E11, E12
fn without_a_good_one_every_frame_or_a_refusal(kind: Kind) {
    for options_of in [|server: &Redis| server.options("main"), short_memory] {
        let server = Redis::start(&kind);
        let options = options_of(&server);
        let mut house = House::open(&options);
        house.rounds(3, 60);
        let last = append(&mut house.journal, 25);
        drop(house);
        for key in newest_and_older(&server) {
            damage(&server, &key, "flip 0 13");
        }
        let trimmed = field(&server, "trimmed");
        assert_eq!(trimmed > 0, options.archive_bytes_max == 1);
        let before = all_of(&server);
        match recover(&options) {
            Ok((_, rebuilt)) if trimmed == 0 => {
                assert_eq!((rebuilt.sum.last, rebuilt.from_snapshot, rebuilt.notes.len()), (last, false, 2));
            }
            Err(error @ JournalError::CorruptEntry { .. }) if trimmed > 0 => {
                assert!(error.to_string().contains("no snapshot is good"), "{error}");
                assert_eq!(all_of(&server), before, "nothing was written");
            }
            other => panic!("{trimmed} trimmed: {:?}", other.map(|(_, rebuilt)| rebuilt.sum)),
        }
        // Without its snapshots the beginning of an empty journal would be a lie.
        server.run(&format!("DEL {STATE} {FRAMES}"));
        let refused = recover(&options).map(drop).unwrap_err();
        assert!(matches!(refused, JournalError::Foreign { .. }), "{refused}");
    }
}

/// Writes a snapshot up to a step, and then no more: 0 begins, 1 and 2 give a piece, 3 commits, 4 trims.
fn steps(history: &mut dyn History, house: &House, steps: usize) -> Result<(), JournalError> {
    let (mut mark, mut sum) = (house.mark, house.sum);
    mark = history.frames_after(&mark, &mut |frame: Frame<'_>| {
        if !frame.is_claim() {
            sum.fold(frame.last_sequence, frame.payload);
        }
        true
    })?;
    for step in 0..steps {
        the_step(history, step, &mark, sum)?;
    }
    Ok(())
}

fn the_step(history: &mut dyn History, step: usize, mark: &Mark, sum: Sum) -> Result<(), JournalError> {
    match step {
        0 => history.begin(mark),
        1 => history.piece(&[sum.last.to_le_bytes(), sum.hash.to_le_bytes()].concat()),
        2 => history.piece(&[7; 300]),
        3 => history.commit(&sum.digest()).map(drop),
        _ => history.trim(mark.time_ms()).map(drop),
    }
}

// case: E11
fn a_death_between_any_two_steps_changes_nothing(kind: Kind) {
    let mut server = Redis::start(&kind);
    let options = short_memory(&server);
    let mut house = House::open(&options);
    for kill_server in [false, true] {
        for count in 0..=5 {
            append(&mut house.journal, 30);
            let mut history = house.journal.history().unwrap().unwrap();
            steps(history.as_mut(), &house, count).unwrap();
            let last = append(&mut house.journal, 5);
            drop(history);
            if kill_server {
                server.restart();
            }
            let (journal, rebuilt) = recover(&options).unwrap();
            assert_eq!((rebuilt.sum.last, rebuilt.notes.len()), (last, 0), "after {count} steps");
            house.journal = journal;
            house.snapshot().unwrap();
            assert_eq!(house.journal.history().unwrap().unwrap().snapshots().unwrap()[0].mark, house.mark);
        }
    }
}

// case: F06
fn lost_answers_change_nothing(kind: Kind) {
    let server = Redis::start(&kind);
    let proxy = Proxy::to(&server.socket());
    let mut options = short_memory(&server);
    options.url = proxy.url().into();
    let mut house = House::open(&options);
    for function in ["invengine_clear", "invengine_begin", "invengine_piece", "invengine_commit", "invengine_trim"] {
        house.rounds(1, 40);
        append(&mut house.journal, 40);
        proxy.cut_answers_to(function, 1);
        house.snapshot().unwrap();
        assert!(proxy.has_cut(), "{function}");
        let last = append(&mut house.journal, 3);
        let (journal, rebuilt) = recover(&options).unwrap();
        assert_eq!((rebuilt.sum.last, rebuilt.from_snapshot, rebuilt.notes.len()), (last, true, 0), "{function}");
        house.journal = journal;
    }
}

// case: F05
fn a_writer_that_was_fenced_changes_nothing(kind: Kind) {
    let server = Redis::start(&kind);
    let options = short_memory(&server);
    let mut house = House::open(&options);
    house.rounds(2, 40);
    for step in 0..5 {
        append(&mut house.journal, 40);
        let mut history = house.journal.history().unwrap().unwrap();
        steps(history.as_mut(), &house, step).unwrap();
        let (journal, _) = recover(&options).unwrap();
        let before = all_of(&server);
        let refused = the_step(history.as_mut(), step, &house.mark, house.sum);
        assert!(matches!(refused, Err(JournalError::Fenced { .. })), "step {step}: {refused:?}");
        assert_eq!(all_of(&server), before, "step {step}");
        house.journal = journal;
        house.snapshot().unwrap();
    }
}

fn a_server_without_the_frames_gets_no_snapshot_of_them(kind: Kind) {
    let port = free_port();
    let mut master = Redis::start_on_port(&kind, port, &[]);
    let replica = Redis::start(&kind);
    replica.run(&format!("REPLICAOF 127.0.0.1 {port}"));
    replica.wait_for("INFO replication", "master_link_status:up");
    let proxy = Proxy::to(&master.socket());
    let mut options = master.options("main");
    options.url = proxy.url().into();
    let mut house = House::open(&options);
    let early = append(&mut house.journal, 10);
    replica.wait_for(&format!("HGET {STATE} last"), &early.to_string());
    replica.run("REPLICAOF NO ONE");
    let late = append(&mut house.journal, 10);
    let mut history = house.journal.history().unwrap().unwrap();
    let mut sum = Sum::default();
    let fold = &mut |frame: Frame<'_>| {
        if !frame.is_claim() {
            sum.fold(frame.last_sequence, frame.payload);
        }
        true
    };
    let mark = history.frames_after(&house.mark, fold).unwrap();
    master.end();
    proxy.lead_to(&replica.socket());
    // The writer has not met the replica yet, so that this lacks what the snapshot covers.
    for step in 0..3 {
        the_step(history.as_mut(), step, &mark, sum).unwrap();
    }
    let refused = the_step(history.as_mut(), 3, &mark, sum);
    assert!(matches!(refused, Err(JournalError::NoSnapshot { .. })), "{refused:?}");
    drop(history);
    let (journal, rebuilt) = recover(&replica.options("main")).unwrap();
    assert_eq!((rebuilt.sum.last, rebuilt.from_snapshot, rebuilt.notes.len()), (early, false, 0));
    assert!(early < late);
    drop(journal);
}
