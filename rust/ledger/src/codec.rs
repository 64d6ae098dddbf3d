//! Records as bytes: the payload of a journal frame is a version byte, then records one after another.
//!
//! Numbers are variable-length (LEB128, signed ones zigzag), texts are preceded by their length. The number of a kind, a
//! field or an event is never reused for something else: old frames decode for ever. Bytes from a journal are not trusted:
//! every length is checked against the remaining bytes before anything is allocated for it.

mod put;
mod read;

pub(crate) use put::{put, put_id, put_signed, put_text};
use put::{put_moves, put_units};
pub use read::RecordReader;

use crate::event::Event;
use crate::record::{Origin, Record};
use crate::rejection::{FACT_NAMES, Fact, Rejection};

/// First byte of every payload.
pub const PAYLOAD_VERSION: u8 = 1;

/// Why bytes are not records of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

pub(crate) type Decoded<T> = Result<T, Malformed>;

const KEY: u64 = 1;
const ISSUE_TIME: u64 = 1 << 1;
const CHANNEL: u64 = 1 << 2;
const UNKNOWN_CHANNEL: u64 = 1 << 3;
const SOURCE: u64 = 1 << 4;
const ORDER_REF: u64 = 1 << 5;
const HOLDER: u64 = 1 << 6;
const EVENT_TIME: u64 = 1 << 7;
const ACTOR: u64 = 1 << 8;
const REASON_CODE: u64 = 1 << 9;
const REFERENCE: u64 = 1 << 10;
const CAUSATION: u64 = 1 << 11;
const ORIGIN: u64 = 1 << 12;
/// The fingerprint has distinguishable parts.
const HAS_PARTS: u64 = 1 << 13;
const KNOWN_FIELDS: u64 = (1 << 14) - 1;

/// The fields of `texts`; most commands have none of them.
const TEXTS: u64 = UNKNOWN_CHANNEL | ORDER_REF | HOLDER | ACTOR | REASON_CODE | REFERENCE | CAUSATION;

fn texts<'a>(origin: &Origin<'a>) -> [(u64, &'a str); 7] {
    [
        (UNKNOWN_CHANNEL, origin.unknown_channel),
        (ORDER_REF, origin.order_ref),
        (HOLDER, origin.holder),
        (ACTOR, origin.actor),
        (REASON_CODE, origin.reason_code),
        (REFERENCE, origin.reference),
        (CAUSATION, origin.causation),
    ]
}

/// Appends a record; `before_ms` is the time of the record before it in the payload, or of the frame.
pub(crate) fn encode(out: &mut Vec<u8>, record: &Record<'_>, before_ms: i64) {
    let origin = record.origin.as_ref();
    let mut fields = 0;
    if let Some(origin) = origin {
        let given = |bit: u64, given: bool| if given { bit } else { 0 };
        fields = ORIGIN
            | given(HAS_PARTS, origin.fingerprint.has_parts)
            | given(KEY, !origin.key.is_empty())
            | given(ISSUE_TIME, origin.issue_time_ms.is_some())
            | given(CHANNEL, origin.channel.is_some())
            | given(SOURCE, origin.source.is_some())
            | given(EVENT_TIME, origin.event_time_ms.is_some())
            | texts(origin).into_iter().fold(0, |bits, (bit, text)| bits | given(bit, !text.is_empty()));
    }
    put(out, fields);
    put_signed(out, record.time_ms - before_ms);
    if let Some(origin) = origin {
        encode_origin(out, origin, fields, record.time_ms);
    }
    put(out, record.events.len() as u64);
    for event in record.events.iter() {
        encode_event(out, event);
    }
}

fn encode_origin(out: &mut Vec<u8>, origin: &Origin<'_>, fields: u64, time_ms: i64) {
    out.extend_from_slice(&origin.fingerprint.hash.to_le_bytes());
    if fields & KEY != 0 {
        put_text(out, origin.key);
    }
    if let Some(issue_time_ms) = origin.issue_time_ms {
        put_signed(out, issue_time_ms.wrapping_sub(time_ms));
    }
    if let Some(channel) = origin.channel {
        put(out, u64::from(channel));
    }
    if let Some(position) = origin.source {
        put(out, u64::from(position.source));
        put(out, position.epoch);
        put(out, position.number);
    }
    if let Some(event_time_ms) = origin.event_time_ms {
        put_signed(out, event_time_ms.wrapping_sub(time_ms));
    }
    if fields & TEXTS != 0 {
        for (bit, text) in texts(origin) {
            if fields & bit != 0 {
                put_text(out, text);
            }
        }
    }
}

fn encode_event(out: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Reserved { id, expire_ms, lines } => {
            out.push(1);
            put_id(out, *id);
            put_signed(out, *expire_ms);
            put_units(out, lines);
        }
        Event::Extended { id, expire_ms } => {
            out.push(2);
            put_id(out, *id);
            put_signed(out, *expire_ms);
        }
        Event::Amended { id, lines } => {
            out.push(3);
            put_id(out, *id);
            put_units(out, lines);
        }
        Event::Allocated { id, reacquired, lines } => {
            out.push(if *reacquired { 5 } else { 4 });
            put_id(out, *id);
            put_units(out, lines);
        }
        Event::Released { id, lines } => {
            out.push(6);
            put_id(out, *id);
            put_moves(out, lines);
        }
        Event::Fulfilled { id, lines } => {
            out.push(7);
            put_id(out, *id);
            put_moves(out, lines);
        }
        Event::Expired { id, lines } => {
            out.push(8);
            put_id(out, *id);
            put_units(out, lines);
        }
        Event::Transferred { id, to_location, lines } => {
            out.push(9);
            put_id(out, *id);
            put(out, u64::from(*to_location));
            put_moves(out, lines);
        }
        Event::StockChanged { item, location, kind, state, delta } => {
            out.push(10);
            put(out, u64::from(*item));
            put(out, u64::from(*location));
            out.push(*kind as u8);
            out.push(*state as u8);
            put_signed(out, *delta);
        }
        Event::Upserted { catalogue, name, display_name, gs1 } => {
            out.push(11);
            out.push(*catalogue);
            put_text(out, name);
            put_text(out, display_name);
            put_text(out, gs1);
        }
        Event::SourceRegistered { source, epoch } => {
            out.push(12);
            put_text(out, source);
            put(out, *epoch);
        }
        Event::KeyCancelled { key } => {
            out.push(13);
            put_text(out, key);
        }
        Event::MessageRejected { rejection } => {
            out.push(14);
            encode_rejection(out, rejection);
        }
        Event::MessageRepeated { sequence } => {
            out.push(15);
            put(out, *sequence);
        }
        Event::KeysForgotten { before_ms } => {
            out.push(16);
            put_signed(out, *before_ms);
        }
        Event::ClockCorrected(correction) => {
            out.push(18);
            correction.put(out);
        }
        Event::CommandRefused { rejection, forgets } => {
            out.push(17);
            out.push(u8::from(*forgets));
            encode_rejection(out, rejection);
        }
    }
}

pub(crate) fn encode_rejection(out: &mut Vec<u8>, rejection: &Rejection) {
    let position = |name: &str| FACT_NAMES.iter().position(|known| *known == name).unwrap_or(0) as u8;
    out.push(rejection.reason as u8);
    put(out, rejection.facts.len() as u64);
    for fact in &rejection.facts {
        match fact {
            Fact::Number(name, value) => {
                out.push(position(name) << 1);
                put_signed(out, *value);
            }
            Fact::Text(name, text) => {
                out.push((position(name) << 1) | 1);
                put_text(out, text);
            }
        }
    }
}

/// Decodes a rejection that was encoded separately.
pub(crate) fn decode_rejection(bytes: &[u8]) -> Decoded<Rejection> {
    RecordReader::bare(bytes).rejection()
}

#[cfg(test)]
mod tests;
