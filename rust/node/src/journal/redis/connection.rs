//! One connection to the server that holds a journal, found by Sentinels or by a cluster if need be.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Cmd, ConnectionAddr, IntoConnectionInfo, TlsCertificates, Value, cmd};

use super::address::{Address, Node, Topology, node};
use super::ground::{Ground, Wire};
use super::trouble::Trouble;
use crate::journal::JournalError;

/// A cluster that sends us round in circles is broken.
const REDIRECTS_MAX: usize = 5;

/// All that is needed to connect, again and again.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where.
    pub address: Address,
    /// Certificates to trust instead of the system's, as PEM.
    pub ca: Option<Vec<u8>>,
    /// How long to wait for a connection, and then for each answer.
    pub patience: Duration,
    /// A key of the journal: a cluster tells where it is.
    pub key: String,
    /// Clock and network.
    pub ground: Arc<dyn Ground>,
}

/// A connection that was let in.
pub struct Link {
    connection: Box<dyn Wire>,
    server: String,
    /// Whether it was named as a server of its own, so that being sent elsewhere means a wrong address.
    alone: bool,
}

impl Place {
    /// A place from its settings.
    pub fn new(
        address: Address,
        ca_file: Option<&PathBuf>,
        patience: Duration,
        key: String,
        ground: Arc<dyn Ground>,
    ) -> Result<Self, JournalError> {
        if address.tls {
            // The first one wins, so that a program that embeds us keeps its own.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let read = |file: &PathBuf| {
            std::fs::read(file).map_err(|error| {
                let why = format!("cannot be read: {}: {error}", file.display());
                JournalError::BadOption { option: "redis_ca_file", why }
            })
        };
        Ok(Self { address, ca: ca_file.map(read).transpose()?, patience, key, ground })
    }

    /// Connects to the server that holds the journal.
    pub fn connect(&self) -> Result<Link, Trouble> {
        if let Some(connected) = self.ground.connect() {
            let server = self.address.to_string();
            let connection = connected.map_err(|error| Trouble::of(&error, &server))?;
            return Ok(Link { connection, server, alone: true });
        }
        match &self.address.topology {
            Topology::Single => self.enter(&self.address.nodes[0]),
            Topology::Sentinel(name) => self.first_of(|node| self.enter(&self.ask_sentinel(node, name)?)),
            Topology::Cluster => self.first_of(|node| self.enter_cluster(node)),
        }
    }

    /// The first node that leads to a connection, else the trouble with the last one.
    fn first_of(&self, connect: impl Fn(&Node) -> Result<Link, Trouble>) -> Result<Link, Trouble> {
        let server = self.address.to_string();
        let mut trouble = Trouble::NoAnswer { server, why: "no address is given".into() };
        for node in &self.address.nodes {
            match connect(node) {
                Ok(link) => return Ok(link),
                Err(next) => trouble = next,
            }
        }
        Err(trouble)
    }

    fn ask_sentinel(&self, sentinel: &Node, name: &str) -> Result<Node, Trouble> {
        let mut link = self.open(sentinel)?;
        let mut ask = cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let answer = match link.call(&ask) {
            Err(trouble) if trouble.is("NOAUTH") => {
                self.authenticate(&mut link)?;
                link.call(&ask)?
            }
            other => other?,
        };
        match texts(answer).as_deref() {
            Some([host, port]) => {
                let port = port.parse().map_err(|_| Trouble::nonsense(&link.server, "SENTINEL"))?;
                Ok(Node::Tcp(host.clone(), port))
            }
            // A Sentinel that was just started may not know it yet.
            _ => Err(Trouble::NoAnswer { server: link.server, why: format!("this Sentinel knows no master {name:?}") }),
        }
    }

    fn enter_cluster(&self, seed: &Node) -> Result<Link, Trouble> {
        let mut at = seed.clone();
        for _ in 0..REDIRECTS_MAX {
            let mut link = self.enter(&at)?;
            match link.call(cmd("TYPE").arg(&self.key)) {
                Ok(_) => return Ok(link),
                Err(Trouble::Refused { code, text, .. }) if code == "MOVED" => {
                    at = moved_to(&text, &at).ok_or_else(|| Trouble::nonsense(&link.server, "TYPE"))?;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        let why = format!("the cluster redirected more than {REDIRECTS_MAX} times");
        Err(Trouble::NoAnswer { server: self.address.to_string(), why })
    }

    fn enter(&self, node: &Node) -> Result<Link, Trouble> {
        let mut link = self.open(node)?;
        self.authenticate(&mut link)?;
        if self.address.database != 0 {
            link.call(cmd("SELECT").arg(self.address.database))?;
        }
        Ok(link)
    }

    fn authenticate(&self, link: &mut Link) -> Result<(), Trouble> {
        if self.address.password.is_empty() {
            return Ok(());
        }
        let mut auth = cmd("AUTH");
        if !self.address.username.is_empty() {
            auth.arg(&self.address.username);
        }
        link.call(auth.arg(self.address.password.reveal())).map(drop)
    }

    /// Connects and nothing else: credentials are sent by `authenticate`, whose errors keep their codes.
    fn open(&self, node: &Node) -> Result<Link, Trouble> {
        let server = node.to_string();
        let failed = |error: redis::RedisError| Trouble::of(&error, &server);
        let address = match node {
            Node::Tcp(host, port) if self.address.tls => {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
            }
            Node::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
            Node::Unix(path) => ConnectionAddr::Unix(path.clone()),
        };
        let mut known = address.into_connection_info().map_err(failed)?;
        let quiet = known.redis_settings().clone().set_skip_set_lib_name();
        known = known.set_redis_settings(quiet);
        let client = if self.address.tls {
            let certificates = TlsCertificates { client_tls: None, root_cert: self.ca.clone() };
            Client::build_with_tls(known, certificates).map_err(failed)?
        } else {
            Client::open(known).map_err(failed)?
        };
        let connection = client.get_connection_with_timeout(self.patience).map_err(failed)?;
        connection.set_read_timeout(Some(self.patience)).map_err(failed)?;
        connection.set_write_timeout(Some(self.patience)).map_err(failed)?;
        Ok(Link { connection: Box::new(connection), server, alone: self.address.topology != Topology::Cluster })
    }
}

impl Link {
    /// The server's name, for messages.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Sends one command and waits for its answer.
    pub fn call(&mut self, command: &Cmd) -> Result<Value, Trouble> {
        let mut answers = self.calls(&command.get_packed_command(), 1)?;
        answers.pop().unwrap_or_else(|| Err(Trouble::nonsense(&self.server, "a command")))
    }

    /// Sends packed commands in one go, then waits for all answers. After `Err` this connection is of no use any more.
    pub fn calls(&mut self, packed: &[u8], count: usize) -> Result<Vec<Result<Value, Trouble>>, Trouble> {
        let server = self.server.clone();
        self.connection.send(packed).map_err(|error| Trouble::of(&error, &server))?;
        let mut answers = Vec::with_capacity(count);
        for _ in 0..count {
            let answer = self.connection.receive().and_then(Value::extract_error);
            answers.push(match answer.map_err(|error| Trouble::of(&error, &server)) {
                Err(lost @ Trouble::NoAnswer { .. }) => return Err(lost),
                Err(Trouble::Refused { server, code, text }) if self.alone && code == "MOVED" => {
                    Err(Trouble::Refused {
                        server,
                        code: "CLUSTER".into(),
                        text: format!("its keys are elsewhere: {text}"),
                    })
                }
                told => told,
            });
        }
        Ok(answers)
    }
}

/// The node that `MOVED <slot> <host>:<port>` names; an empty host is the one that said so.
fn moved_to(text: &str, from: &Node) -> Option<Node> {
    let target = text.split_ascii_whitespace().nth(1)?;
    if let (Some(port), Node::Tcp(host, _)) = (target.strip_prefix(':'), from) {
        return Some(Node::Tcp(host.clone(), port.parse().ok()?));
    }
    node(target, 0).ok()
}

/// The texts of an array of texts.
pub fn texts(value: Value) -> Option<Vec<String>> {
    let Value::Array(items) = value else {
        return None;
    };
    items.into_iter().map(text).collect()
}

/// A text, in whichever form the server sends it.
pub fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Okay => Some("OK".into()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}
