//! One run: a queue of events in virtual time, from the first start of the server to the moment when everything has settled.

mod life;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex};

use invengine_node::engine::{OpenError, Step};
use invengine_node::journal::JournalError;
use invengine_wire::v1;
use prost::Message;

use crate::checker::{self, Reply};
use crate::client::Client;
use crate::faults::{Class, Injector, Mask};
use crate::follower::Follower;
use crate::intent::{Asks, Intent, is_passing};
use crate::journal::Shared;
use crate::model::Breach;
use crate::network::{Network, Way};
use crate::planted::Planted;
use crate::random::{Random, mix};
use crate::report::Report;
use crate::server::{Server, Waiting};
use crate::storage::{Faults, Machine, lock};
use crate::swarm::{Pace, Swarm};

const SECOND_US: u64 = 1_000_000;
const EPOCH_MS: i64 = 1_800_000_000_000;
const IN_FLIGHT_MAX: usize = 4;
const STEPS_BETWEEN_CHECKS: u64 = 50;
const EVENTS_KEPT: usize = 200;
/// After healing, every command has its final answer within this.
const LIVENESS_US: u64 = 120 * SECOND_US;

#[derive(Clone, Debug)]
enum Event {
    Wake(usize),
    Ask(usize),
    Answer(usize, Result<Vec<u8>, &'static str>),
    Retry(usize, u64),
    Step(u64),
    Release(u64),
    Crash,
    Start,
    Tick,
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
    server: Server,
    follower: Shared,
    clients: Vec<Client>,
    intents: Vec<Intent>,
    acknowledged: u64,
    skew_ms: i64,
    healed: bool,
    planted: Option<Planted>,
    down: bool,
    steps: u64,
    check_after_step: bool,
    recent: std::collections::VecDeque<String>,
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
        let follower: Shared = Arc::new(Mutex::new(Follower::default()));
        let machine = Machine::new(faults.clone(), swarm.disk_ppm, swarm.sync_error_ppm, planted);
        let server = Server::new(machine, follower.clone(), &swarm, planted);
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
            server,
            follower,
            clients,
            intents: Vec::new(),
            acknowledged: 0,
            skew_ms: 0,
            healed: false,
            planted,
            down: true,
            steps: 0,
            check_after_step: false,
            recent: std::collections::VecDeque::new(),
            keep_events,
            report: Report { seed, ..Report::default() },
            swarm,
        };
        world.push(0, Event::Start);
        world.push(SECOND_US, Event::Tick);
        (0..count).for_each(|client| world.push(1_000 * client as u64, Event::Wake(client)));
        world.plan_crash();
        world
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
        if self.report.breach.is_some() {
            let state = format!(
                "journal: sequence {}, time {}, levels {:?}\nengine: {}",
                follower.model.sequence,
                follower.model.time_ms,
                follower.model.levels,
                self.server.engine.as_ref().map_or_else(|| "down".into(), invengine_node::engine::Engine::stats)
            );
            self.report.state = state;
        }
        drop(follower);
        self.report.recent = self.recent.into();
        self.report.swarm = format!("{:?}", self.swarm);
        self.report
    }

    fn is_broken(&self) -> bool {
        lock(&self.follower).breach.is_some()
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
        // A process that stands still sees nothing until it goes on.
        let for_server = matches!(event, Event::Ask(_) | Event::Step(_) | Event::Release(_));
        if for_server && at_us < self.server.paused_until_us {
            self.now_us = at_us;
            let after_us = self.server.paused_until_us - at_us;
            self.push(after_us, event);
            return true;
        }
        self.now_us = at_us;
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
        match event {
            Event::Wake(client) => self.wake(client),
            Event::Ask(intent) => self.ask(intent),
            Event::Answer(intent, reply) => self.answer(intent, reply),
            Event::Retry(intent, attempt) => self.retry(intent, attempt),
            Event::Step(incarnation) if incarnation == self.server.incarnation => self.step(),
            Event::Release(incarnation) if incarnation == self.server.incarnation => self.release(),
            Event::Step(_) | Event::Release(_) => {}
            Event::Crash => self.crash(),
            Event::Start => self.start(),
            Event::Tick => self.tick(),
        }
    }

    fn wall_ms(&self) -> i64 {
        EPOCH_MS + (self.now_us / 1_000) as i64 + self.skew_ms
    }

    fn client_ms(&self) -> i64 {
        EPOCH_MS + (self.now_us / 1_000) as i64
    }

    fn wake(&mut self, number: usize) {
        if self.healed {
            return;
        }
        let think_us = self.clients[number].think_us(&self.swarm);
        self.push(think_us, Event::Wake(number));
        if self.clients[number].down_until_us > self.now_us {
            return;
        }
        if lock(&self.faults).hits(Class::ClientCrash, self.swarm.client_crash_ppm / 20) {
            self.clients[number].down_until_us = self.now_us + self.chance.between(1, 10) * SECOND_US;
            self.clients[number].forget_epoch();
            return;
        }
        if self.clients[number].in_flight >= IN_FLIGHT_MAX {
            return;
        }
        let reuse = lock(&self.faults).hits(Class::KeyReuse, 5_000);
        let (index, wall_ms) = (self.intents.len(), self.client_ms());
        if let Some(mut intent) = self.clients[number].next(&self.swarm, index, wall_ms, reuse) {
            intent.after_sequence = self.acknowledged;
            self.report.commands += if let Asks::Batch(keys) = &intent.asks { keys.len() as u64 } else { 1 };
            self.clients[number].in_flight += 1;
            self.intents.push(intent);
            self.send(index);
        }
    }

    fn send(&mut self, index: usize) {
        let intent = &mut self.intents[index];
        intent.attempts += 1;
        let (client, attempts) = (intent.client, intent.attempts);
        let now_us = self.now_us;
        let arrivals = self.network.arrivals(client, Way::Ask, now_us, &self.swarm, &mut lock(&self.faults));
        for at_us in arrivals {
            self.push(at_us - now_us, Event::Ask(index));
        }
        let patience_us = self.chance.between(200_000, 1_000_000);
        self.push(patience_us, Event::Retry(index, attempts));
    }

    fn retry(&mut self, index: usize, attempt: u64) {
        let intent = &self.intents[index];
        if intent.settled || intent.attempts != attempt {
            return;
        }
        let down_until_us = self.clients[intent.client].down_until_us;
        if down_until_us > self.now_us {
            self.push(down_until_us - self.now_us, Event::Retry(index, attempt));
            return;
        }
        self.send(index);
    }

    fn ask(&mut self, index: usize) {
        let (path, payload) = (self.intents[index].path, self.intents[index].payload.clone());
        let Some(taken) = self.server.call(path, &payload, self.now_us) else { return };
        self.report.calls += 1;
        if let (Ok(bytes), Asks::Availability(sku, location)) = (&taken.reply, &self.intents[index].asks) {
            let answer = v1::GetAvailabilityResponse::decode(&bytes[..]).unwrap_or_default();
            if let Some(found) = answer.availabilities.first() {
                let mut follower = lock(&self.follower);
                let now_ms = self.server.engine_ms(self.now_us).max(follower.model.time_ms);
                follower.read(answer.sequence as u64, now_ms, sku, location, found.available);
            }
        }
        let early = self.planted == Some(Planted::EarlyAnswer);
        if early || taken.rests_on <= self.server.durable() {
            self.leave(index, taken.reply);
        } else {
            self.server.waiting.push(Waiting { intent: index, taken });
        }
        self.plan_step(0);
    }

    /// An answer leaves the server.
    fn leave(&mut self, index: usize, reply: Reply) {
        let of = if let Asks::Outcome(of) = self.intents[index].asks { Some(of) } else { None };
        let others: Vec<Vec<Option<u64>>> = of.map(|of| self.intents[of].accepted.clone()).into_iter().collect();
        let intent = &mut self.intents[index];
        let client = intent.client;
        let source = &self.clients[client].source;
        let mut follower = lock(&self.follower);
        match checker::answered(intent, &others, source, &reply, &mut follower) {
            Ok(sequence) => self.acknowledged = self.acknowledged.max(sequence),
            Err(breach) => follower.note(Err(breach)),
        }
        drop(follower);
        let now_us = self.now_us;
        let arrivals = self.network.arrivals(client, Way::Answer, now_us, &self.swarm, &mut lock(&self.faults));
        for at_us in arrivals {
            let told = match &reply {
                Ok(bytes) => Ok(bytes.clone()),
                Err(refusal) => Err(refusal.reason),
            };
            self.push(at_us - now_us, Event::Answer(index, told));
        }
    }

    fn answer(&mut self, index: usize, reply: Result<Vec<u8>, &'static str>) {
        let intent = &mut self.intents[index];
        let number = intent.client;
        if intent.settled || self.clients[number].down_until_us > self.now_us {
            return;
        }
        let is_final = match &reply {
            Ok(bytes) => !matches!(intent.asks, Asks::Batch(_)) || checker::is_final(bytes),
            Err(reason) => !is_passing(reason),
        };
        if !is_final {
            return;
        }
        intent.settled = true;
        let client = &mut self.clients[number];
        client.in_flight -= 1;
        if client.registering == Some(index) {
            client.registering = None;
            if let Ok(bytes) = &reply {
                client.epoch = v1::RegisterSourceResponse::decode(&bytes[..]).unwrap_or_default().epoch as u64;
            }
        }
        if reply == Err("STALE_EPOCH") && intent.number.is_some_and(|(epoch, _)| epoch == client.epoch) {
            client.forget_epoch();
        }
    }

    fn plan_step(&mut self, after_us: u64) {
        let at_us = (self.now_us + after_us).max(self.server.busy_until_us);
        if self.server.engine.is_none() || self.server.step_at_us.is_some_and(|planned| planned <= at_us) {
            return;
        }
        self.server.step_at_us = Some(at_us);
        let incarnation = self.server.incarnation;
        self.push(at_us - self.now_us, Event::Step(incarnation));
    }

    fn step(&mut self) {
        if self.server.step_at_us.is_none_or(|planned| planned > self.now_us) {
            return;
        }
        self.server.step_at_us = None;
        self.arm(500);
        let step = self.server.step(self.now_us);
        if self.server.machine.has_ended() {
            return self.power_off();
        }
        self.server.machine.end_in(None);
        match step {
            Step::Committed => {
                self.steps += 1;
                let slow = lock(&self.faults).hits(Class::SlowDisk, 1_000);
                let latency_us = if slow { 500_000 } else { self.chance.between(100, 2_000) };
                self.server.busy_until_us = self.now_us + latency_us;
                let incarnation = self.server.incarnation;
                self.push(latency_us, Event::Release(incarnation));
                self.plan_step(0);
                if self.steps.is_multiple_of(STEPS_BETWEEN_CHECKS) || self.check_after_step {
                    self.check();
                }
            }
            Step::Idle(time) | Step::Full(time) => {
                if self.check_after_step && matches!(step, Step::Idle(_)) {
                    self.check();
                }
                self.plan_step(time.as_micros() as u64);
            }
            Step::Ended => self.fail(),
        }
    }

    /// The process may end inside one of its next calls on the disk.
    fn arm(&mut self, ppm: u64) {
        let mut faults = lock(&self.faults);
        if faults.hits(Class::CrashInCall, ppm) {
            let calls = faults.stream(Class::CrashInCall).below(4);
            self.server.machine.end_in(Some(calls));
        }
    }

    fn check(&mut self) {
        self.check_after_step = false;
        let mut follower = lock(&self.follower);
        let result = checker::compare(&self.server, &mut follower, self.now_us);
        follower.note(result);
        self.report.checks += 1;
    }

    fn release(&mut self) {
        for waiting in self.server.ready() {
            self.leave(waiting.intent, waiting.taken.reply);
        }
    }

    fn tick(&mut self) {
        self.push(SECOND_US, Event::Tick);
        let mut faults = lock(&self.faults);
        self.network.tick(self.now_us, &self.swarm, &mut faults);
        let full = faults.hits(Class::NoSpace, 20_000);
        if faults.hits(Class::ClockJump, 1_000_000_000 / self.swarm.clock_jump_every_ms) {
            self.skew_ms = faults.stream(Class::ClockJump).between(0, 7_200_000) as i64 - 3_600_000;
        }
        let pause = faults.hits(Class::Pause, 2_000);
        let pause_us = if pause { faults.stream(Class::Pause).below(self.swarm.pause_ms_max * 1_000) } else { 0 };
        drop(faults);
        self.server.machine.set_full(full);
        if pause {
            self.server.paused_until_us = self.now_us + pause_us;
        }
    }

    fn heal(&mut self) {
        self.healed = true;
        lock(&self.faults).heal();
        self.network.heal();
        self.server.machine.set_full(false);
        self.server.machine.end_in(None);
        self.server.paused_until_us = 0;
        self.clients.iter_mut().for_each(|client| client.down_until_us = 0);
    }

    fn is_settled(&self) -> bool {
        self.intents.iter().rev().all(|intent| intent.settled || intent.number.is_some())
            && self.server.engine.is_some()
    }

    /// Liveness, then everything that only holds at the end.
    fn finish(&mut self) -> Result<(), Breach> {
        if !self.is_settled() {
            let open = self.intents.iter().find(|intent| !intent.settled && intent.number.is_none());
            return Breach::err("after healing every command gets its answer", format!("{open:?}"));
        }
        let ttl_us = (self.swarm.ttl_s_max + 2) * SECOND_US + 4_000 * SECOND_US;
        let until_us = self.now_us + ttl_us;
        while self.now_us < until_us && !self.is_broken() && self.next() {}
        let mut follower = lock(&self.follower);
        if follower.model.levels.iter().any(|level| level.reserved > 0) {
            return Breach::err("every hold expires", format!("{:?}", follower.model.levels));
        }
        checker::compare(&self.server, &mut follower, self.now_us)?;
        let sources = self.intents.iter().map(|intent| (intent, &*self.clients[intent.client].source));
        checker::all_acknowledged(sources, &follower)
    }
}
