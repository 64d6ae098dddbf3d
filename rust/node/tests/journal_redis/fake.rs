//! A server with scripted replies, which otherwise behaves like a Redis with an empty journal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The reply of the fake to a command; `None` means the default reply.
pub type Script = Box<dyn FnMut(&[String]) -> Option<String> + Send>;

/// A fake server on a port of loopback.
pub struct FakeServer {
    port: u16,
    received: Arc<Mutex<Vec<String>>>,
}

/// Where the journal ends: last sequence, chain, entries.
type End = Mutex<[String; 3]>;

const DONE: &str = "*1\r\n$2\r\nOK\r\n";
const INFO: &str =
    "redis_version:7.0.15\r\nrole:master\r\nconnected_slaves:0\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n";

impl FakeServer {
    /// Starts it with a script.
    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (script, recorded) = (Arc::new(Mutex::new(script)), received.clone());
        let end: Arc<End> = Arc::default();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (script, recorded, end) = (script.clone(), recorded.clone(), end.clone());
                thread::spawn(move || serve(stream, &script, &recorded, &end));
            }
        });
        Self { port, received }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many commands began with these words.
    pub fn received(&self, words: &str) -> usize {
        self.received.lock().unwrap().iter().filter(|command| command.starts_with(words)).count()
    }
}

fn serve(stream: TcpStream, script: &Mutex<Script>, received: &Mutex<Vec<String>>, end: &End) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(command) = read_command(&mut reader) {
        received.lock().unwrap().push(command.join(" "));
        let scripted = (script.lock().unwrap())(&command);
        if writer.write_all(scripted.unwrap_or_else(|| default_reply(&command, end)).as_bytes()).is_err() {
            return;
        }
    }
}

fn default_reply(command: &[String], end: &End) -> String {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["INFO", ..] => bulk(INFO),
        ["CONFIG", "GET", "appendfsync"] => "*2\r\n$11\r\nappendfsync\r\n$6\r\nalways\r\n".into(),
        ["CONFIG", "GET", name] => format!("*2\r\n{}{}", bulk(name), bulk("no")),
        ["TYPE", ..] => "+none\r\n".into(),
        ["XRANGE" | "HGETALL", ..] => "*0\r\n".into(),
        ["FCALL", "invengine_resume", ..] => {
            let [last, chain, entries] = &*end.lock().unwrap();
            let words = ["OK", "", "1", last, chain, entries];
            words.iter().fold("*6\r\n".to_owned(), |text, word| text + &bulk(word))
        }
        ["FCALL", "invengine_claim", _, _, _, _, _, _, _, last, _, _, chain, entries, ..]
        | ["FCALL", "invengine_append", _, _, _, _, _, _, _, _, _, last, chain, entries, ..] => {
            *end.lock().unwrap() = [last, chain, entries].map(|word| (*word).to_owned());
            DONE.into()
        }
        ["FCALL", ..] => DONE.into(),
        _ => "+OK\r\n".into(),
    }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn read_command(reader: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let count: usize = read_line(reader)?.strip_prefix('*')?.parse().ok()?;
    (0..count)
        .map(|_| {
            let length: usize = read_line(reader)?.strip_prefix('$')?.parse().ok()?;
            let mut bytes = vec![0; length + 2];
            reader.read_exact(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
        })
        .collect()
}

fn read_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    Some(line.trim_end().to_owned())
}
