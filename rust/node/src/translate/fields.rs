//! The fields of a protobuf message, read where they lie and appended where they are sent, without a message in between.
//!
//! Reading accepts only what every decoder reads alike: one-byte keys, numbers and length-delimited values. Anything else is
//! left to a complete decoder. What is appended is byte for byte what prost encodes. The door reads requests and writes
//! answers with it, the Python client the reverse.

use std::str;

/// Wire types of a key.
const NUMBER: u8 = 0;
const BYTES: u8 = 2;
/// Least number that takes more than one byte.
const TWO_BYTES: u64 = 0x80;
/// Some decoders refuse a length of more bytes, and none needs it.
const LENGTH_BYTES: usize = 4;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number, as it is on the wire.
    Number(u64),
    /// A text or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message that are not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// All fields of a message.
    pub fn of(message: &'a [u8]) -> Self {
        Fields(message)
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The number and the value of the next field, `Some(None)` at the end; `None` if only a complete decoder may judge the rest.
    #[inline]
    pub fn next_field(&mut self) -> Option<Option<(u8, Value<'a>)>> {
        let Some((&key, rest)) = self.0.split_first() else { return Some(None) };
        self.0 = rest;
        let value = match key & 7 {
            _ if u64::from(key) >= TWO_BYTES => return None,
            NUMBER => Value::Number(self.number()?),
            BYTES => Value::Bytes(self.bytes()?),
            _ => return None,
        };
        Some(Some((key >> 3, value)))
    }

    #[inline]
    fn number(&mut self) -> Option<u64> {
        let (&byte, rest) = self.0.split_first()?;
        if u64::from(byte) < TWO_BYTES {
            self.0 = rest;
            return Some(u64::from(byte));
        }
        let mut number = 0;
        for (place, &byte) in self.0.iter().take(9).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * place);
            if u64::from(byte) < TWO_BYTES {
                self.0 = &self.0[place + 1..];
                return Some(number);
            }
        }
        // A tenth byte has only the last bit of a number.
        let (&last, rest) = self.0.get(9..)?.split_first()?;
        self.0 = rest;
        (last < 2).then_some(number | u64::from(last) << 63)
    }

    #[inline]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let before = self.0.len();
        let length = usize::try_from(self.number()?).ok()?;
        if before - self.0.len() > LENGTH_BYTES {
            return None;
        }
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

/// The bytes as a text, if they are one.
#[inline]
pub fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

/// Appends a number, unless it is 0, which is what an absent field means.
#[inline]
pub fn put_number(to: &mut Vec<u8>, field: u8, number: i64) {
    if number != 0 {
        to.push(field << 3 | NUMBER);
        // A negative number is sent as its two's complement.
        put_varint(to, number as u64);
    }
}

/// Appends a text, unless it is empty.
#[inline]
pub fn put_text(to: &mut Vec<u8>, field: u8, text: &[u8]) {
    if !text.is_empty() {
        to.push(field << 3 | BYTES);
        put_varint(to, text.len() as u64);
        to.extend_from_slice(text);
    }
}

/// Appends a message, even an empty one, and returns its length. What `write` appends is its fields; their length is put
/// before them once it is known.
#[inline]
pub fn put_message(to: &mut Vec<u8>, field: u8, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = begin_message(to, field);
    write(to);
    end_message(to, start)
}

/// Begins a message, which `end_message` ends, and returns where its fields start.
#[inline]
pub fn begin_message(to: &mut Vec<u8>, field: u8) -> usize {
    to.extend_from_slice(&[field << 3 | BYTES, 0]);
    to.len()
}

/// Ends the message whose fields start there, and returns its length.
#[inline]
pub fn end_message(to: &mut Vec<u8>, start: usize) -> usize {
    let length = to.len() - start;
    if (length as u64) < TWO_BYTES {
        to[start - 1] = length as u8;
    } else {
        put_length(to, start, length);
    }
    length
}

/// Puts a length of several bytes where one byte is kept for it.
fn put_length(to: &mut Vec<u8>, start: usize, length: usize) {
    let end = to.len();
    put_varint(to, length as u64);
    let mut bytes = [0; 10];
    let count = to.len() - end;
    bytes[..count].copy_from_slice(&to[end..]);
    to.truncate(end + count - 1);
    to.copy_within(start..end, start + count - 1);
    to[start - 1..start - 1 + count].copy_from_slice(&bytes[..count]);
}

#[inline]
fn put_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= TWO_BYTES {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

#[cfg(test)]
mod tests {
    use invengine_wire::v1;
    use prost::Message;

    use super::*;

    #[test]
    fn messages_of_any_length_are_appended_as_prost_does() {
        for length in [0, 1, 125, 126, 127, 128, 16_379, 16_380, 16_381, 1 << 21] {
            let key = "k".repeat(length);
            let context = v1::CommandContext { idempotency_key: key.clone(), ..Default::default() };
            let expected = v1::ExtendRequest { context: Some(context), ..Default::default() };
            let mut found = Vec::new();
            let counted = put_message(&mut found, 1, |to| put_text(to, 1, key.as_bytes()));
            assert_eq!(found, expected.encode_to_vec(), "{length}");
            assert_eq!(counted, expected.context.map_or(0, |context| context.encoded_len()));
        }
    }

    #[test]
    fn numbers_are_appended_as_prost_does_and_read_back() {
        for number in [0, 1, 127, 128, 1 << 35, i64::MAX, -1, i64::MIN] {
            let expected = prost_types::Timestamp { seconds: number, nanos: 0 }.encode_to_vec();
            let mut found = Vec::new();
            put_number(&mut found, 1, number);
            assert_eq!(found, expected);
            let value = (number != 0).then_some((1, Value::Number(number as u64)));
            assert_eq!(Fields::of(&found).next_field(), Some(value));
        }
    }

    #[test]
    fn what_decoders_may_read_in_different_ways_is_not_read() {
        let rows: [&[u8]; 10] = [
            b"\x08",
            b"\x08\x80",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x09\0\0\0\0\0\0\0\0",
            b"\x0b\x0c",
            b"\x0d\0\0\0\0",
            b"\x0a\x02x",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\x81\x80\x80\x80\0x",
            b"\x80\x01\0",
        ];
        for row in rows {
            assert_eq!(Fields::of(row).next_field(), None, "{row:02x?}");
        }
        assert_eq!(Fields::of(b"\x08\x80\0").next_field(), Some(Some((1, Value::Number(0)))), "longer than needed");
        assert_eq!(Fields::of(b"").next_field(), Some(None));
    }
}
