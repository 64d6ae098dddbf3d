//! Accepts connections and hands them to the worker threads in turn.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::bounds::Bound;
use super::connection;
use super::connections::{Admission, ConnectionGuard};
use super::limits::Limits;
use super::listen::{Listener, prepare};
use super::worker::Worker;

/// How long to wait after a failed accept: the process has no file descriptor left until a connection closes.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// How often a new connection checks whether an evicted one has closed.
const EVICTION_CHECK: Duration = Duration::from_millis(1);

/// A worker thread, as the accepting thread sees it.
#[derive(Clone)]
pub(super) struct WorkerHandle {
    pub(super) runtime: Handle,
    pub(super) worker: Arc<Worker>,
}

/// Accepts until the door drains. Runs on the first of the threads.
pub(super) async fn accept(listener: Listener, threads: Vec<WorkerHandle>) -> io::Result<()> {
    let incoming = Incoming::new(listener)?;
    for at in (0..threads.len()).cycle() {
        let thread = &threads[at];
        let accepted = tokio::select! {
            biased;
            () = thread.worker.draining() => break,
            accepted = incoming.accept() => accepted,
        };
        let Ok(stream) = accepted else {
            sleep(ACCEPT_RETRY).await;
            continue;
        };
        if let Some(guard) = admit(&thread.worker).await {
            thread.runtime.spawn(serve(stream, Arc::clone(&thread.worker), guard));
        }
    }
    Ok(())
}

/// Admits a connection; `None` if there is not even room to refuse its calls.
async fn admit(worker: &Worker) -> Option<ConnectionGuard> {
    let Limits { connections, bounds, .. } = &*worker.limits;
    loop {
        match connections.admit() {
            Admission::Admitted { guard, evicts } => {
                if evicts {
                    bounds.acted(Bound::ConnectionEvicted);
                }
                if guard.over_limit {
                    bounds.acted(Bound::ConnectionRefused);
                }
                return Some(guard);
            }
            Admission::Retry => sleep(EVICTION_CHECK).await,
            Admission::Full => {
                bounds.acted(Bound::ConnectionRefused);
                return None;
            }
        }
    }
}

enum Incoming {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removes the file when the listener goes")] SocketFile),
}

/// A connection on its way to a worker thread.
enum Stream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Incoming {
    fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => Incoming::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix(listener, path) => Incoming::Unix(UnixListener::from_std(listener)?, SocketFile(path)),
        })
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Incoming::Tcp(listener) => listener.accept().await?.0.into_std().map(Stream::Tcp),
            Incoming::Unix(listener, _) => listener.accept().await?.0.into_std().map(Stream::Unix),
        }
    }
}

/// The file of a unix socket, removed on drop.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn serve(stream: Stream, worker: Arc<Worker>, guard: ConnectionGuard) {
    match stream {
        Stream::Tcp(stream) => {
            // Fails for a connection that is closed already.
            if prepare(&SockRef::from(&stream)).is_ok() {
                serve_io(TcpStream::from_std(stream), worker, guard).await;
            }
        }
        Stream::Unix(stream) => serve_io(UnixStream::from_std(stream), worker, guard).await,
    }
}

async fn serve_io(io: io::Result<impl AsyncRead + AsyncWrite + Unpin>, worker: Arc<Worker>, guard: ConnectionGuard) {
    if let Ok(io) = io {
        connection::serve(io, worker, guard).await;
    }
}
