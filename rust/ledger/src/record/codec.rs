//! Records as bytes: the payload of a journal frame is a version byte, then records one after another. The number of a kind, a
//! field or an event is never reused for something else: old frames decode for ever.

use super::{Origin, OriginSource, Record};
use crate::codec::{Decoded, Field, Malformed, Reader, put, put_signed, put_text};
use crate::fingerprint::Fingerprint;

/// First byte of every payload.
pub const PAYLOAD_VERSION: u8 = 1;

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
const PASSED_ON: u64 = 1 << 14;
const KNOWN_FIELDS: u64 = (1 << 15) - 1;

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
            | given(PASSED_ON, origin.passed_on.is_some())
            | texts(origin).into_iter().fold(0, |bits, (bit, text)| bits | given(bit, !text.is_empty()));
    }
    put(out, fields);
    put_signed(out, record.time_ms - before_ms);
    if let Some(origin) = origin {
        encode_origin(out, origin, fields, record.time_ms);
    }
    put(out, record.events.len() as u64);
    for event in record.events.iter() {
        event.put(out);
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
    // Most commands have none of these.
    if fields & (SOURCE | EVENT_TIME | PASSED_ON) != 0 {
        encode_report(out, origin, time_ms);
    }
    if fields & TEXTS != 0 {
        for (bit, text) in texts(origin) {
            if fields & bit != 0 {
                put_text(out, text);
            }
        }
    }
}

/// Where a message comes from, and when what it reports happened.
fn encode_report(out: &mut Vec<u8>, origin: &Origin<'_>, time_ms: i64) {
    if let Some(position) = origin.source {
        put_position(out, position);
    }
    if let Some(event_time_ms) = origin.event_time_ms {
        put_signed(out, event_time_ms.wrapping_sub(time_ms));
    }
    if let Some(position) = origin.passed_on {
        put_position(out, position);
    }
}

fn put_position(out: &mut Vec<u8>, position: OriginSource) {
    put(out, u64::from(position.source));
    put(out, position.epoch);
    put(out, position.number);
}

/// Reads the records of one payload.
pub struct RecordReader<'a> {
    bytes: Reader<'a>,
    time_ms: i64,
}

impl<'a> RecordReader<'a> {
    /// Starts with a frame's payload and time.
    ///
    /// # Errors
    /// The payload is empty or of a newer version.
    pub fn new(payload: &'a [u8], frame_time_ms: i64) -> Decoded<Self> {
        match payload.split_first() {
            Some((&PAYLOAD_VERSION, rest)) => Ok(RecordReader { bytes: Reader::new(rest), time_ms: frame_time_ms }),
            Some(_) => Err(Malformed("the events are of a version that this build does not know")),
            None => Err(Malformed("the frame has no events")),
        }
    }

    /// The next record, or `None` at the end.
    ///
    /// # Errors
    /// The bytes are not a record.
    #[allow(clippy::should_implement_trait, reason = "an error ends the reading")]
    pub fn next(&mut self) -> Decoded<Option<Record<'a>>> {
        let mut record = Record::default();
        Ok(self.read(&mut record)?.then_some(record))
    }

    /// Reads the next record into this one, which avoids a copy; returns false at the end.
    ///
    /// # Errors
    /// The bytes are not a record.
    pub fn read(&mut self, record: &mut Record<'a>) -> Decoded<bool> {
        if self.bytes.is_at_end() {
            return Ok(false);
        }
        let fields = self.bytes.number()?;
        if fields & !KNOWN_FIELDS != 0 {
            return Err(Malformed("a record has fields that this build does not know"));
        }
        self.time_ms = self.time_ms.checked_add(self.bytes.signed()?).ok_or(Malformed("a time is out of range"))?;
        record.time_ms = self.time_ms;
        record.origin = None;
        if fields & ORIGIN != 0 {
            self.origin(fields, record.origin.insert(Origin::default()))?;
        }
        record.events = Field::read(&mut self.bytes)?;
        if record.events.is_empty() {
            return Err(Malformed("a record has no events"));
        }
        Ok(true)
    }

    /// Reads at most `max` records into `records`, replacing its elements. Returns how many, and whether there may be more.
    pub(crate) fn read_some(&mut self, records: &mut Vec<Record<'a>>, max: usize) -> (usize, Decoded<bool>) {
        for count in 0..max {
            if records.len() == count {
                records.push(Record::default());
            }
            match self.read(&mut records[count]) {
                Ok(true) => {}
                end => return (count, end),
            }
        }
        (max, Ok(true))
    }

    fn position(&mut self) -> Decoded<OriginSource> {
        Ok(OriginSource { source: self.bytes.handle()?, epoch: self.bytes.number()?, number: self.bytes.number()? })
    }

    fn origin(&mut self, fields: u64, origin: &mut Origin<'a>) -> Decoded<()> {
        let given = |bit: u64| fields & bit != 0;
        origin.fingerprint = Fingerprint { hash: u64::from_le_bytes(self.bytes.array()?), has_parts: given(HAS_PARTS) };
        if given(KEY) {
            origin.key = self.bytes.text()?;
        }
        if given(ISSUE_TIME) {
            origin.issue_time_ms = Some(self.bytes.signed()?.wrapping_add(self.time_ms));
        }
        if given(CHANNEL) {
            origin.channel = Some(self.bytes.handle()?);
        }
        if given(SOURCE) {
            origin.source = Some(self.position()?);
        }
        if given(EVENT_TIME) {
            origin.event_time_ms = Some(self.bytes.signed()?.wrapping_add(self.time_ms));
        }
        if given(PASSED_ON) {
            origin.passed_on = Some(self.position()?);
        }
        if !given(TEXTS) {
            return Ok(());
        }
        for (bit, text) in [
            (UNKNOWN_CHANNEL, &mut origin.unknown_channel),
            (ORDER_REF, &mut origin.order_ref),
            (HOLDER, &mut origin.holder),
            (ACTOR, &mut origin.actor),
            (REASON_CODE, &mut origin.reason_code),
            (REFERENCE, &mut origin.reference),
            (CAUSATION, &mut origin.causation),
        ] {
            if given(bit) {
                *text = self.bytes.text()?;
            }
        }
        Ok(())
    }
}
