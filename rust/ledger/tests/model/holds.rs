//! Reserve, and the life of a hold.

use std::collections::BTreeMap;

use invengine_ledger::command::{Body, Line as RequestedLine, Target, TargetBy};
use invengine_ledger::reservation::LineState;
use invengine_ledger::{Command, Context, Reason, ReservationId};

use super::{Hold, LevelKey, Line, Model};
use crate::harness::answers::{HoldOutcome, LineOutcome, Outcome, Refusal};

/// What can be done to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldAction {
    Extend,
    Amend,
    Allocate,
    Release,
    Fulfill,
    Transfer,
}

/// Units of a line that a command takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineShare {
    pub reserved: i64,
    pub allocated: i64,
    pub expired: i64,
}

impl LineShare {
    pub fn units(self) -> i64 {
        self.reserved + self.allocated + self.expired
    }
}

/// The index of each hold, and what is taken from its lines.
pub type Shares = Vec<(usize, Vec<(LevelKey, LineShare)>)>;

impl Line {
    pub fn new(reserved: i64) -> Self {
        Line { reserved, allocated: 0, released: 0, expired: 0, fulfilled: 0, last: LineState::Reserved }
    }

    pub fn outstanding(&self) -> i64 {
        self.reserved + self.allocated
    }

    /// The units that a command can act on, by their state.
    fn actionable(&self, action: HoldAction, has_expired: bool) -> Result<LineShare, Reason> {
        let mut line = self.clone();
        if has_expired && line.reserved > 0 {
            line.expired += std::mem::take(&mut line.reserved);
            line.last = LineState::Expired;
        }
        let takes_expired = action == HoldAction::Allocate
            && line.reserved == 0
            && line.expired > 0
            && (line.allocated > 0 || line.last == LineState::Expired);
        let takes_allocated = matches!(action, HoldAction::Release | HoldAction::Fulfill | HoldAction::Transfer);
        let share = LineShare {
            reserved: line.reserved,
            allocated: if takes_allocated { line.allocated } else { 0 },
            expired: if takes_expired { line.expired } else { 0 },
        };
        if share.units() > 0 {
            return Ok(share);
        }
        Err(reason_of(&line))
    }

    /// Takes some of the actionable units.
    fn take(action: HoldAction, all: LineShare, units: i64) -> LineShare {
        match action {
            _ if all.expired > 0 => LineShare { expired: units, ..LineShare::default() },
            HoldAction::Fulfill => {
                let allocated = units.min(all.allocated);
                LineShare { allocated, reserved: units - allocated, expired: 0 }
            }
            _ => {
                let reserved = units.min(all.reserved);
                LineShare { reserved, allocated: units - reserved, expired: 0 }
            }
        }
    }
}

impl Hold {
    pub fn has_expired(&self, now_ms: i64) -> bool {
        self.expire_ms <= now_ms
    }

    pub fn outstanding(&self) -> bool {
        self.lines.values().any(|line| line.outstanding() > 0)
    }

    pub fn outcome(&self, reacquired: bool, lines: Vec<LineOutcome>) -> HoldOutcome {
        HoldOutcome { id: self.id, version: self.version, reacquired, expire_ms: self.expire_ms, lines }
    }

    pub fn line_outcome(&self, place: &LevelKey, state: LineState, quantity: i64) -> LineOutcome {
        let outstanding = self.lines[place].outstanding();
        LineOutcome { sku: place.0.clone(), location: place.1.clone(), state, quantity, outstanding }
    }

    pub fn refuse(&self, reason: Reason) -> Refusal {
        let state = match reason {
            Reason::AlreadyAllocated => "ALLOCATED",
            Reason::ReservationExpired => "EXPIRED",
            Reason::AlreadyFulfilled => "FULFILLED",
            _ => "RELEASED",
        };
        let token = format!("{:?}", self.id);
        Refusal::new(reason).fact("reservation", token).fact("state", state).fact("sequence", self.sequence)
    }
}

/// Why a command cannot act on a line.
pub fn reason_of(line: &Line) -> Reason {
    match line.last {
        _ if line.allocated > 0 => Reason::AlreadyAllocated,
        LineState::Expired => Reason::ReservationExpired,
        LineState::Fulfilled => Reason::AlreadyFulfilled,
        _ => Reason::AlreadyReleased,
    }
}

/// The one of several reasons that is given: allocated before expired before fulfilled before released.
pub fn first_reason(reasons: impl Iterator<Item = Reason>) -> Option<Reason> {
    let given: Vec<Reason> = reasons.collect();
    [Reason::AlreadyAllocated, Reason::ReservationExpired, Reason::AlreadyFulfilled, Reason::AlreadyReleased]
        .into_iter()
        .find(|reason| given.contains(reason))
}

pub fn insufficient_stock(place: &LevelKey, requested: i64, available: i64) -> Refusal {
    Refusal::new(Reason::InsufficientStock)
        .fact("sku", &place.0)
        .fact("location", &place.1)
        .fact("requested", requested)
        .fact("available", available)
}

impl Model {
    pub fn reserve(
        &mut self,
        command: &Command<'_>,
        now_ms: i64,
        id: Option<ReservationId>,
    ) -> Result<Outcome, Refusal> {
        let Body::Reserve { lines, ttl_ms, allow_partial, replace_own } = &command.body else { unreachable!() };
        let context = &command.context;
        self.places(lines.iter().map(|line| (line.sku, line.location)))?;
        if *replace_own && !context.holder.is_empty() {
            self.release_own(context.holder, lines, now_ms);
        }
        let mut granted = BTreeMap::new();
        let mut short = None;
        for line in lines {
            let place = (line.sku.to_owned(), line.location.to_owned());
            let available = self.free(&place, now_ms).max(0);
            if available < line.quantity {
                short.get_or_insert(insufficient_stock(&place, line.quantity, available));
            }
            if available > 0 {
                granted.insert(place, Line::new(line.quantity.min(available)));
            }
        }
        if let Some(refusal) = short.filter(|_| !allow_partial || granted.is_empty()) {
            return Err(refusal);
        }
        // `None` if the ledger refused the command; the comparison then fails.
        let id = id.unwrap_or(ReservationId { slot: u32::MAX, generation: u32::MAX, epoch: self.ids.len() as u32 });
        assert!(self.ids.insert(id), "an id is never given twice: {id:?}");
        self.sequence += 1;
        let hold = Hold {
            id,
            version: 1,
            channel: context.channel.to_owned(),
            expire_ms: (now_ms + ttl_ms + 99) / 100 * 100,
            create_ms: now_ms,
            sequence: self.sequence,
            key: context.key.to_owned(),
            order_ref: context.order_ref.to_owned(),
            holder: context.holder.to_owned(),
            lines: granted,
            ended_in: 0,
        };
        let lines = hold.lines.iter().map(|(place, line)| hold.line_outcome(place, LineState::Reserved, line.reserved));
        let outcome = hold.outcome(false, lines.collect());
        self.holds.push(hold);
        Ok(Outcome::Reserved(outcome))
    }

    /// Releases the units of a holder on the levels of a new hold.
    fn release_own(&mut self, holder: &str, wanted: &[RequestedLine<'_>], now_ms: i64) {
        for at in 0..self.holds.len() {
            let hold = &mut self.holds[at];
            if hold.holder != holder || hold.has_expired(now_ms) {
                continue;
            }
            let mut gave = false;
            for line in wanted {
                let held = hold.lines.get_mut(&(line.sku.to_owned(), line.location.to_owned()));
                if let Some(held) = held.filter(|held| held.reserved > 0) {
                    held.released += std::mem::take(&mut held.reserved);
                    held.last = LineState::Released;
                    gave = true;
                }
            }
            if gave {
                self.changed(at);
            }
        }
    }

    /// One more event and version of a hold.
    pub fn changed(&mut self, at: usize) {
        self.sequence += 1;
        self.holds[at].version += 1;
        if !self.holds[at].outstanding() {
            self.holds[at].ended_in = self.window;
        }
    }

    /// Records the expiry of a hold, if it has expired and that is not recorded yet. Returns whether it did.
    pub fn expire_if_due(&mut self, at: usize, now_ms: i64) -> bool {
        let hold = &mut self.holds[at];
        if !hold.has_expired(now_ms) || hold.lines.values().all(|line| line.reserved == 0) {
            return false;
        }
        for line in hold.lines.values_mut().filter(|line| line.reserved > 0) {
            line.expired += std::mem::take(&mut line.reserved);
            line.last = LineState::Expired;
        }
        self.expiries += 1;
        self.changed(at);
        true
    }

    pub fn shares(
        &self,
        action: HoldAction,
        ctx: &Context<'_>,
        target: &Target<'_>,
        now_ms: i64,
    ) -> Result<Shares, Refusal> {
        let missing = || Refusal::new(Reason::ReservationNotFound);
        let found = match target.by {
            TargetBy::Order(order) => return self.shares_of_order(action, order, now_ms),
            TargetBy::UnknownToken(token) => return Err(missing().fact("reservation", token)),
            TargetBy::Id(id) => self.hold(id).ok_or_else(|| missing().fact("reservation", format!("{id:?}"))),
            TargetBy::Key(key) => {
                let known = self.keys.get(&(self.writer(ctx), key.to_owned()));
                match known.and_then(|known| known.outcome.as_ref()) {
                    Some(Outcome::Reserved(hold)) => self.hold(hold.id),
                    _ => None,
                }
                .ok_or_else(|| missing().fact("key", key))
            }
        }?;
        let version = u64::from(self.holds[found].version);
        if target.expected_version != 0 && target.expected_version != version {
            let expected = target.expected_version;
            return Err(Refusal::new(Reason::StaleVersion).fact("expected", expected).fact("actual", version));
        }
        Ok(vec![(found, self.shares_of(action, found, &target.lines, now_ms)?)])
    }

    fn hold(&self, id: ReservationId) -> Option<usize> {
        self.holds.iter().position(|hold| hold.id == id)
    }

    fn shares_of_order(&self, action: HoldAction, order: &str, now_ms: i64) -> Result<Shares, Refusal> {
        let mut refused: Vec<Refusal> = Vec::new();
        let mut found = Vec::new();
        for (at, hold) in self.holds.iter().enumerate() {
            if hold.order_ref == order {
                match self.shares_of(action, at, &[], now_ms) {
                    Ok(shares) => found.push((at, shares)),
                    Err(refusal) => refused.push(refusal),
                }
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        // Of the holds with the same reason, the newest one gives the answer.
        let reason = first_reason(refused.iter().map(|refusal| refusal.reason));
        let refusal = refused.into_iter().rev().find(|refusal| Some(refusal.reason) == reason);
        Err(refusal.unwrap_or_else(|| Refusal::new(Reason::ReservationNotFound).fact("order", order)))
    }

    fn shares_of(
        &self,
        action: HoldAction,
        at: usize,
        asked: &[RequestedLine<'_>],
        now_ms: i64,
    ) -> Result<Vec<(LevelKey, LineShare)>, Refusal> {
        let hold = &self.holds[at];
        let has_expired = hold.has_expired(now_ms);
        if asked.is_empty() {
            let actionable =
                |(place, line): (&LevelKey, &Line)| Some((place.clone(), line.actionable(action, has_expired).ok()?));
            let all: Vec<_> = hold.lines.iter().filter_map(actionable).collect();
            let first = first_reason(hold.lines.values().filter_map(|line| line.actionable(action, has_expired).err()));
            return if all.is_empty() { Err(hold.refuse(first.unwrap_or(Reason::AlreadyReleased))) } else { Ok(all) };
        }
        let places = self.places(asked.iter().map(|line| (line.sku, line.location)))?;
        let held = || asked.iter().zip(&places).map(|(line, place)| (line, hold.lines.get(place)));
        let impossible = held().filter_map(|(_, held)| held?.actionable(action, has_expired).err());
        if let Some(reason) = first_reason(impossible) {
            return Err(hold.refuse(reason));
        }
        let mut shares = Vec::new();
        for ((line, held), place) in held().zip(&places) {
            let all = held
                .map_or(LineShare::default(), |held| held.actionable(action, has_expired).expect("looked at above"));
            if held.is_none() || line.quantity > all.units() {
                let refusal =
                    Refusal::new(Reason::ExceedsOutstanding).fact("sku", line.sku).fact("location", line.location);
                return Err(refusal.fact("outstanding", all.units()));
            }
            let units = if line.quantity == 0 { all.units() } else { line.quantity };
            shares.push((place.clone(), Line::take(action, all, units)));
        }
        Ok(shares)
    }
}
