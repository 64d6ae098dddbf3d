//! Events of the journal as readers see them. The same record always gives the same events, whatever has happened
//! since: names come from handles, which are never reused.

use std::cell::LazyCell;

use invengine_ledger::EntityKind;
use invengine_ledger::entity::Attributes;
use invengine_ledger::event::StockKind;
use invengine_ledger::stock_transfer::{ArrivedUnits, ItemUnits, Remainder, Route};
use invengine_ledger::{ClockCorrection, Event, Handle, Ledger, Origin, OriginSource, Record};
use invengine_wire::v1;
use invengine_wire::v1::event::Fact;

use super::entities::{entity_put, item_attributes, location_type};
use super::event_filter::{EventFilter, channel_name};
use super::shape::{selection, source_position, timestamp};
use super::states::state_name;
use crate::refusal::Refusal;

/// The events of one record that a filter wants, from `from_sequence` on, built lazily, because a record may have more
/// events than one answer holds. `first_sequence` is that of the record's first event. The ledger must be the one that has
/// applied the record.
pub fn events<'l>(
    ledger: &'l Ledger,
    record: &'l Record<'_>,
    filter: &'l EventFilter,
    first_sequence: u64,
    from_sequence: u64,
    writer_epoch: u64,
) -> impl Iterator<Item = v1::Event> + 'l {
    let remember_refusal = record.events.iter().any(Event::remembers_refusal);
    let context = LazyCell::new(move || {
        record.origin.as_ref().map(|origin| v1::CommandContext { remember_refusal, ..context(ledger, origin) })
    });
    let order_ref = record.origin.map_or("", |origin| origin.order_ref);
    let skipped = from_sequence.saturating_sub(first_sequence) as usize;
    let is_wanted = filter.of_record(ledger, record);
    let numbered = (first_sequence..).zip(record.events.iter()).skip(skipped);
    numbered.filter(move |(_, event)| is_wanted(event)).map(move |(sequence, event)| v1::Event {
        sequence: sequence as i64,
        time: Some(timestamp(record.time_ms)),
        writer_epoch: writer_epoch as i64,
        context: (*context).clone(),
        fact: Some(fact(ledger, event, order_ref)),
    })
}

fn context(ledger: &Ledger, origin: &Origin<'_>) -> v1::CommandContext {
    v1::CommandContext {
        idempotency_key: origin.key.to_owned(),
        issue_time: origin.issue_time_ms.map(timestamp),
        channel: channel_name(ledger, origin).to_owned(),
        source: origin.source.map(|place| source_position(ledger, place)),
        origin: origin.passed_on.map(|place| source_position(ledger, place)),
        order_ref: origin.order_ref.to_owned(),
        holder: origin.holder.to_owned(),
        event_time: origin.event_time_ms.map(timestamp),
        actor: origin.actor.to_owned(),
        reason_code: origin.reason_code.to_owned(),
        reference: origin.reference.to_owned(),
        causation: origin.causation.to_owned(),
        ..v1::CommandContext::default()
    }
}

/// A table: one row per event.
fn fact(ledger: &Ledger, event: &Event, order_ref: &str) -> Fact {
    let lines = || event.lines().units().map(|line| selection(ledger, line.level, line.units)).collect();
    let reservation_id = event.hold().map_or_else(String::new, |(id, _)| ledger.token(id));
    match event {
        Event::Reserved { expire_ms, .. } => {
            let expire_time = Some(timestamp(*expire_ms));
            Fact::Reserved(v1::Reserved { reservation_id, expire_time, lines: lines() })
        }
        Event::Extended { expire_ms, .. } => {
            Fact::Extended(v1::Extended { reservation_id, expire_time: Some(timestamp(*expire_ms)) })
        }
        Event::Amended { .. } => Fact::Amended(v1::Amended { reservation_id, lines: lines() }),
        Event::Allocated { .. } | Event::Reacquired { .. } => {
            let reacquired = matches!(event, Event::Reacquired { .. });
            Fact::Allocated(v1::Allocated {
                reservation_id,
                order_ref: order_ref.to_owned(),
                lines: lines(),
                reacquired,
            })
        }
        Event::Released { .. } => Fact::Released(v1::Released { reservation_id, lines: lines() }),
        Event::Fulfilled { .. } => Fact::Fulfilled(v1::Fulfilled { reservation_id, lines: lines() }),
        Event::Expired { .. } => Fact::Expired(v1::Expired { reservation_id, lines: lines() }),
        Event::Transferred { to_location, .. } => {
            let to_location = ledger.locations().name(*to_location).to_owned();
            Fact::Transferred(v1::Transferred { reservation_id, lines: lines(), to_location })
        }
        Event::StockChanged { item, location, kind, state, delta } => Fact::StockChanged(v1::StockChanged {
            sku: ledger.items().name(*item).to_owned(),
            location: ledger.locations().name(*location).to_owned(),
            kind: stock_kind(*kind) as i32,
            state: state_name(*state) as i32,
            delta: delta.0,
        }),
        Event::StockMoved { item, location, from, to, units } => Fact::StockMoved(v1::StockMoved {
            sku: ledger.items().name(*item).to_owned(),
            location: ledger.locations().name(*location).to_owned(),
            from_state: state_name(*from) as i32,
            to_state: state_name(*to) as i32,
            quantity: units.0,
        }),
        Event::TransferShipped { transfer, route, lines } => {
            let [from_location, to_location] = ends(ledger, *route);
            let (transfer, lines) = (transfer.to_string(), item_units(ledger, lines));
            Fact::TransferShipped(v1::TransferShipped { transfer, from_location, to_location, lines })
        }
        Event::TransferReceived { transfer, route, lines } => {
            let [from_location, to_location] = ends(ledger, *route);
            let transfer = transfer_name(ledger, *transfer);
            let lines = lines.iter().map(|line| arrived_units(ledger, line)).collect();
            Fact::TransferReceived(v1::TransferReceived { transfer, from_location, to_location, lines })
        }
        Event::TransferClosed { transfer, route, remainder, lines } => {
            let [from_location, to_location] = ends(ledger, *route);
            let transfer = transfer_name(ledger, *transfer);
            let (remainder, lines) = (remainder_name(*remainder) as i32, item_units(ledger, lines));
            Fact::TransferClosed(v1::TransferClosed { transfer, from_location, to_location, remainder, lines })
        }
        Event::ClaimMade { item, location, state, quantity, reason } => Fact::ClaimMade(v1::ClaimMade {
            sku: ledger.items().name(*item).to_owned(),
            location: ledger.locations().name(*location).to_owned(),
            state: state_name(*state) as i32,
            quantity: quantity.0,
            reason: *reason as i32,
        }),
        Event::Echoed { source, epoch, number } => {
            let place = OriginSource { source: *source, epoch: *epoch, number: *number };
            Fact::Echoed(v1::Echoed { origin: Some(source_position(ledger, place)) })
        }
        Event::MessageParked { .. } => Fact::MessageParked(v1::MessageParked {}),
        Event::MessageWaits { kind, name, .. } => {
            Fact::MessageWaits(v1::MessageWaits { kind: kind.name().to_owned(), name: name.to_string() })
        }
        Event::MessageDead { forgets, rejection, .. } => {
            let rejection = Some(Refusal::from(rejection).to_rejection());
            Fact::MessageDead(v1::MessageDead { rejection, older_forgotten: *forgets })
        }
        Event::WaitEnded { waiting, .. } => Fact::WaitEnded(v1::WaitEnded { waiting: *waiting as i64 }),
        Event::LetterSettled { source, letter, redriven, actor, reason_code } => {
            Fact::LetterSettled(v1::LetterSettled {
                source_id: ledger.source_name(*source).to_owned(),
                dead_letter: *letter as i64,
                redriven: *redriven,
                actor: actor.to_string(),
                reason_code: reason_code.to_string(),
            })
        }
        Event::GapSkipped { source, epoch, through } => Fact::GapSkipped(v1::GapSkipped {
            source_id: ledger.source_name(*source).to_owned(),
            epoch: *epoch as i64,
            through: *through as i64,
        }),
        Event::Upserted { kind, name, display_name, gs1 } => {
            upserted(*kind, name, display_name, gs1, &Attributes::None)
        }
        Event::UpsertedWithAttributes { kind, name, labels } => {
            upserted(*kind, name, &labels.display_name, &labels.gs1, &labels.attributes)
        }
        Event::EntityPut { entity } => Fact::EntityPut(entity_put(ledger, entity)),
        Event::EntityRemoved { kind, handle, version } => Fact::EntityRemoved(v1::EntityRemoved {
            kind: kind.name().to_owned(),
            name: ledger.entities(*kind).names().name(*handle).to_owned(),
            version: *version as i64,
        }),
        Event::SourceRegistered { source, epoch } => {
            Fact::SourceRegistered(v1::SourceRegistered { source_id: source.to_string(), epoch: *epoch as i64 })
        }
        Event::KeyCancelled { key } => Fact::KeyCancelled(v1::KeyCancelled { idempotency_key: key.to_string() }),
        Event::MessageRejected { rejection } => {
            let rejection = Some(Refusal::from(rejection).to_rejection());
            Fact::MessageRejected(v1::MessageRejected { rejection })
        }
        Event::CommandRefused { rejection, forgets } => {
            let rejection = Some(Refusal::from(rejection).to_rejection());
            Fact::CommandRefused(v1::CommandRefused { rejection, older_forgotten: *forgets })
        }
        Event::MessageRepeated { sequence } => {
            Fact::MessageRepeated(v1::MessageRepeated { sequence: *sequence as i64 })
        }
        Event::KeysForgotten { before_ms } => {
            Fact::KeysForgotten(v1::KeysForgotten { before_time: Some(timestamp(*before_ms)) })
        }
        Event::ClockCorrected { correction: ClockCorrection { wall_ms, engine_ms } } => {
            let (wall_time, engine_time) = (Some(timestamp(*wall_ms)), Some(timestamp(*engine_ms)));
            Fact::ClockCorrected(v1::ClockCorrected { wall_time, engine_time })
        }
    }
}

fn transfer_name(ledger: &Ledger, transfer: Handle) -> String {
    ledger.entities(EntityKind::StockTransfers).names().name(transfer).to_owned()
}

/// Origin and destination.
fn ends(ledger: &Ledger, route: Route) -> [String; 2] {
    [route.origin, route.destination].map(|location| ledger.locations().name(location).to_owned())
}

fn item_units(ledger: &Ledger, lines: &[ItemUnits]) -> Vec<v1::ItemUnits> {
    let named =
        |line: &ItemUnits| v1::ItemUnits { sku: ledger.items().name(line.item).to_owned(), quantity: line.units };
    lines.iter().map(named).collect()
}

fn arrived_units(ledger: &Ledger, line: &ArrivedUnits) -> v1::ArrivedUnits {
    v1::ArrivedUnits {
        sku: ledger.items().name(line.item).to_owned(),
        state: state_name(line.state) as i32,
        quantity: line.units,
        in_transit: line.in_transit,
        lost: line.lost,
        sent_back: line.sent_back,
        surplus: line.surplus(),
    }
}

fn remainder_name(remainder: Remainder) -> v1::TransferRemainder {
    match remainder {
        Remainder::Lost => v1::TransferRemainder::Lost,
        Remainder::SentBack => v1::TransferRemainder::SentBack,
    }
}

fn upserted(kind: EntityKind, name: &str, display_name: &str, gs1: &str, attributes: &Attributes) -> Fact {
    let (name, display_name, gs1) = (name.to_owned(), display_name.to_owned(), gs1.to_owned());
    if kind == EntityKind::Items {
        let (item_class, unit_value) = item_attributes(attributes);
        Fact::ItemUpserted(v1::ItemUpserted { sku: name, display_name, gtin: gs1, item_class, unit_value })
    } else if kind == EntityKind::Locations {
        let r#type = location_type(attributes) as i32;
        Fact::LocationUpserted(v1::LocationUpserted { location: name, display_name, gln: gs1, r#type })
    } else {
        Fact::ChannelUpserted(v1::ChannelUpserted { channel: name, display_name })
    }
}

fn stock_kind(kind: StockKind) -> v1::StockChangeKind {
    match kind {
        StockKind::Received => v1::StockChangeKind::Received,
        StockKind::Returned => v1::StockChangeKind::Returned,
        StockKind::Adjusted => v1::StockChangeKind::Adjusted,
        StockKind::Set => v1::StockChangeKind::Set,
        StockKind::Counted => v1::StockChangeKind::Counted,
    }
}
