//! The server process: the real engine on the real file journal on the simulated disk. It starts, answers, stands still, and
//! ends in every way a process can.

use std::sync::Arc;
use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Engine, EngineSettings, JournalKind, OpenError, Step, Taken};
use invengine_node::journal::{FileJournal, FileOptions, Frame, Journal, JournalError, Replay};

use crate::journal::{Shared, Watched, WatchedReplay};
use crate::planted::Planted;
use crate::storage::{Machine, lock};
use crate::swarm::Swarm;

/// A decided call whose answer may not leave yet.
pub struct Waiting {
    pub intent: usize,
    pub taken: Taken,
}

/// One server process, up or down.
pub struct Server {
    pub machine: Machine,
    pub engine: Option<Engine>,
    /// How often it was started.
    pub incarnation: u64,
    opened_us: u64,
    start_ms: i64,
    /// The disk is busy until then.
    pub busy_until_us: u64,
    /// When its next step is planned.
    pub step_at_us: Option<u64>,
    pub paused_until_us: u64,
    pub waiting: Vec<Waiting>,
    follower: Shared,
    base: Instant,
    options: FileOptions,
    payload_bytes_max: u64,
    planted: Option<Planted>,
}

impl Server {
    /// A server that was never started.
    pub fn new(machine: Machine, follower: Shared, swarm: &Swarm, planted: Option<Planted>) -> Self {
        let mut options = FileOptions::new("", "main");
        options.journal_file_bytes = swarm.file_bytes;
        options.prepare_ahead = false;
        Server {
            machine,
            engine: None,
            incarnation: 0,
            opened_us: 0,
            start_ms: 0,
            busy_until_us: 0,
            step_at_us: None,
            paused_until_us: 0,
            waiting: Vec::new(),
            follower,
            base: Instant::now(),
            options,
            payload_bytes_max: swarm.payload_bytes_max,
            planted,
        }
    }

    /// A moment of virtual time.
    pub fn moment(&self, now_us: u64) -> Instant {
        self.base + Duration::from_micros(now_us)
    }

    /// Engine time at this moment, as it must be.
    pub fn engine_ms(&self, now_us: u64) -> i64 {
        self.start_ms + (now_us - self.opened_us) as i64 / 1_000
    }

    /// Starts the process: recovers and claims. It may end inside its so manieth call on the disk.
    ///
    /// # Errors
    /// The engine does not start.
    pub fn start_ending_in(&mut self, calls: Option<u64>, now_us: u64, wall_ms: i64) -> Result<(), OpenError> {
        self.machine.restart();
        self.machine.end_in(calls);
        self.incarnation += 1;
        let settings = EngineSettings {
            journal: JournalKind::File,
            auto_create: true,
            wall_time_ms: Some(wall_ms),
            ..EngineSettings::default()
        };
        lock(&self.follower).replay();
        let (machine, options) = (self.machine.clone(), self.options.clone());
        let (follower, bytes_max, planted) = (self.follower.clone(), self.payload_bytes_max, self.planted);
        let mut epoch = 0;
        let mut open = |replay: &mut dyn Replay| -> Result<Box<dyn Journal>, JournalError> {
            let mut watched = WatchedReplay { inner: replay, follower: follower.clone() };
            let mut each = |frame: Frame<'_>| watched.frame(frame);
            let journal = FileJournal::open_on(Arc::new(machine.clone()), &options, &mut each)?;
            epoch = journal.writer_epoch();
            Ok(Box::new(Watched::new(Box::new(journal), follower.clone(), bytes_max, planted)))
        };
        let engine = Engine::open_driven(&settings, self.moment(now_us), &mut open)?;
        let mut known = lock(&self.follower);
        known.opened(epoch);
        self.start_ms = known.model.time_ms.max(wall_ms);
        drop(known);
        (self.opened_us, self.busy_until_us, self.step_at_us) = (now_us, now_us, None);
        self.engine = Some(engine);
        Ok(())
    }

    /// The process is gone, and with it every answer that had not left.
    pub fn end(&mut self) {
        self.engine = None;
        self.waiting.clear();
        self.step_at_us = None;
        self.paused_until_us = 0;
        self.incarnation += 1;
    }

    /// Decides a call; nothing if there is no process.
    pub fn call(&self, path: &str, payload: &[u8], now_us: u64) -> Option<Taken> {
        let call = Call { path, payload, key: "", ledger: "", deadline: None };
        self.engine.as_ref().map(|engine| engine.call_at(&call, self.moment(now_us)))
    }

    /// One step of the commit thread.
    pub fn step(&self, now_us: u64) -> Step {
        self.engine.as_ref().map_or(Step::Ended, |engine| engine.step(self.moment(now_us)))
    }

    /// Up to where the journal is durable.
    pub fn durable(&self) -> u64 {
        self.engine.as_ref().map_or(0, |engine| engine.durable().sequence)
    }

    /// The answers that may leave now.
    pub fn ready(&mut self) -> Vec<Waiting> {
        let durable = self.durable();
        let all = std::mem::take(&mut self.waiting);
        let (ready, waiting) = all.into_iter().partition(|waiting| waiting.taken.rests_on <= durable);
        self.waiting = waiting;
        ready
    }
}
