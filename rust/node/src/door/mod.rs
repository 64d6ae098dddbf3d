//! The native door: gRPC over HTTP/2 with its own framing, so that every refusal, even of a malformed or oversized
//! message, carries its ErrorInfo, and so that a message goes from the socket to the ledger without being copied for a
//! codec.
//!
//! Each worker thread has a runtime of its own and serves its connections alone. The path of a unary call:
//!
//! 1. `accept` accepts the connection, `connection` reads the requests and routes them;
//! 2. `body` and `message` extract the message, `call_metadata` the rest, `worker` lets the port decide;
//! 3. the `bell` rings once per commit, and `connection` answers everything that has become durable in one write.
//!
//! `submit` and `events` are the two streams, `waiting` has the calls that read a disk, `forward` passes every other method to the service behind the door.
//! `limits` enforces the limits of `settings`; `connections` knows which connections are idle and which one is closed
//! for another, `metered` and `frames` watch the socket below h2, and `bounds` counts how often each bound acted.

mod accept;
mod answer;
mod bell;
mod body;
mod bounds;
mod call_metadata;
mod connection;
mod connections;
mod events;
mod forward;
mod frames;
mod limits;
mod listen;
mod message;
mod metered;
mod port;
mod route;
mod settings;
mod submit;
mod waiting;
mod worker;

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use self::accept::{WorkerHandle, accept};
use self::bell::Bell;
use self::forward::Forwarder;
use self::limits::Limits;
use self::listen::Listener;
pub use self::port::Port;
pub use self::settings::DoorSettings;
use self::worker::{DoorPhase, Worker};

/// How long a worker thread waits for readers of the journal when it ends.
const LAST_READS: Duration = Duration::from_secs(1);
/// A worker thread polls its sockets after this many polls of connections.
const TURNS_BETWEEN_LOOKS: u32 = 16;

/// A native gRPC listener. Dropping it closes it.
pub struct Door {
    address: String,
    limits: Arc<Limits>,
    phase: watch::Sender<DoorPhase>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Door {
    /// Listens on host:port (port 0 takes a free one) or unix:PATH and serves calls from then on.
    ///
    /// # Errors
    /// The settings or the address cannot be used; the message says what to do.
    pub fn serve<D: Port>(port: Arc<D>, address: &str, settings: DoorSettings) -> io::Result<Door> {
        if let Some(problem) = settings.problem() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let listener = Listener::bind(address)?;
        let (phase, seen) = watch::channel(DoorPhase::Serving);
        let (address, limits) = (listener.address()?, Arc::new(Limits::new(&settings)));
        let door = Door { address, limits, phase, threads: Mutex::default() };
        let bells: Arc<[Arc<Bell>]> = (0..settings.threads).map(|_| Arc::default()).collect();
        let mut threads = Vec::with_capacity(bells.len());
        for bell in bells.iter() {
            threads.push(door.start_thread(Worker {
                port: Arc::clone(&port) as Arc<dyn Port>,
                bell: Arc::clone(bell),
                limits: Arc::clone(&door.limits),
                forward: settings.forward_socket.clone().map(Forwarder::new),
                phase: seen.clone(),
                settings: settings.clone(),
            })?);
        }
        port.on_commit(Arc::new(move || bells.iter().for_each(|bell| bell.ring())));
        let first = threads[0].runtime.clone();
        first.spawn(accept(listener, threads));
        Ok(door)
    }

    /// Where it really listens, as host:port or unix:PATH.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops accepting connections, refuses new calls (DRAINING) and returns once the calls in progress are answered
    /// and all connections are closed, or after `timeout`. True if all connections are closed.
    pub fn drain(&self, timeout: Duration) -> bool {
        self.phase.send_if_modified(|phase| {
            let serves = *phase == DoorPhase::Serving;
            *phase = if serves { DoorPhase::Draining } else { *phase };
            serves
        });
        self.limits.connections.wait_until_empty(timeout)
    }

    /// The current connections, calls and bytes, and how often each bound acted, as a JSON object.
    pub fn stats(&self) -> String {
        self.limits.stats()
    }

    /// Closes the listener and every connection. Closing again does nothing.
    pub fn close(&self) {
        self.phase.send_replace(DoorPhase::Closed);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that panicked has ended too, which is all that matters here.
            let _ = thread.join();
        }
    }

    fn start_thread(&self, worker: Worker) -> io::Result<WorkerHandle> {
        let runtime = Builder::new_current_thread().enable_all().event_interval(TURNS_BETWEEN_LOOKS).build()?;
        let thread = WorkerHandle { runtime: runtime.handle().clone(), worker: Arc::new(worker) };
        let worker = Arc::clone(&thread.worker);
        let (started, starts) = mpsc::channel();
        let handle = std::thread::Builder::new().name("invengine-door".into()).spawn(move || {
            let _ = started.send(());
            run(runtime, &worker);
        })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        let _ = starts.recv();
        Ok(thread)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

/// Serves until the door closes.
fn run(runtime: Runtime, worker: &Arc<Worker>) {
    runtime.block_on(async {
        let bell = Arc::clone(&worker.bell);
        tokio::spawn(async move { bell.relay().await });
        let mut phase = worker.phase.clone();
        let _ = phase.wait_for(|phase| *phase == DoorPhase::Closed).await;
    });
    runtime.shutdown_timeout(LAST_READS);
}
