//! The network between clients and servers: it loses, duplicates, delays, reorders, stalls and partitions.

use crate::faults::{Class, Injector};
use crate::swarm::Swarm;

/// The direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Request,
    /// To the client.
    Reply,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    requests_cut_until_us: u64,
    replies_cut_until_us: u64,
    clogged_until_us: u64,
}

/// The links of all clients.
#[derive(Debug)]
pub struct Network {
    links: Vec<Link>,
}

/// The minimum latency.
const LATENCY_US: u64 = 200;
const CUT_US_MAX: u64 = 5_000_000;

impl Network {
    /// A network of this many clients.
    pub fn new(clients: usize) -> Self {
        Network { links: vec![Link::default(); clients] }
    }

    /// Arrival times of the copies of a message; empty if it is lost.
    pub fn arrivals(
        &self,
        client: usize,
        direction: Direction,
        now_us: u64,
        swarm: &Swarm,
        faults: &mut Injector,
    ) -> Vec<u64> {
        let link = &self.links[client];
        let cut_until =
            if direction == Direction::Request { link.requests_cut_until_us } else { link.replies_cut_until_us };
        if now_us < cut_until || faults.hits(Class::Loss, swarm.loss_ppm) {
            return Vec::new();
        }
        let copies = if faults.hits(Class::Duplicate, swarm.duplicate_ppm) { 2 } else { 1 };
        (0..copies)
            .map(|_| {
                let delayed = swarm.delay_ms_max > 0 && faults.hits(Class::Delay, 500_000);
                let delay = if delayed { faults.stream(Class::Delay).below(swarm.delay_ms_max * 1_000) } else { 0 };
                now_us.max(link.clogged_until_us) + LATENCY_US + delay
            })
            .collect()
    }

    /// Draws the network faults of one second.
    pub fn tick(&mut self, now_us: u64, swarm: &Swarm, faults: &mut Injector) {
        for link in &mut self.links {
            if faults.hits(Class::CutOneWay, swarm.cut_ppm) {
                let stream = faults.stream(Class::CutOneWay);
                let until = now_us + stream.below(CUT_US_MAX);
                if stream.chance(500_000) {
                    link.requests_cut_until_us = until
                } else {
                    link.replies_cut_until_us = until
                }
            }
            if faults.hits(Class::CutBothWays, swarm.cut_ppm) {
                let until = now_us + faults.stream(Class::CutBothWays).below(CUT_US_MAX);
                (link.requests_cut_until_us, link.replies_cut_until_us) = (until, until);
            }
            if faults.hits(Class::Clog, swarm.cut_ppm) {
                let length_us = faults.stream(Class::Clog).below(swarm.clog_ms_max * 1_000 + 1);
                link.clogged_until_us = now_us + length_us;
            }
        }
    }

    /// Restores all links.
    pub fn heal(&mut self) {
        self.links.fill(Link::default());
    }
}
