//! Clients: what each asks for next.

use std::rc::Rc;

use invengine_wire::v1;

use crate::intent::{Asks, Intent};
use crate::messages::{self, OnHold, Request};
use crate::random::Random;
use crate::swarm::Swarm;

/// One client.
#[derive(Debug)]
pub struct Client {
    pub number: usize,
    /// Its channel; empty for a feed and for the operator.
    pub channel: String,
    /// The source whose messages it numbers; empty for a shopper.
    pub source: String,
    pub epoch: u64,
    pub next_number: u64,
    /// The intention that its registration is.
    pub registering: Option<usize>,
    pub in_flight: usize,
    /// The server that it asks now.
    pub server: usize,
    /// Down until then.
    pub down_until_us: u64,
    /// Its reserves: intention, key, sku, location.
    holds: Vec<(usize, String, String, String)>,
    made: u64,
    chance: Random,
}

/// Most holds that a client comes back to.
const HOLDS_MAX: usize = 30;

impl Client {
    /// A client of a seed.
    pub fn new(number: usize, is_feed: bool, seed: u64) -> Self {
        let source = if is_feed { format!("feed-{number}") } else { String::new() };
        let channel = if is_feed || number == 0 { String::new() } else { format!("channel-{}", number % 3) };
        Client {
            number,
            channel,
            source,
            epoch: 0,
            next_number: 1,
            registering: None,
            in_flight: 0,
            server: 0,
            down_until_us: 0,
            holds: Vec::new(),
            made: 0,
            chance: Random::new(seed, 0xC11E_0000 + number as u64),
        }
    }

    /// Whether it numbers its messages.
    pub fn is_feed(&self) -> bool {
        !self.source.is_empty()
    }

    /// How long until it asks for the next thing.
    pub fn think_us(&mut self, swarm: &Swarm) -> u64 {
        let mean_ms = swarm.commands_every_ms * (swarm.shoppers + swarm.feeds);
        self.chance.exponential(mean_ms * 1_000).min(10_000_000)
    }

    /// After a crash: registers again, and forgets what it had not sent.
    pub fn forget_epoch(&mut self) {
        (self.epoch, self.next_number, self.registering) = (0, 1, None);
    }

    /// Every third intention asks that a refusal be remembered.
    fn remembers(&self) -> bool {
        self.made.is_multiple_of(3)
    }

    fn context(&mut self, wall_ms: i64) -> (v1::CommandContext, String) {
        self.made += 1;
        let key = format!("k{}-{}", self.number, self.made);
        let context = v1::CommandContext {
            idempotency_key: key.clone(),
            issue_time: messages::timestamp(wall_ms),
            channel: self.channel.clone(),
            remember_refusal: self.remembers(),
            ..Default::default()
        };
        (context, key)
    }

    fn intent(&self, asks: Asks, request: Request, key: String, number: Option<(u64, u64)>) -> Intent {
        Intent {
            client: self.number,
            asks,
            path: request.0,
            payload: Rc::from(request.1),
            channel: self.channel.clone(),
            key,
            number,
            remembers: self.remembers(),
            issued_ms: 0,
            attempts: 0,
            settled: false,
            accepted: Vec::new(),
            executed: Vec::new(),
            after_sequence: 0,
            excused: false,
        }
    }

    /// What it asks for next, as the so manieth intention of the run; nothing while it waits for its epoch.
    pub fn next(&mut self, swarm: &Swarm, index: usize, wall_ms: i64, reuse: bool) -> Option<Intent> {
        if !self.is_feed() {
            return Some(self.shop(swarm, index, wall_ms, reuse));
        }
        if self.registering.is_some() {
            return None;
        }
        if self.epoch == 0 {
            let (context, key) = self.context(wall_ms);
            self.registering = Some(index);
            let request = messages::register(context, &self.source);
            return Some(self.intent(Asks::Register, request, key, None));
        }
        Some(self.report(swarm, wall_ms))
    }

    /// The next numbered message of a feed.
    fn report(&mut self, swarm: &Swarm, wall_ms: i64) -> Intent {
        let (mut context, key) = self.context(wall_ms);
        let number = (self.epoch, self.next_number);
        self.next_number += 1;
        context.source = Some(v1::SourcePosition {
            source_id: self.source.clone(),
            epoch: number.0 as i64,
            sequence: number.1 as i64,
        });
        let has_key = self.chance.chance(500_000);
        if !has_key {
            context.idempotency_key.clear();
        }
        let (sku, location) = self.place(swarm);
        let kind = *self.chance.pick(&[0, 0, 0, 0, 1, 2, 2, 3, 4]).unwrap_or(&0);
        let quantity = self.chance.between(1, swarm.stock) as i64;
        let request = messages::stock(kind, context, &sku, &location, quantity);
        self.intent(Asks::Command, request, if has_key { key } else { String::new() }, Some(number))
    }

    fn place(&mut self, swarm: &Swarm) -> (String, String) {
        let sku = self.chance.below(swarm.skus).min(self.chance.below(swarm.skus));
        (format!("sku-{sku}"), format!("place-{}", self.chance.below(swarm.locations)))
    }

    fn shop(&mut self, swarm: &Swarm, index: usize, wall_ms: i64, reuse: bool) -> Intent {
        let drawn = self.chance.below(100);
        if reuse && !self.holds.is_empty() {
            return self.reuse(swarm, wall_ms);
        }
        match drawn {
            0..8 => {
                let (sku, location) = self.place(swarm);
                let request = messages::availability(&sku, &location);
                self.intent(Asks::Availability(sku, location), request, String::new(), None)
            }
            8..11 if !self.holds.is_empty() => {
                let (of, key, ..) = self.some_hold();
                let request = messages::outcome(&self.channel, &key);
                self.intent(Asks::Outcome(of), request, String::new(), None)
            }
            11..14 => self.batch(swarm, wall_ms),
            14..17 => {
                let (context, key) = self.context(wall_ms);
                let (sku, location) = self.place(swarm);
                let quantity = self.chance.between(1, swarm.stock) as i64;
                let request = messages::stock(self.chance.below(5), context, &sku, &location, quantity);
                self.intent(Asks::Command, request, key, None)
            }
            17..60 if !self.holds.is_empty() => self.act(swarm, wall_ms),
            _ => self.reserve(swarm, index, wall_ms),
        }
    }

    fn some_hold(&mut self) -> (usize, String, String, String) {
        let place = self.chance.below(self.holds.len() as u64) as usize;
        self.holds[place].clone()
    }

    fn ttl_s(&mut self, swarm: &Swarm) -> u64 {
        self.chance.between(1, swarm.ttl_s_max)
    }

    fn lines(&mut self, swarm: &Swarm) -> Vec<(String, String, i64)> {
        let count = if self.chance.chance(200_000) { 2 } else { 1 };
        (0..count)
            .map(|_| {
                let (sku, location) = self.place(swarm);
                (sku, location, self.chance.between(1, 3) as i64)
            })
            .collect()
    }

    fn reserve(&mut self, swarm: &Swarm, index: usize, wall_ms: i64) -> Intent {
        let (context, key) = self.context(wall_ms);
        let lines = self.lines(swarm);
        let ttl_s = self.ttl_s(swarm);
        self.holds.push((index, key.clone(), lines[0].0.clone(), lines[0].1.clone()));
        if self.holds.len() > HOLDS_MAX {
            self.holds.remove(0);
        }
        let units = lines.iter().map(|line| line.2).sum();
        self.intent(Asks::Reserve(units), messages::reserve(context, &lines, ttl_s), key, None)
    }

    fn batch(&mut self, swarm: &Swarm, wall_ms: i64) -> Intent {
        let (mut reserves, mut keys) = (Vec::new(), Vec::new());
        for _ in 0..self.chance.between(2, 6) {
            let (context, key) = self.context(wall_ms);
            let lines = self.lines(swarm);
            reserves.push(messages::reserve_message(context, &lines, self.ttl_s(swarm)));
            keys.push(key);
        }
        self.intent(Asks::Batch(keys), messages::submit(reserves), String::new(), None)
    }

    fn act(&mut self, swarm: &Swarm, wall_ms: i64) -> Intent {
        use OnHold::{Allocate, Amend, Extend, Fulfill, Release, Transfer};
        let all = [Allocate, Allocate, Allocate, Release, Release, Fulfill, Fulfill, Extend, Amend, Transfer];
        let what = *self.chance.pick(&all).unwrap_or(&Allocate);
        let (_, hold, sku, mut location) = self.some_hold();
        if what == Transfer {
            location = self.place(swarm).1;
        }
        let (context, key) = self.context(wall_ms);
        let units = self.chance.between(1, 4) as i64;
        let ttl_s = self.ttl_s(swarm);
        let request = messages::on_hold(what, context, &hold, (&sku, &location, units), ttl_s);
        self.intent(Asks::Command, request, key, None)
    }

    fn reuse(&mut self, swarm: &Swarm, wall_ms: i64) -> Intent {
        let (of, key, sku, location) = self.some_hold();
        let (mut context, _) = self.context(wall_ms);
        context.idempotency_key.clone_from(&key);
        let lines = [(sku, location, 1_000 + self.chance.below(swarm.stock) as i64)];
        self.intent(Asks::Reuse(of), messages::reserve(context, &lines, 7), key, None)
    }
}
