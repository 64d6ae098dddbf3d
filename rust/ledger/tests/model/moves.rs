//! What commands do to holds, once the units that they take are known.

use std::collections::BTreeMap;

use invengine_ledger::StockState;
use invengine_ledger::command::{Line as RequestedLine, Target, TargetBy};
use invengine_ledger::reservation::LineState;
use invengine_ledger::{Context, Reason};

use super::holds::{HoldAction, LineShare, Shares, first_reason, insufficient_stock, reason_of};
use super::{KnownKey, LevelKey, Line, Model};
use crate::harness::answers::{HoldOutcome, Outcome, Refusal};

impl Model {
    pub fn extend(
        &mut self,
        ctx: &Context<'_>,
        target: &Target<'_>,
        ttl_ms: i64,
        now_ms: i64,
    ) -> Result<Outcome, Refusal> {
        let mut outcomes = Vec::new();
        for (at, shares) in self.shares(HoldAction::Extend, ctx, target, now_ms)? {
            self.changed(at);
            let hold = &mut self.holds[at];
            hold.expire_ms = (now_ms + ttl_ms + 99) / 100 * 100;
            let line =
                |(place, share): &(LevelKey, LineShare)| hold.line_outcome(place, LineState::Reserved, share.reserved);
            outcomes.push(hold.outcome(false, shares.iter().map(line).collect()));
        }
        Ok(Outcome::Holds(outcomes))
    }

    pub fn allocate(&mut self, ctx: &Context<'_>, target: &Target<'_>, now_ms: i64) -> Result<Outcome, Refusal> {
        let shares = self.shares(HoldAction::Allocate, ctx, target, now_ms)?;
        let wanted = sum(&shares, |share| share.expired);
        self.check(&wanted, |model, place| model.free(place, now_ms))?;
        let mut outcomes = Vec::new();
        for (at, shares) in shares {
            self.expire_if_due(at, now_ms);
            for (place, share) in &shares {
                let line = self.line(at, place);
                line.reserved -= share.reserved;
                line.expired -= share.expired;
                line.allocated += share.units();
                line.last = LineState::Allocated;
            }
            self.changed(at);
            if !ctx.order_ref.is_empty() {
                self.holds[at].order_ref = ctx.order_ref.to_owned();
            }
            let reacquired = shares.iter().any(|(_, share)| share.expired > 0);
            outcomes.push(self.outcome(at, &shares, LineState::Allocated, reacquired));
        }
        Ok(Outcome::Holds(outcomes))
    }

    pub fn release(&mut self, ctx: &Context<'_>, target: &Target<'_>, now_ms: i64) -> Result<Outcome, Refusal> {
        if let TargetBy::Key(key) = target.by {
            let name = (self.writer(ctx), key.to_owned());
            if self.keys.get(&name).is_none_or(|known| known.outcome.is_none()) {
                self.sequence += 1;
                let (sequence, window) = (self.sequence, self.window);
                // One tombstone per window is enough, and a command's own key is about to be used.
                let again = self.keys.get(&name).is_some_and(|known| known.window == window);
                if !again && key != ctx.key {
                    self.keys.insert(name, KnownKey { meaning: String::new(), sequence, outcome: None, window });
                }
                return Ok(Outcome::KeyCancelled);
            }
        }
        let shares = self.shares(HoldAction::Release, ctx, target, now_ms)?;
        Ok(self.leave(shares, LineState::Released, now_ms))
    }

    pub fn fulfill(&mut self, ctx: &Context<'_>, target: &Target<'_>, now_ms: i64) -> Result<Outcome, Refusal> {
        let shares = self.shares(HoldAction::Fulfill, ctx, target, now_ms)?;
        self.check(&sum(&shares, LineShare::units), |model, place| model.at(place).part(StockState::OnHand))?;
        for (_, of_hold) in &shares {
            for (place, share) in of_hold {
                self.at_mut(place).take(share.units());
            }
        }
        Ok(self.leave(shares, LineState::Fulfilled, now_ms))
    }

    /// Units leave their lines permanently.
    fn leave(&mut self, shares: Shares, to: LineState, now_ms: i64) -> Outcome {
        let mut outcomes = Vec::new();
        for (at, shares) in shares {
            self.expire_if_due(at, now_ms);
            for (place, share) in &shares {
                let line = self.line(at, place);
                line.reserved -= share.reserved;
                line.allocated -= share.allocated;
                *(if to == LineState::Fulfilled { &mut line.fulfilled } else { &mut line.released }) += share.units();
                line.last = to;
            }
            self.changed(at);
            outcomes.push(self.outcome(at, &shares, to, false));
        }
        Outcome::Holds(outcomes)
    }

    pub fn amend(
        &mut self,
        ctx: &Context<'_>,
        target: &Target<'_>,
        asked: &[RequestedLine<'_>],
        now_ms: i64,
    ) -> Result<Outcome, Refusal> {
        let places = self.places(asked.iter().map(|line| (line.sku, line.location)))?;
        let at = self.shares(HoldAction::Amend, ctx, target, now_ms)?[0].0;
        let held = places.iter().filter_map(|place| self.holds[at].lines.get(place));
        if let Some(reason) = first_reason(held.filter(|held| held.reserved == 0).map(reason_of)) {
            return Err(self.holds[at].refuse(reason));
        }
        let mut wanted = BTreeMap::new();
        let mut changes = Vec::new();
        for line in asked {
            let place = self.place(line.sku, line.location)?;
            let before = self.holds[at].lines.get(&place).map_or(0, |held| held.reserved);
            if !self.stock.iter().any(|(other, _)| *other == place) {
                if line.quantity > 0 {
                    return Err(insufficient_stock(&place, line.quantity, 0));
                }
                continue;
            }
            if line.quantity > before {
                wanted.insert(place.clone(), line.quantity - before);
            }
            if line.quantity != before {
                changes.push((place, line.quantity, before));
            }
        }
        self.check(&wanted, |model, place| model.free(place, now_ms))?;
        for (place, quantity, before) in &changes {
            let line = self.holds[at].lines.entry(place.clone()).or_insert(Line::new(0));
            line.reserved = *quantity;
            line.released += (before - quantity).max(0);
            line.last = if quantity < before { LineState::Released } else { LineState::Reserved };
        }
        if changes.is_empty() {
            self.sequence += 1;
        } else {
            self.changed(at);
        }
        let hold = &self.holds[at];
        let lines = changes.iter().map(|(place, quantity, _)| hold.line_outcome(place, LineState::Reserved, *quantity));
        Ok(Outcome::Holds(vec![hold.outcome(false, lines.collect())]))
    }

    pub fn transfer(
        &mut self,
        ctx: &Context<'_>,
        target: &Target<'_>,
        to: &str,
        now_ms: i64,
    ) -> Result<Outcome, Refusal> {
        if !self.knows(invengine_ledger::EntityKind::Locations, to) {
            return Err(Refusal::new(Reason::UnknownLocation).fact("location", to));
        }
        let (at, mut moving) = self.shares(HoldAction::Transfer, ctx, target, now_ms)?.remove(0);
        moving.retain(|(place, _)| place.1 != to);
        let mut wanted = BTreeMap::new();
        for (place, share) in &moving {
            let room = (place.0.clone(), to.to_owned());
            if !self.stock.iter().any(|(other, _)| *other == room) {
                return Err(insufficient_stock(&room, share.units(), 0));
            }
            *wanted.entry(room).or_insert(0) += share.units();
        }
        self.check(&wanted, |model, place| model.free(place, now_ms))?;
        self.expire_if_due(at, now_ms);
        for (place, share) in &moving {
            self.move_promise(at, place, *share, to);
        }
        if moving.is_empty() {
            self.sequence += 1;
        } else {
            self.changed(at);
        }
        let hold = &self.holds[at];
        let mut sums: Vec<(LevelKey, LineState, i64)> = Vec::new();
        for (place, share) in &moving {
            for (state, units) in [(LineState::Reserved, share.reserved), (LineState::Allocated, share.allocated)] {
                let room = (place.0.clone(), to.to_owned());
                match sums.iter_mut().find(|sum| sum.0 == room && sum.1 == state) {
                    Some(sum) => sum.2 += units,
                    None if units > 0 => sums.push((room, state, units)),
                    None => {}
                }
            }
        }
        let lines = sums.iter().map(|(room, state, units)| hold.line_outcome(room, *state, *units)).collect();
        Ok(Outcome::Holds(vec![hold.outcome(false, lines)]))
    }

    fn move_promise(&mut self, at: usize, place: &LevelKey, share: LineShare, to: &str) {
        let line = self.line(at, place);
        line.reserved -= share.reserved;
        line.allocated -= share.allocated;
        let nothing_left = line.outstanding() + line.released + line.expired + line.fulfilled == 0;
        let lines = &mut self.holds[at].lines;
        if nothing_left {
            lines.remove(place);
        }
        let line = lines.entry((place.0.clone(), to.to_owned())).or_insert(Line::new(0));
        line.reserved += share.reserved;
        line.allocated += share.allocated;
        line.last = if share.allocated > 0 { LineState::Allocated } else { LineState::Reserved };
    }

    fn outcome(&self, at: usize, shares: &[(LevelKey, LineShare)], to: LineState, reacquired: bool) -> HoldOutcome {
        let hold = &self.holds[at];
        let lines = shares.iter().map(|(place, share)| hold.line_outcome(place, to, share.units()));
        hold.outcome(reacquired, lines.collect())
    }

    fn line(&mut self, at: usize, place: &LevelKey) -> &mut Line {
        self.holds[at].lines.get_mut(place).expect("a line of the hold")
    }

    /// Refuses unless each level has the units, in the order of first mention.
    fn check(&self, wanted: &BTreeMap<LevelKey, i64>, has: impl Fn(&Self, &LevelKey) -> i64) -> Result<(), Refusal> {
        for (place, _) in &self.stock {
            let units = wanted.get(place).copied().unwrap_or(0);
            let there = has(self, place);
            if units > 0 && there < units {
                return Err(insufficient_stock(place, units, there.max(0)));
            }
        }
        Ok(())
    }
}

fn sum(shares: &Shares, units: impl Fn(LineShare) -> i64) -> BTreeMap<LevelKey, i64> {
    let mut sums = BTreeMap::new();
    for (_, of_hold) in shares {
        for (place, share) in of_hold {
            *sums.entry(place.clone()).or_insert(0) += units(*share);
        }
    }
    sums
}
