//! What commands do to holds, once it is clear what they take.

use std::collections::BTreeMap;

use invengine_ledger::command::{Line as Asked, Target, TargetBy};
use invengine_ledger::reservation::LineState;
use invengine_ledger::{Context, Reason};

use super::holds::{Act, Share, Shares, first_reason, no_stock, reason_of};
use super::{Known, Line, Model, Place};
use crate::desk::told::{Did, HoldTold, No};

impl Model {
    pub fn extend(&mut self, ctx: &Context<'_>, target: &Target<'_>, ttl_ms: i64, now_ms: i64) -> Result<Did, No> {
        let mut told = Vec::new();
        for (at, shares) in self.shares(Act::Extend, ctx, target, now_ms)? {
            self.changed(at);
            let hold = &mut self.holds[at];
            hold.expire_ms = (now_ms + ttl_ms + 99) / 100 * 100;
            let line = |(place, share): &(Place, Share)| hold.line_told(place, LineState::Reserved, share.reserved);
            told.push(hold.told(false, shares.iter().map(line).collect()));
        }
        Ok(Did::Holds(told))
    }

    pub fn allocate(&mut self, ctx: &Context<'_>, target: &Target<'_>, now_ms: i64) -> Result<Did, No> {
        let shares = self.shares(Act::Allocate, ctx, target, now_ms)?;
        let wanted = sum(&shares, |share| share.expired);
        self.check(&wanted, |model, place| model.free(place, now_ms))?;
        let mut told = Vec::new();
        for (at, shares) in shares {
            self.lapse(at, now_ms);
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
            told.push(self.told(at, &shares, LineState::Allocated, reacquired));
        }
        Ok(Did::Holds(told))
    }

    pub fn release(&mut self, ctx: &Context<'_>, target: &Target<'_>, now_ms: i64) -> Result<Did, No> {
        if let TargetBy::Key(key) = target.by {
            let name = (self.writer(ctx), key.to_owned());
            if self.keys.get(&name).is_none_or(|known| known.did.is_none()) {
                self.sequence += 1;
                let (sequence, window) = (self.sequence, self.window);
                // Once cancelled in this window is enough; and its own key is about to be used.
                let again = self.keys.get(&name).is_some_and(|known| known.window == window);
                if !again && key != ctx.key {
                    self.keys.insert(name, Known { meaning: String::new(), sequence, did: None, window });
                }
                return Ok(Did::KeyCancelled);
            }
        }
        let shares = self.shares(Act::Release, ctx, target, now_ms)?;
        Ok(self.leave(shares, LineState::Released, now_ms))
    }

    pub fn fulfill(&mut self, ctx: &Context<'_>, target: &Target<'_>, now_ms: i64) -> Result<Did, No> {
        let shares = self.shares(Act::Fulfill, ctx, target, now_ms)?;
        self.check(&sum(&shares, Share::units), |model, place| model.at(place).on_hand)?;
        for (_, of_hold) in &shares {
            for (place, share) in of_hold {
                self.at_mut(place).on_hand -= share.units();
            }
        }
        Ok(self.leave(shares, LineState::Fulfilled, now_ms))
    }

    /// Units leave their lines for good.
    fn leave(&mut self, shares: Shares, to: LineState, now_ms: i64) -> Did {
        let mut told = Vec::new();
        for (at, shares) in shares {
            self.lapse(at, now_ms);
            for (place, share) in &shares {
                let line = self.line(at, place);
                line.reserved -= share.reserved;
                line.allocated -= share.allocated;
                *(if to == LineState::Fulfilled { &mut line.fulfilled } else { &mut line.released }) += share.units();
                line.last = to;
            }
            self.changed(at);
            told.push(self.told(at, &shares, to, false));
        }
        Did::Holds(told)
    }

    pub fn amend(
        &mut self,
        ctx: &Context<'_>,
        target: &Target<'_>,
        asked: &[Asked<'_>],
        now_ms: i64,
    ) -> Result<Did, No> {
        let places = self.places(asked.iter().map(|line| (line.sku, line.location)))?;
        let at = self.shares(Act::Amend, ctx, target, now_ms)?[0].0;
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
                    return Err(no_stock(&place, line.quantity, 0));
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
        let lines = changes.iter().map(|(place, quantity, _)| hold.line_told(place, LineState::Reserved, *quantity));
        Ok(Did::Holds(vec![hold.told(false, lines.collect())]))
    }

    pub fn transfer(&mut self, ctx: &Context<'_>, target: &Target<'_>, to: &str, now_ms: i64) -> Result<Did, No> {
        if !self.catalogues[1].contains_key(to) {
            return Err(No::new(Reason::UnknownLocation).fact("location", to));
        }
        let (at, mut moving) = self.shares(Act::Transfer, ctx, target, now_ms)?.remove(0);
        moving.retain(|(place, _)| place.1 != to);
        let mut wanted = BTreeMap::new();
        for (place, share) in &moving {
            let room = (place.0.clone(), to.to_owned());
            if !self.stock.iter().any(|(other, _)| *other == room) {
                return Err(no_stock(&room, share.units(), 0));
            }
            *wanted.entry(room).or_insert(0) += share.units();
        }
        self.check(&wanted, |model, place| model.free(place, now_ms))?;
        self.lapse(at, now_ms);
        for (place, share) in &moving {
            self.move_promise(at, place, *share, to);
        }
        if moving.is_empty() {
            self.sequence += 1;
        } else {
            self.changed(at);
        }
        let hold = &self.holds[at];
        let mut sums: Vec<(Place, LineState, i64)> = Vec::new();
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
        let lines = sums.iter().map(|(room, state, units)| hold.line_told(room, *state, *units)).collect();
        Ok(Did::Holds(vec![hold.told(false, lines)]))
    }

    fn move_promise(&mut self, at: usize, place: &Place, share: Share, to: &str) {
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

    fn told(&self, at: usize, shares: &[(Place, Share)], to: LineState, reacquired: bool) -> HoldTold {
        let hold = &self.holds[at];
        let lines = shares.iter().map(|(place, share)| hold.line_told(place, to, share.units()));
        hold.told(reacquired, lines.collect())
    }

    fn line(&mut self, at: usize, place: &Place) -> &mut Line {
        self.holds[at].lines.get_mut(place).expect("a line of the hold")
    }

    /// Refuses unless each place has the units, by the order in which the places were first mentioned.
    fn check(&self, wanted: &BTreeMap<Place, i64>, has: impl Fn(&Self, &Place) -> i64) -> Result<(), No> {
        for (place, _) in &self.stock {
            let units = wanted.get(place).copied().unwrap_or(0);
            let there = has(self, place);
            if units > 0 && there < units {
                return Err(no_stock(place, units, there.max(0)));
            }
        }
        Ok(())
    }
}

fn sum(shares: &Shares, units: impl Fn(Share) -> i64) -> BTreeMap<Place, i64> {
    let mut sums = BTreeMap::new();
    for (_, of_hold) in shares {
        for (place, share) in of_hold {
            *sums.entry(place.clone()).or_insert(0) += units(*share);
        }
    }
    sums
}
