//! Backups restored into a ledger in Redis: complete under a higher epoch, or refused by every start, after a crash at any
//! moment; and the way from files to Redis and back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine_harness::{digest, fill, in_time, open, receive, redis_settings, reserve};
use crate::journal_redis::{Kind, Redis};
use invengine_node::backup::{create, create_from_redis, restore, restore_into_redis, restore_into_redis_on};
use invengine_node::engine::{Engine, OpenError};
use invengine_node::journal::redis::environment::{RedisEnvironment, RedisTransport};
use invengine_node::journal::{JournalError, RedisOptions};
use invengine_node::verify::verify_redis;
use redis::{RedisError, RedisResult, Value};

both!(
    backups_of_either_journal_are_restored_in_redis_and_continue,
    a_crash_at_any_call_leaves_a_refused_or_a_complete_journal,
    a_ledger_that_another_process_begins_meanwhile_stays_theirs,
    what_is_not_empty_or_not_a_backup_is_refused,
    a_restore_needs_few_more_rights,
    an_unconfirmed_mode_is_reported,
);

const EPOCH: u64 = 5_000;

fn engine_on(server: &Redis) -> Engine {
    Engine::open(&redis_settings(server.url(), &server.directory().join("engine"), 1)).unwrap()
}

fn grow(engine: &Engine, rounds: usize) {
    for round in 0..rounds {
        receive(engine, &format!("r{round}"), 1_000);
        (0..40).for_each(|number| reserve(engine, &format!("{round}-{number}")));
        engine.create_snapshot(in_time()).unwrap();
        reserve(engine, &format!("tail {round}"));
    }
}

/// Backups of journals in files and in Redis, with and without snapshot and older frames; with digest and sequence of each.
fn backups(kind: &Kind, place: &Path) -> Vec<(PathBuf, (String, i64))> {
    let mut made = Vec::new();
    for rounds in [0, 1, 4] {
        for archive in [false, true] {
            let name = |from: &str| place.join(format!("{from} {rounds} {archive}"));
            let directory = name("journal of");
            let engine = open(&directory);
            grow(&engine, rounds);
            create(&directory, &name("files"), archive).unwrap();
            made.push((name("files"), digest(&engine)));
            let server = Redis::start(kind);
            let engine = engine_on(&server);
            grow(&engine, rounds);
            create_from_redis(&server.options("main"), &name("redis"), archive).unwrap();
            made.push((name("redis"), digest(&engine)));
        }
    }
    made
}

/// Everything that belongs to the ledger.
fn all_of(server: &Redis) -> Vec<String> {
    let keys = ["state", "frames", "snapshot:0", "snapshot:1", "snapshot:2"];
    keys.iter().map(|key| server.run(&format!("DEBUG DIGEST-VALUE invengine:{{main}}:{key}"))).collect()
}

/// Checks the engine of a restored ledger: the state, under a higher epoch; it continues, trims, and starts again.
fn assert_restored(server: &Redis, (digest_then, sequence): &(String, i64), epoch: u64) {
    let report = verify_redis(&server.options("main"), None).unwrap();
    assert!(report.damage.is_none() && report.snapshots.iter().all(|each| each.compared), "{report:?}");
    assert_eq!((&report.digest, report.sequence as i64, report.writer_epoch), (digest_then, *sequence, epoch));
    let engine = engine_on(server);
    assert_eq!(digest(&engine), (digest_then.clone(), *sequence));
    assert!(engine.stats().contains(&format!("\"writer_epoch\":{},", epoch + 1)), "{}", engine.stats());
    for round in 100..104 {
        fill(&engine, round);
        engine.create_snapshot(in_time()).unwrap();
    }
    let after = digest(&engine);
    drop(engine);
    assert_eq!(digest(&engine_on(server)), after);
    assert!(verify_redis(&server.options("main"), None).unwrap().damage.is_none());
}

// case: I03
fn backups_of_either_journal_are_restored_in_redis_and_continue(kind: Kind) {
    let place = tempfile::tempdir().unwrap();
    for (backup, then) in backups(&kind, place.path()) {
        let server = Redis::start(&kind);
        let options = server.options("main");
        let report = restore_into_redis(&backup, &options, EPOCH).unwrap();
        assert_eq!((report.restored_epoch, &report.backup.digest), (EPOCH, &then.0), "{backup:?}");
        // Back to files: the same state, and a claim more.
        let back = backup.with_extension("back");
        assert_eq!(create_from_redis(&options, &back, true).unwrap().manifest.digest, then.0);
        restore(&back, &backup.with_extension("files"), 0).unwrap();
        assert_eq!(digest(&open(&backup.with_extension("files"))), then);
        let untouched = all_of(&server);
        let again = restore_into_redis(&backup, &options, 0);
        assert!(matches!(again, Err(JournalError::NotEmpty { .. })), "{again:?}");
        assert_eq!(all_of(&server), untouched);
        assert_restored(&server, &then, EPOCH);
    }
}

/// A network with a fault at one call: before it is sent, or after it was executed and before the reply arrives.
#[derive(Debug)]
struct FaultyNetwork {
    url: String,
    calls: Arc<AtomicUsize>,
    at: usize,
    what: NetworkFault,
}

#[derive(Debug, Clone)]
enum NetworkFault {
    NotSent,
    ReplyLost,
    Meanwhile(Vec<String>),
}

struct FaultyTransport {
    inner: redis::Connection,
    url: String,
    calls: Arc<AtomicUsize>,
    at: usize,
    what: NetworkFault,
    reply_lost: bool,
}

impl RedisEnvironment for FaultyNetwork {
    fn connect(&self) -> Option<RedisResult<Box<dyn RedisTransport>>> {
        let connect = || {
            let inner = redis::Client::open(self.url.as_str())?.get_connection()?;
            let (url, calls, what) = (self.url.clone(), Arc::clone(&self.calls), self.what.clone());
            Ok(Box::new(FaultyTransport { inner, url, calls, at: self.at, what, reply_lost: false })
                as Box<dyn RedisTransport>)
        };
        Some(connect())
    }
}

fn gone() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
}

impl RedisTransport for FaultyTransport {
    fn send(&mut self, packed: &[u8]) -> RedisResult<()> {
        let is_now = self.calls.fetch_add(1, Ordering::SeqCst) == self.at;
        match (&self.what, is_now) {
            (NetworkFault::NotSent, true) => return Err(gone()),
            (NetworkFault::ReplyLost, true) => self.reply_lost = true,
            (NetworkFault::Meanwhile(words), true) => {
                let mut other = redis::Client::open(self.url.as_str())?.get_connection()?;
                redis::cmd(&words[0]).arg(&words[1..]).exec(&mut other)?;
            }
            _ => {}
        }
        self.inner.send(packed)
    }

    fn receive(&mut self) -> RedisResult<Value> {
        let reply = self.inner.receive();
        if self.reply_lost { Err(gone()) } else { reply }
    }
}

/// Restores on a network with such a fault; also returns the number of calls.
fn restore_with_fault(
    backup: &Path,
    options: &RedisOptions,
    at: usize,
    what: NetworkFault,
) -> (Result<u64, JournalError>, usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let ground = FaultyNetwork { url: options.url.reveal().to_owned(), calls: Arc::clone(&calls), at, what };
    let restored = restore_into_redis_on(backup, options, EPOCH, Arc::new(ground));
    (restored.map(|report| report.restored_epoch), calls.load(Ordering::SeqCst))
}

/// A backup with snapshot, older frames and a tail.
fn one_backup(place: &Path) -> (PathBuf, (String, i64)) {
    let engine = open(&place.join("journal"));
    grow(&engine, 2);
    create(&place.join("journal"), &place.join("backup"), true).unwrap();
    (place.join("backup"), digest(&engine))
}

// case: I03, E05
fn a_crash_at_any_call_leaves_a_refused_or_a_complete_journal(kind: Kind) {
    let place = tempfile::tempdir().unwrap();
    let (backup, then) = one_backup(place.path());
    let server = Redis::start(&kind);
    let options = server.options("main");
    let (restored, calls) = restore_with_fault(&backup, &options, usize::MAX, NetworkFault::NotSent);
    assert_eq!(restored.unwrap(), EPOCH);
    let (mut unfinished, mut whole) = (0, 0);
    for at in 0..calls {
        for what in [NetworkFault::NotSent, NetworkFault::ReplyLost] {
            server.run("FLUSHALL");
            let (restored, _) = restore_with_fault(&backup, &options, at, what.clone());
            assert!(restored.is_err(), "{what:?} {at}");
            let nothing = server.run("EXISTS invengine:{main}:state") == "0";
            let opened = Engine::open(&redis_settings(server.url(), &place.path().join("engine"), 1));
            match opened {
                Ok(engine) if nothing => assert_eq!(digest(&engine).1, 0),
                Ok(engine) => {
                    whole += 1;
                    assert_eq!(digest(&engine), then, "{what:?} {at}");
                }
                Err(OpenError::Journal(JournalError::NoJournal { why, .. })) => {
                    unfinished += 1;
                    assert!(why.contains("backup restore"), "{why}");
                    let looked = verify_redis(&options, None);
                    assert!(matches!(looked, Err(JournalError::NoJournal { .. })), "{looked:?}");
                    restore_into_redis(&backup, &options, EPOCH).unwrap();
                    let report = verify_redis(&options, None).unwrap();
                    assert_eq!((report.digest, report.sequence as i64), then.clone());
                    assert!(report.damage.is_none(), "{what:?} {at}");
                }
                Err(other) => panic!("{what:?} {at}: {other}"),
            }
        }
    }
    assert!(unfinished > 10 && whole > 0, "{unfinished} {whole} of {calls}");
}

fn a_ledger_that_another_process_begins_meanwhile_stays_theirs(kind: Kind) {
    let place = tempfile::tempdir().unwrap();
    let (backup, _) = one_backup(place.path());
    let server = Redis::start(&kind);
    let options = server.options("main");
    let (_, calls) = restore_with_fault(&backup, &options, usize::MAX, NetworkFault::NotSent);
    let mut theirs = 0;
    for at in 0..calls {
        server.run("FLUSHALL");
        let words = ["HSET", "invengine:{main}:state", "owner", "another"].map(str::to_owned).to_vec();
        match restore_with_fault(&backup, &options, at, NetworkFault::Meanwhile(words)).0 {
            // It happened when everything was written, or before the ledger was checked.
            Ok(_) => assert!(at + 1 >= calls, "{at} of {calls}"),
            Err(JournalError::NotEmpty { .. } | JournalError::Foreign { .. }) => {
                theirs += 1;
                assert_eq!(server.run("HGET invengine:{main}:state owner"), "another", "{at}");
            }
            Err(other) => panic!("{at}: {other}"),
        }
    }
    assert!(theirs > 10, "{theirs} of {calls}");
}

fn what_is_not_empty_or_not_a_backup_is_refused(kind: Kind) {
    let place = tempfile::tempdir().unwrap();
    let (backup, _) = one_backup(place.path());
    let server = Redis::start(&kind);
    let options = server.options("main");
    let refused = |options: &RedisOptions, epoch: u64| {
        let before = all_of(&server);
        let text = restore_into_redis(&backup, options, epoch).map(drop).unwrap_err().to_string();
        assert_eq!(all_of(&server), before, "{text}");
        assert!(!text.contains('\n'), "{text}");
        text
    };
    assert!(refused(&server.options("other"), 0).contains("belongs to ledger \"main\", not \"other\""));
    assert!(refused(&options, 1).contains("writer_epoch_min"));
    let mut elsewhere = options.clone();
    elsewhere.url = "redis://127.0.0.1:1".into();
    assert!(refused(&elsewhere, 0).contains("cannot reach Redis"));
    server.run("CONFIG SET appendfsync everysec");
    assert!(refused(&options, 0).contains("redis_ack fsync"));
    server.run("CONFIG SET appendfsync always");
    for key in ["state", "frames", "snapshot:2"] {
        server.run(&format!("SET invengine:{{main}}:{key} x"));
        assert!(refused(&options, 0).contains("does not fit a journal"), "{key}");
        server.run("FLUSHALL");
    }
    server.run("CONFIG SET maxmemory 1");
    assert!(restore_into_redis(&backup, &options, 0).unwrap_err().to_string().contains("raise maxmemory"));
    server.run("CONFIG SET maxmemory 0");
    drop(engine_on(&server));
    assert!(refused(&options, 0).contains("is not empty: it holds a journal"));
    server.run("FLUSHALL");
    let file = crate::engine_harness::names(&backup, "journal-").remove(0);
    let mut bytes = std::fs::read(backup.join(&file)).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(backup.join(&file), bytes).unwrap();
    assert!(refused(&options, 0).contains("cannot be restored"));
}

const RIGHTS: &str = "-@all +fcall +function|load +hgetall +type +xrange +info +config|get +hmget +hset +xadd +xlen";

fn a_restore_needs_few_more_rights(kind: Kind) {
    let place = tempfile::tempdir().unwrap();
    let (backup, then) = one_backup(place.path());
    let documents = include_str!("../../../../docs/operations.md");
    assert!(documents.contains("`+eval`") && documents.contains("`+unlink`"), "docs/operations.md");
    let server = Redis::start(&kind);
    let mut options = server.options("main");
    (options.username, options.password) = ("app".into(), "pass".into());
    let user = |more: &str| server.run(&format!("ACL SETUSER app reset on >pass ~invengine:* {RIGHTS} {more}"));
    user("");
    let refused = restore_into_redis(&backup, &options, EPOCH).unwrap_err().to_string();
    assert!(refused.contains("docs/operations.md"), "{refused}");
    assert_eq!(server.run("DBSIZE"), "0");
    user("+eval");
    restore_into_redis(&backup, &options, EPOCH).unwrap();
    // Needed to remove the leftovers of an unfinished restore.
    server.run("FLUSHALL");
    server.run("HSET invengine:{main}:state restoring another");
    server.run("XADD invengine:{main}:frames 99999999-0 frame x");
    let refused = restore_into_redis(&backup, &options, EPOCH).unwrap_err().to_string();
    assert!(refused.contains("docs/operations.md"), "{refused}");
    user("+eval +unlink");
    restore_into_redis(&backup, &options, EPOCH).unwrap();
    assert_restored(&server, &then, EPOCH);
}

fn an_unconfirmed_mode_is_reported(kind: Kind) {
    let place = tempfile::tempdir().unwrap();
    let (backup, _) = one_backup(place.path());
    let server = Redis::start(&kind);
    let mut options = server.options("main");
    options.ack = invengine_node::journal::Ack::Replicated;
    let refused = restore_into_redis(&backup, &options, EPOCH).unwrap_err().to_string();
    assert!(refused.contains("it has no replica"), "{refused}");
    let port = crate::journal_redis::free_port();
    let master = Redis::start_on_port(&kind, port, &[]);
    server.run(&format!("REPLICAOF 127.0.0.1 {port}"));
    server.wait_for("INFO replication", "master_link_status:up");
    let mut options = master.options("main");
    options.ack = invengine_node::journal::Ack::Replicated;
    restore_into_redis(&backup, &options, EPOCH).unwrap();
    server.wait_for("HGET invengine:{main}:state epoch", &EPOCH.to_string());
    master.run("FLUSHALL");
    server.signal("-STOP");
    let unconfirmed = restore_into_redis(&backup, &options, EPOCH).unwrap_err().to_string();
    assert!(unconfirmed.contains("no replica confirmed in time"), "{unconfirmed}");
    let counts = master.run("HEXISTS invengine:{main}:state owner");
    assert_eq!(counts, "0", "it is not valid before what it relies on is confirmed");
}
