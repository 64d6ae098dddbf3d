//! Decodes records. Bytes from a journal are not trusted.

use super::{
    ACTOR, CAUSATION, CHANNEL, Decoded, EVENT_TIME, HAS_PARTS, HOLDER, ISSUE_TIME, KEY, KNOWN_FIELDS, Malformed,
    ORDER_REF, ORIGIN, PAYLOAD_VERSION, REASON_CODE, REFERENCE, SOURCE, TEXTS, UNKNOWN_CHANNEL,
};
use crate::command::QUANTITY_MAX;
use crate::correction::ClockCorrection;
use crate::event::{Event, LevelUnits, LineMove, StockKind};
use crate::fingerprint::Fingerprint;
use crate::ids::ReservationId;
use crate::one_or_many::OneOrMany;
use crate::record::{Origin, OriginSource, Record};
use crate::rejection::{FACT_NAMES, Fact, Reason, Rejection};
use crate::states::StockState;

/// Reads the records of one payload.
pub struct RecordReader<'a> {
    rest: &'a [u8],
    time_ms: i64,
}

impl<'a> RecordReader<'a> {
    /// Reads bytes that are not a payload.
    pub(crate) fn bare(bytes: &'a [u8]) -> Self {
        RecordReader { rest: bytes, time_ms: 0 }
    }

    /// Number of bytes that have not been read.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// True if everything has been read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Starts with a frame's payload and time.
    ///
    /// # Errors
    /// The payload is empty or of a newer version.
    pub fn new(payload: &'a [u8], frame_time_ms: i64) -> Decoded<Self> {
        match payload.split_first() {
            Some((&PAYLOAD_VERSION, rest)) => Ok(RecordReader { rest, time_ms: frame_time_ms }),
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
    pub(crate) fn read(&mut self, record: &mut Record<'a>) -> Decoded<bool> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        let fields = self.number()?;
        if fields & !KNOWN_FIELDS != 0 {
            return Err(Malformed("a record has fields that this build does not know"));
        }
        self.time_ms = self.time_ms.checked_add(self.signed()?).ok_or(Malformed("a time is out of range"))?;
        record.time_ms = self.time_ms;
        record.origin = None;
        if fields & ORIGIN != 0 {
            self.origin(fields, record.origin.insert(Origin::default()))?;
        }
        record.events = self.one_or_many(2, Self::event)?;
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

    fn origin(&mut self, fields: u64, origin: &mut Origin<'a>) -> Decoded<()> {
        let given = |bit: u64| fields & bit != 0;
        origin.fingerprint = Fingerprint { hash: u64::from_le_bytes(self.array()?), has_parts: given(HAS_PARTS) };
        if given(KEY) {
            origin.key = self.text()?;
        }
        if given(ISSUE_TIME) {
            origin.issue_time_ms = Some(self.signed()?.wrapping_add(self.time_ms));
        }
        if given(CHANNEL) {
            origin.channel = Some(self.handle()?);
        }
        if given(SOURCE) {
            origin.source =
                Some(OriginSource { source: self.handle()?, epoch: self.number()?, number: self.number()? });
        }
        if given(EVENT_TIME) {
            origin.event_time_ms = Some(self.signed()?.wrapping_add(self.time_ms));
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
                *text = self.text()?;
            }
        }
        Ok(())
    }

    fn event(&mut self) -> Decoded<Event> {
        Ok(match self.byte()? {
            1 => Event::Reserved { id: self.id()?, expire_ms: self.signed()?, lines: self.units()? },
            2 => Event::Extended { id: self.id()?, expire_ms: self.signed()? },
            3 => Event::Amended { id: self.id()?, lines: self.units()? },
            kind @ (4 | 5) => Event::Allocated { id: self.id()?, reacquired: kind == 5, lines: self.units()? },
            6 => Event::Released { id: self.id()?, lines: self.moves()? },
            7 => Event::Fulfilled { id: self.id()?, lines: self.moves()? },
            8 => Event::Expired { id: self.id()?, lines: self.units()? },
            9 => Event::Transferred { id: self.id()?, to_location: self.handle()?, lines: self.moves()? },
            10 => Event::StockChanged {
                item: self.handle()?,
                location: self.handle()?,
                kind: StockKind::from_byte(self.byte()?).ok_or(Malformed("an unknown kind of stock change"))?,
                state: StockState::from_byte(self.byte()?).ok_or(Malformed("an unknown part of the stock"))?,
                delta: self.delta()?,
            },
            11 => Event::Upserted {
                catalogue: self.byte()?,
                name: self.text()?.into(),
                display_name: self.text()?.into(),
                gs1: self.text()?.into(),
            },
            12 => Event::SourceRegistered { source: self.text()?.into(), epoch: self.number()? },
            13 => Event::KeyCancelled { key: self.text()?.into() },
            14 => Event::MessageRejected { rejection: self.rejection()? },
            15 => Event::MessageRepeated { sequence: self.number()? },
            16 => Event::KeysForgotten { before_ms: self.signed()? },
            18 => Event::ClockCorrected(ClockCorrection::read(self)?),
            17 => Event::CommandRefused { forgets: self.flag()?, rejection: self.rejection()? },
            _ => return Err(Malformed("an event of a kind that this build does not know")),
        })
    }

    fn flag(&mut self) -> Decoded<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither set nor clear")),
        }
    }

    pub(crate) fn rejection(&mut self) -> Decoded<Rejection> {
        let reason = Reason::from_byte(self.byte()?).ok_or(Malformed("an unknown reason"))?;
        let mut facts = Vec::new();
        for _ in 0..self.count(2)? {
            let tag = self.byte()?;
            let name = *FACT_NAMES.get(usize::from(tag >> 1)).ok_or(Malformed("an unknown fact"))?;
            facts.push(if tag & 1 == 0 {
                Fact::Number(name, self.signed()?)
            } else {
                Fact::Text(name, self.text()?.into())
            });
        }
        Ok(Rejection { reason, facts })
    }

    #[inline]
    pub(crate) fn id(&mut self) -> Decoded<ReservationId> {
        Ok(ReservationId { slot: self.handle()?, generation: self.handle()?, epoch: self.handle()? })
    }

    fn units(&mut self) -> Decoded<OneOrMany<LevelUnits>> {
        self.one_or_many(2, |from| Ok(LevelUnits { level: from.handle()?, units: from.quantity()? }))
    }

    fn moves(&mut self) -> Decoded<OneOrMany<LineMove>> {
        self.one_or_many(3, |from| {
            Ok(LineMove { level: from.handle()?, reserved: from.quantity()?, allocated: from.quantity()? })
        })
    }

    /// A list of elements of at least `bytes_min` bytes each.
    #[inline]
    pub(crate) fn one_or_many<T>(
        &mut self,
        bytes_min: usize,
        one: impl Fn(&mut Self) -> Decoded<T>,
    ) -> Decoded<OneOrMany<T>> {
        match self.count(bytes_min)? {
            1 => Ok(OneOrMany::One(one(self)?)),
            count => Ok(OneOrMany::Many((0..count).map(|_| one(self)).collect::<Decoded<_>>()?)),
        }
    }

    #[inline]
    fn quantity(&mut self) -> Decoded<i64> {
        let value = self.number()?;
        if value > QUANTITY_MAX as u64 {
            return Err(Malformed("a quantity is out of range"));
        }
        Ok(value as i64)
    }

    fn delta(&mut self) -> Decoded<i64> {
        let value = self.signed()?;
        if value.unsigned_abs() > QUANTITY_MAX as u64 {
            return Err(Malformed("a difference is out of range"));
        }
        Ok(value)
    }

    #[inline]
    pub(crate) fn handle(&mut self) -> Decoded<u32> {
        u32::try_from(self.number()?).map_err(|_| Malformed("a handle is out of range"))
    }

    /// A count of elements of at least `bytes_min` bytes each.
    #[inline]
    pub(crate) fn count(&mut self, bytes_min: usize) -> Decoded<usize> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > self.rest.len() / bytes_min {
            return Err(Malformed("a count is larger than what is left"));
        }
        Ok(count)
    }

    #[inline]
    pub(crate) fn text(&mut self) -> Decoded<&'a str> {
        let count = self.count(1)?;
        let (text, rest) = self.rest.split_at(count);
        self.rest = rest;
        str::from_utf8(text).map_err(|_| Malformed("a text is not UTF-8"))
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Decoded<u8> {
        let (byte, rest) = self.rest.split_first().ok_or(Malformed("a record is cut short"))?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed("a record is cut short"))?;
        self.rest = rest;
        Ok(*array)
    }

    #[inline]
    pub(crate) fn number(&mut self) -> Decoded<u64> {
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_number(),
        }
    }

    /// A number of several bytes: up to eight are read at once, because a branch on their count cannot be predicted.
    #[inline(never)]
    fn long_number(&mut self) -> Decoded<u64> {
        if let Some(bytes) = self.rest.first_chunk::<8>() {
            let word = u64::from_le_bytes(*bytes);
            let ends = !word & 0x8080_8080_8080_8080;
            if ends != 0 {
                self.rest = &self.rest[ends.trailing_zeros() as usize / 8 + 1..];
                return Ok(sevens(word & (ends ^ (ends - 1))));
            }
        }
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("a number is too long"))
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Decoded<i64> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

/// The lower seven bits of each byte, side by side.
#[inline]
fn sevens(bytes: u64) -> u64 {
    let pairs = (bytes & 0x007f_007f_007f_007f) | ((bytes & 0x7f00_7f00_7f00_7f00) >> 1);
    let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    (fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4)
}
