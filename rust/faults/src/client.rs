//! Clients: which request each makes next.

use std::rc::Rc;

use invengine_wire::v1;

use crate::intent::{Intent, Operation};
use crate::messages::{self, HoldAction, Request};
use crate::random::Random;
use crate::swarm::Swarm;

/// One client.
#[derive(Debug)]
pub struct Client {
    pub number: usize,
    /// Its channel; empty for feeds and for the operator.
    pub channel: String,
    /// The source that it numbers its messages for; empty for a shopper.
    pub source: String,
    pub epoch: u64,
    pub next_number: u64,
    /// The intent that registers its source, while that is open.
    pub registering: Option<usize>,
    pub in_flight: usize,
    /// The server that it currently sends to.
    pub server: usize,
    /// The client is down until this time.
    pub down_until_us: u64,
    /// Its reserves: index of the intent, key, sku, location.
    holds: Vec<(usize, String, String, String)>,
    made: u64,
    random: Random,
    /// What has to do with authority is drawn from here.
    pub(crate) rules: Random,
}

/// Most holds that a client remembers for later commands.
const HOLDS_MAX: usize = 30;

impl Client {
    /// Creates a client from a seed.
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
            random: Random::new(seed, 0xC11E_0000 + number as u64),
            rules: Random::new(seed, 0xC11F_0000 + number as u64),
        }
    }

    /// Whether this client is a feed, which numbers its messages.
    pub fn is_feed(&self) -> bool {
        !self.source.is_empty()
    }

    /// Time until its next request.
    pub fn think_us(&mut self, swarm: &Swarm) -> u64 {
        let mean_ms = swarm.commands_every_ms * (swarm.shoppers + swarm.feeds);
        self.random.exponential(mean_ms * 1_000).min(10_000_000)
    }

    /// Models a crash: the client registers again and forgets what it had not sent.
    pub fn forget_epoch(&mut self) {
        (self.epoch, self.next_number, self.registering) = (0, 1, None);
    }

    /// Every third intent asks that a refusal be remembered.
    fn remembers(&self) -> bool {
        self.made.is_multiple_of(3)
    }

    pub(crate) fn context(&mut self, wall_ms: i64) -> (v1::CommandContext, String) {
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

    pub(crate) fn intent(
        &self,
        operation: Operation,
        request: Request,
        key: String,
        number: Option<(u64, u64)>,
    ) -> Intent {
        Intent {
            client: self.number,
            operation,
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

    /// Its next intent, which will be number `index` of the run; `None` while it waits for its epoch.
    pub fn next(&mut self, swarm: &Swarm, index: usize, wall_ms: i64, reuse: bool) -> Option<Intent> {
        if !self.is_feed() {
            if swarm.authority && self.rules.chance(40_000) {
                return Some(self.govern(swarm, wall_ms));
            }
            return Some(self.shop(swarm, index, wall_ms, reuse));
        }
        if self.registering.is_some() {
            return None;
        }
        if self.epoch == 0 {
            let (context, key) = self.context(wall_ms);
            self.registering = Some(index);
            let request = messages::register(context, &self.source);
            return Some(self.intent(Operation::Register, request, key, None));
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
        let has_key = self.random.chance(500_000);
        if !has_key {
            context.idempotency_key.clear();
        }
        let (sku, location) = self.item_and_location(swarm);
        let mut kind = *self.random.pick(&[0, 0, 0, 0, 1, 2, 2, 3, 4, 5, 6, 6, 6]).unwrap_or(&0);
        if swarm.authority {
            kind = self.under_rules(swarm, &mut context, kind, wall_ms);
        }
        let quantity = self.random.between(1, swarm.stock) as i64;
        let request = match kind {
            6 => self.stock_transfer(swarm, context),
            kind => messages::stock(kind, context, &sku, &location, quantity),
        };
        self.intent(Operation::Command, request, if has_key { key } else { String::new() }, Some(number))
    }

    /// A message about stock under rules: numbers are stated more often, often of a while ago, and some messages pass on one of
    /// another feed. Its first epoch is one that was issued in any case.
    fn under_rules(&mut self, swarm: &Swarm, context: &mut v1::CommandContext, kind: u64, wall_ms: i64) -> u64 {
        let kind = if self.rules.chance(300_000) { 3 + self.rules.below(2) } else { kind };
        if self.rules.chance(500_000) {
            context.event_time = messages::timestamp(wall_ms - self.rules.scale(1, 60_000) as i64);
        }
        // Only stock and promises are passed on: a transfer that is over may be deleted instead.
        if kind != 6 && self.rules.chance(50_000) {
            let source_id = format!("feed-{}", swarm.shoppers + self.rules.below(swarm.feeds));
            let sequence = self.rules.scale(1, 1_000) as i64;
            context.origin = (source_id != self.source).then_some(v1::SourcePosition { source_id, epoch: 1, sequence });
        }
        kind
    }

    /// Puts or deletes one of a few rules of authority, or the profile of a feed.
    fn govern(&mut self, swarm: &Swarm, wall_ms: i64) -> Intent {
        let (context, key) = self.context(wall_ms);
        let feed = format!("feed-{}", swarm.shoppers + self.rules.below(swarm.feeds));
        let location = format!("place-{}", self.rules.below(swarm.locations));
        let request = if self.rules.chance(150_000) {
            let kind = if self.rules.chance(400_000) { 0 } else { v1::SourceKind::Wms as i32 };
            let locations = if self.rules.chance(300_000) { vec![location] } else { Vec::new() };
            let profile = v1::SourceProfile { source_id: feed, kind, locations, ..Default::default() };
            messages::source_profile(context, profile)
        } else {
            use v1::AuthorityRight::{Adjust, Promise, Report, Set};
            let mut rule = v1::AuthorityRule { rule: format!("rule-{}", self.rules.below(3)), ..Default::default() };
            let rights = match self.rules.below(8) {
                0..2 => vec![Set],
                2..4 => vec![Set, Adjust, Report],
                4 => vec![Report, Promise],
                _ => Vec::new(),
            };
            rule.rights = rights.into_iter().map(|right| right as i32).collect();
            match self.rules.below(4) {
                0..2 => rule.operator = true,
                2 => rule.source_id = feed,
                _ => rule.source_kind = v1::SourceKind::Wms as i32,
            }
            if self.rules.chance(500_000) {
                rule.location = location;
            }
            messages::authority_rule(context, rule)
        };
        self.intent(Operation::Command, request, key, None)
    }

    fn item_and_location(&mut self, swarm: &Swarm) -> (String, String) {
        let sku = self.random.below(swarm.skus).min(self.random.below(swarm.skus));
        (format!("sku-{sku}"), format!("place-{}", self.random.below(swarm.locations)))
    }

    fn shop(&mut self, swarm: &Swarm, index: usize, wall_ms: i64, reuse: bool) -> Intent {
        let drawn = self.random.below(100);
        if reuse && !self.holds.is_empty() {
            return self.reuse(swarm, wall_ms);
        }
        match drawn {
            0..8 => {
                let (sku, location) = self.item_and_location(swarm);
                let request = messages::availability(&sku, &location);
                self.intent(Operation::Availability(sku, location), request, String::new(), None)
            }
            8..11 if !self.holds.is_empty() => {
                let (of, key, ..) = self.some_hold();
                let request = messages::outcome(&self.channel, &key);
                self.intent(Operation::Outcome(of), request, String::new(), None)
            }
            11..14 => self.batch(swarm, wall_ms),
            14 if self.random.chance(500_000) => self.location_group(swarm, wall_ms),
            14 => {
                let (context, key) = self.context(wall_ms);
                let request = self.stock_transfer(swarm, context);
                self.intent(Operation::Command, request, key, None)
            }
            15..17 => {
                let (context, key) = self.context(wall_ms);
                let (sku, location) = self.item_and_location(swarm);
                let quantity = self.random.between(1, swarm.stock) as i64;
                let request = messages::stock(self.random.below(6), context, &sku, &location, quantity);
                self.intent(Operation::Command, request, key, None)
            }
            17..60 if !self.holds.is_empty() => self.act(swarm, wall_ms),
            _ => self.reserve(swarm, index, wall_ms),
        }
    }

    /// Ships, receives, closes or deletes one of a few stock transfers, whatever its state.
    fn stock_transfer(&mut self, swarm: &Swarm, context: v1::CommandContext) -> messages::Request {
        let transfer = format!("transfer-{}", self.random.below(4));
        let sku = self.item_and_location(swarm).0;
        let units = self.random.between(1, 6) as i64;
        match self.random.below(7) {
            0..2 if swarm.locations > 1 => {
                let from = self.random.below(swarm.locations);
                let to = (from + 1 + self.random.below(swarm.locations - 1)) % swarm.locations;
                let ends = [from, to].map(|location| format!("place-{location}"));
                messages::ship(context, transfer, ends, sku, units)
            }
            0..4 => messages::arrive(context, transfer, sku, units),
            4 => messages::arrive(context, transfer, String::new(), 0),
            5 => messages::close(context, transfer, self.random.chance(500_000)),
            _ => messages::delete_transfer(context, transfer),
        }
    }

    /// Puts one of a few location groups, or deletes it.
    fn location_group(&mut self, swarm: &Swarm, wall_ms: i64) -> Intent {
        let (context, key) = self.context(wall_ms);
        let group = format!("group-{}", self.random.below(3));
        let count = self.random.below(4).min(swarm.locations);
        let locations = (0..count).map(|location| format!("place-{location}")).collect();
        let version = self.random.chance(300_000).then(|| self.random.below(6) as i64);
        self.intent(Operation::Command, messages::location_group(context, group, locations, version), key, None)
    }

    fn some_hold(&mut self) -> (usize, String, String, String) {
        let index = self.random.below(self.holds.len() as u64) as usize;
        self.holds[index].clone()
    }

    fn ttl_s(&mut self, swarm: &Swarm) -> u64 {
        self.random.between(1, swarm.ttl_s_max)
    }

    fn lines(&mut self, swarm: &Swarm) -> Vec<(String, String, i64)> {
        let count = if self.random.chance(200_000) { 2 } else { 1 };
        (0..count)
            .map(|_| {
                let (sku, location) = self.item_and_location(swarm);
                (sku, location, self.random.between(1, 3) as i64)
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
        self.intent(Operation::Reserve(units), messages::reserve(context, &lines, ttl_s), key, None)
    }

    fn batch(&mut self, swarm: &Swarm, wall_ms: i64) -> Intent {
        let (mut reserves, mut keys) = (Vec::new(), Vec::new());
        for _ in 0..self.random.between(2, 6) {
            let (context, key) = self.context(wall_ms);
            let lines = self.lines(swarm);
            reserves.push(messages::reserve_message(context, &lines, self.ttl_s(swarm)));
            keys.push(key);
        }
        self.intent(Operation::Batch(keys), messages::submit(reserves), String::new(), None)
    }

    fn act(&mut self, swarm: &Swarm, wall_ms: i64) -> Intent {
        use HoldAction::{Allocate, Amend, Extend, Fulfill, Release, Transfer};
        let all = [Allocate, Allocate, Allocate, Release, Release, Fulfill, Fulfill, Extend, Amend, Transfer];
        let what = *self.random.pick(&all).unwrap_or(&Allocate);
        let (_, hold, sku, mut location) = self.some_hold();
        if what == Transfer {
            location = self.item_and_location(swarm).1;
        }
        let (context, key) = self.context(wall_ms);
        let units = self.random.between(1, 4) as i64;
        let ttl_s = self.ttl_s(swarm);
        let request = messages::on_hold(what, context, &hold, (&sku, &location, units), ttl_s);
        self.intent(Operation::Command, request, key, None)
    }

    fn reuse(&mut self, swarm: &Swarm, wall_ms: i64) -> Intent {
        let (of, key, sku, location) = self.some_hold();
        let (mut context, _) = self.context(wall_ms);
        context.idempotency_key.clone_from(&key);
        let lines = [(sku, location, 1_000 + self.random.below(swarm.stock) as i64)];
        self.intent(Operation::Reuse(of), messages::reserve(context, &lines, 7), key, None)
    }
}
