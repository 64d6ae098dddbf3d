//! One load run on one thread: all connections, one epoll, no timers except the clock.
//!
//! A closed loop measures how much a server can do; an open loop measures how long callers wait who arrive independently of
//! the server. The two are never mixed in one figure.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use crate::LoadError;
use crate::answers::{Answers, Call, Kind};
use crate::chance::Arrivals;
use crate::connection::Connection;
use crate::machine;
use crate::report::{Report, Usage};
use crate::spec::{CallKind, Spec};
use crate::tally::Interval;
use crate::template::Templates;

const METHODS: [&str; 5] = [
    "/invengine.v1.ReservationService/Reserve",
    "/invengine.v1.ReservationService/Allocate",
    "/invengine.v1.ReservationService/Release",
    "/invengine.v1.ReservationService/Submit",
    "/invengine.v1.ReservationService/SubmitStream",
];
const BETWEEN_CONNECTS: Duration = Duration::from_micros(200);
/// Shorter gaps are spent spinning: after a sleep, a call would be sent late.
const SPIN_NS: u64 = 2_000_000;
const WAIT_NS_MAX: u64 = 50_000_000;

/// Runs `spec` and returns its report. Blocks the calling thread.
pub fn run(spec: Spec) -> Result<Report, LoadError> {
    if let Some(problem) = spec.problem() {
        return Err(LoadError::Spec(problem.to_owned()));
    }
    if let Some(core) = spec.core {
        machine::pin(core)?;
    }
    let mut run = Run::open(spec)?;
    run.drive()?;
    Ok(run.report())
}

struct Run {
    spec: Spec,
    connections: Vec<Connection<Call>>,
    streams: Vec<u32>,
    touched: Vec<u16>,
    is_touched: Vec<bool>,
    wants_output: Vec<bool>,
    epoll: OwnedFd,
    templates: Templates,
    body: Vec<u8>,
    answers: Answers,
    arrivals: Option<Arrivals>,
    queue: VecDeque<u64>,
    next_number: u64,
    began: Instant,
    began_at_s: i64,
    issue_second: i64,
    usage: Usage,
    timeline: Vec<Interval>,
    progress: Option<File>,
    duration_ns: u64,
    ended_ns: Option<u64>,
}

impl Run {
    fn open(spec: Spec) -> Result<Self, LoadError> {
        let unknown = || LoadError::Spec(format!("target {:?} is not a reachable host:port", spec.target));
        let address = spec.target.to_socket_addrs().map_err(|_| unknown())?.next().ok_or_else(unknown)?;
        let began_at_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed());
        let mut run = Self {
            connections: Vec::new(),
            streams: Vec::new(),
            touched: Vec::new(),
            is_touched: vec![false; usize::from(spec.connections)],
            wants_output: vec![false; usize::from(spec.connections)],
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            templates: Templates::new(&spec, began_at_s),
            body: Vec::new(),
            answers: Answers::new(&spec),
            arrivals: spec.pace.clone().map(|pace| Arrivals::new(pace, spec.seed)),
            queue: VecDeque::new(),
            next_number: 0,
            began: Instant::now(),
            began_at_s,
            issue_second: began_at_s,
            usage: Usage::default(),
            timeline: Vec::new(),
            progress: spec.progress_file.as_ref().map(File::create).transpose()?,
            duration_ns: duration_ns(&spec),
            ended_ns: None,
            spec,
        };
        run.connect(address)?;
        Ok(run)
    }

    fn connect(&mut self, address: SocketAddr) -> Result<(), LoadError> {
        for at in 0..self.spec.connections {
            let mut connection = Connection::open(address, &METHODS, self.spec.deadline_ms)?;
            let unary = self.spec.call != CallKind::SubmitStream;
            if unary && connection.streams_max() < u32::from(self.spec.streams) {
                let allowed = connection.streams_max();
                return Err(LoadError::Spec(format!("streams is above the {allowed} that the server allows")));
            }
            if !unary {
                let call = Call { kind: Kind::Stream, connection: at, number: 0, count: 0, due_ns: 0, is_valid: false };
                self.streams.push(connection.start(call, 4, &[], false));
                connection.flush()?;
            }
            let data = epoll::EventData::new_u64(u64::from(at));
            epoll::add(&self.epoll, connection.socket(), data, epoll::EventFlags::IN)?;
            self.connections.push(connection);
            // A burst of connects may overflow the listener's queue.
            std::thread::sleep(BETWEEN_CONNECTS);
        }
        Ok(())
    }

    fn drive(&mut self) -> Result<(), LoadError> {
        self.began = Instant::now();
        let mut ready = Vec::with_capacity(usize::from(self.spec.connections).min(1_024));
        loop {
            let now = self.now();
            self.tick(now)?;
            self.admit(now);
            self.flush()?;
            if self.has_ended(now) {
                break;
            }
            let timeout = self.timeout(now);
            ready.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &ready {
                let data = event.data;
                self.receive(u16::try_from(data.u64()).unwrap_or(0))?;
            }
        }
        self.end_interval()?;
        Ok(())
    }

    fn now(&mut self) -> u64 {
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.answers.now_ns = now;
        now
    }

    fn receive(&mut self, at: u16) -> Result<(), LoadError> {
        self.now();
        let connection = &mut self.connections[usize::from(at)];
        while connection.receive(&mut self.answers)? {}
        if connection.has_output() {
            self.touch(at);
        }
        Ok(())
    }

    fn touch(&mut self, at: u16) {
        if !std::mem::replace(&mut self.is_touched[usize::from(at)], true) {
            self.touched.push(at);
        }
    }

    fn flush(&mut self) -> Result<(), LoadError> {
        while let Some(at) = self.touched.pop() {
            let place = usize::from(at);
            self.is_touched[place] = false;
            let connection = &mut self.connections[place];
            connection.flush()?;
            let wants = connection.has_output();
            if wants != self.wants_output[place] {
                self.wants_output[place] = wants;
                let flags = if wants { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
                let data = epoll::EventData::new_u64(u64::from(at));
                epoll::modify(&self.epoll, connection.socket(), data, flags)?;
            }
        }
        Ok(())
    }

    /// Starts and ends the measured part and the steps of the timeline.
    fn tick(&mut self, now: u64) -> Result<(), LoadError> {
        let from = self.spec.measure_from_ms * 1_000_000;
        if self.ended_ns.is_none() && self.intake_has_ended(now) {
            self.ended_ns = Some(now);
        }
        let over = now >= self.duration_ns || self.ended_ns.is_some();
        if !self.answers.tally.measuring && now >= from && !over && !self.usage.has_begun() {
            self.answers.tally.measuring = true;
            self.usage.begin(now, self.spec.watch_pid);
        }
        if self.answers.tally.measuring && over {
            self.answers.tally.measuring = false;
            self.usage.end(now, self.spec.watch_pid);
        }
        let step_ns = self.spec.interval_ms * 1_000_000;
        if step_ns > 0 && now >= self.answers.tally.interval.at_ms * 1_000_000 + step_ns {
            self.end_interval()?;
        }
        let second = self.began_at_s + (now / 1_000_000_000).cast_signed();
        if second != self.issue_second {
            self.issue_second = second;
            self.templates.set_issue_time(second);
        }
        Ok(())
    }

    fn end_interval(&mut self) -> Result<(), LoadError> {
        if self.spec.interval_ms == 0 {
            return Ok(());
        }
        let next = self.answers.tally.interval.at_ms + self.spec.interval_ms;
        let ended = self.answers.tally.end_interval(next);
        if let Some(file) = &mut self.progress {
            let mut line = serde_json::to_vec(&ended).map_err(io::Error::from)?;
            line.push(b'\n');
            file.write_all(&line)?;
        }
        self.timeline.push(ended);
        Ok(())
    }

    fn admit(&mut self, now: u64) {
        if self.arrivals.is_some() {
            self.arrive(now);
        }
        while !self.answers.free.is_empty() {
            let planned = self.answers.plans.peek().filter(|plan| plan.0.0 <= now).map(|plan| plan.0);
            if let Some((due_ns, kind, number)) = planned {
                self.answers.plans.pop();
                self.start(kind, number, 1, due_ns);
            } else if !self.start_reserve(now) {
                return;
            }
        }
    }

    /// Adds the callers who have arrived to the queue; those who have waited in it too long give up.
    fn arrive(&mut self, now: u64) {
        let Some(arrivals) = &mut self.arrivals else { return };
        let before = self.queue.len();
        while let Some(at) = arrivals.next().filter(|at| *at <= now) {
            if self.next_number + self.queue.len() as u64 >= self.spec.reserves_max {
                break;
            }
            self.queue.push_back(at);
            arrivals.step();
        }
        let came = (self.queue.len() - before) as u64;
        let patience_ns = self.spec.pace.as_ref().map_or(u64::MAX, |pace| pace.queue_patience_ms * 1_000_000);
        let mut left = 0;
        while self.queue.front().is_some_and(|at| now - at > patience_ns) {
            self.queue.pop_front();
            left += 1;
        }
        let tally = &mut self.answers.tally;
        tally.interval.arrived += came;
        tally.interval.gave_up += left;
        if tally.measuring {
            tally.window.arrived += came;
            tally.window.gave_up += left;
        }
    }

    /// Starts the next reserve or batch, if one is due now.
    fn start_reserve(&mut self, now: u64) -> bool {
        let left = self.spec.reserves_max - self.next_number;
        let due_ns = match self.arrivals {
            Some(_) => self.queue.pop_front(),
            None => (now < self.duration_ns).then_some(now),
        };
        let Some(due_ns) = due_ns.filter(|_| left > 0) else { return false };
        let (kind, count) = match self.spec.call {
            CallKind::Reserve => (Kind::Reserve, 1),
            CallKind::Submit | CallKind::SubmitStream => (Kind::Batch, self.spec.batch.min(saturated(left))),
        };
        let number = self.next_number;
        self.next_number += u64::from(count);
        if self.arrivals.is_none() {
            let tally = &mut self.answers.tally;
            tally.interval.arrived += u64::from(count);
            tally.window.arrived += if tally.measuring { u64::from(count) } else { 0 };
        }
        self.start(kind, number, count, due_ns);
        true
    }

    fn start(&mut self, kind: Kind, number: u64, count: u32, due_ns: u64) {
        let Some(at) = self.answers.free.pop_front() else { return };
        let choice = &self.answers.choice;
        self.body.clear();
        let method = match kind {
            Kind::Reserve => {
                self.templates.reserve.write(number, choice.items(number), &mut self.body);
                0
            }
            Kind::Allocate => {
                self.templates.allocate.write(number, choice.items(number), &mut self.body);
                1
            }
            Kind::Release => {
                self.templates.release.write(number, choice.items(number), &mut self.body);
                2
            }
            Kind::Batch | Kind::Stream => {
                let numbers = number..number + u64::from(count);
                self.templates.write_batch(numbers, |number| choice.items(number), &mut self.body);
                3
            }
        };
        let call = Call { kind, connection: at, number, count, due_ns, is_valid: false };
        let place = usize::from(at);
        match self.streams.get(place) {
            Some(&stream) => {
                self.answers.batches[place].push_back(call);
                self.connections[place].send(stream, &self.body, false);
            }
            None => {
                self.connections[place].start(call, method, &self.body, true);
            }
        }
        self.answers.in_flight += 1;
        self.touch(at);
    }

    /// True once no more reserves will be sent.
    fn intake_has_ended(&self, now: u64) -> bool {
        let sent_all = self.next_number >= self.spec.reserves_max;
        match &self.arrivals {
            Some(arrivals) => sent_all || (arrivals.next().is_none() && self.queue.is_empty()),
            None => sent_all || now >= self.duration_ns,
        }
    }

    fn has_ended(&self, now: u64) -> bool {
        let Some(ended) = self.ended_ns else { return false };
        let done = self.answers.in_flight == 0 && self.answers.plans.is_empty();
        done || now > ended + self.spec.drain_ms * 1_000_000
    }

    fn timeout(&self, now: u64) -> Timespec {
        let arrival = self.arrivals.as_ref().and_then(Arrivals::next);
        let plan = self.answers.plans.peek().map(|plan| plan.0.0);
        let next = arrival.into_iter().chain(plan).min().unwrap_or(u64::MAX);
        let wait = next.saturating_sub(now).saturating_sub(SPIN_NS / 2).min(WAIT_NS_MAX);
        let spins = next.saturating_sub(now) < SPIN_NS && !self.answers.free.is_empty();
        Timespec { tv_sec: 0, tv_nsec: if spins { 0 } else { wait.max(1_000_000).cast_signed() } }
    }

    fn report(self) -> Report {
        Report::new(&self.spec, self.answers, self.usage, self.timeline, self.next_number)
    }
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn duration_ns(spec: &Spec) -> u64 {
    let duration_ms = match &spec.pace {
        Some(pace) => pace.phases.iter().map(|phase| phase.ms).sum(),
        None => spec.duration_ms,
    };
    duration_ms * 1_000_000
}
