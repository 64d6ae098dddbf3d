//! Physical stock. Facts are always accepted: holds never block a count.

use hashbrown::HashMap;

use crate::authority::ClaimedLines;
use crate::command::{MoveLine, QUANTITY_MAX, StockLine};
use crate::decide::no_stock;
use crate::event::{Delta, Event, StockKind, Units};
use crate::ids::Handle;
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::planted;
use crate::rejection::{Reason, Rejection};
use crate::states::{Quantities, StockState};

impl Ledger {
    /// `claimed` says which lines are only claims; it is empty if none is.
    pub(crate) fn decide_stock(
        &self,
        kind: StockKind,
        lines: &[StockLine<'_>],
        claimed: &ClaimedLines,
    ) -> Result<OneOrMany<Event>, Rejection> {
        let level_keys = self.level_keys(lines.iter().map(|line| (line.sku, line.location)))?;
        let absolute = matches!(kind, StockKind::Set | StockKind::Counted);
        let mut changes: HashMap<(Handle, Handle), LevelChange> = HashMap::new();
        let mut deltas: OneOrMany<i64> = OneOrMany::default();
        let claim = |number: usize| claimed.get(number).copied().flatten().filter(|_| !planted::is("claim_applied"));
        for (number, (line, level_key)) in lines.iter().zip(level_keys.iter()).enumerate() {
            if claim(number).is_some() {
                deltas.push(0);
                continue;
            }
            let change = changes.entry(*level_key).or_insert_with(|| LevelChange::of(self.quantities_at(*level_key)));
            let delta = if absolute { absolute_delta(line, &change.before)? } else { line.quantity };
            change.add(line.state, delta);
            deltas.push(delta);
        }
        let mut events = OneOrMany::default();
        for (number, (line, level_key)) in lines.iter().zip(level_keys.iter()).enumerate() {
            let (item, location) = *level_key;
            if let Some(reason) = claim(number) {
                let quantity = Units(line.quantity);
                events.push(Event::ClaimMade { item, location, state: line.state, quantity, reason });
                continue;
            }
            let change = &changes[level_key];
            let mut delta = deltas[number];
            if absolute && line.state == StockState::OnHand {
                // Parts that are set in the same command change on_hand too, but this line states the whole.
                delta -= change.parts;
            }
            check_range(kind, number, line, change)?;
            events.push(Event::StockChanged { item, location, kind, state: line.state, delta: Delta(delta) });
        }
        Ok(events)
    }

    /// Moves units of each line in turn: what a line moved, a later one can move on.
    pub(crate) fn decide_move_quantity(&self, lines: &[MoveLine<'_>]) -> Result<OneOrMany<Event>, Rejection> {
        let level_keys = self.level_keys(lines.iter().map(|line| (line.sku, line.location)))?;
        let mut stocks: HashMap<(Handle, Handle), Quantities> = HashMap::new();
        let mut events = OneOrMany::default();
        for (line, (item, location)) in lines.iter().zip(level_keys.iter().copied()) {
            let stock = stocks.entry((item, location)).or_insert_with(|| self.quantities_at((item, location)));
            let there = stock.alone(line.from).max(0);
            if there < line.quantity && !planted::is("move_from_nothing") {
                return Err(no_stock(line.sku, line.location, line.quantity, there));
            }
            stock.change(line.from, -line.quantity);
            stock.change(line.to, line.quantity);
            let (from, to, units) = (line.from, line.to, Units(line.quantity));
            events.push(Event::StockMoved { item, location, from, to, units });
        }
        Ok(events)
    }

    /// Item and location of each line; an unknown item is reported before an unknown location.
    fn level_keys<'a>(
        &self,
        lines: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Result<OneOrMany<(Handle, Handle)>, Rejection> {
        let items = lines.clone().map(|(sku, _)| self.item(sku)).collect::<Result<OneOrMany<_>, _>>()?;
        items.iter().zip(lines).map(|(item, (_, location))| Ok((*item, self.location(location)?))).collect()
    }

    fn quantities_at(&self, (item, location): (Handle, Handle)) -> Quantities {
        self.levels.find(item, location).map_or_else(Quantities::default, |level| self.levels.quantities(level))
    }
}

/// What one command changes at one level.
struct LevelChange {
    before: Quantities,
    /// Sum of the changes of on_hand itself.
    whole: i64,
    /// Sum of the changes of its unsellable parts.
    parts: i64,
    /// The level after the command; only its parts are meaningful.
    after: Quantities,
    /// Whether the command has a line for on_hand itself.
    counts_whole: bool,
}

impl LevelChange {
    fn of(before: Quantities) -> Self {
        LevelChange { after: before, before, whole: 0, parts: 0, counts_whole: false }
    }

    fn add(&mut self, state: StockState, delta: i64) {
        if state == StockState::OnHand {
            self.whole = self.whole.saturating_add(delta);
            self.counts_whole = true;
        } else {
            self.parts = self.parts.saturating_add(delta);
            self.after.change(state, delta);
        }
    }

    /// on_hand after the command.
    fn on_hand(&self, kind: StockKind) -> i64 {
        let absolute = matches!(kind, StockKind::Set | StockKind::Counted);
        let parts = if absolute && self.counts_whole { 0 } else { self.parts };
        self.before.on_hand().saturating_add(self.whole).saturating_add(parts)
    }
}

fn absolute_delta(line: &StockLine<'_>, before: &Quantities) -> Result<i64, Rejection> {
    let before = before.of(line.state);
    match line.expected {
        Some(expected) if expected != before => Err(Rejection::new(Reason::QuantityStale)
            .text("sku", line.sku)
            .text("location", line.location)
            .number("expected", expected)
            .number("actual", before)),
        _ => Ok(line.quantity - before),
    }
}

fn check_range(kind: StockKind, number: usize, line: &StockLine<'_>, change: &LevelChange) -> Result<(), Rejection> {
    let on_hand = change.on_hand(kind);
    let mut ends = [(change.before.on_hand(), on_hand), (change.before.of(line.state), change.after.of(line.state))];
    if line.state == StockState::OnHand {
        ends[1] = ends[0];
    }
    if let Some((before, after)) = ends.into_iter().find(|(_, after)| *after < 0) {
        return Err(no_stock(line.sku, line.location, before - after, before));
    }
    if on_hand > QUANTITY_MAX {
        let field = if kind == StockKind::Adjusted { "delta" } else { "quantity" };
        return Err(Rejection::new(Reason::InvalidField)
            .text("field", &format!("lines[{number}].{field}"))
            .text("description", "on_hand of a level must stay at or below 2^53 - 1"));
    }
    Ok(())
}
