//! The network between clients and server: it loses, repeats, delays, reorders, clogs and cuts.

use crate::faults::{Class, Injector};
use crate::swarm::Swarm;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Ask,
    /// To the client.
    Answer,
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    asks_cut_until_us: u64,
    answers_cut_until_us: u64,
    clogged_until_us: u64,
}

/// The lines of all clients.
#[derive(Debug)]
pub struct Network {
    lines: Vec<Line>,
}

/// The shortest way.
const WAY_US: u64 = 200;
const CUT_US_MAX: u64 = 5_000_000;

impl Network {
    /// A network of so many clients.
    pub fn new(clients: usize) -> Self {
        Network { lines: vec![Line::default(); clients] }
    }

    /// When the copies of a message arrive; none if it is lost.
    pub fn arrivals(&self, client: usize, way: Way, now_us: u64, swarm: &Swarm, faults: &mut Injector) -> Vec<u64> {
        let line = &self.lines[client];
        let cut_until = if way == Way::Ask { line.asks_cut_until_us } else { line.answers_cut_until_us };
        if now_us < cut_until || faults.hits(Class::Loss, swarm.loss_ppm) {
            return Vec::new();
        }
        let copies = if faults.hits(Class::Duplicate, swarm.duplicate_ppm) { 2 } else { 1 };
        (0..copies)
            .map(|_| {
                let delayed = swarm.delay_ms_max > 0 && faults.hits(Class::Delay, 500_000);
                let delay = if delayed { faults.stream(Class::Delay).below(swarm.delay_ms_max * 1_000) } else { 0 };
                now_us.max(line.clogged_until_us) + WAY_US + delay
            })
            .collect()
    }

    /// What a second may bring.
    pub fn tick(&mut self, now_us: u64, swarm: &Swarm, faults: &mut Injector) {
        for line in &mut self.lines {
            if faults.hits(Class::CutOneWay, swarm.cut_ppm) {
                let stream = faults.stream(Class::CutOneWay);
                let until = now_us + stream.below(CUT_US_MAX);
                if stream.chance(500_000) { line.asks_cut_until_us = until } else { line.answers_cut_until_us = until }
            }
            if faults.hits(Class::CutBothWays, swarm.cut_ppm) {
                let until = now_us + faults.stream(Class::CutBothWays).below(CUT_US_MAX);
                (line.asks_cut_until_us, line.answers_cut_until_us) = (until, until);
            }
            if faults.hits(Class::Clog, swarm.cut_ppm) {
                let length_us = faults.stream(Class::Clog).below(swarm.clog_ms_max * 1_000 + 1);
                line.clogged_until_us = now_us + length_us;
            }
        }
    }

    /// All lines are whole again.
    pub fn heal(&mut self) {
        self.lines.fill(Line::default());
    }
}
