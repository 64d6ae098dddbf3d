//! One connection to the server that holds a journal, found through Sentinels or a cluster if necessary.

pub(in crate::journal::redis) mod address;
pub mod environment;
pub(in crate::journal::redis) mod errors;
pub(in crate::journal::redis) mod functions;
pub(in crate::journal::redis) mod keys;
pub(in crate::journal::redis) mod secret;
pub(in crate::journal::redis) mod server;
pub(in crate::journal::redis) mod session;
pub(in crate::journal) mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Cmd, ConnectionAddr, IntoConnectionInfo, TlsCertificates, Value, cmd};

use self::address::{Address, Node, Topology, node};
use self::environment::{RedisEnvironment, RedisTransport};
use self::errors::RedisError;
use crate::journal::JournalError;

/// A cluster that redirects in circles is broken.
const REDIRECTS_MAX: usize = 5;

/// Everything that is needed to connect, as often as necessary.
#[derive(Debug, Clone)]
pub struct ConnectionTarget {
    /// The parsed URL.
    pub address: Address,
    /// Certificates to trust instead of the system's, as PEM.
    pub ca: Option<Vec<u8>>,
    /// Timeout of a connection attempt, and then of each reply.
    pub timeout: Duration,
    /// A key of the journal: a cluster reports which node holds it.
    pub key: String,
    /// Clock and network.
    pub environment: Arc<dyn RedisEnvironment>,
}

/// An authenticated connection.
pub struct Connection {
    transport: Box<dyn RedisTransport>,
    server: String,
    /// Whether the address names a single server, so that a redirect means a wrong address.
    alone: bool,
}

impl ConnectionTarget {
    /// A target from the settings.
    pub fn new(
        address: Address,
        ca_file: Option<&PathBuf>,
        timeout: Duration,
        key: String,
        environment: Arc<dyn RedisEnvironment>,
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
        Ok(Self { address, ca: ca_file.map(read).transpose()?, timeout, key, environment })
    }

    /// Connects to the server that holds the journal.
    pub fn connect(&self) -> Result<Connection, RedisError> {
        if let Some(connected) = self.environment.connect() {
            let server = self.address.to_string();
            let transport = connected.map_err(|error| RedisError::of(&error, &server))?;
            return Ok(Connection { transport, server, alone: true });
        }
        match &self.address.topology {
            Topology::Single => self.enter(&self.address.nodes[0]),
            Topology::Sentinel(name) => self.first_of(|node| self.enter(&self.ask_sentinel(node, name)?)),
            Topology::Cluster => self.first_of(|node| self.enter_cluster(node)),
        }
    }

    /// A connection through the first node that leads to one, else the error of the last node.
    fn first_of(&self, connect: impl Fn(&Node) -> Result<Connection, RedisError>) -> Result<Connection, RedisError> {
        let server = self.address.to_string();
        let mut error = RedisError::NoAnswer { server, why: "no address is given".into() };
        for node in &self.address.nodes {
            match connect(node) {
                Ok(connection) => return Ok(connection),
                Err(next) => error = next,
            }
        }
        Err(error)
    }

    fn ask_sentinel(&self, sentinel: &Node, name: &str) -> Result<Node, RedisError> {
        let mut connection = self.open(sentinel)?;
        let mut ask = cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let answer = match connection.call(&ask) {
            Err(error) if error.is("NOAUTH") => {
                self.authenticate(&mut connection)?;
                connection.call(&ask)?
            }
            other => other?,
        };
        match texts(answer).as_deref() {
            Some([host, port]) => {
                let port = port.parse().map_err(|_| RedisError::nonsense(&connection.server, "SENTINEL"))?;
                Ok(Node::Tcp(host.clone(), port))
            }
            // A Sentinel that was just started may not know it yet.
            _ => Err(RedisError::NoAnswer {
                server: connection.server,
                why: format!("this Sentinel knows no master {name:?}"),
            }),
        }
    }

    fn enter_cluster(&self, seed: &Node) -> Result<Connection, RedisError> {
        let mut at = seed.clone();
        for _ in 0..REDIRECTS_MAX {
            let mut connection = self.enter(&at)?;
            match connection.call(cmd("TYPE").arg(&self.key)) {
                Ok(_) => return Ok(connection),
                Err(RedisError::Refused { code, text, .. }) if code == "MOVED" => {
                    at = moved_to(&text, &at).ok_or_else(|| RedisError::nonsense(&connection.server, "TYPE"))?;
                }
                Err(error) => return Err(error),
            }
        }
        let why = format!("the cluster redirected more than {REDIRECTS_MAX} times");
        Err(RedisError::NoAnswer { server: self.address.to_string(), why })
    }

    fn enter(&self, node: &Node) -> Result<Connection, RedisError> {
        let mut connection = self.open(node)?;
        self.authenticate(&mut connection)?;
        if self.address.database != 0 {
            connection.call(cmd("SELECT").arg(self.address.database))?;
        }
        Ok(connection)
    }

    fn authenticate(&self, connection: &mut Connection) -> Result<(), RedisError> {
        if self.address.password.is_empty() {
            return Ok(());
        }
        let mut auth = cmd("AUTH");
        if !self.address.username.is_empty() {
            auth.arg(&self.address.username);
        }
        connection.call(auth.arg(self.address.password.reveal())).map(drop)
    }

    /// Only connects: credentials are sent by `authenticate`, whose errors keep their codes.
    fn open(&self, node: &Node) -> Result<Connection, RedisError> {
        let server = node.to_string();
        let failed = |error: redis::RedisError| RedisError::of(&error, &server);
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
        let transport = client.get_connection_with_timeout(self.timeout).map_err(failed)?;
        transport.set_read_timeout(Some(self.timeout)).map_err(failed)?;
        transport.set_write_timeout(Some(self.timeout)).map_err(failed)?;
        Ok(Connection { transport: Box::new(transport), server, alone: self.address.topology != Topology::Cluster })
    }
}

impl Connection {
    /// The server's name, for messages.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Sends one command and waits for its reply.
    pub fn call(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let mut replies = self.calls(&command.get_packed_command(), 1)?;
        replies.pop().unwrap_or_else(|| Err(RedisError::nonsense(&self.server, "a command")))
    }

    /// Sends packed commands together, then waits for all replies. After `Err` this connection cannot be used any more.
    pub fn calls(&mut self, packed: &[u8], count: usize) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        let server = self.server.clone();
        self.transport.send(packed).map_err(|error| RedisError::of(&error, &server))?;
        let mut replies = Vec::with_capacity(count);
        for _ in 0..count {
            let reply = self.transport.receive().and_then(Value::extract_error);
            replies.push(match reply.map_err(|error| RedisError::of(&error, &server)) {
                Err(lost @ RedisError::NoAnswer { .. }) => return Err(lost),
                Err(RedisError::Refused { server, code, text }) if self.alone && code == "MOVED" => {
                    Err(RedisError::Refused {
                        server,
                        code: "CLUSTER".into(),
                        text: format!("its keys are elsewhere: {text}"),
                    })
                }
                other => other,
            });
        }
        Ok(replies)
    }
}

/// The node that `MOVED <slot> <host>:<port>` names; an empty host means the one that sent it.
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

/// A text, in any form in which the server may send it.
pub fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Okay => Some("OK".into()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}
