//! Reads of reservations and keys.

use std::collections::BinaryHeap;

use invengine_ledger::{Effect, Ledger, Reason, Rejection, Reservation, ReservationId, Scope};
use invengine_wire::v1;
use invengine_wire::v1::get_reservation_request::By;
use prost::Message;

use super::answer::{accepted_outcome, refused_outcome};
use super::check::Violations;
use super::page::{ListKind, ListQuery, PageRequest};
use super::read::{ReadAnswer, ReadRequest, View, channel, checked};
use super::shape;
use crate::refusal::Refusal;

impl ReadRequest for v1::GetReservationRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        checked(|found| {
            match &self.by {
                Some(By::ReservationId(token)) => found.name(token, format_args!("reservation_id")),
                Some(By::ReservationKey(key)) => found.key(key, format_args!("reservation_key")),
                None => {
                    found.require(false, format_args!("reservation_id"), "a reservation_id or a reservation_key");
                }
            }
            check_scope(&self.channel, &self.source_id, found);
        })?;
        let found = match self.by.as_ref().unwrap_or(&By::ReservationId(String::new())) {
            By::ReservationId(token) => ledger
                .parse_token(token)
                .and_then(|id| ledger.reservation(id))
                .ok_or_else(|| Refusal::unknown(Reason::ReservationNotFound, "reservation", token)),
            By::ReservationKey(key) => made_by(ledger, scope(ledger, &self.channel, &self.source_id)?, key)
                .ok_or_else(|| Refusal::unknown(Reason::ReservationNotFound, "key", key)),
        }?;
        Ok(ReadAnswer::at_once(&v1::GetReservationResponse {
            reservation: Some(shape::reservation(ledger, found, view.now_ms)),
            sequence: ledger.sequence() as i64,
            durable_sequence: view.durable_sequence as i64,
        }))
    }
}

/// The reservation that a key made.
fn made_by<'l>(ledger: &'l Ledger, scope: Scope, key: &str) -> Option<&'l Reservation> {
    match &ledger.key(scope, key)?.effect {
        Effect::Reserved(hold) => ledger.reservation(hold.id),
        _ => None,
    }
}

fn check_scope(channel: &str, source_id: &str, found: &mut Violations) {
    found.text(channel, format_args!("channel"));
    found.text(source_id, format_args!("source_id"));
}

fn scope(ledger: &Ledger, name: &str, source_id: &str) -> Result<Scope, Refusal> {
    if !name.is_empty() {
        return channel(ledger, name).map(Scope::Channel);
    }
    ledger.scope("", source_id).ok_or_else(|| Refusal::unknown(Reason::UnknownSource, "source", source_id))
}

impl ReadRequest for v1::ListReservationsRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        let page = checked(|found| {
            found.text(&self.order_ref, format_args!("order_ref"));
            found.text(&self.holder, format_args!("holder"));
            let list_query = ListQuery::new(ListKind::Reservations).text(&self.order_ref).text(&self.holder);
            PageRequest::new(list_query.flag(self.include_ended), self.page_size, &self.page_token, view, found)
        })?;
        let wanted = |reservation: &&Reservation| {
            reservation.sequence >= page.start()
                && (self.holder.is_empty() || *reservation.holder == *self.holder)
                && (self.include_ended || outstanding(reservation, view.now_ms))
        };
        // One more than the page holds shows whether there is a next page.
        let count = page.size + 1;
        let oldest = if !self.order_ref.is_empty() {
            oldest(ledger.reservations_of_order(&self.order_ref).filter(wanted), count)
        } else if !self.holder.is_empty() {
            oldest(ledger.reservations_of_holder(&self.holder).filter(wanted), count)
        } else {
            oldest(ledger.reservations().filter(wanted), count)
        };
        let found = oldest.into_iter().filter_map(|(sequence, id)| Some((sequence, ledger.reservation(id)?)));
        let shaped = found.map(|(sequence, found)| (sequence, shape::reservation(ledger, found, view.now_ms)));
        let (reservations, next_page_token) = page.fill(shaped);
        let depends_on = page.depends_on(&next_page_token);
        Ok(ReadAnswer::dependent_on(
            depends_on,
            &v1::ListReservationsResponse {
                reservations,
                next_page_token,
                sequence: ledger.sequence() as i64,
                durable_sequence: view.durable_sequence as i64,
            },
        ))
    }
}

/// True if units are reserved or allocated at this time.
fn outstanding(reservation: &Reservation, now_ms: i64) -> bool {
    let live = reservation.is_live(now_ms);
    reservation.lines.iter().any(|line| line.allocated > 0 || (live && line.reserved > 0))
}

/// The oldest reservations, in the order of creation. Needs memory only for `count` of them.
fn oldest<'l>(all: impl Iterator<Item = &'l Reservation>, count: usize) -> Vec<(u64, ReservationId)> {
    let mut heap = BinaryHeap::with_capacity(count + 1);
    for reservation in all {
        if heap.len() == count && heap.peek().is_some_and(|(newest, _)| *newest < reservation.sequence) {
            continue;
        }
        heap.push((reservation.sequence, reservation.id));
        if heap.len() > count {
            heap.pop();
        }
    }
    heap.into_sorted_vec()
}

impl ReadRequest for v1::GetOutcomeRequest {
    fn read(&self, ledger: &Ledger, view: View<'_>) -> Result<ReadAnswer, Refusal> {
        checked(|found| {
            found.key(&self.idempotency_key, format_args!("idempotency_key"));
            check_scope(&self.channel, &self.source_id, found);
        })?;
        let scope = scope(ledger, &self.channel, &self.source_id)?;
        let mut answer = v1::GetOutcomeResponse::default();
        let mut depends_on = 0;
        let key = &self.idempotency_key;
        let entry = ledger.key(scope, key);
        let tombstone = entry.is_some_and(|entry| entry.effect == Effect::Tombstone);
        let remembered =
            || ledger.remembered_refusal(scope, key).and_then(|entry| Some((entry.sequence, entry.refusal()?)));
        if let Some(entry) = entry.filter(|_| !tombstone) {
            depends_on = entry.sequence;
            answer.known = true;
            let scope_names = (self.channel.as_str(), self.source_id.as_str());
            answer.outcome = Some(accepted_outcome(ledger, (entry.sequence, true), &entry.effect, scope_names));
        } else if let Some((sequence, rejection)) = remembered() {
            // The refusal stands, even if the key was cancelled since.
            depends_on = sequence;
            answer.known = true;
            answer.outcome = Some(refused_outcome(&(&rejection).into()));
        } else if let Some(entry) = entry {
            depends_on = entry.sequence;
            answer.key_cancelled = true;
        } else if let Some(rejection) = ledger.cached_rejection(scope, key) {
            depends_on = rejection_depends_on(ledger, &rejection);
            answer.known = true;
            answer.outcome = Some(refused_outcome(&(&rejection).into()));
        }
        answer.sequence = depends_on.max(view.durable_sequence) as i64;
        Ok(ReadAnswer { bytes: answer.encode_to_vec(), depends_on })
    }
}

/// The sequence that a rejection depends on: the same rule as for the answer to the command itself.
fn rejection_depends_on(ledger: &Ledger, rejection: &Rejection) -> u64 {
    if rejection.reason.needs_no_wait() { 0 } else { ledger.sequence() }
}
