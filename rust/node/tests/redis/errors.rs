//! Every error that a Redis server can reply with, and how the journal handles it: transient ones are retried, lack of room is
//! reported before anything is decided, the rest ends the writer; each with a message of one line that says what to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::journal_redis::FakeServer;
use invengine_node::journal::{EveryFrame, Journal, JournalError, RedisJournal, RedisOptions};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Waits,
    IsFull,
    Ends,
}

/// The server's reply, what the journal does, words of its message.
const ANSWERS: &[(&str, Then, &str)] = &[
    ("-LOADING Redis is loading the dataset in memory", Then::Waits, "still reading its files"),
    ("-BUSY Redis is busy running a script. You can only call SCRIPT KILL", Then::Waits, "end the script"),
    ("-TRYAGAIN Multiple keys request during rehashing of slot", Then::Waits, "being moved"),
    ("-ASK 1234 127.0.0.1:1", Then::Waits, "being moved"),
    ("-CLUSTERDOWN Hash slot not served", Then::Waits, "fix the cluster"),
    ("-MASTERDOWN Link with MASTER is down", Then::Waits, "fix replication"),
    ("-READONLY You can't write against a read only replica.", Then::Waits, "name the master"),
    ("-NOREPLICAS Not enough good replicas to write.", Then::Waits, "connect its replicas"),
    ("-UNBLOCKED force unblock from blocking operation", Then::Waits, "changed its role"),
    ("?nonsense", Then::Waits, "cannot reach Redis"),
    ("-OOM command not allowed when used memory > 'maxmemory'.", Then::IsFull, "raise maxmemory"),
    ("-MISCONF Errors writing to the AOF file: No space left on device", Then::IsFull, "free disk space"),
    ("-MOVED 1234 127.0.0.1:1", Then::Ends, "redis+cluster://"),
    ("-NOAUTH Authentication required.", Then::Ends, "INVENGINE_REDIS_PASSWORD"),
    ("-WRONGPASS invalid username-password pair or user is disabled.", Then::Ends, "correct user and password"),
    ("-NOPERM this user has no permissions to run the 'fcall' command", Then::Ends, "docs/operations.md"),
    ("-WRONGTYPE Operation against a key holding the wrong kind of value", Then::Ends, "another ledger name"),
    ("-CROSSSLOT Keys in request don't hash to the same slot", Then::Ends, "proxy"),
    ("-DENIED Redis is running in protected mode", Then::Ends, "set a password"),
    ("-ERR Function not found", Then::Ends, "version none"),
    (
        "-ERR The ID specified in XADD is equal or smaller than the target stream top item",
        Then::Ends,
        "look at its log",
    ),
    ("*1\r\n$6\r\nFENCED", Then::Ends, "FCALL"),
    ("*6\r\n$6\r\nFENCED\r\n$1\r\nx\r\n$1\r\n7\r\n$1\r\n0\r\n$1\r\n0\r\n$1\r\n1", Then::Ends, "writer epoch 7"),
    ("*2\r\n$7\r\nVERSION\r\n$1\r\n3", Then::Ends, "start the newer invengine"),
    ("*2\r\n$7\r\nVERSION\r\n$1\r\n1", Then::Ends, "FUNCTION DELETE"),
    (":5", Then::Ends, "PROTOCOL"),
];

/// A server that sends this reply to the first `times` calls of a function.
fn server(function: &'static str, answer: &'static str, times: usize) -> (FakeServer, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(times));
    let counting = left.clone();
    let server = FakeServer::start(Box::new(move |command| {
        let is_it = command.first().is_some_and(|word| word == "FCALL") && command[1] == function;
        let take_one = |left: usize| left.checked_sub(1);
        let taken = is_it && counting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok();
        taken.then(|| format!("{answer}\r\n"))
    }));
    (server, left)
}

fn options(server: &FakeServer) -> RedisOptions {
    let mut options = RedisOptions::new(server.url(), "main");
    options.retry_timeout = Duration::from_millis(60);
    options
}

fn open(options: &RedisOptions) -> Result<RedisJournal, JournalError> {
    RedisJournal::recover(options, &mut EveryFrame(&mut |_| Ok(())))
}

fn assert_one_line_that_helps(error: &JournalError, words: &str, answer: &str) {
    let text = error.to_string();
    assert!(text.contains(words) && !text.contains('\n'), "{answer}: {text}");
}

// case: F14
#[test]
fn an_append_retries_transient_errors_and_ends_at_the_rest() {
    for (answer, then, words) in ANSWERS {
        let (server, _) = server("invengine_append", answer, usize::MAX);
        let mut options = options(&server);
        // Long enough for a second attempt on a busy machine.
        options.retry_timeout = Duration::from_millis(300);
        let mut journal = open(&options).unwrap();
        let error = journal.append(1, 1, 0, b"x").unwrap_err();
        assert_one_line_that_helps(&error, words, answer);
        let tries = server.received("FCALL invengine_append");
        assert_eq!(tries > 1, *then != Then::Ends, "{answer}: {tries} tries");
        assert!(matches!(journal.append(1, 1, 0, b"x"), Err(JournalError::Poisoned)), "{answer}");
        assert_eq!(server.received("FCALL invengine_append"), tries, "{answer}");
        assert_eq!(journal.durable_sequence(), 0);
    }
}

// case: F14
#[test]
fn transient_errors_end_in_an_append() {
    for (answer, _, _) in ANSWERS.iter().filter(|row| row.1 != Then::Ends) {
        let (server, left) = server("invengine_append", answer, 3);
        let mut options = options(&server);
        options.retry_timeout = Duration::from_secs(10);
        let mut journal = open(&options).unwrap();
        journal.append(1, 1, 0, b"x").unwrap();
        assert_eq!((left.load(Ordering::SeqCst), journal.durable_sequence()), (0, 1), "{answer}");
        assert!(server.received("FCALL invengine_resume") >= 1, "{answer}");
    }
}

// case: F13, F14
#[test]
fn lack_of_room_is_reported_before_anything_is_decided_and_resolves() {
    for (answer, _, words) in ANSWERS.iter().filter(|row| row.1 == Then::IsFull) {
        // The first call checks for the functions, the second is sent with the claim.
        let asked = Arc::new(AtomicUsize::new(0));
        let counting = asked.clone();
        let server = FakeServer::start(Box::new(move |command| {
            let is_it = command.get(1).is_some_and(|word| word == "invengine_room");
            let count = if is_it { counting.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
            (2..=4).contains(&count).then(|| format!("{answer}\r\n"))
        }));
        let mut journal = open(&options(&server)).unwrap();
        for _ in 0..2 {
            let full = journal.ensure_room(100).unwrap_err();
            assert!(matches!(full, JournalError::Full { bytes: 100, .. }), "{answer}: {full}");
            assert_one_line_that_helps(&full, words, answer);
        }
        journal.ensure_room(100).unwrap();
        journal.append(1, 1, 0, b"x").unwrap();
        assert_eq!(server.received("FCALL invengine_append"), 1);
    }
}

// case: F14
#[test]
fn a_refused_open_claims_nothing() {
    for (answer, _, words) in ANSWERS {
        let (server, _) = server("invengine_claim", answer, usize::MAX);
        let error = open(&options(&server)).map(drop).unwrap_err();
        assert_one_line_that_helps(&error, words, answer);
        assert_eq!(server.received("FCALL invengine_append"), 0);
    }
}

#[test]
fn a_loading_server_is_waited_for_and_a_refusing_one_is_not() {
    for (answer, _, words) in ANSWERS.iter().filter(|row| row.0.starts_with('-') && !row.2.contains("version")) {
        let times = Arc::new(AtomicUsize::new(3));
        let server = FakeServer::start(Box::new(move |command| {
            let take_one = |left: usize| left.checked_sub(1);
            let is_it = command[0] == "INFO";
            let taken = is_it && times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok();
            taken.then(|| format!("{answer}\r\n"))
        }));
        let mut options = options(&server);
        options.retry_timeout = Duration::from_secs(10);
        if answer.starts_with("-LOADING") {
            open(&options).unwrap();
            continue;
        }
        let started = Instant::now();
        let error = open(&options).map(drop).unwrap_err();
        assert_one_line_that_helps(&error, words, answer);
        assert!(started.elapsed() < options.retry_timeout, "{answer}");
    }
}

#[test]
fn a_server_that_closes_every_connection_is_unreachable() {
    let server = FakeServer::start(Box::new(|_| Some(String::new())));
    let mut options = options(&server);
    options.answer_timeout = Duration::from_millis(100);
    assert!(matches!(open(&options), Err(JournalError::Unreachable { .. })));
}

#[test]
fn text_of_a_server_breaks_no_line_and_fills_no_log() {
    let long = format!("-ERR {}\u{1b}[2J", "x".repeat(5_000));
    let server = FakeServer::start(Box::new(move |command| (command[0] == "INFO").then(|| format!("{long}\r\n"))));
    let text = open(&options(&server)).map(drop).unwrap_err().to_string();
    assert!(text.len() < 500 && !text.contains('\u{1b}'), "{text}");
}
