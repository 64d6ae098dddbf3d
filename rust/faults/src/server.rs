//! A server process: the real engine on the real journal, on a simulated disk or a simulated Redis. It starts, answers,
//! pauses, and ends in every way a process can.

use std::sync::Arc;
use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Decision, Engine, EngineSettings, JournalKind, OpenError, Step};
use invengine_node::journal::{
    EveryFrame, FileJournal, FileOptions, Frame, Journal, JournalError, RedisJournal, RedisOptions, Replay,
};

use crate::coroutine::{Coroutine, CoroutineState};
use crate::journal::{ObservedJournal, ObservedReplay, SharedChecker};
use crate::model::Violation;
use crate::planted::Planted;
use crate::redis::environment::{SharedRedis, SimulatedEnvironment};
use crate::redis::simulated::ProcessId;
use crate::storage::{SimulatedStorage, lock};
use crate::swarm::Swarm;

/// A decided call whose answer may not leave yet.
pub struct PendingAnswer {
    pub intent: usize,
    pub taken: Decision,
}

/// Where the journal is stored.
#[derive(Clone)]
pub enum Backend {
    /// On this disk.
    Files(SimulatedStorage),
    /// In this Redis.
    Redis(SharedRedis),
}

/// An engine that has just opened.
pub struct OpenedEngine {
    engine: Engine,
    epoch: u64,
    journal_ms: i64,
}

/// Work that takes virtual time.
enum Work {
    Step(Coroutine<Step>),
    Open(Coroutine<Result<OpenedEngine, OpenError>>),
}

/// The outcome of a piece of work.
pub enum WorkOutcome {
    /// It resumes after this many microseconds.
    Suspended(u64),
    /// A step has ended; how long it took in microseconds, if known.
    Stepped(Step, Option<u64>),
    /// Opening an engine has ended.
    Opened(Result<(), OpenError>),
    /// There is no work.
    Idle,
}

/// One server process, up or down.
pub struct Server {
    pub number: usize,
    pub backend: Backend,
    pub engine: Option<Arc<Engine>>,
    /// How often it was started or ended.
    pub incarnation: u64,
    /// Writer epoch of its engine.
    pub epoch: u64,
    /// The disk is busy until this time.
    pub busy_until_us: u64,
    /// When its last step began.
    pub step_began_us: u64,
    /// When its next step is planned.
    pub step_at_us: Option<u64>,
    pub paused_until_us: u64,
    pub waiting: Vec<PendingAnswer>,
    /// It is down, and a start is planned.
    pub restarts: bool,
    /// The engine is to be compared with the journal after the next step.
    pub check_after_step: bool,
    pub steps: u64,
    environment: Option<SimulatedEnvironment>,
    work: Option<Work>,
    opened_us: u64,
    wall_ms: i64,
    start_ms: i64,
    checker: SharedChecker,
    base: Instant,
    options: FileOptions,
    swarm: Swarm,
    seed: u64,
    planted: Option<Planted>,
}

impl Server {
    /// A server that was never started.
    pub fn new(
        number: usize,
        backend: Backend,
        base: Instant,
        checker: SharedChecker,
        (seed, swarm): (u64, &Swarm),
        planted: Option<Planted>,
    ) -> Self {
        let mut options = FileOptions::new("", "main");
        options.journal_file_bytes = swarm.file_bytes;
        options.preallocate = false;
        Server {
            number,
            backend,
            engine: None,
            incarnation: 0,
            epoch: 0,
            busy_until_us: 0,
            step_began_us: 0,
            step_at_us: None,
            paused_until_us: 0,
            waiting: Vec::new(),
            restarts: false,
            check_after_step: false,
            steps: 0,
            environment: None,
            work: None,
            opened_us: 0,
            wall_ms: 0,
            start_ms: 0,
            checker,
            base,
            options,
            swarm: swarm.clone(),
            seed,
            planted,
        }
    }

    /// A time of the virtual clock.
    pub fn moment(&self, now_us: u64) -> Instant {
        self.base + Duration::from_micros(now_us)
    }

    /// The engine time expected at this moment.
    pub fn engine_ms(&self, now_us: u64) -> i64 {
        self.start_ms + (now_us - self.opened_us) as i64 / 1_000
    }

    /// This incarnation of the process.
    pub fn process_id(&self) -> ProcessId {
        (self.number, self.incarnation)
    }

    /// The disk, if the journal is stored there.
    pub fn storage(&self) -> Option<&SimulatedStorage> {
        match &self.backend {
            Backend::Files(storage) => Some(storage),
            Backend::Redis(_) => None,
        }
    }

    /// Whether the process runs.
    pub fn is_up(&self) -> bool {
        self.engine.is_some() || self.work.is_some()
    }

    /// Checks that a second process on the same files is refused.
    ///
    /// # Errors
    /// It was not refused.
    pub fn check_locked_for_others(&self) -> Result<(), Violation> {
        let Some(storage) = self.storage().filter(|_| self.engine.is_some()) else { return Ok(()) };
        match FileJournal::recover_on(Arc::new(storage.clone()), &self.options, &mut EveryFrame(&mut |_| Ok(()))) {
            Err(JournalError::Locked { .. }) => Ok(()),
            Err(error) => Violation::err("files have one owner", error.to_string()),
            Ok(_) => Violation::err("files have one owner", "a second process opened them"),
        }
    }

    /// Whether work is in progress.
    pub fn is_working(&self) -> bool {
        self.work.is_some()
    }

    /// Starts the process: it recovers and claims. On files it may end inside the n-th of its disk calls, given by `calls`.
    pub fn start(&mut self, calls: Option<u64>, now_us: u64, wall_ms: i64) -> WorkOutcome {
        self.incarnation += 1;
        (self.opened_us, self.wall_ms, self.step_at_us) = (now_us, wall_ms, None);
        let settings = EngineSettings {
            journal: JournalKind::File,
            auto_create: true,
            wall_time_ms: Some(wall_ms),
            dedupe_window_ms: Some(self.swarm.window_ms),
            ..EngineSettings::default()
        };
        let opening = EngineOpener {
            settings,
            now: self.moment(now_us),
            writer: self.number,
            checker: self.checker.clone(),
            bytes_max: self.swarm.payload_bytes_max,
            planted: self.planted,
            process: self.process_id(),
            redis: if let Backend::Redis(redis) = &self.backend { Some(redis.clone()) } else { None },
        };
        match &self.backend {
            Backend::Files(storage) => {
                storage.restart();
                storage.end_after_calls(calls);
                let (storage, options) = (storage.clone(), self.options.clone());
                let opened = opening.open(&mut |replay| {
                    Ok(Box::new(FileJournal::recover_on(Arc::new(storage.clone()), &options, replay)?))
                });
                WorkOutcome::Opened(self.take_opened(opened))
            }
            Backend::Redis(redis) => {
                let environment = SimulatedEnvironment::new(self.base, self.process_id(), redis.clone(), self.seed);
                self.environment = Some(environment.clone());
                let mut options = RedisOptions::new("redis://simulated", "main");
                options.ack = self.swarm.ack;
                let shared = environment.clone();
                self.work = Some(Work::Open(Coroutine::new(&environment, move || {
                    opening.open(&mut |replay| {
                        let mut each = |frame: Frame<'_>| replay.frame(frame);
                        Ok(Box::new(RedisJournal::recover_on(
                            &options,
                            Arc::new(shared.clone()),
                            &mut EveryFrame(&mut each),
                        )?))
                    })
                })));
                self.resume(now_us)
            }
        }
    }

    fn take_opened(&mut self, opened: Result<OpenedEngine, OpenError>) -> Result<(), OpenError> {
        let opened = opened?;
        self.start_ms = opened.journal_ms.max(self.wall_ms);
        self.epoch = opened.epoch;
        self.engine = Some(Arc::new(opened.engine));
        Ok(())
    }

    /// Does one step of the commit thread; as a coroutine if `slowly`, so that faults can occur meanwhile.
    pub fn step(&mut self, now_us: u64, slowly: bool) -> WorkOutcome {
        let moment = self.moment(now_us);
        self.step_began_us = now_us;
        let Some(engine) = &self.engine else { return WorkOutcome::Idle };
        let Some(environment) = &self.environment else { return WorkOutcome::Stepped(engine.step(moment), None) };
        environment.set(now_us);
        if environment.is_undisturbed() && !slowly {
            environment.set_fault_free(true);
            let step = engine.step(moment);
            environment.set_fault_free(false);
            return WorkOutcome::Stepped(step, Some(environment.now_us() - now_us));
        }
        let engine = engine.clone();
        self.work = Some(Work::Step(Coroutine::new(environment, move || engine.step(moment))));
        self.resume(now_us)
    }

    /// Resumes the work in progress.
    pub fn resume(&mut self, now_us: u64) -> WorkOutcome {
        if let Some(environment) = &self.environment {
            environment.set(now_us);
        }
        let state = match &mut self.work {
            None => return WorkOutcome::Idle,
            Some(Work::Step(coroutine)) => coroutine.resume().map(|state| match state {
                CoroutineState::Yielded(time_us) => CoroutineState::Yielded(time_us),
                CoroutineState::Complete(step) => CoroutineState::Complete(Ok(step)),
            }),
            Some(Work::Open(coroutine)) => coroutine.resume().map(|state| match state {
                CoroutineState::Yielded(time_us) => CoroutineState::Yielded(time_us),
                CoroutineState::Complete(opened) => CoroutineState::Complete(Err(opened)),
            }),
        };
        match state {
            Some(CoroutineState::Yielded(time_us)) => WorkOutcome::Suspended(time_us),
            Some(CoroutineState::Complete(ended)) => {
                self.work = None;
                match ended {
                    Ok(step) => WorkOutcome::Stepped(step, Some(0)),
                    Err(opened) => WorkOutcome::Opened(self.take_opened(opened)),
                }
            }
            None => WorkOutcome::Idle,
        }
    }

    /// Ends the process; every answer that has not left is lost.
    pub fn end(&mut self) {
        if let Some(environment) = self.environment.take() {
            environment.end();
        }
        self.work = None;
        self.engine = None;
        self.waiting.clear();
        self.step_at_us = None;
        self.paused_until_us = 0;
        self.busy_until_us = 0;
        self.check_after_step = false;
        self.incarnation += 1;
    }

    /// Decides a call; `None` if the process does not run.
    pub fn call(&self, path: &str, payload: &[u8], now_us: u64) -> Option<Decision> {
        let call = Call { path, payload, key: "", ledger: "", deadline: None };
        self.engine.as_ref().map(|engine| engine.call_at(&call, self.moment(now_us)))
    }

    /// The sequence up to which the journal is durable.
    pub fn durable(&self) -> u64 {
        self.engine.as_ref().map_or(0, |engine| engine.durable().sequence)
    }

    /// Takes the answers that may leave now.
    pub fn ready(&mut self) -> Vec<PendingAnswer> {
        let durable = self.durable();
        let all = std::mem::take(&mut self.waiting);
        let (ready, waiting) = all.into_iter().partition(|waiting| waiting.taken.depends_on <= durable);
        self.waiting = waiting;
        ready
    }
}

/// What it takes to open an engine, on whichever backend.
struct EngineOpener {
    settings: EngineSettings,
    now: Instant,
    writer: usize,
    checker: SharedChecker,
    bytes_max: u64,
    planted: Option<Planted>,
    process: ProcessId,
    redis: Option<SharedRedis>,
}

type OpenJournal<'o> = &'o mut dyn FnMut(&mut dyn Replay) -> Result<Box<dyn Journal>, JournalError>;

impl EngineOpener {
    fn open(&self, open_journal: OpenJournal<'_>) -> Result<OpenedEngine, OpenError> {
        let (mut epoch, mut journal_ms) = (0, 0);
        lock(&self.checker).starts(self.writer);
        lock(&self.checker).replay(self.writer, 0, 0);
        let mut open = |replay: &mut dyn Replay| -> Result<Box<dyn Journal>, JournalError> {
            let checker = self.checker.clone();
            let mut observed = ObservedReplay { inner: replay, checker: checker.clone(), writer: self.writer };
            let journal = open_journal(&mut observed)?;
            epoch = journal.writer_epoch();
            let owns = self.redis.as_ref().is_none_or(|redis| lock(redis).owner() == Some(self.process));
            let mut known = lock(&checker);
            known.opened(self.writer, epoch, owns);
            journal_ms = known.model.time_ms;
            drop(known);
            Ok(Box::new(ObservedJournal::new(journal, checker, self.writer, self.bytes_max, self.planted)))
        };
        let engine = Engine::open_driven(&self.settings, self.now, &mut open)?;
        Ok(OpenedEngine { engine, epoch, journal_ms })
    }
}
