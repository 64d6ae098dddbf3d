//! Where a door listens: host:port or unix:PATH. The socket is bound when this returns, so that whoever starts the door
//! learns of an address that is in use or not its own.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Connections that are waiting to be accepted.
const BACKLOG: i32 = 4_096;
/// A silent connection gets a keep-alive probe after this long.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// A connection that acknowledges nothing for this long is closed.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// A listening socket.
pub(super) enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

impl Listener {
    /// Listens on host:port (port 0 takes a free one) or unix:PATH.
    pub(super) fn bind(address: &str) -> io::Result<Self> {
        let bound = match address.strip_prefix("unix:") {
            Some(path) => bind_unix(Path::new(path)),
            None => bind_tcp(address),
        };
        bound.map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => "stop the process that uses it or choose another address",
                io::ErrorKind::PermissionDenied => "choose a port above 1023 or a directory that may be written",
                _ => "use HOST:PORT with a host of this machine, such as 127.0.0.1:7411, or unix:PATH",
            };
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; {advice}"))
        })
    }

    /// Where it really listens.
    pub(super) fn address(&self) -> io::Result<String> {
        match self {
            Listener::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Listener::Unix(_, path) => Ok(format!("unix:{}", path.display())),
        }
    }
}

fn bind_tcp(address: &str) -> io::Result<Listener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the host has no address");
    for address in address.to_socket_addrs()? {
        match listen(address) {
            Ok(listener) => return Ok(Listener::Tcp(listener)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server gets its port back although old connections are still in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    let bind = || std::os::unix::net::UnixListener::bind(path);
    let listener = match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_over(path) => {
            std::fs::remove_file(path)?;
            bind()?
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    Ok(Listener::Unix(listener, path.to_owned()))
}

/// True for a socket whose process is gone.
fn is_left_over(path: &Path) -> bool {
    StdUnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Sends answers without delay, and detects callers that are gone.
pub(super) fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_AFTER / 4).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}
