//! The native door: gRPC over HTTP/2 with framing of our own, so that every refusal, even of a malformed or oversized
//! message, carries its ErrorInfo, and so that a message goes from the socket to the ledger without a copy for a
//! codec's sake.
//!
//! Each thread has a runtime of its own and serves its connections alone. On the way of a unary call:
//!
//! 1. `accept` lets the connection in, `connection` reads what came and routes it;
//! 2. `gather` and `message` find the message, `terms` the rest, `station` has the desk decide;
//! 3. the `bell` rings once a commit, and `connection` answers everything that has become durable in one write.
//!
//! `submit` and `events` are the two streams, `forward` carries every other method to the service behind the door.
//! `census` counts who is inside and keeps the limits of `settings`; `places` knows who rests and leaves for others,
//! `metered` and `frames` watch the socket below h2, and `bounds` counts what was bounded.

mod accept;
mod answer;
mod bell;
mod bounds;
mod census;
mod connection;
mod desk;
mod events;
mod forward;
mod frames;
mod gather;
mod listen;
mod message;
mod metered;
mod places;
mod route;
mod settings;
mod station;
mod submit;
mod terms;

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use self::accept::{Thread, accept};
use self::bell::Bell;
use self::census::Census;
pub use self::desk::Desk;
use self::forward::Forward;
use self::listen::Listener;
pub use self::settings::DoorSettings;
use self::station::{Phase, Station};

/// How long a thread waits at its end for readers of the journal.
const LAST_READS: Duration = Duration::from_secs(1);
/// Turns of connections after which a thread looks who else has sent something.
const TURNS_BETWEEN_LOOKS: u32 = 16;

/// A native gRPC listener. Dropping it closes it.
pub struct Door {
    address: String,
    census: Arc<Census>,
    phase: watch::Sender<Phase>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Door {
    /// Listens on host:port (port 0 takes a free one) or unix:PATH and takes calls from then on.
    ///
    /// # Errors
    /// The settings or the address cannot be used; the text says what to do.
    pub fn serve<D: Desk>(desk: Arc<D>, address: &str, settings: DoorSettings) -> io::Result<Door> {
        if let Some(problem) = settings.problem() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let listener = Listener::bind(address)?;
        let (phase, seen) = watch::channel(Phase::Serving);
        let (address, census) = (listener.address()?, Arc::new(Census::new(&settings)));
        let door = Door { address, census, phase, threads: Mutex::default() };
        let bells: Arc<[Arc<Bell>]> = (0..settings.threads).map(|_| Arc::default()).collect();
        let mut threads = Vec::with_capacity(bells.len());
        for bell in bells.iter() {
            threads.push(door.start_thread(Station {
                desk: Arc::clone(&desk) as Arc<dyn Desk>,
                bell: Arc::clone(bell),
                census: Arc::clone(&door.census),
                forward: settings.forward_socket.clone().map(Forward::new),
                phase: seen.clone(),
                settings: settings.clone(),
            })?);
        }
        desk.on_commit(Arc::new(move || bells.iter().for_each(|bell| bell.ring())));
        let first = threads[0].runtime.clone();
        first.spawn(accept(listener, threads));
        Ok(door)
    }

    /// Where it really listens, as host:port or unix:PATH.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Takes no further connection, refuses new calls (DRAINING) and returns once those under way are answered and
    /// everybody has left, or after `timeout`. True if everybody has left.
    pub fn drain(&self, timeout: Duration) -> bool {
        self.phase.send_if_modified(|phase| {
            let serves = *phase == Phase::Serving;
            *phase = if serves { Phase::Draining } else { *phase };
            serves
        });
        self.census.places.wait_until_empty(timeout)
    }

    /// What is inside now, and how often each bound acted, as a JSON object.
    pub fn stats(&self) -> String {
        self.census.stats()
    }

    /// Closes the listener and every connection. Closing again does nothing.
    pub fn close(&self) {
        self.phase.send_replace(Phase::Closed);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic of a thread has ended it, which is all that is wanted.
            let _ = thread.join();
        }
    }

    fn start_thread(&self, station: Station) -> io::Result<Thread> {
        let runtime = Builder::new_current_thread().enable_all().event_interval(TURNS_BETWEEN_LOOKS).build()?;
        let thread = Thread { runtime: runtime.handle().clone(), station: Arc::new(station) };
        let station = Arc::clone(&thread.station);
        let (started, starts) = mpsc::channel();
        let handle = std::thread::Builder::new().name("invengine-door".into()).spawn(move || {
            let _ = started.send(());
            run(runtime, &station);
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
fn run(runtime: Runtime, station: &Arc<Station>) {
    runtime.block_on(async {
        let bell = Arc::clone(&station.bell);
        tokio::spawn(async move { bell.hand_on().await });
        let mut phase = station.phase.clone();
        let _ = phase.wait_for(|phase| *phase == Phase::Closed).await;
    });
    runtime.shutdown_timeout(LAST_READS);
}
