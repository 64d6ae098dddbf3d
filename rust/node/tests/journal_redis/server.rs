//! Starts a real server in a directory of its own, and stops it in every way.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use invengine_node::journal::RedisOptions;
use redis::Connection;
use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Which program to start.
#[derive(Debug, Clone)]
pub struct Kind {
    program: PathBuf,
}

impl Kind {
    /// Redis, or a note that the test is not run.
    pub fn redis(test: &str) -> Option<Self> {
        Self::find(test, "INVENGINE_REDIS_SERVER", "redis-server")
    }

    /// Valkey, or a note that the test is not run.
    pub fn valkey(test: &str) -> Option<Self> {
        Self::find(test, "INVENGINE_VALKEY_SERVER", "valkey-server")
    }

    fn find(test: &str, variable: &str, name: &str) -> Option<Self> {
        let named = env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        let on_path = || {
            let path = env::var_os("PATH")?;
            env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
        };
        let program = named.or_else(on_path).filter(|program| program.is_file());
        if program.is_none() {
            not_run(&format!("{} {test}: needs {name}, on PATH or in {variable}", env!("CARGO_CRATE_NAME")));
        }
        Some(Self { program: program? })
    }
}

/// Records that a test did not run, for `make test`.
fn not_run(note: &str) {
    eprintln!("not run: {note}");
    if let Some(path) = env::var_os("INVENGINE_NOT_RUN") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| writeln!(file, "{note}")).expect("the file for tests that did not run");
    }
}

/// One server with its directory; both are removed when this is dropped.
pub struct Redis {
    kind: Kind,
    directory: TempDir,
    settings: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// A server that syncs every write.
    pub fn start(kind: &Kind) -> Self {
        Self::start_with(kind, &[])
    }

    /// The same with more settings, which override the default ones.
    pub fn start_with(kind: &Kind, settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().to_str().unwrap();
        let usual = format!(
            "--port 0 --unixsocket {own}/s --dir {own} --logfile {own}/log --appendonly yes --appendfsync always \
             --enable-debug-command yes"
        );
        let mut arguments: Vec<String> = usual.split_whitespace().map(str::to_owned).collect();
        arguments.extend(["--save".into(), String::new()]);
        arguments.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let mut server = Self { kind: kind.clone(), directory, settings: arguments, child: None };
        server.restart();
        server
    }

    /// The same on a loopback port, for what unix sockets cannot do.
    pub fn start_on_port(kind: &Kind, port: u16, settings: &[&str]) -> Self {
        let port = port.to_string();
        let mut all = vec!["--port", port.as_str(), "--bind", "127.0.0.1"];
        all.extend(settings);
        Self::start_with(kind, &all)
    }

    /// A Sentinel, which rewrites its configuration file.
    pub fn start_sentinel(kind: &Kind, port: u16, file: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().to_str().unwrap();
        let settings =
            format!("{} --sentinel --port {port} --unixsocket {own}/s --dir {own} --logfile {own}/log", file.display());
        let arguments = settings.split_whitespace().map(str::to_owned).collect();
        let mut server = Self { kind: kind.clone(), directory, settings: arguments, child: None };
        server.restart();
        server
    }

    /// Starts it again and waits until it answers.
    pub fn restart(&mut self) {
        self.end();
        let _ = std::fs::remove_file(self.socket());
        let mut command = Command::new(&self.kind.program);
        command.args(&self.settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        self.connection();
    }

    /// SIGKILL.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Options with a short retry timeout, so that tests which wait for it are fast.
    pub fn options(&self, ledger: &str) -> RedisOptions {
        let mut options = RedisOptions::new(self.url(), ledger);
        options.retry_timeout = Duration::from_secs(5);
        options
    }

    fn try_connect(&self) -> Option<Connection> {
        let mut connection = redis::Client::open(self.url()).ok()?.get_connection().ok()?;
        redis::cmd("PING").query::<String>(&mut connection).ok()?;
        Some(connection)
    }

    /// A connection that bypasses the journal. A Sentinel closes connections during a failover, so one may be lost at once.
    pub fn connection(&self) -> Connection {
        let until = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(connection) = self.try_connect() {
                return connection;
            }
            assert!(Instant::now() < until, "no answer from {:?}: {}", self.kind, self.log());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Runs one command, words separated by spaces, and returns its reply as text.
    pub fn run(&self, command: &str) -> String {
        self.run_words(&command.split_whitespace().collect::<Vec<_>>())
    }

    /// The same with words that may hold spaces.
    pub fn run_words(&self, words: &[&str]) -> String {
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]);
        let answer = cmd.query::<redis::Value>(&mut self.connection());
        answer.map_or_else(|error| error.to_string(), |value| text_of(&value))
    }

    /// Waits until the reply to a command contains these words.
    pub fn wait_for(&self, command: &str, wanted: &str) {
        let until = Instant::now() + START_TIMEOUT;
        loop {
            let answer = self.run(command);
            if answer.contains(wanted) {
                return;
            }
            assert!(Instant::now() < until, "{command} never returned {wanted}: {answer}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.end();
    }
}

/// A free port, low enough for a cluster's second one.
pub fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 {
            return port;
        }
    }
}

/// A reply as text.
pub fn text_of(value: &redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::SimpleString(text) => text.clone(),
        redis::Value::Okay => "OK".into(),
        redis::Value::Int(number) => number.to_string(),
        redis::Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}
