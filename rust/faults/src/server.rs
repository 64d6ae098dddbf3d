//! A server process: the real engine on the real journal, on a simulated disk or a simulated Redis. It starts, answers, stands
//! still, and ends in every way a process can.

use std::sync::Arc;
use std::time::{Duration, Instant};

use invengine_node::engine::{Call, Engine, EngineSettings, JournalKind, OpenError, Step, Taken};
use invengine_node::journal::{
    FileJournal, FileOptions, Frame, Journal, JournalError, RedisJournal, RedisOptions, Replay,
};

use crate::journal::{Shared, Watched, WatchedReplay};
use crate::model::Breach;
use crate::planted::Planted;
use crate::redis::house::Who;
use crate::redis::shore::{Redis, Shore};
use crate::storage::{Machine, lock};
use crate::strand::{Halt, Strand};
use crate::swarm::Swarm;

/// A decided call whose answer may not leave yet.
pub struct Waiting {
    pub intent: usize,
    pub taken: Taken,
}

/// Where the journal is.
#[derive(Clone)]
pub enum Place {
    /// On this machine's disk.
    Files(Machine),
    /// Here.
    Redis(Redis),
}

/// An engine that has just opened.
pub struct Opened {
    engine: Engine,
    epoch: u64,
    journal_ms: i64,
}

/// Work that takes time.
enum Doing {
    Step(Strand<Step>),
    Open(Strand<Result<Opened, OpenError>>),
}

/// What came of work.
pub enum Came {
    /// It goes on after so long.
    Later(u64),
    /// A step is over; how long it took, if that is known.
    Stepped(Step, Option<u64>),
    /// An engine was opened, or not.
    Opened(Result<(), OpenError>),
    /// There is no work.
    Nothing,
}

/// One server process, up or down.
pub struct Server {
    pub number: usize,
    pub place: Place,
    pub engine: Option<Arc<Engine>>,
    /// How often it was started or ended.
    pub incarnation: u64,
    /// Writer epoch of its engine.
    pub epoch: u64,
    /// The disk is busy until then.
    pub busy_until_us: u64,
    /// When its last step began.
    pub step_began_us: u64,
    /// When its next step is planned.
    pub step_at_us: Option<u64>,
    pub paused_until_us: u64,
    pub waiting: Vec<Waiting>,
    /// It is down, and a start is planned.
    pub restarts: bool,
    /// The engine is compared with the journal after the next step.
    pub check_after_step: bool,
    pub steps: u64,
    shore: Option<Shore>,
    doing: Option<Doing>,
    opened_us: u64,
    wall_ms: i64,
    start_ms: i64,
    follower: Shared,
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
        place: Place,
        base: Instant,
        follower: Shared,
        (seed, swarm): (u64, &Swarm),
        planted: Option<Planted>,
    ) -> Self {
        let mut options = FileOptions::new("", "main");
        options.journal_file_bytes = swarm.file_bytes;
        options.prepare_ahead = false;
        Server {
            number,
            place,
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
            shore: None,
            doing: None,
            opened_us: 0,
            wall_ms: 0,
            start_ms: 0,
            follower,
            base,
            options,
            swarm: swarm.clone(),
            seed,
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

    /// This life of this process.
    pub fn who(&self) -> Who {
        (self.number, self.incarnation)
    }

    /// The disk, if the journal is there.
    pub fn machine(&self) -> Option<&Machine> {
        match &self.place {
            Place::Files(machine) => Some(machine),
            Place::Redis(_) => None,
        }
    }

    /// Whether the process is there.
    pub fn is_up(&self) -> bool {
        self.engine.is_some() || self.doing.is_some()
    }

    /// A second process on the same files must be refused, whatever it does.
    ///
    /// # Errors
    /// It was let in.
    pub fn is_locked_for_others(&self) -> Result<(), Breach> {
        let Some(machine) = self.machine().filter(|_| self.engine.is_some()) else { return Ok(()) };
        match FileJournal::open_on(Arc::new(machine.clone()), &self.options, &mut |_| Ok(())) {
            Err(JournalError::Locked { .. }) => Ok(()),
            Err(error) => Breach::err("files have one owner", error.to_string()),
            Ok(_) => Breach::err("files have one owner", "a second process opened them"),
        }
    }

    /// Whether work is under way.
    pub fn is_doing(&self) -> bool {
        self.doing.is_some()
    }

    /// Starts the process: recovers and claims. On files it may end inside its so manieth call on the disk.
    pub fn start_ending_in(&mut self, calls: Option<u64>, now_us: u64, wall_ms: i64) -> Came {
        self.incarnation += 1;
        (self.opened_us, self.wall_ms, self.step_at_us) = (now_us, wall_ms, None);
        let settings = EngineSettings {
            journal: JournalKind::File,
            auto_create: true,
            wall_time_ms: Some(wall_ms),
            dedupe_window_ms: Some(self.swarm.window_ms),
            ..EngineSettings::default()
        };
        let opening = Opening {
            settings,
            now: self.moment(now_us),
            writer: self.number,
            follower: self.follower.clone(),
            bytes_max: self.swarm.payload_bytes_max,
            planted: self.planted,
            who: self.who(),
            redis: if let Place::Redis(redis) = &self.place { Some(redis.clone()) } else { None },
        };
        match &self.place {
            Place::Files(machine) => {
                machine.restart();
                machine.end_in(calls);
                let (machine, options) = (machine.clone(), self.options.clone());
                let opened = opening.open(&mut |replay| {
                    Ok(Box::new(FileJournal::recover_on(Arc::new(machine.clone()), &options, replay)?))
                });
                Came::Opened(self.take_opened(opened))
            }
            Place::Redis(redis) => {
                let shore = Shore::new(self.base, self.who(), redis.clone(), self.seed);
                self.shore = Some(shore.clone());
                let mut options = RedisOptions::new("redis://simulated", "main");
                options.ack = self.swarm.ack;
                let ground = shore.clone();
                self.doing = Some(Doing::Open(Strand::new(&shore, move || {
                    opening.open(&mut |replay| {
                        let mut each = |frame: Frame<'_>| replay.frame(frame);
                        Ok(Box::new(RedisJournal::open_on(&options, Arc::new(ground.clone()), &mut each)?))
                    })
                })));
                self.go_on(now_us)
            }
        }
    }

    fn take_opened(&mut self, opened: Result<Opened, OpenError>) -> Result<(), OpenError> {
        let opened = opened?;
        self.start_ms = opened.journal_ms.max(self.wall_ms);
        self.epoch = opened.epoch;
        self.engine = Some(Arc::new(opened.engine));
        Ok(())
    }

    /// One step of the commit thread; `slowly` if something is to happen meanwhile.
    pub fn step(&mut self, now_us: u64, slowly: bool) -> Came {
        let moment = self.moment(now_us);
        self.step_began_us = now_us;
        let Some(engine) = &self.engine else { return Came::Nothing };
        let Some(shore) = &self.shore else { return Came::Stepped(engine.step(moment), None) };
        shore.set(now_us);
        if shore.is_calm() && !slowly {
            shore.spare(true);
            let step = engine.step(moment);
            shore.spare(false);
            return Came::Stepped(step, Some(shore.now_us() - now_us));
        }
        let engine = engine.clone();
        self.doing = Some(Doing::Step(Strand::new(shore, move || engine.step(moment))));
        self.go_on(now_us)
    }

    /// Goes on with work that took time.
    pub fn go_on(&mut self, now_us: u64) -> Came {
        if let Some(shore) = &self.shore {
            shore.set(now_us);
        }
        let halt = match &mut self.doing {
            None => return Came::Nothing,
            Some(Doing::Step(strand)) => strand.go_on().map(|halt| match halt {
                Halt::Passes(time_us) => Halt::Passes(time_us),
                Halt::Ends(step) => Halt::Ends(Ok(step)),
            }),
            Some(Doing::Open(strand)) => strand.go_on().map(|halt| match halt {
                Halt::Passes(time_us) => Halt::Passes(time_us),
                Halt::Ends(opened) => Halt::Ends(Err(opened)),
            }),
        };
        match halt {
            Some(Halt::Passes(time_us)) => Came::Later(time_us),
            Some(Halt::Ends(ended)) => {
                self.doing = None;
                match ended {
                    Ok(step) => Came::Stepped(step, Some(0)),
                    Err(opened) => Came::Opened(self.take_opened(opened)),
                }
            }
            None => Came::Nothing,
        }
    }

    /// The process is gone, and with it every answer that had not left.
    pub fn end(&mut self) {
        if let Some(shore) = self.shore.take() {
            shore.end();
        }
        self.doing = None;
        self.engine = None;
        self.waiting.clear();
        self.step_at_us = None;
        self.paused_until_us = 0;
        self.busy_until_us = 0;
        self.check_after_step = false;
        self.incarnation += 1;
    }

    /// Decides a call; nothing if there is no process.
    pub fn call(&self, path: &str, payload: &[u8], now_us: u64) -> Option<Taken> {
        let call = Call { path, payload, key: "", ledger: "", deadline: None };
        self.engine.as_ref().map(|engine| engine.call_at(&call, self.moment(now_us)))
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

/// What opening an engine takes, wherever it runs.
struct Opening {
    settings: EngineSettings,
    now: Instant,
    writer: usize,
    follower: Shared,
    bytes_max: u64,
    planted: Option<Planted>,
    who: Who,
    redis: Option<Redis>,
}

type OpenPlace<'o> = &'o mut dyn FnMut(&mut dyn Replay) -> Result<Box<dyn Journal>, JournalError>;

impl Opening {
    fn open(&self, place: OpenPlace<'_>) -> Result<Opened, OpenError> {
        let (mut epoch, mut journal_ms) = (0, 0);
        lock(&self.follower).starts(self.writer);
        lock(&self.follower).replay(self.writer, 0, 0);
        let mut open = |replay: &mut dyn Replay| -> Result<Box<dyn Journal>, JournalError> {
            let follower = self.follower.clone();
            let mut watched = WatchedReplay { inner: replay, follower: follower.clone(), writer: self.writer };
            let journal = place(&mut watched)?;
            epoch = journal.writer_epoch();
            let owns = self.redis.as_ref().is_none_or(|redis| lock(redis).owner() == Some(self.who));
            let mut known = lock(&follower);
            known.opened(self.writer, epoch, owns);
            journal_ms = known.model.time_ms;
            drop(known);
            Ok(Box::new(Watched::new(journal, follower, self.writer, self.bytes_max, self.planted)))
        };
        let engine = Engine::open_driven(&self.settings, self.now, &mut open)?;
        Ok(Opened { engine, epoch, journal_ms })
    }
}
