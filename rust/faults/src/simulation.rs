//! One run: a queue of events in virtual time, from the first start of a server until everything has settled.

mod finish;
mod lifecycle;
mod requests;
mod steps;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use invengine_node::engine::{OpenError, Step};
use invengine_node::journal::JournalError;
use invengine_wire::v1;
use prost::Message;

use crate::answer_checker::{self, Reply};
use crate::client::Client;
use crate::coverage_marks::Mark;
use crate::disk::BitRot;
use crate::faults::{Class, Injector, Mask};
use crate::intent::{Intent, Operation, is_transient};
use crate::journal::SharedChecker;
use crate::journal_checker::JournalChecker;
use crate::messages::ReceiptOnly;
use crate::model::Violation;
use crate::network::{Direction, Network};
use crate::planted::Planted;
use crate::random::{Random, mix};
use crate::reads::Read;
use crate::redis::environment::SharedRedis;
use crate::redis::simulated::SimulatedRedis;
use crate::report::Report;
use crate::server::{Backend, PendingAnswer, Server, WorkOutcome};
use crate::storage::{SharedFaults, SimulatedStorage, lock};
use crate::swarm::{Profile, Swarm};

const SECOND_US: u64 = 1_000_000;
const EPOCH_MS: i64 = 1_800_000_000_000;
const IN_FLIGHT_MAX: usize = 4;
const STEPS_BETWEEN_CHECKS: u64 = 50;
const EVENTS_KEPT: usize = 200;
/// After healing, every command has its final answer within this time.
const LIVENESS_US: u64 = 120 * SECOND_US;
/// An engine that cannot verify its ownership of the journal answers for this long at most.
const GRACE_US: u64 = 2 * SECOND_US;
/// Number of processes that may open a journal in Redis.
const OWNERS: usize = 2;

/// An event of the queue. The first number is that of the client, intent or server; a second one of a server event is the
/// incarnation that it applies to.
#[derive(Clone, Debug)]
enum Event {
    Wake(usize),
    Request(usize, usize),
    Answer(usize, Result<Vec<u8>, &'static str>),
    Retry(usize, u64),
    Step(usize, u64),
    Resume(usize, u64),
    Release(usize, u64),
    Kill(usize, u64),
    Crash(usize),
    Start(usize),
    SecondOwner,
    Tick,
}

impl Event {
    /// The server that must not be paused for it.
    fn server(&self) -> Option<usize> {
        match self {
            Event::Request(_, server)
            | Event::Step(server, _)
            | Event::Resume(server, _)
            | Event::Release(server, _) => Some(*server),
            _ => None,
        }
    }
}

/// One run.
pub struct Simulation {
    swarm: Swarm,
    now_us: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    pushed: u64,
    random: Random,
    faults: SharedFaults,
    network: Network,
    servers: Vec<Server>,
    redis: Option<SharedRedis>,
    checker: SharedChecker,
    clients: Vec<Client>,
    intents: Vec<Intent>,
    acknowledged: u64,
    skew_ms: i64,
    full_until_us: u64,
    /// The bit that was flipped before the start in progress.
    rot: Option<BitRot>,
    snapshot_rot: Option<BitRot>,
    /// Losses of Redis when each server was started.
    losses_at_start: Vec<u64>,
    replica_at_start: Vec<bool>,
    healed: bool,
    planted: Option<Planted>,
    recent: VecDeque<String>,
    keep_events: bool,
    report: Report,
}

impl Simulation {
    /// A simulation of a seed.
    pub fn new(seed: u64, pace: Profile, mask: Mask, planted: Option<Planted>, keep_events: bool) -> Self {
        let swarm = Swarm::of(seed, pace);
        let mut injector = Injector::new(seed, mask);
        if pace == Profile::Recoveries || planted.is_some() {
            injector.force(Class::PowerLoss);
        }
        let faults: SharedFaults = Arc::new(Mutex::new(injector));
        let owners = if swarm.on_redis { OWNERS } else { 1 };
        let checker: SharedChecker = Arc::new(Mutex::new(JournalChecker::new(owners, swarm.window_ms)));
        let redis = swarm.on_redis.then(|| {
            SharedRedis::new(Mutex::new(SimulatedRedis::new(&swarm, owners, faults.clone(), checker.clone())))
        });
        let backend = match &redis {
            Some(redis) => Backend::Redis(redis.clone()),
            None => {
                Backend::Files(SimulatedStorage::new(faults.clone(), swarm.disk_ppm, swarm.sync_error_ppm, planted))
            }
        };
        let base = Instant::now();
        let server = |number| Server::new(number, backend.clone(), base, checker.clone(), (seed, &swarm), planted);
        let servers = (0..owners).map(server).collect();
        let count = (swarm.shoppers + swarm.feeds) as usize;
        let clients = (0..count).map(|number| Client::new(number, number >= swarm.shoppers as usize, seed)).collect();
        let mut world = Simulation {
            network: Network::new(count),
            now_us: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            pushed: 0,
            random: Random::new(seed, 0x3071D),
            faults,
            servers,
            redis,
            checker,
            clients,
            intents: Vec::new(),
            acknowledged: 0,
            skew_ms: 0,
            full_until_us: 0,
            rot: None,
            snapshot_rot: None,
            losses_at_start: vec![0; owners],
            replica_at_start: vec![false; owners],
            healed: false,
            planted,
            recent: VecDeque::new(),
            keep_events,
            report: Report { seed, ..Report::default() },
            swarm,
        };
        world.begin(count, owners);
        world
    }

    fn begin(&mut self, clients: usize, owners: usize) {
        self.plan_start(0, 0);
        self.push(SECOND_US, Event::Tick);
        (0..clients).for_each(|client| self.push(1_000 * client as u64, Event::Wake(client)));
        (0..owners).for_each(|server| self.plan_crash(server));
        self.plan_second_owner();
    }

    /// Runs to the end: checks safety, heals, then checks liveness.
    pub fn run(mut self) -> Report {
        let horizon_us = self.swarm.horizon_ms * 1_000;
        while self.now_us < horizon_us && !self.is_broken() && self.next() {}
        self.report.hours = self.now_us as f64 / 3.6e9;
        self.heal();
        let until_us = self.now_us + LIVENESS_US;
        while self.now_us < until_us && !self.is_broken() && !self.is_settled() && self.next() {}
        if !self.is_broken() {
            let result = self.finish();
            lock(&self.checker).record(result);
        }
        self.into_report()
    }

    fn into_report(mut self) -> Report {
        let faults = lock(&self.faults);
        self.report.faults = faults.counts();
        self.report.log = faults.log().to_vec();
        drop(faults);
        let mut checker = lock(&self.checker);
        let state = checker.state_digest().bytes().fold(checker.digest, |sum, byte| mix(sum ^ u64::from(byte)));
        self.report.digest = mix(self.report.digest ^ state);
        self.report.violation = checker.violation.take();
        self.report.marks.add(&checker.marks);
        if self.report.violation.is_some() {
            let engine =
                |server: &Server| server.engine.as_ref().map_or_else(|| "down".into(), |engine| engine.stats());
            let engines: Vec<String> = self.servers.iter().map(engine).collect();
            let model = &checker.model;
            self.report.state = format!(
                "journal: sequence {}, time {}, levels {:?}\nengines: {}",
                model.sequence,
                model.time_ms,
                model.levels,
                engines.join("\n         ")
            );
        }
        drop(checker);
        self.report.recent = self.recent.into();
        self.report.swarm = format!("{:?}", self.swarm);
        self.report
    }

    fn is_broken(&self) -> bool {
        lock(&self.checker).violation.is_some()
    }

    fn record(&self, result: Result<(), Violation>) {
        lock(&self.checker).record(result);
    }

    fn push(&mut self, after_us: u64, event: Event) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[index] = Some(event);
        self.pushed += 1;
        self.queue.push(Reverse((self.now_us + after_us, self.pushed, index)));
    }

    fn next(&mut self) -> bool {
        let Some(Reverse((at_us, _, index))) = self.queue.pop() else { return false };
        let Some(event) = self.events[index].take() else { return true };
        self.free.push(index);
        self.now_us = at_us;
        // A paused process sees nothing until it continues.
        let paused_until_us = event.server().map_or(0, |server| self.servers[server].paused_until_us);
        if at_us < paused_until_us {
            self.push(paused_until_us - at_us, event);
            return true;
        }
        self.report.digest = mix(self.report.digest ^ at_us);
        if self.keep_events {
            if self.recent.len() == EVENTS_KEPT {
                self.recent.pop_front();
            }
            self.recent.push_back(format!("{at_us} us: {event:?}"));
        }
        self.handle(event);
        true
    }

    fn handle(&mut self, event: Event) {
        let is_current = |server: usize, incarnation: u64| self.servers[server].incarnation == incarnation;
        match event {
            Event::Wake(client) => self.wake(client),
            Event::Request(intent, server) => self.request(intent, server),
            Event::Answer(intent, reply) => self.answer(intent, reply),
            Event::Retry(intent, attempt) => self.retry(intent, attempt),
            Event::Step(server, incarnation) if is_current(server, incarnation) => self.step(server),
            Event::Resume(server, incarnation) if is_current(server, incarnation) => self.resume(server),
            Event::Release(server, incarnation) if is_current(server, incarnation) => self.release(server),
            Event::Kill(server, incarnation) if is_current(server, incarnation) => self.kill(server),
            Event::Step(..) | Event::Resume(..) | Event::Release(..) | Event::Kill(..) => {}
            Event::Crash(server) => self.crash(server),
            Event::Start(server) => self.start(server),
            Event::SecondOwner => self.second_owner(),
            Event::Tick => self.tick(),
        }
    }

    fn wall_ms(&self) -> i64 {
        EPOCH_MS + (self.now_us / 1_000) as i64 + self.skew_ms
    }

    fn client_ms(&self) -> i64 {
        EPOCH_MS + (self.now_us / 1_000) as i64
    }
}
