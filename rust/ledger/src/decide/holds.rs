//! The life of a hold: what a command can do to a line depends on the state of its units. `actionable` is the table.

use crate::command::{Line, Target, TargetBy};
use crate::decide::RequestedUnits;
use crate::decide::reserve::expires_at;
use crate::event::{Event, LevelUnits, LineMove};
use crate::execute::expiry_event;
use crate::ids::LevelIndex;
use crate::keys::Scope;
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::outcome::Effect;
use crate::planted;
use crate::rejection::{Reason, Rejection};
use crate::reservation::{HeldLine, LineState, Reservation};

/// What a command does to holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldAction {
    Extend,
    Allocate,
    Release,
    Fulfill,
    Transfer,
    Amend,
}

/// Units of one line that a command can act on, by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Actionable {
    pub reserved: i64,
    pub allocated: i64,
    pub expired: i64,
}

impl Actionable {
    pub fn units(self) -> i64 {
        self.reserved + self.allocated + self.expired
    }
}

/// One cell of the table of holds. Units that have expired count as expired, whether or not their event was written.
pub(super) fn actionable(action: HoldAction, line: &HeldLine, live: bool) -> Result<Actionable, Reason> {
    let reserved = if live { line.reserved } else { 0 };
    let lapsed = line.reserved - reserved;
    let last = if lapsed > 0 { LineState::Expired } else { line.last };
    let (allocated, expired) = (line.allocated, line.expired + lapsed);
    let nothing = Actionable::default();
    let left = match action {
        HoldAction::Extend | HoldAction::Amend => Actionable { reserved, ..nothing },
        HoldAction::Allocate if reserved > 0 => Actionable { reserved, ..nothing },
        HoldAction::Allocate if allocated > 0 || last == LineState::Expired => Actionable { expired, ..nothing },
        HoldAction::Allocate => nothing,
        HoldAction::Release | HoldAction::Fulfill | HoldAction::Transfer => {
            Actionable { reserved, allocated, ..nothing }
        }
    };
    match (left.units(), last) {
        (1.., _) => Ok(left),
        _ if allocated > 0 => Err(Reason::AlreadyAllocated),
        (_, LineState::Expired) => Err(Reason::ReservationExpired),
        (_, LineState::Fulfilled) => Err(Reason::AlreadyFulfilled),
        _ => Err(Reason::AlreadyReleased),
    }
}

/// The rank of a reason among those of the lines and holds of one command: the lowest is the answer, whatever their order.
pub(super) fn rank(reason: Reason) -> usize {
    const FIRST_TO_LAST: [Reason; 5] = [
        Reason::AlreadyAllocated,
        Reason::ReservationExpired,
        Reason::AlreadyFulfilled,
        Reason::AlreadyReleased,
        Reason::ExceedsOutstanding,
    ];
    FIRST_TO_LAST.iter().position(|known| *known == reason).unwrap_or(FIRST_TO_LAST.len())
}

/// A line of a hold with the units that a command takes from it.
pub(super) type LineShare = (LevelIndex, Actionable);

impl Ledger {
    pub(crate) fn decide_extend(
        &self,
        target: &Target<'_>,
        ttl_ms: i64,
        scope: Scope,
        now_ms: i64,
    ) -> Result<OneOrMany<Event>, Rejection> {
        let expire_ms = expires_at(now_ms, ttl_ms);
        let mut events = OneOrMany::default();
        for (reservation, _) in self.shares(HoldAction::Extend, target, scope, now_ms)?.iter() {
            events.push(Event::Extended { id: reservation.id, expire_ms });
        }
        Ok(events)
    }

    pub(crate) fn decide_allocate(
        &self,
        target: &Target<'_>,
        scope: Scope,
        now_ms: i64,
    ) -> Result<OneOrMany<Event>, Rejection> {
        let mut events = OneOrMany::default();
        let mut wanted = RequestedUnits::default();
        for (reservation, shares) in self.shares(HoldAction::Allocate, target, scope, now_ms)?.iter() {
            push_expiry_if_due(&mut events, reservation, now_ms);
            for reacquired in [false, true] {
                let lines: OneOrMany<LevelUnits> = shares
                    .iter()
                    .map(|(level, share)| (*level, if reacquired { share.expired } else { share.reserved }))
                    .filter(|(_, units)| *units > 0)
                    .map(|(level, units)| LevelUnits { level, units })
                    .collect();
                if lines.is_empty() {
                    continue;
                }
                if reacquired {
                    lines.iter().for_each(|line| wanted.add(line.level, line.units));
                }
                let id = reservation.id;
                events.push(if reacquired { Event::Reacquired { id, lines } } else { Event::Allocated { id, lines } });
            }
        }
        self.check_free(wanted, now_ms)?;
        Ok(events)
    }

    /// Whether releasing this target only cancels a key that was not used yet.
    pub(crate) fn cancels_a_key(&self, target: &Target<'_>, scope: Scope) -> bool {
        let TargetBy::Key(key) = target.by else { return false };
        self.keys.find(scope, key).is_none_or(|entry| entry.effect == Effect::Tombstone)
    }

    pub(crate) fn decide_release(
        &self,
        target: &Target<'_>,
        scope: Scope,
        now_ms: i64,
    ) -> Result<OneOrMany<Event>, Rejection> {
        if let TargetBy::Key(key) = target.by
            && self.cancels_a_key(target, scope)
        {
            return Ok(OneOrMany::One(Event::KeyCancelled { key: key.into() }));
        }
        let mut events = OneOrMany::default();
        for (reservation, shares) in self.shares(HoldAction::Release, target, scope, now_ms)?.iter() {
            push_expiry_if_due(&mut events, reservation, now_ms);
            events.push(Event::Released { id: reservation.id, lines: moves(shares) });
        }
        Ok(events)
    }

    pub(crate) fn decide_fulfill(
        &self,
        target: &Target<'_>,
        scope: Scope,
        now_ms: i64,
    ) -> Result<OneOrMany<Event>, Rejection> {
        let mut events = OneOrMany::default();
        let mut leaving = RequestedUnits::default();
        for (reservation, shares) in self.shares(HoldAction::Fulfill, target, scope, now_ms)?.iter() {
            push_expiry_if_due(&mut events, reservation, now_ms);
            shares.iter().for_each(|(level, share)| leaving.add(*level, share.units()));
            events.push(Event::Fulfilled { id: reservation.id, lines: moves(shares) });
        }
        // Goods that are not in stock according to the ledger cannot leave: the count is wrong and must be corrected first.
        leaving.check(|level, units| {
            let on_hand = self.figures(level, now_ms).stock.on_hand();
            if on_hand >= units { Ok(()) } else { Err(self.insufficient(level, units, on_hand)) }
        })?;
        Ok(events)
    }

    /// The holds that a target names, each with the units that the command takes from its lines.
    ///
    /// Holds of an order without actionable units are skipped. If there are none at all, the answer is the reason that
    /// comes first in [`rank`], with the facts of the newest hold that has it.
    pub(super) fn shares(
        &self,
        action: HoldAction,
        target: &Target<'_>,
        scope: Scope,
        now_ms: i64,
    ) -> Result<OneOrMany<(&Reservation, OneOrMany<LineShare>)>, Rejection> {
        let TargetBy::Order(order) = target.by else {
            let reservation = self.find_hold(target, scope)?;
            return Ok(OneOrMany::One((reservation, self.shares_of(action, reservation, &target.lines, now_ms)?)));
        };
        let mut holds: Vec<&Reservation> = self.reservations_of_order(order).collect();
        holds.sort_unstable_by_key(|reservation| reservation.sequence);
        let mut found = OneOrMany::default();
        let mut refusal = None;
        for reservation in holds {
            match self.shares_of(action, reservation, &[], now_ms) {
                Ok(shares) => found.push((reservation, shares)),
                Err(newer) => {
                    let says_less = |older: &Rejection| rank(newer.reason) <= rank(older.reason);
                    if refusal.as_ref().is_none_or(says_less) {
                        refusal = Some(newer);
                    }
                }
            }
        }
        let none = || Rejection::new(Reason::ReservationNotFound).text("order", order);
        if found.is_empty() { Err(refusal.unwrap_or_else(none)) } else { Ok(found) }
    }

    /// The one hold that a target names by id or key.
    pub(super) fn find_hold(&self, target: &Target<'_>, scope: Scope) -> Result<&Reservation, Rejection> {
        let not_found = || Rejection::new(Reason::ReservationNotFound);
        let reservation = match target.by {
            TargetBy::Id(id) => self.slab.find(id).ok_or_else(|| not_found().text("reservation", &self.token(id))),
            TargetBy::UnknownToken(token) => Err(not_found().text("reservation", token)),
            TargetBy::Key(key) => match self.keys.find(scope, key).map(|entry| &entry.effect) {
                Some(Effect::Reserved(hold)) => self.slab.find(hold.id),
                _ => None,
            }
            .ok_or_else(|| not_found().text("key", key)),
            TargetBy::Order(order) => Err(not_found().text("order", order)),
        }?;
        let checked = target.expected_version != 0 && !planted::is("version_not_checked");
        if checked && target.expected_version != u64::from(reservation.version) {
            return Err(Rejection::new(Reason::StaleVersion)
                .number("expected", target.expected_version as i64)
                .number("actual", i64::from(reservation.version)));
        }
        Ok(reservation)
    }

    fn shares_of(
        &self,
        action: HoldAction,
        reservation: &Reservation,
        lines: &[Line<'_>],
        now_ms: i64,
    ) -> Result<OneOrMany<LineShare>, Rejection> {
        let live = reservation.is_live(now_ms);
        if lines.is_empty() {
            return self.shares_of_all(action, reservation, live);
        }
        let mut shares = OneOrMany::default();
        let mut refusal: Option<Rejection> = None;
        for (line, level) in lines.iter().zip(self.levels_of(lines)?.iter()) {
            match self.share_of_line(action, reservation, line, *level, live) {
                Ok(share) => shares.push(share),
                Err(later) => {
                    if refusal.as_ref().is_none_or(|first| rank(later.reason) < rank(first.reason)) {
                        refusal = Some(later);
                    }
                }
            }
        }
        refusal.map_or(Ok(shares), Err)
    }

    /// What a command takes from a whole hold: all units that it can act on.
    fn shares_of_all(
        &self,
        action: HoldAction,
        reservation: &Reservation,
        live: bool,
    ) -> Result<OneOrMany<LineShare>, Rejection> {
        let mut shares = OneOrMany::default();
        let mut refusal = None;
        for line in reservation.lines.iter() {
            match actionable(action, line, live) {
                Ok(all) => shares.push((line.level, all)),
                Err(reason) if refusal.is_none_or(|first| rank(reason) < rank(first)) => refusal = Some(reason),
                Err(_) => {}
            }
        }
        // A hold whose lines were all amended or moved away has none that could give a reason.
        let refuse = || self.refusal(reservation, refusal.unwrap_or(Reason::AlreadyReleased));
        if shares.is_empty() { Err(refuse()) } else { Ok(shares) }
    }

    /// What a command takes from one line that it names.
    fn share_of_line(
        &self,
        action: HoldAction,
        reservation: &Reservation,
        line: &Line<'_>,
        level: Option<LevelIndex>,
        live: bool,
    ) -> Result<LineShare, Rejection> {
        let held = level.and_then(|level| reservation.line(level)).ok_or_else(|| exceeds(line, 0))?;
        let all = actionable(action, held, live).map_err(|reason| self.refusal(reservation, reason))?;
        if line.quantity > all.units() + i64::from(planted::is("exceeds_outstanding_off_by_one")) {
            return Err(exceeds(line, all.units()));
        }
        let units = if line.quantity == 0 { all.units() } else { line.quantity };
        Ok((held.level, part(action, all, units)))
    }

    /// The rejection of a command that can do nothing to this hold.
    pub(super) fn refusal(&self, reservation: &Reservation, reason: Reason) -> Rejection {
        let state = match reason {
            Reason::AlreadyAllocated => "ALLOCATED",
            Reason::ReservationExpired => "EXPIRED",
            Reason::AlreadyFulfilled => "FULFILLED",
            _ => "RELEASED",
        };
        Rejection::new(reason)
            .text("reservation", &self.token(reservation.id))
            .text("state", state)
            .number("sequence", reservation.sequence as i64)
    }
}

fn exceeds(line: &Line<'_>, outstanding: i64) -> Rejection {
    Rejection::new(Reason::ExceedsOutstanding)
        .text("sku", line.sku)
        .text("location", line.location)
        .number("outstanding", outstanding)
}

/// Some of the actionable units: Fulfill takes allocated units first, everything else takes reserved units first.
fn part(action: HoldAction, all: Actionable, units: i64) -> Actionable {
    if all.expired > 0 {
        return Actionable { expired: units, ..Actionable::default() };
    }
    if action == HoldAction::Fulfill {
        let allocated = units.min(all.allocated);
        return Actionable { allocated, reserved: units - allocated, expired: 0 };
    }
    let reserved = units.min(all.reserved);
    Actionable { reserved, allocated: units - reserved, expired: 0 }
}

pub(super) fn moves(shares: &[LineShare]) -> OneOrMany<LineMove> {
    shares
        .iter()
        .map(|(level, share)| LineMove { level: *level, reserved: share.reserved, allocated: share.allocated })
        .collect()
}

/// Adds the Expired event of a hold that has expired but has not been swept yet.
pub(super) fn push_expiry_if_due(events: &mut OneOrMany<Event>, reservation: &Reservation, now_ms: i64) {
    if !reservation.is_live(now_ms)
        && let Some(event) = expiry_event(reservation)
    {
        events.push(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(last: LineState, reserved: i64, allocated: i64) -> HeldLine {
        HeldLine { last, reserved, allocated, ..HeldLine::empty(0) }
    }

    #[test]
    fn the_table_of_holds() {
        use Reason::{AlreadyAllocated, AlreadyFulfilled, AlreadyReleased, ReservationExpired};
        const ACTS: [HoldAction; 5] =
            [HoldAction::Extend, HoldAction::Allocate, HoldAction::Release, HoldAction::Fulfill, HoldAction::Transfer];
        type Row = (&'static str, HeldLine, bool, [Result<i64, Reason>; 5]);
        let rows: [Row; 6] = [
            ("reserved", line(LineState::Reserved, 3, 0), true, [Ok(3); 5]),
            (
                "expired, event not written",
                line(LineState::Reserved, 3, 0),
                false,
                [
                    Err(ReservationExpired),
                    Ok(3),
                    Err(ReservationExpired),
                    Err(ReservationExpired),
                    Err(ReservationExpired),
                ],
            ),
            (
                "expired",
                HeldLine { expired: 3, ..line(LineState::Expired, 0, 0) },
                false,
                [
                    Err(ReservationExpired),
                    Ok(3),
                    Err(ReservationExpired),
                    Err(ReservationExpired),
                    Err(ReservationExpired),
                ],
            ),
            (
                "allocated",
                line(LineState::Allocated, 0, 3),
                true,
                [Err(AlreadyAllocated), Err(AlreadyAllocated), Ok(3), Ok(3), Ok(3)],
            ),
            ("released last", line(LineState::Released, 0, 0), true, [Err(AlreadyReleased); 5]),
            ("fulfilled last", line(LineState::Fulfilled, 0, 0), true, [Err(AlreadyFulfilled); 5]),
        ];
        for (name, line, live, row) in rows {
            let found = ACTS.map(|action| actionable(action, &line, live).map(Actionable::units));
            assert_eq!(found, row, "{name}");
        }
    }

    #[test]
    fn parts_are_taken_in_their_order() {
        let all = Actionable { reserved: 2, allocated: 3, expired: 0 };
        assert_eq!(part(HoldAction::Release, all, 4), Actionable { reserved: 2, allocated: 2, expired: 0 });
        assert_eq!(part(HoldAction::Fulfill, all, 4), Actionable { reserved: 1, allocated: 3, expired: 0 });
    }
}
