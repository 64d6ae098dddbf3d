//! Faults of a Redis journal while it is written: servers that crash, stall, lose data or fail over, replies that are lost,
//! zombie writers, and operators who delete keys.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::journal_redis::{Kind, Proxy, Redis, frames_up_to, free_port, open, payload};
use invengine_node::journal::{Ack, EveryFrame, Journal, JournalError, RedisJournal, RedisOptions};

const LEDGER: &str = "main";
const STATE: &str = "invengine:{main}:state";
const FRAMES: &str = "invengine:{main}:frames";

both!(
    killed_and_started_again_between_appends,
    killed_under_load,
    a_torn_file_at_the_end_is_appended_again,
    a_stall_is_waited_for,
    a_server_that_stays_away_poisons,
    an_append_with_a_lost_reply_is_appended_once,
    a_zombie_is_refused_every_time,
    a_writer_beside_another_claims_and_continues,
    keys_deleted_by_hand_poison,
    damaged_entries_are_refused,
    a_stale_replica_gets_the_missing_frames,
    a_stale_replica_that_lost_the_claim_is_not_written_to,
    replicated_waits_for_the_replica,
    replicated_loses_nothing_when_the_replica_takes_over,
    a_position_that_another_epoch_wrote_meanwhile_is_never_acknowledged,
    ids_are_sequences_and_not_times,
    a_full_server_is_reported_before_anything_is_decided,
);

fn append(journal: &mut RedisJournal) -> Result<u64, JournalError> {
    let next = journal.durable_sequence() + 1;
    journal.append(next, next, 1_000, &payload(next))?;
    Ok(next)
}

fn append_up_to(journal: &mut RedisJournal, last: u64) {
    while journal.durable_sequence() < last {
        append(journal).unwrap();
    }
}

fn entries(server: &Redis) -> u64 {
    server.run(&format!("XLEN {FRAMES}")).parse().unwrap()
}

/// Opens the journal again and checks that it holds exactly these events.
fn assert_holds(options: &RedisOptions, last: u64) {
    let (_, frames) = open(options).unwrap();
    assert_eq!(frames, frames_up_to(last));
}

fn killed_and_started_again_between_appends(kind: Kind) {
    let mut server = Redis::start(&kind);
    let options = server.options(LEDGER);
    let (mut journal, _) = open(&options).unwrap();
    let mut reader = journal.reader().unwrap();
    for round in 1..=20 {
        append_up_to(&mut journal, round * 5);
        server.end();
        server.restart();
        let mut seen = 0;
        reader
            .read_from(1, &mut |frame| {
                seen = frame.last_sequence;
                true
            })
            .unwrap();
        assert_eq!(seen, round * 5);
    }
    append_up_to(&mut journal, 101);
    assert_eq!((journal.writer_epoch(), entries(&server)), (1, 102));
    assert_holds(&options, 101);
}

fn killed_under_load(kind: Kind) {
    let mut server = Redis::start(&kind);
    let options = server.options(LEDGER);
    let done = AtomicBool::new(false);
    let acknowledged = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let (mut journal, _) = open(&options).unwrap();
            while !done.load(Ordering::Acquire) {
                append(&mut journal).unwrap();
            }
            journal.durable_sequence()
        });
        for _ in 0..10 {
            let before = server.run(&format!("HGET {STATE} last"));
            let until = Instant::now() + Duration::from_secs(10);
            while server.run(&format!("HGET {STATE} last")) == before {
                assert!(Instant::now() < until && !writing.is_finished(), "nothing is appended any more");
            }
            server.restart();
        }
        done.store(true, Ordering::Release);
        writing.join().unwrap()
    });
    assert_holds(&options, acknowledged);
}

// case: F08
fn a_torn_file_at_the_end_is_appended_again(kind: Kind) {
    let mut server = Redis::start(&kind);
    let options = server.options(LEDGER);
    let (mut journal, _) = open(&options).unwrap();
    for cut in [1, 40, 200, 700] {
        let last = journal.durable_sequence() + 10;
        append_up_to(&mut journal, last);
        server.end();
        cut_append_only_file(&server, cut);
        server.restart();
        append(&mut journal).unwrap();
    }
    let last = journal.durable_sequence();
    drop(journal);
    assert_holds(&options, last);
}

/// What a crashed machine may leave: a file without its last bytes.
fn cut_append_only_file(server: &Redis, bytes: u64) {
    let files = std::fs::read_dir(server.directory().join("appendonlydir")).unwrap();
    let mut growing = files.map(|file| file.unwrap().path()).filter(|path| path.to_str().unwrap().contains(".incr."));
    let file = std::fs::OpenOptions::new().write(true).open(growing.next().unwrap()).unwrap();
    assert!(growing.next().is_none());
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

fn a_stall_is_waited_for(kind: Kind) {
    let server = Redis::start(&kind);
    let mut options = server.options(LEDGER);
    options.answer_timeout = Duration::from_millis(200);
    let (mut journal, _) = open(&options).unwrap();
    append_up_to(&mut journal, 3);
    server.signal("-STOP");
    thread::scope(|scope| {
        let writing = scope.spawn(|| append_up_to(&mut journal, 4));
        // Longer than the reply timeout, so that the writer has dropped this connection.
        thread::sleep(Duration::from_millis(700));
        assert!(!writing.is_finished());
        server.signal("-CONT");
    });
    append_up_to(&mut journal, 10);
    assert_eq!(entries(&server), 11);
    assert_holds(&options, 10);
}

fn a_server_that_stays_away_poisons(kind: Kind) {
    let mut server = Redis::start(&kind);
    let mut options = server.options(LEDGER);
    options.retry_timeout = Duration::from_millis(300);
    let (mut journal, _) = open(&options).unwrap();
    append_up_to(&mut journal, 3);
    server.end();
    let started = Instant::now();
    assert!(matches!(append(&mut journal), Err(JournalError::Unreachable { .. })));
    assert!(started.elapsed() >= options.retry_timeout);
    assert!(matches!(append(&mut journal), Err(JournalError::Poisoned)));
    assert!(matches!(journal.ensure_room(1), Err(JournalError::Poisoned)));
    server.restart();
    assert!(matches!(append(&mut journal), Err(JournalError::Poisoned)));
    assert_holds(&options, 3);
}

// case: F06
fn an_append_with_a_lost_reply_is_appended_once(kind: Kind) {
    let server = Redis::start(&kind);
    let proxy = Proxy::to(&server.socket());
    let mut options = server.options(LEDGER);
    options.url = proxy.url().into();
    let (mut journal, _) = open(&options).unwrap();
    for round in 1..=100 {
        proxy.cut_replies(1);
        append(&mut journal).unwrap();
        assert!(proxy.has_cut(), "round {round}");
    }
    proxy.cut_replies(3);
    append(&mut journal).unwrap();
    assert_eq!(entries(&server), 102);
    drop(journal);
    assert_holds(&options, 101);
}

// case: F05
fn a_zombie_is_refused_every_time(kind: Kind) {
    let server = Redis::start(&kind);
    let options = server.options(LEDGER);
    let (mut zombie, _) = open(&options).unwrap();
    let mut refused = 0;
    for _ in 0..1_000 {
        let (mut writer, frames) = open(&options).unwrap();
        assert_eq!(frames.len() as u64, writer.durable_sequence());
        let (ours, found) = (zombie.writer_epoch(), writer.writer_epoch());
        match append(&mut zombie) {
            Err(JournalError::Fenced { ours: writer, found: owner, .. })
                if writer == ours && owner == found.to_string() =>
            {
                refused += 1;
            }
            other => panic!("writer {ours} after the claim of {found}: {other:?}"),
        }
        assert!(matches!(append(&mut zombie), Err(JournalError::Poisoned)));
        append(&mut writer).unwrap();
        zombie = writer;
    }
    println!("appends of old writers refused: {refused}");
    assert_eq!((refused, zombie.durable_sequence(), zombie.writer_epoch()), (1_000, 1_000, 1_001));
    assert_holds(&options, 1_000);
}

fn a_writer_beside_another_claims_and_continues(kind: Kind) {
    let server = Redis::start(&kind);
    let options = server.options(LEDGER);
    let (mut first, _) = open(&options).unwrap();
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            loop {
                if let Err(error) = append(&mut first) {
                    assert!(matches!(error, JournalError::Fenced { .. }), "{error}");
                    return first.durable_sequence();
                }
            }
        });
        let (mut second, frames) = open(&options).unwrap();
        let acknowledged = writing.join().unwrap();
        assert_eq!(frames, frames_up_to(acknowledged));
        append(&mut second).unwrap();
        assert_eq!(second.durable_sequence(), acknowledged + 1);
    });
}

// case: F11
fn keys_deleted_by_hand_poison(kind: Kind) {
    let server = Redis::start(&kind);
    for (number, damage) in [
        "FLUSHALL",
        "DEL $state",
        "DEL $frames",
        "XTRIM $frames MAXLEN 2",
        "XDEL $frames 2-0",
        "XADD $frames 4-0 frame x",
        "HSET $state last 2",
        "HSET $state chain 0000000000000000",
        "HSET $state entries 9",
        "XSETID $frames 9-0",
        "HSET $state owner another",
    ]
    .iter()
    .enumerate()
    {
        let ledger = format!("ledger{number}");
        let key = |name: &str| format!("invengine:{{{ledger}}}:{name}");
        let (mut journal, _) = open(&server.options(&ledger)).unwrap();
        append_up_to(&mut journal, 3);
        server.run(&damage.replace("$state", &key("state")).replace("$frames", &key("frames")));
        let before = server.run(&format!("XRANGE {} - +", key("frames")));
        let error = append(&mut journal).unwrap_err();
        let expected = match *damage {
            "XSETID $frames 9-0" => matches!(error, JournalError::Refused { .. }),
            "HSET $state owner another" => matches!(error, JournalError::Fenced { .. }),
            _ => matches!(error, JournalError::Lost { .. }),
        };
        assert!(expected, "{damage}: {error}");
        assert!(matches!(append(&mut journal), Err(JournalError::Poisoned)), "{damage}");
        assert_eq!(server.run(&format!("XRANGE {} - +", key("frames"))), before, "{damage}");
    }
}

// case: F09, F10
fn damaged_entries_are_refused(kind: Kind) {
    let server = Redis::start(&kind);
    let options = server.options(LEDGER);
    let (mut journal, _) = open(&options).unwrap();
    append_up_to(&mut journal, 5);
    drop(journal);
    let mut raw = server.connection();
    let all: Vec<(String, Vec<Vec<u8>>)> = redis::cmd("XRANGE").arg(FRAMES).arg("-").arg("+").query(&mut raw).unwrap();
    let flipped = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    let write = |id: &str, frames: &[(String, Vec<u8>)]| {
        let mut raw = server.connection();
        redis::cmd("DEL").arg(FRAMES).exec(&mut raw).unwrap();
        for (id, frame) in frames {
            redis::cmd("XADD").arg(FRAMES).arg(id).arg("frame").arg(frame).exec(&mut raw).unwrap();
        }
        let before = server.run(&format!("HGETALL {STATE}"));
        match open(&options) {
            Err(JournalError::CorruptEntry { id: reported, .. }) => assert_eq!(reported, id),
            other => panic!("entry {id}: {:?}", other.err()),
        }
        assert_eq!(server.run(&format!("HGETALL {STATE}")), before);
    };
    let good: Vec<(String, Vec<u8>)> = all.into_iter().map(|(id, fields)| (id, fields[1].clone())).collect();
    for bit in 0..good[3].1.len() * 8 {
        let mut frames = good.clone();
        frames[3].1 = flipped(&frames[3].1, bit);
        write("3-0", &frames);
    }
    let mut missing = good.clone();
    missing.remove(2);
    write("3-0", &missing);
    write("3-0", &good[..4]);
    let mut moved = good.clone();
    moved[5].0 = "6-0".into();
    write("6-0", &moved);
    let mut twice = good.clone();
    twice.push(("6-0".into(), good[5].1.clone()));
    write("6-0", &twice);
}

/// An up-to-date replica of a master that syncs.
fn with_replica(kind: &Kind, settings: &[&str]) -> (Redis, Redis) {
    let port = free_port();
    let master = Redis::start_on_port(kind, port, settings);
    let replica = Redis::start(kind);
    replica.run(&format!("REPLICAOF 127.0.0.1 {port}"));
    replica.wait_for("INFO replication", "master_link_status:up");
    master.wait_for("INFO replication", "state=online");
    (master, replica)
}

/// From now on the replica receives nothing more, and accepts writes.
fn promote(replica: &Redis, last: &str) {
    replica.wait_for(&format!("HGET {STATE} last"), last);
    assert_eq!(replica.run("REPLICAOF NO ONE"), "OK");
}

// case: F01
fn a_stale_replica_gets_the_missing_frames(kind: Kind) {
    let (mut master, replica) = with_replica(&kind, &[]);
    let proxy = Proxy::to(&master.socket());
    let mut options = master.options(LEDGER);
    options.url = proxy.url().into();
    let (mut journal, _) = open(&options).unwrap();
    assert!(journal.loss_window().contains("failover"), "{}", journal.loss_window());
    append_up_to(&mut journal, 10);
    promote(&replica, "10");
    append_up_to(&mut journal, 30);
    master.end();
    proxy.redirect_to(&replica.socket());
    append(&mut journal).unwrap();
    assert_eq!(entries(&replica), 32);
    drop(journal);
    assert_holds(&options, 31);
}

fn a_stale_replica_that_lost_the_claim_is_not_written_to(kind: Kind) {
    let (mut master, replica) = with_replica(&kind, &[]);
    let proxy = Proxy::to(&master.socket());
    let mut options = master.options(LEDGER);
    options.url = proxy.url().into();
    let (mut first, _) = open(&options).unwrap();
    append_up_to(&mut first, 10);
    promote(&replica, "10");
    let (mut second, _) = open(&options).unwrap();
    append_up_to(&mut second, 20);
    master.end();
    proxy.redirect_to(&replica.socket());
    let refused = append(&mut second);
    assert!(matches!(refused, Err(JournalError::Fenced { ours: 2, .. })), "{refused:?}");
    assert_eq!(entries(&replica), 11);
}

// case: F03
fn replicated_waits_for_the_replica(kind: Kind) {
    let (master, replica) = with_replica(&kind, &[]);
    let mut options = master.options(LEDGER);
    (options.ack, options.retry_timeout) = (Ack::Replicated, Duration::from_secs(30));
    options.answer_timeout = Duration::from_millis(400);
    let (mut journal, _) = open(&options).unwrap();
    for last in 1..=20 {
        append_up_to(&mut journal, last);
        assert_eq!(replica.run(&format!("HGET {STATE} last")), last.to_string());
    }
    replica.signal("-STOP");
    thread::scope(|scope| {
        let writing = scope.spawn(|| append(&mut journal).unwrap());
        master.wait_for(&format!("HGET {STATE} last"), "21");
        thread::sleep(Duration::from_millis(600));
        assert!(!writing.is_finished(), "no replica confirmed");
        replica.signal("-CONT");
    });
    assert_eq!(replica.run(&format!("HGET {STATE} last")), "21");
    replica.signal("-STOP");
    journal.close().unwrap();
    options.retry_timeout = Duration::from_millis(500);
    let refused = RedisJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(()))).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("no replica confirmed"), "{refused}");
    replica.signal("-CONT");
}

// case: F03
fn replicated_loses_nothing_when_the_replica_takes_over(kind: Kind) {
    let (mut master, replica) = with_replica(&kind, &[]);
    let mut options = master.options(LEDGER);
    options.ack = Ack::Replicated;
    let (mut journal, _) = open(&options).unwrap();
    append_up_to(&mut journal, 30);
    // The replica is cut off: what it does not confirm is not acknowledged.
    replica.signal("-STOP");
    options.retry_timeout = Duration::from_millis(500);
    drop(journal);
    assert!(RedisJournal::recover(&options, &mut EveryFrame(&mut |_| Ok(()))).is_err());
    master.end();
    replica.signal("-CONT");
    assert_eq!(replica.run("REPLICAOF NO ONE"), "OK");
    let (journal, frames) = open(&replica.options(LEDGER)).unwrap();
    assert_eq!((frames, journal.durable_sequence()), (frames_up_to(30), 30));
}

// case: F07
fn a_position_that_another_epoch_wrote_meanwhile_is_never_acknowledged(kind: Kind) {
    let server = Redis::start(&kind);
    let proxy = Proxy::to(&server.socket());
    let direct = server.options(LEDGER);
    let mut options = direct.clone();
    options.url = proxy.url().into();
    let (mut first, _) = open(&options).unwrap();
    append_up_to(&mut first, 5);
    // The network is cut: the next append gets no reply.
    proxy.redirect_to(&server.directory().join("nowhere"));
    thread::scope(|scope| {
        let writing = scope.spawn(|| append(&mut first));
        let (mut second, frames) = open(&direct).unwrap();
        assert_eq!(frames, frames_up_to(5));
        second.append(6, 6, 1_000, b"another").unwrap();
        assert!(!writing.is_finished());
        proxy.redirect_to(&server.socket());
        let refused = writing.join().unwrap();
        assert!(matches!(refused, Err(JournalError::Fenced { ours: 1, .. })), "{refused:?}");
    });
    assert_eq!(first.durable_sequence(), 5);
    assert!(matches!(append(&mut first), Err(JournalError::Poisoned)));
    let (_, frames) = open(&direct).unwrap();
    assert_eq!(frames[5..], [(6, 6, b"another".to_vec())]);
}

// case: F15
fn ids_are_sequences_and_not_times(kind: Kind) {
    let server = Redis::start(&kind);
    let options = server.options(LEDGER);
    for epoch in 1..=2 {
        let (mut journal, _) = open(&options).unwrap();
        append_up_to(&mut journal, epoch * 3);
    }
    let mut raw = server.connection();
    let all: Vec<(String, Vec<Vec<u8>>)> = redis::cmd("XRANGE").arg(FRAMES).arg("-").arg("+").query(&mut raw).unwrap();
    let ids: Vec<&str> = all.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["0-1", "1-0", "2-0", "3-0", "3-2", "4-0", "5-0", "6-0"]);
}

// case: F13
fn a_full_server_is_reported_before_anything_is_decided(kind: Kind) {
    let server = Redis::start(&kind);
    let mut options = server.options(LEDGER);
    options.retry_timeout = Duration::from_millis(300);
    let (mut journal, _) = open(&options).unwrap();
    append_up_to(&mut journal, 3);
    server.run("CONFIG SET maxmemory 1");
    // The first append after that was decided before the lack of room could be known.
    let refused = append(&mut journal).unwrap_err();
    assert!(refused.to_string().contains("OOM") && refused.to_string().contains("raise maxmemory"), "{refused}");
    drop(journal);
    server.run("CONFIG SET maxmemory 0");
    let (mut journal, frames) = open(&options).unwrap();
    assert_eq!(frames, frames_up_to(3));
    let used: u64 = server
        .run("INFO memory")
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok())
        .unwrap();
    server.run(&format!("CONFIG SET maxmemory {}", used + (2 << 20)));
    let mut full = None;
    while full.is_none() {
        let next = journal.durable_sequence() + 1;
        journal.append(next, next, 0, &vec![7; 100_000]).unwrap();
        full = journal.ensure_room(100_000).err();
    }
    assert!(matches!(full, Some(JournalError::Full { bytes: 100_000, .. })), "{full:?}");
    assert!(matches!(journal.ensure_room(100_000), Err(JournalError::Full { .. })));
    server.run("CONFIG SET maxmemory 0");
    journal.ensure_room(100_000).unwrap();
    append(&mut journal).unwrap();
}
