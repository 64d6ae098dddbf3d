//! One run: a queue of events in virtual time, from the first start of a server to the moment when everything has settled.

mod asks;
mod ending;
mod life;
mod steps;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use invengine_node::engine::{OpenError, Step};
use invengine_node::journal::JournalError;
use invengine_wire::v1;
use prost::Message;

use crate::checker::{self, Reply};
use crate::client::Client;
use crate::disk::Rot;
use crate::faults::{Class, Injector, Mask};
use crate::follower::Follower;
use crate::intent::{Asks, Intent, is_passing};
use crate::journal::Shared;
use crate::marks::Mark;
use crate::messages::Receipted;
use crate::model::Breach;
use crate::network::{Network, Way};
use crate::planted::Planted;
use crate::random::{Random, mix};
use crate::reads::Read;
use crate::redis::house::House;
use crate::redis::shore::Redis;
use crate::report::Report;
use crate::server::{Came, Place, Server, Waiting};
use crate::storage::{Faults, Machine, lock};
use crate::swarm::{Pace, Swarm};

const SECOND_US: u64 = 1_000_000;
const EPOCH_MS: i64 = 1_800_000_000_000;
const IN_FLIGHT_MAX: usize = 4;
const STEPS_BETWEEN_CHECKS: u64 = 50;
const EVENTS_KEPT: usize = 200;
/// After healing, every command has its final answer within this.
const LIVENESS_US: u64 = 120 * SECOND_US;
/// An engine that does not know whose its journal is answers for so long, and no longer.
const GRACE_US: u64 = 2 * SECOND_US;
/// Processes that may open a journal in Redis.
const OWNERS: usize = 2;

/// What happens at a moment. Where it begins with a server, that is its number; then comes which life of it is meant.
#[derive(Clone, Debug)]
enum Event {
    Wake(usize),
    Ask(usize, usize),
    Answer(usize, Result<Vec<u8>, &'static str>),
    Retry(usize, u64),
    Step(usize, u64),
    GoOn(usize, u64),
    Release(usize, u64),
    Kill(usize, u64),
    Crash(usize),
    Start(usize),
    Rival,
    Tick,
}

impl Event {
    /// The server that has to run for it.
    fn server(&self) -> Option<usize> {
        match self {
            Event::Ask(_, server) | Event::Step(server, _) | Event::GoOn(server, _) | Event::Release(server, _) => {
                Some(*server)
            }
            _ => None,
        }
    }
}

/// One run.
pub struct World {
    swarm: Swarm,
    now_us: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    pushed: u64,
    chance: Random,
    faults: Faults,
    network: Network,
    servers: Vec<Server>,
    redis: Option<Redis>,
    follower: Shared,
    clients: Vec<Client>,
    intents: Vec<Intent>,
    acknowledged: u64,
    skew_ms: i64,
    full_until_us: u64,
    /// What was flipped before the start that is under way.
    rot: Option<Rot>,
    snapshot_rot: Option<Rot>,
    /// What Redis had lost when each server was started.
    losses_at_start: Vec<u64>,
    replica_at_start: Vec<bool>,
    healed: bool,
    planted: Option<Planted>,
    recent: VecDeque<String>,
    keep_events: bool,
    report: Report,
}

impl World {
    /// A world of a seed.
    pub fn new(seed: u64, pace: Pace, mask: Mask, planted: Option<Planted>, keep_events: bool) -> Self {
        let swarm = Swarm::of(seed, pace);
        let mut injector = Injector::new(seed, mask);
        if pace == Pace::Recoveries || planted.is_some() {
            injector.force(Class::PowerLoss);
        }
        let faults: Faults = Arc::new(Mutex::new(injector));
        let owners = if swarm.on_redis { OWNERS } else { 1 };
        let follower: Shared = Arc::new(Mutex::new(Follower::new(owners, swarm.window_ms)));
        let redis = swarm
            .on_redis
            .then(|| Redis::new(Mutex::new(House::new(&swarm, owners, faults.clone(), follower.clone()))));
        let place = match &redis {
            Some(redis) => Place::Redis(redis.clone()),
            None => Place::Files(Machine::new(faults.clone(), swarm.disk_ppm, swarm.sync_error_ppm, planted)),
        };
        let base = Instant::now();
        let server = |number| Server::new(number, place.clone(), base, follower.clone(), (seed, &swarm), planted);
        let servers = (0..owners).map(server).collect();
        let count = (swarm.shoppers + swarm.feeds) as usize;
        let clients = (0..count).map(|number| Client::new(number, number >= swarm.shoppers as usize, seed)).collect();
        let mut world = World {
            network: Network::new(count),
            now_us: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            pushed: 0,
            chance: Random::new(seed, 0x3071D),
            faults,
            servers,
            redis,
            follower,
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
        self.plan_rival();
    }

    /// Runs to the end: safety, healing, liveness.
    pub fn run(mut self) -> Report {
        let horizon_us = self.swarm.horizon_ms * 1_000;
        while self.now_us < horizon_us && !self.is_broken() && self.next() {}
        self.report.hours = self.now_us as f64 / 3.6e9;
        self.heal();
        let until_us = self.now_us + LIVENESS_US;
        while self.now_us < until_us && !self.is_broken() && !self.is_settled() && self.next() {}
        if !self.is_broken() {
            let result = self.finish();
            lock(&self.follower).note(result);
        }
        self.into_report()
    }

    fn into_report(mut self) -> Report {
        let faults = lock(&self.faults);
        self.report.faults = faults.counts();
        self.report.log = faults.log().to_vec();
        drop(faults);
        let mut follower = lock(&self.follower);
        let state = follower.state_digest().bytes().fold(follower.digest, |sum, byte| mix(sum ^ u64::from(byte)));
        self.report.digest = mix(self.report.digest ^ state);
        self.report.breach = follower.breach.take();
        self.report.marks.add(&follower.marks);
        if self.report.breach.is_some() {
            let engine =
                |server: &Server| server.engine.as_ref().map_or_else(|| "down".into(), |engine| engine.stats());
            let engines: Vec<String> = self.servers.iter().map(engine).collect();
            let model = &follower.model;
            self.report.state = format!(
                "journal: sequence {}, time {}, levels {:?}\nengines: {}",
                model.sequence,
                model.time_ms,
                model.levels,
                engines.join("\n         ")
            );
        }
        drop(follower);
        self.report.recent = self.recent.into();
        self.report.swarm = format!("{:?}", self.swarm);
        self.report
    }

    fn is_broken(&self) -> bool {
        lock(&self.follower).breach.is_some()
    }

    fn note(&self, result: Result<(), Breach>) {
        lock(&self.follower).note(result);
    }

    fn push(&mut self, after_us: u64, event: Event) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.pushed += 1;
        self.queue.push(Reverse((self.now_us + after_us, self.pushed, place)));
    }

    fn next(&mut self) -> bool {
        let Some(Reverse((at_us, _, place))) = self.queue.pop() else { return false };
        let Some(event) = self.events[place].take() else { return true };
        self.free.push(place);
        self.now_us = at_us;
        // A process that stands still sees nothing until it goes on.
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
        let lives = |server: usize, life: u64| self.servers[server].incarnation == life;
        match event {
            Event::Wake(client) => self.wake(client),
            Event::Ask(intent, server) => self.ask(intent, server),
            Event::Answer(intent, reply) => self.answer(intent, reply),
            Event::Retry(intent, attempt) => self.retry(intent, attempt),
            Event::Step(server, life) if lives(server, life) => self.step(server),
            Event::GoOn(server, life) if lives(server, life) => self.go_on(server),
            Event::Release(server, life) if lives(server, life) => self.release(server),
            Event::Kill(server, life) if lives(server, life) => self.kill(server),
            Event::Step(..) | Event::GoOn(..) | Event::Release(..) | Event::Kill(..) => {}
            Event::Crash(server) => self.crash(server),
            Event::Start(server) => self.start(server),
            Event::Rival => self.rival(),
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
