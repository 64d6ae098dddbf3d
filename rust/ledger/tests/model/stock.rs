//! Physical stock.

use invengine_ledger::{CountsAs, Reason, StockState};
use std::collections::BTreeMap;

use invengine_ledger::command::{MoveLine, QUANTITY_MAX, StockLine};
use invengine_ledger::event::StockKind;
use invengine_ledger::{Context, EntityKind};

use super::authority::Reasons;
use super::holds::insufficient_stock;
use super::{LevelKey, Model, Stock};
use crate::harness::answers::{LevelQuantities, Outcome, Refusal};

impl Stock {
    pub fn part(&self, state: StockState) -> i64 {
        self.0.get(&state).copied().unwrap_or_default()
    }

    pub fn add(&mut self, state: StockState, units: i64) {
        *self.0.entry(state).or_default() += units;
        if state.counts_as() == CountsAs::Unsellable {
            self.take(-units);
        }
    }

    /// Takes units out of on_hand.
    pub fn take(&mut self, units: i64) {
        *self.0.entry(StockState::OnHand).or_default() -= units;
    }
}

impl Model {
    pub fn place(&self, sku: &str, location: &str) -> Result<LevelKey, Refusal> {
        if !self.knows(EntityKind::Items, sku) {
            return Err(Refusal::new(Reason::UnknownSku).fact("sku", sku));
        }
        if !self.knows(EntityKind::Locations, location) {
            return Err(Refusal::new(Reason::UnknownLocation).fact("location", location));
        }
        Ok((sku.to_owned(), location.to_owned()))
    }

    /// The levels of all lines; an unknown item is reported before an unknown location.
    pub fn places<'a>(
        &self,
        lines: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Result<Vec<LevelKey>, Refusal> {
        let known = |sku: &str| self.knows(EntityKind::Items, sku);
        if let Some((sku, _)) = lines.clone().find(|(sku, _)| !known(sku)) {
            return Err(Refusal::new(Reason::UnknownSku).fact("sku", sku));
        }
        lines.map(|(sku, location)| self.place(sku, location)).collect()
    }

    pub fn at(&self, place: &LevelKey) -> Stock {
        self.stock.iter().find(|(other, _)| other == place).map(|found| found.1.clone()).unwrap_or_default()
    }

    pub fn at_mut(&mut self, place: &LevelKey) -> &mut Stock {
        if !self.stock.iter().any(|(other, _)| other == place) {
            self.stock.push((place.clone(), Stock::default()));
        }
        &mut self.stock.iter_mut().find(|(other, _)| other == place).expect("just pushed").1
    }

    /// The quantities of a level, summed up from the holds.
    pub fn figures(&self, place: &LevelKey, now_ms: i64) -> LevelQuantities {
        let stock = self.at(place);
        let (mut reserved, mut allocated) = (0, 0);
        for hold in &self.holds {
            if let Some(line) = hold.lines.get(place) {
                allocated += line.allocated;
                reserved += if hold.has_expired(now_ms) { 0 } else { line.reserved };
            }
        }
        LevelQuantities {
            sku: place.0.clone(),
            location: place.1.clone(),
            stock: StockState::all().map(|state| (state, stock.part(state))).collect(),
            reserved,
            allocated,
        }
    }

    /// Units that nobody holds; negative if more is held than is in stock.
    pub fn free(&self, place: &LevelKey, now_ms: i64) -> i64 {
        let found = self.figures(place, now_ms);
        found.stock[&StockState::OnHand] - found.unsellable() - found.reserved - found.allocated
    }

    /// Lines with a reason are only claims.
    pub fn change_stock(
        &mut self,
        context: &Context<'_>,
        kind: StockKind,
        lines: &[StockLine<'_>],
        reasons: &Reasons,
        now_ms: i64,
    ) -> Result<Outcome, Refusal> {
        let places = self.places(lines.iter().map(|line| (line.sku, line.location)))?;
        let before: BTreeMap<LevelKey, Stock> = places.iter().map(|place| (place.clone(), self.at(place))).collect();
        let absolute = matches!(kind, StockKind::Set | StockKind::Counted);
        let is_claim = |number: usize| reasons.get(number).copied().flatten().is_some();
        for (number, (line, place)) in lines.iter().zip(&places).enumerate() {
            if is_claim(number) {
                self.at_mut(place);
                continue;
            }
            let actual = before[place].part(line.state);
            if let Some(expected) = line.expected.filter(|expected| absolute && *expected != actual) {
                let refusal = Refusal::new(Reason::QuantityStale).fact("sku", line.sku).fact("location", line.location);
                return Err(refusal.fact("expected", expected).fact("actual", actual));
            }
            let delta = if absolute { line.quantity - actual } else { line.quantity };
            self.at_mut(place).add(line.state, delta);
        }
        // Setting a part changes the whole too; a whole that is set in the same command takes precedence.
        for (number, (line, place)) in lines.iter().zip(&places).enumerate() {
            if absolute && line.state == StockState::OnHand && !is_claim(number) {
                self.at_mut(place).0.insert(StockState::OnHand, line.quantity);
            }
        }
        for (number, (line, place)) in lines.iter().zip(&places).enumerate().filter(|(number, _)| !is_claim(*number)) {
            for state in [StockState::OnHand, line.state] {
                let (there, left) = (before[place].part(state), self.at(place).part(state));
                if left < 0 {
                    return Err(insufficient_stock(place, there - left, there));
                }
            }
            if self.at(place).part(StockState::OnHand) > QUANTITY_MAX {
                let field = if kind == StockKind::Adjusted { "delta" } else { "quantity" };
                return Err(Refusal::new(Reason::InvalidField)
                    .fact("field", format!("lines[{number}].{field}"))
                    .fact("description", "on_hand of a level must stay at or below 2^53 - 1"));
            }
        }
        if absolute {
            self.note_claims(context, lines, reasons, self.sequence);
        }
        self.sequence += lines.len() as u64;
        let levels = places.iter().map(|place| self.figures(place, now_ms)).collect();
        let claimed: Vec<u32> =
            (0..lines.len()).filter(|number| is_claim(*number)).map(|number| number as u32).collect();
        Ok(if claimed.is_empty() { Outcome::Levels(levels) } else { Outcome::Claimed(levels, claimed) })
    }

    /// Line by line; what a line moved, a later one can move on.
    pub fn move_quantity(&mut self, lines: &[MoveLine<'_>], now_ms: i64) -> Result<Outcome, Refusal> {
        let places = self.places(lines.iter().map(|line| (line.sku, line.location)))?;
        for (line, place) in lines.iter().zip(&places) {
            let stock = self.at(place);
            let unsellable = StockState::all().filter(|state| state.counts_as() == CountsAs::Unsellable);
            let there = match line.from {
                StockState::OnHand => {
                    stock.part(StockState::OnHand) - unsellable.map(|state| stock.part(state)).sum::<i64>()
                }
                state => stock.part(state),
            };
            if line.quantity > there.max(0) {
                return Err(insufficient_stock(place, line.quantity, there.max(0)));
            }
            self.at_mut(place).add(line.from, -line.quantity);
            self.at_mut(place).add(line.to, line.quantity);
        }
        self.sequence += lines.len() as u64;
        Ok(Outcome::Levels(places.iter().map(|place| self.figures(place, now_ms)).collect()))
    }
}
