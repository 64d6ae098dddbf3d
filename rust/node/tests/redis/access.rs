//! Opening a Redis journal: what is required, what is refused before anything is written, and every way to reach a server.

use std::time::{Duration, Instant};

use crate::journal_redis::{Kind, Redis, frames_up_to, free_port, open, payload};
use invengine_node::journal::{Ack, EveryFrame, Journal, JournalError, JournalPosition, RedisJournal, RedisOptions};

both!(
    an_unreachable_server_is_reported_at_once,
    passwords_are_used_and_never_shown,
    foreign_keys_are_refused,
    other_functions_are_refused,
    other_journals_are_refused,
    weak_servers_are_refused,
    a_refused_replay_changes_nothing,
    a_loss_window_describes_the_server,
    few_commands_are_enough_and_all_are_needed,
    a_cluster_redirects_to_the_node_with_the_keys,
);

fn refusal(options: &RedisOptions) -> String {
    let text = RedisJournal::recover(options, &mut EveryFrame(&mut |_| Ok(()))).map(drop).unwrap_err().to_string();
    assert!(!text.contains('\n') && text.len() < 400, "{text}");
    text
}

fn append(journal: &mut RedisJournal, count: u64) {
    for _ in 0..count {
        let next = journal.durable_sequence() + 1;
        journal.append(next, next, 1_000, &payload(next)).unwrap();
    }
}

/// Everything a server holds, to see whether something was written.
fn all_of(server: &Redis) -> String {
    let keys = server.run("KEYS *");
    let mut names: Vec<&str> = keys.split_whitespace().collect();
    names.sort_unstable();
    let dumps: Vec<String> = names.iter().map(|name| server.run(&format!("DEBUG DIGEST-VALUE {name}"))).collect();
    format!("{names:?} {dumps:?} {}", server.run("FUNCTION LIST WITHCODE"))
}

fn an_unreachable_server_is_reported_at_once(kind: Kind) {
    let mut server = Redis::start(&kind);
    server.end();
    let started = Instant::now();
    let mut options = server.options("main");
    options.retry_timeout = Duration::from_secs(60);
    assert!(refusal(&options).contains("start it, or correct its address"));
    options.url = format!("redis://127.0.0.1:{}", free_port()).into();
    assert!(refusal(&options).contains("start it, or correct its address"));
    assert!(started.elapsed() < Duration::from_secs(10));
}

fn passwords_are_used_and_never_shown(kind: Kind) {
    let port = free_port();
    let server = Redis::start_on_port(&kind, port, &[]);
    server.run("ACL SETUSER app on >s3cr+t ~* &* +@all");
    let url = |user: &str| format!("redis://{user}127.0.0.1:{port}");
    for user in ["app:wrong@", "nobody:s3cr+t@"] {
        let text = refusal(&RedisOptions::new(url(user), "main"));
        assert!(text.contains("WRONGPASS") && text.contains("correct user and password"), "{text}");
        assert!(!text.contains("wrong@") && !text.contains("s3cr"), "{text}");
    }
    open(&RedisOptions::new(url("app:s3cr%2Bt@"), "main")).unwrap();
    let mut apart = RedisOptions::new(url(""), "main");
    (apart.username, apart.password) = ("app".into(), "s3cr+t".into());
    assert!(!format!("{apart:?}").contains("s3cr"));
    open(&apart).unwrap();
    server.run("ACL SETUSER default resetpass >other");
    let text = refusal(&RedisOptions::new(url(""), "main"));
    assert!(text.contains("NOAUTH") && text.contains("INVENGINE_REDIS_PASSWORD"), "{text}");
}

fn foreign_keys_are_refused(kind: Kind) {
    let server = Redis::start(&kind);
    for (number, (command, words)) in [
        ("SET $state x", "it is a string, not a hash"),
        ("SET $frames x", "it is a string, not a stream"),
        ("LPUSH $frames x", "it is a list, not a stream"),
        ("HSET $frames a b", "it is a hash, not a stream"),
        ("XADD $frames 1-0 a b", "state is missing"),
        ("HSET $state a b", "frames is missing"),
        ("SET $snapshot:1 x", "it is a string, not a hash"),
        ("HSET $snapshot:2 header x", "frames are missing"),
    ]
    .iter()
    .enumerate()
    {
        let ledger = format!("ledger{number}");
        let key = |name: &str| format!("invengine:{{{ledger}}}:{name}");
        let named = command.replace("$state", &key("state")).replace("$frames", &key("frames"));
        server.run(&named.replace("$snapshot", &key("snapshot")));
        let before = all_of(&server);
        let text = refusal(&server.options(&ledger));
        assert!(text.contains(words) && text.contains("does not fit a journal"), "{command}: {text}");
        assert_eq!(all_of(&server), before, "{command}");
    }
    server.run("XADD invengine:{x}:frames 1-0 a b");
    server.run("HSET invengine:{x}:state a b");
    let before = all_of(&server);
    assert!(refusal(&server.options("x")).contains("no journal wrote it"));
    assert_eq!(all_of(&server), before);
}

// case: F12
fn other_functions_are_refused(kind: Kind) {
    let code = include_str!("../../src/journal/redis/functions.lua");
    let version = |number: &str| code.replace("local VERSION = '2'", &format!("local VERSION = '{number}'"));
    let foreign = "#!lua name=invengine_journal\nredis.register_function('other', function() return 1 end)".to_owned();
    for (code, words) in
        [(version("3"), "has version 3 of library"), (version("1"), "FUNCTION DELETE"), (foreign, "not ours")]
    {
        let server = Redis::start(&kind);
        let loaded = server.run_words(&["FUNCTION", "LOAD", &code]);
        assert_eq!(loaded, "invengine_journal");
        let before = all_of(&server);
        let text = refusal(&server.options("main"));
        assert!(text.contains(words), "{text}");
        assert_eq!(all_of(&server), before);
    }
    let server = Redis::start(&kind);
    let (mut journal, _) = open(&server.options("main")).unwrap();
    append(&mut journal, 3);
    server.run_words(&["FUNCTION", "LOAD", "REPLACE", &version("3")]);
    let before = all_of(&server);
    let refused = journal.append(4, 4, 0, b"x").unwrap_err();
    assert!(matches!(refused, JournalError::FunctionVersion { .. }), "{refused}");
    assert_eq!(all_of(&server), before);
}

fn other_journals_are_refused(kind: Kind) {
    let server = Redis::start(&kind);
    let (mut journal, _) = open(&server.options("north")).unwrap();
    append(&mut journal, 3);
    for name in ["state", "frames"] {
        server.run(&format!("COPY invengine:{{north}}:{name} invengine:{{south}}:{name}"));
    }
    let before = all_of(&server);
    let text = refusal(&server.options("south"));
    assert!(text.contains("belongs to ledger \"north\", not \"south\""), "{text}");
    assert_eq!(all_of(&server), before);
    server.run("HSET invengine:{south}:state ledger south");
    let text = refusal(&server.options("south"));
    assert!(text.contains("belongs to another ledger"), "{text}");
    server.run("HSET invengine:{north}:state format 2");
    let text = refusal(&server.options("north"));
    assert!(text.contains("journal format 2") && text.contains("start the newer version"), "{text}");
}

fn weak_servers_are_refused(kind: Kind) {
    let server = Redis::start(&kind);
    let refused = |ack: Ack, words: &str| {
        let mut options = server.options("main");
        options.ack = ack;
        let before = all_of(&server);
        let text = refusal(&options);
        assert!(text.contains(words), "{ack:?}: {text}");
        assert_eq!(all_of(&server), before);
    };
    refused(Ack::Replicated, "it has no replica");
    server.run("CONFIG SET appendfsync everysec");
    refused(Ack::Fsync, "CONFIG SET appendfsync always, or choose everysec");
    server.run("CONFIG SET appendfsync no");
    refused(Ack::Everysec, "CONFIG SET appendfsync everysec, or choose memory");
    server.run("CONFIG SET appendfsync always");
    server.run("CONFIG SET no-appendfsync-on-rewrite yes");
    refused(Ack::Fsync, "CONFIG SET no-appendfsync-on-rewrite no");
    server.run("CONFIG SET appendonly no");
    refused(Ack::Fsync, "CONFIG SET appendonly yes");
    refused(Ack::Everysec, "CONFIG SET appendonly yes");
    server.run("CONFIG SET maxmemory-policy allkeys-lru");
    refused(Ack::Memory, "CONFIG SET maxmemory-policy noeviction");
    server.run("CONFIG SET maxmemory-policy noeviction");
    server.run(&format!("REPLICAOF 127.0.0.1 {}", free_port()));
    refused(Ack::Memory, "name the master");
}

fn a_refused_replay_changes_nothing(kind: Kind) {
    let server = Redis::start(&kind);
    let (mut journal, _) = open(&server.options("main")).unwrap();
    append(&mut journal, 3);
    let before = all_of(&server);
    let refused = RedisJournal::recover(
        &server.options("main"),
        &mut EveryFrame(&mut |frame| {
            if frame.last_sequence == 2 { Err("unknown event".into()) } else { Ok(()) }
        }),
    );
    let text = refused.map(drop).unwrap_err().to_string();
    assert!(text.contains("unknown event") && text.contains("2-0"), "{text}");
    assert_eq!(all_of(&server), before);
    append(&mut journal, 1);
    assert_eq!(open(&server.options("main")).unwrap().1, frames_up_to(4));
}

fn a_loss_window_describes_the_server(kind: Kind) {
    let server = Redis::start(&kind);
    for (setting, ack, words) in [
        ("appendfsync always", Ack::Fsync, ["as long as this server and its disk come back", "appendfsync always"]),
        ("appendfsync everysec", Ack::Everysec, ["up to 2 s", "appendfsync everysec"]),
        ("appendfsync no", Ack::Memory, ["had not written to disk", "appendfsync no"]),
        ("appendonly no", Ack::Memory, ["since the server's last save", "appendonly no"]),
    ] {
        server.run(&format!("CONFIG SET {setting}"));
        let mut options = server.options("main");
        options.ack = ack;
        let (journal, _) = open(&options).unwrap();
        let window = journal.loss_window();
        assert!(words.iter().all(|word| window.contains(word)), "{ack:?}: {window}");
    }
}

/// The commands of docs/operations.md.
const COMMANDS: &str = "+fcall +function|load +hgetall +type +xrange +info +config|get +hmget +hset +xadd +xlen";

// case: F11
fn few_commands_are_enough_and_all_are_needed(kind: Kind) {
    let server = Redis::start(&kind);
    let rules = include_str!("../../../../docs/operations.md");
    assert!(rules.contains(COMMANDS), "docs/operations.md lists other commands than are tested here");
    let user = |commands: &str| {
        let rule = format!("ACL SETUSER app reset on >pass ~invengine:* {commands}");
        assert_eq!(server.run(&rule), "OK");
    };
    let mut options = server.options("main");
    (options.username, options.password) = ("app".into(), "pass".into());
    user(COMMANDS);
    let (mut journal, _) = open(&options).unwrap();
    append(&mut journal, 3);
    journal.ensure_room(1).unwrap();
    for _ in 0..3 {
        write_snapshot(&journal);
        append(&mut journal, 1);
    }
    drop(journal);
    for command in ["DEL x", "XTRIM invengine:{main}:frames MAXLEN 0", "XSETID invengine:{main}:frames 9-0", "FLUSHALL"]
    {
        let mut raw = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        redis::cmd("AUTH").arg("app").arg("pass").exec(&mut raw).unwrap();
        let words: Vec<&str> = command.split_whitespace().collect();
        let refused = redis::cmd(words[0]).arg(&words[1..]).exec(&mut raw).unwrap_err();
        assert_eq!(refused.code(), Some("NOPERM"), "{command}");
    }
    for missing in COMMANDS.split_whitespace() {
        server.run("FUNCTION FLUSH");
        user(&COMMANDS.split_whitespace().filter(|command| *command != missing).collect::<Vec<_>>().join(" "));
        let text = refusal(&options);
        assert!(text.contains("docs/operations.md") || text.contains("+config|get"), "{missing}: {text}");
    }
    user(COMMANDS);
    assert_eq!(open(&options).unwrap().1, frames_up_to(6));
}

/// Writes a snapshot of everything that is stored, with the rights of its user.
fn write_snapshot(journal: &RedisJournal) {
    let mut store = journal.snapshot_store().unwrap().unwrap();
    let position = store.frames_after(&JournalPosition::start("main"), &mut |_| true).unwrap();
    store.begin(&position).unwrap();
    store.piece(b"state").unwrap();
    let manifest = store.commit(&"0".repeat(32)).unwrap();
    store.trim(1_000).unwrap();
    assert_eq!(store.snapshots().unwrap()[0], manifest);
    store.read(&manifest, &mut |piece| (piece == b"state").then_some(()).ok_or("another".into())).unwrap();
}

fn a_cluster_redirects_to_the_node_with_the_keys(kind: Kind) {
    let ports = [free_port(), free_port()];
    let nodes = ports.map(|port| Redis::start_on_port(&kind, port, &["--cluster-enabled", "yes"]));
    nodes[0].run("CLUSTER ADDSLOTSRANGE 0 16383");
    nodes[1].run(&format!("CLUSTER MEET 127.0.0.1 {}", ports[0]));
    for node in &nodes {
        node.wait_for("CLUSTER INFO", "cluster_state:ok");
        node.wait_for("CLUSTER NODES", "0-16383");
    }
    let mut options =
        RedisOptions::new(format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", ports[1], ports[0]), "main");
    let (mut journal, _) = open(&options).unwrap();
    append(&mut journal, 5);
    assert_eq!(nodes[0].run("XLEN invengine:{main}:frames"), "6");
    drop(journal);
    assert_eq!(open(&options).unwrap().1, frames_up_to(5));
    options.url = format!("redis://127.0.0.1:{}", ports[1]).into();
    assert!(refusal(&options).contains("redis+cluster://"));
}

#[test]
fn sentinels_lead_to_the_master_and_follow_it() {
    let Some(kind) = Kind::redis("sentinels_lead_to_the_master_and_follow_it") else { return };
    let ports = [free_port(), free_port(), free_port()];
    let master = Redis::start_on_port(&kind, ports[0], &[]);
    let replica = Redis::start_on_port(&kind, ports[1], &["--replicaof", &format!("127.0.0.1 {}", ports[0])]);
    replica.wait_for("INFO replication", "master_link_status:up");
    let settings = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(settings.path(), format!("sentinel monitor orders 127.0.0.1 {} 1\n", ports[0])).unwrap();
    let sentinel = Redis::start_sentinel(&kind, ports[2], settings.path());
    sentinel.wait_for("SENTINEL REPLICAS orders", &ports[1].to_string());
    let url = |name: &str| format!("redis+sentinel://127.0.0.1:{},127.0.0.1:{}/{name}", free_port(), ports[2]);
    let mut options = RedisOptions::new(url("orders"), "main");
    let (mut journal, _) = open(&options).unwrap();
    append(&mut journal, 5);
    assert_eq!(master.run("XLEN invengine:{main}:frames"), "6");
    replica.wait_for("XLEN invengine:{main}:frames", "6");
    // It refuses until it has seen the replica healthy for a while.
    sentinel.wait_for("SENTINEL FAILOVER orders", "OK");
    replica.wait_for("INFO replication", "role:master");
    sentinel.wait_for("SENTINEL GET-MASTER-ADDR-BY-NAME orders", &ports[1].to_string());
    master.wait_for("INFO replication", "role:slave");
    append(&mut journal, 5);
    replica.wait_for("XLEN invengine:{main}:frames", "11");
    options.url = url("nobody").into();
    assert!(refusal(&options).contains("nobody"));
}

#[test]
fn tls_is_checked_against_the_given_certificates() {
    let Some(kind) = Kind::redis("tls_is_checked_against_the_given_certificates") else { return };
    // A certificate of its own for each run: no key is ever kept.
    let tls = tempfile::tempdir().unwrap();
    let file = |name: &str| tls.path().join(name).to_str().unwrap().to_owned();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(file("server.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("server.key"), made.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let settings = [
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &file("server.pem"),
        "--tls-key-file",
        &file("server.key"),
        "--tls-ca-cert-file",
        &file("server.pem"),
        "--tls-auth-clients",
        "no",
    ];
    let _server = Redis::start_with(&kind, &settings);
    let mut options = RedisOptions::new(format!("rediss://localhost:{port}"), "main");
    assert!(refusal(&options).contains("cannot reach Redis"));
    options.ca_file = Some(file("missing.pem").into());
    assert!(refusal(&options).contains("redis_ca_file"));
    options.ca_file = Some(file("server.pem").into());
    let (mut journal, _) = open(&options).unwrap();
    append(&mut journal, 3);
    drop(journal);
    assert_eq!(open(&options).unwrap().1, frames_up_to(3));
    options.url = format!("redis://localhost:{port}").into();
    assert!(refusal(&options).contains("cannot reach Redis"));
}

#[test]
fn bad_options_are_named() {
    let refused = |url: &str, ledger: &str| refusal(&RedisOptions::new(url, ledger));
    assert!(refused("http://:secret@host", "main").starts_with("redis_url must be redis://"));
    assert!(refused("redis://host", "").starts_with("ledger must have 1 to 128 bytes"));
    assert!(refused("redis://host", &"x".repeat(129)).starts_with("ledger must have 1 to 128 bytes"));
}
