//! The simulated Redis answers as a real one does: both get the same random commands, and every answer is compared.

#[path = "../../node/tests/journal_redis/mod.rs"]
mod journal_redis;

use invengine_faults::random::Random;
use invengine_faults::redis::dataset::Dataset;
use invengine_faults::redis::instance::{Instance, InstanceConfig};
use journal_redis::{Kind, Redis};
use redis::{Cmd, Connection, Value, cmd};

const STATE: &str = "invengine:{main}:state";
const FRAMES: &str = "invengine:{main}:frames";
const CODE: &str = include_str!("../../node/src/journal/redis/functions.lua");
const SEQUENCES: u64 = 30;
const COMMANDS: usize = 300;

/// The end of a journal: last sequence, chain, entries.
type End = (u64, String, u64);

/// The state after the last accepted call, so that most calls fit and some do not.
struct Writer {
    random: Random,
    token: String,
    epoch: u64,
    end: End,
}

impl Writer {
    fn new(seed: u64) -> Self {
        Writer { random: Random::new(seed, 1), token: "a".into(), epoch: 0, end: (0, String::new(), 0) }
    }

    fn end(&mut self) -> End {
        let mut end = self.end.clone();
        match self.random.below(12) {
            0 => end.0 += 1,
            1 => end.1 = "0123".into(),
            2 => end.2 += 1,
            _ => {}
        }
        end
    }

    fn call(&mut self, name: &str) -> Cmd {
        let mut call = cmd("FCALL");
        let version = if self.random.chance(30_000) { 1 } else { 2 };
        call.arg(name).arg(2).arg(STATE).arg(FRAMES).arg(version);
        call
    }

    fn owner(&mut self) -> (String, u64) {
        match self.random.below(12) {
            0 => ("other".into(), self.epoch),
            1 => (self.token.clone(), self.epoch + 1),
            _ => (self.token.clone(), self.epoch),
        }
    }

    fn append(&mut self) -> (Cmd, Option<Writer>) {
        let ((token, epoch), before) = (self.owner(), self.end());
        let last = before.0 + self.random.below(3);
        let after = (last, format!("{last:016x}"), before.2 + 1);
        let mut call = self.call("invengine_append");
        call.arg(&token).arg(epoch);
        for end in [&before, &after] {
            call.arg(end.0).arg(&end.1).arg(end.2);
        }
        call.arg(format!("{last}-0")).arg(format!("frame {last}\r\n\u{0}"));
        (call, Some(self.moved(token, epoch, after)))
    }

    fn claim(&mut self) -> (Cmd, Option<Writer>) {
        let before = self.end();
        let (token, epoch) = (format!("token {}", self.random.below(1_000)), self.epoch + 1);
        let after = (before.0, format!("{:016x}", self.random.draw()), before.2 + 1);
        let mut call = self.call("invengine_claim");
        call.arg(&token).arg(epoch).arg(self.epoch).arg(before.0).arg(&before.1).arg(before.2);
        call.arg(&after.1).arg(after.2).arg(format!("{}-{epoch}", before.0)).arg("claim").arg("main").arg(1);
        (call, Some(self.moved(token, epoch, after)))
    }

    fn moved(&self, token: String, epoch: u64, end: End) -> Writer {
        Writer { random: self.random.clone(), token, epoch, end }
    }

    /// The next command, and the writer's state if it is accepted.
    fn next(&mut self) -> (Cmd, Option<Writer>) {
        let plain = |words: &[&str]| {
            let mut plain = cmd(words[0]);
            plain.arg(&words[1..]);
            (plain, None)
        };
        match self.random.below(100) {
            0..45 => self.append(),
            45..60 => self.claim(),
            60..65 => {
                let (token, epoch) = self.owner();
                let mut call = self.call("invengine_resume");
                (call.arg(token).arg(epoch).to_owned(), None)
            }
            65..68 => {
                let mut call = self.call("invengine_seal");
                let token = "sealed".to_owned();
                call.arg(&token);
                let (epoch, end) = (self.epoch, self.end.clone());
                (call, Some(self.moved(token, epoch, end)))
            }
            68..72 => (self.call("invengine_room"), None),
            72..74 => (self.call("invengine_none"), None),
            74..77 => plain(&["HGETALL", STATE]),
            77..80 => plain(&["HMGET", STATE, "last", "none", "epoch"]),
            80..84 => plain(&["TYPE", *self.random.pick(&[STATE, FRAMES, "other"]).unwrap()]),
            84..95 => {
                let from = self.random.below(SEQUENCES);
                let open = if self.random.chance(500_000) { "(" } else { "" };
                let (start, count) = (format!("{open}{from}-{}", self.random.below(3)), self.random.between(1, 9));
                plain(&["XRANGE", FRAMES, &start, "+", "COUNT", &count.to_string()])
            }
            95 => plain(&["DEL", *self.random.pick(&[STATE, FRAMES]).unwrap()]),
            96 => plain(&["HDEL", STATE, *self.random.pick(&["owner", "format", "none"]).unwrap()]),
            97 => plain(&["XDEL", FRAMES, &format!("{}-0", self.end.0)]),
            98 => plain(&["HGETALL", FRAMES]),
            _ => plain(&["XRANGE", STATE, "0-0", "+", "COUNT", "1"]),
        }
    }
}

/// The comparable part of an answer: a script's error continues with where it was raised.
fn comparable(value: &Value) -> String {
    let text = format!("{value:?}");
    text.split(" script: ").next().unwrap_or_default().trim_end_matches(['`', '"']).into()
}

fn run_on_real(connection: &mut Connection, command: &Cmd) -> Value {
    connection.send_packed_command(&command.get_packed_command()).unwrap();
    connection.recv_response().unwrap()
}

fn run_on_simulated(node: &mut Instance, command: &Cmd) -> Value {
    let packed = command.get_packed_command();
    let commands = invengine_faults::redis::resp::commands(&packed);
    node.execute(&commands[0], 1).0
}

fn simulated() -> Instance {
    Instance::new(
        InstanceConfig { version: (7, 0), has_file: true, syncs_always: true, replicas: 0 },
        Dataset::default(),
    )
}

fn the_simulated_redis_answers_as_a_real_one(kind: Kind) {
    let server = Redis::start_with(&kind, &["--appendfsync", "no"]);
    let mut real = server.connection();
    let mut statuses = std::collections::BTreeMap::new();
    for seed in 0..60 {
        assert_eq!(run_on_real(&mut real, &cmd("FLUSHALL")), Value::Okay);
        let _ = run_on_real(&mut real, cmd("FUNCTION").arg("FLUSH"));
        let (mut node, mut writer) = (simulated(), Writer::new(seed));
        let load = cmd("FUNCTION").arg("LOAD").arg(CODE).to_owned();
        for turn in 0..COMMANDS {
            let (command, done) = if turn == 5 || turn == 50 { (load.clone(), None) } else { writer.next() };
            let (expected, found) = (run_on_real(&mut real, &command), run_on_simulated(&mut node, &command));
            let shown = String::from_utf8_lossy(&command.get_packed_command()).replace("\r\n", " ");
            assert_eq!(comparable(&found), comparable(&expected), "seed {seed}, command {turn}: {shown}");
            let status = comparable(&expected).split(['\\', ',']).next().unwrap_or_default().to_owned();
            *statuses.entry(status).or_insert(0) += 1;
            if let (Value::Array(words), Some(done)) = (&expected, done)
                && words.first() == Some(&Value::BulkString(b"OK".into()))
            {
                (writer.token, writer.epoch, writer.end) = (done.token, done.epoch, done.end);
            }
        }
    }
    for wanted in ["OK", "FENCED", "ELSEWHERE", "DAMAGED", "GONE", "VERSION", "WRONGTYPE", "XADD", "Function not found"]
    {
        assert!(statuses.keys().any(|status| status.contains(wanted)), "{wanted} was never met: {statuses:?}");
    }
}

both!(the_simulated_redis_answers_as_a_real_one);
