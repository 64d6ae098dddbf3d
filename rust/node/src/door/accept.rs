//! Lets connections in and gives them to the threads in turn.

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
use super::census::Census;
use super::connection;
use super::listen::{Listener, prepare};
use super::places::{Entry, Present};
use super::station::Station;

/// Accepting fails when the process has no file descriptor left; somebody must leave first.
const OUT_OF_FILES: Duration = Duration::from_millis(20);

/// A newcomer waits until one of those who make room has left.
const OTHERS_LEAVE: Duration = Duration::from_millis(1);

/// A thread of the door, as the one that accepts sees it.
#[derive(Clone)]
pub(super) struct Thread {
    pub(super) runtime: Handle,
    pub(super) station: Arc<Station>,
}

/// Accepts until the door drains. Runs on the first of the threads.
pub(super) async fn accept(listener: Listener, threads: Vec<Thread>) -> io::Result<()> {
    let incoming = Incoming::new(listener)?;
    for at in (0..threads.len()).cycle() {
        let thread = &threads[at];
        let accepted = tokio::select! {
            biased;
            () = thread.station.draining() => break,
            accepted = incoming.accept() => accepted,
        };
        let Ok(stream) = accepted else {
            sleep(OUT_OF_FILES).await;
            continue;
        };
        if let Some(present) = enter(&thread.station).await {
            thread.runtime.spawn(serve(stream, Arc::clone(&thread.station), present));
        }
    }
    Ok(())
}

/// A place inside; nothing if there is not even room to tell a newcomer that there is none.
async fn enter(station: &Station) -> Option<Present> {
    let Census { places, bounds, .. } = &*station.census;
    loop {
        match places.enter() {
            Entry::Inside { present, evicts } => {
                if evicts {
                    bounds.acted(Bound::ConnectionEvicted);
                }
                if present.crowded {
                    bounds.acted(Bound::ConnectionRefused);
                }
                return Some(present);
            }
            Entry::Later => sleep(OTHERS_LEAVE).await,
            Entry::Full => {
                bounds.acted(Bound::ConnectionRefused);
                return None;
            }
        }
    }
}

enum Incoming {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removes the file when the listener goes")] Remove),
}

/// A connection on its way to a thread.
enum Stream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Incoming {
    fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => Incoming::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix(listener, path) => Incoming::Unix(UnixListener::from_std(listener)?, Remove(path)),
        })
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Incoming::Tcp(listener) => listener.accept().await?.0.into_std().map(Stream::Tcp),
            Incoming::Unix(listener, _) => listener.accept().await?.0.into_std().map(Stream::Unix),
        }
    }
}

/// Removes the file of a unix socket.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn serve(stream: Stream, station: Arc<Station>, present: Present) {
    match stream {
        Stream::Tcp(stream) => {
            // A connection that is gone already cannot be prepared.
            if prepare(&SockRef::from(&stream)).is_ok() {
                speak(TcpStream::from_std(stream), station, present).await;
            }
        }
        Stream::Unix(stream) => speak(UnixStream::from_std(stream), station, present).await,
    }
}

async fn speak(io: io::Result<impl AsyncRead + AsyncWrite + Unpin>, station: Arc<Station>, present: Present) {
    if let Ok(io) = io {
        connection::serve(io, station, present).await;
    }
}
