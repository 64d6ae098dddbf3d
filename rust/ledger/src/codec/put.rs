//! Encodes numbers and texts, the elements of every record.

use crate::event::{LevelUnits, LineMove};
use crate::ids::ReservationId;

#[inline(always)]
pub(crate) fn put(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        put_long(out, value);
    }
}

#[inline(never)]
fn put_long(out: &mut Vec<u8>, mut value: u64) {
    let mut bytes = [0; 10];
    let mut count = 0;
    while value >= 0x80 {
        bytes[count] = value as u8 | 0x80;
        value >>= 7;
        count += 1;
    }
    bytes[count] = value as u8;
    out.extend_from_slice(&bytes[..=count]);
}

#[inline]
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

#[inline]
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_id(out: &mut Vec<u8>, id: ReservationId) {
    put(out, u64::from(id.slot));
    put(out, u64::from(id.generation));
    put(out, u64::from(id.epoch));
}

pub(crate) fn put_units(out: &mut Vec<u8>, lines: &[LevelUnits]) {
    put(out, lines.len() as u64);
    for line in lines {
        put(out, u64::from(line.level));
        put(out, line.units as u64);
    }
}

pub(crate) fn put_moves(out: &mut Vec<u8>, lines: &[LineMove]) {
    put(out, lines.len() as u64);
    for line in lines {
        put(out, u64::from(line.level));
        put(out, line.reserved as u64);
        put(out, line.allocated as u64);
    }
}
