//! Where Redis is: one URL that names a server, the Sentinels of one, or the nodes of a cluster.

use std::fmt;
use std::path::PathBuf;

use super::secret::Secret;
use crate::journal::JournalError;

const PORT_DEFAULT: u16 = 6379;
const SENTINEL_PORT_DEFAULT: u16 = 26379;
const FORMS: &str = "must be redis://, rediss://, redis+sentinel://host:port,host:port/name, \
    redis+cluster://host:port,host:port or unix:///path";

/// How the server that holds the journal is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// It is the named one.
    Single,
    /// Sentinels report which server is the master of this name.
    Sentinel(String),
    /// Any node of a cluster reports which one holds the keys.
    Cluster,
}

/// One host or socket to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A host and its port.
    Tcp(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

/// A parsed URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// How the server is found.
    pub topology: Topology,
    /// Where to connect first.
    pub nodes: Vec<Node>,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Number of the database.
    pub database: u32,
    /// User of the access control list; empty means the default user.
    pub username: String,
    /// Its password; empty means none.
    pub password: Secret,
}

impl Address {
    /// Parses a URL. No error message repeats it: it may hold a password.
    pub fn parse(url: &str) -> Result<Self, JournalError> {
        Self::read(url).map_err(|why| JournalError::BadOption { option: "redis_url", why })
    }

    fn read(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(FORMS)?;
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let (username, password) = user.split_once(':').map_or((user, ""), |(name, password)| (name, password));
        let mut address = Self {
            topology: Topology::Single,
            nodes: Vec::new(),
            tls: scheme.starts_with("rediss"),
            database: 0,
            username: decoded(username)?,
            password: decoded(password)?.into(),
        };
        match scheme {
            "redis" | "rediss" => {
                address.database = database(path)?;
                address.nodes = nodes(hosts, PORT_DEFAULT)?;
                if address.nodes.len() > 1 {
                    return Err("names several hosts: use redis+sentinel:// or redis+cluster://".into());
                }
            }
            "redis+sentinel" | "rediss+sentinel" => {
                let (name, number) = path.split_once('/').unwrap_or((path, ""));
                if name.is_empty() {
                    return Err("needs the name of the master after the hosts: redis+sentinel://host:port/name".into());
                }
                address.topology = Topology::Sentinel(decoded(name)?);
                address.database = database(number)?;
                address.nodes = nodes(hosts, SENTINEL_PORT_DEFAULT)?;
            }
            "redis+cluster" | "rediss+cluster" => {
                if !matches!(path, "" | "0") {
                    return Err("names a database: a cluster has only number 0".into());
                }
                address.topology = Topology::Cluster;
                address.nodes = nodes(hosts, PORT_DEFAULT)?;
            }
            "unix" | "redis+unix" => {
                if path.is_empty() || !hosts.is_empty() {
                    return Err("needs an absolute path: unix:///path/to/redis.sock".into());
                }
                address.database = database(query.strip_prefix("db=").unwrap_or(query))?;
                address.nodes = vec![Node::Unix(format!("/{}", decoded(path)?).into())];
                return Ok(address);
            }
            _ => return Err(FORMS.into()),
        }
        if query.is_empty() { Ok(address) } else { Err("has a query, which only unix:// supports (?db=1)".into()) }
    }
}

impl fmt::Display for Address {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes.iter().enumerate() {
            write!(f, "{}{node}", if index == 0 { "" } else { "," })?;
        }
        match &self.topology {
            Topology::Sentinel(name) => write!(f, " (sentinels of {name})"),
            Topology::Cluster => f.write_str(" (cluster)"),
            Topology::Single => Ok(()),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Node::Tcp(host, port) => write!(f, "{host}:{port}"),
            Node::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

fn nodes(hosts: &str, port_default: u16) -> Result<Vec<Node>, String> {
    hosts.split(',').map(|text| node(text, port_default)).collect()
}

/// Parses `host`, `host:port` or `[v6]:port`.
pub fn node(text: &str, port_default: u16) -> Result<Node, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("names no host".into());
    }
    let port = port.map_or(Ok(port_default), str::parse).map_err(|_| "has a port that is not a number up to 65535")?;
    Ok(Node::Tcp(host.into(), port))
}

fn database(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| "has a database that is not a number".into())
}

fn decoded(text: &str) -> Result<String, String> {
    let text = percent_encoding::percent_decode_str(text).decode_utf8();
    Ok(text.map_err(|_| "is not UTF-8 after percent-decoding")?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Node {
        Node::Tcp(host.into(), port)
    }

    #[test]
    fn every_form_is_parsed() {
        let plain = Address::parse("redis://localhost").unwrap();
        assert_eq!((plain.nodes, plain.database, plain.tls), (vec![tcp("localhost", 6379)], 0, false));
        let full = Address::parse("rediss://app:p%40ss:w@[::1]:7000/3").unwrap();
        assert_eq!((full.nodes.as_slice(), full.database, full.tls), ([tcp("::1", 7000)].as_slice(), 3, true));
        assert_eq!((full.username.as_str(), full.password.reveal()), ("app", "p@ss:w"));
        assert_eq!(full.to_string(), "[::1]:7000");
        assert!(!format!("{full:?}").contains("p@ss"));
        let sentinel = Address::parse("redis+sentinel://:secret@a:1,b/orders/2").unwrap();
        assert_eq!(sentinel.topology, Topology::Sentinel("orders".into()));
        assert_eq!((sentinel.nodes, sentinel.database), (vec![tcp("a", 1), tcp("b", 26379)], 2));
        let cluster = Address::parse("rediss+cluster://a:1,b:2").unwrap();
        assert_eq!((cluster.topology, cluster.nodes.len(), cluster.tls), (Topology::Cluster, 2, true));
        let unix = Address::parse("unix:///run/redis.sock?db=1").unwrap();
        assert_eq!((unix.nodes, unix.database), (vec![Node::Unix("/run/redis.sock".into())], 1));
    }

    #[test]
    fn a_bad_url_is_explained_and_never_repeated() {
        for (url, part) in [
            ("", "must be redis://"),
            ("secret", "must be redis://"),
            ("http://:secret@host", "must be redis://"),
            ("redis://:secret@", "no host"),
            ("redis://:secret@host:port", "port"),
            ("redis://:secret@host:70000", "port"),
            ("redis://:secret@host/x", "database"),
            ("redis://:secret@a,b", "several hosts"),
            ("redis://:secret@a?x=1", "query"),
            ("redis+sentinel://:secret@a", "name of the master"),
            ("redis+cluster://:secret@a/1", "number 0"),
            ("unix://:secret@", "absolute path"),
            ("unix://secret/a", "absolute path"),
            ("redis://:secret%ff@a", "UTF-8"),
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains(part) && error.starts_with("redis_url "), "{url}: {error}");
            assert!(!error.contains("secret"), "{url}: {error}");
        }
    }
}
