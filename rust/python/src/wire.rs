//! The bytes of protobuf, written and read by hand where a message object for each command would cost more than the
//! command. Field numbers are those of protos/invengine/v1.

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

fn put_tag(out: &mut Vec<u8>, field: u32, kind: u32) {
    put_varint(out, u64::from(field << 3 | kind));
}

/// What comes before the `length` bytes of a text or a message.
pub fn put_head(out: &mut Vec<u8>, field: u32, length: usize) {
    put_tag(out, field, BYTES);
    put_varint(out, length as u64);
}

pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_head(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// A text field; an empty text is left out.
pub fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

/// An int64 field; negative numbers take ten bytes, as protobuf requires.
pub fn put_int(out: &mut Vec<u8>, field: u32, number: i64) {
    if number != 0 {
        put_tag(out, field, VARINT);
        put_varint(out, number as u64);
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub fn varint_length(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

pub enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Reads the fields of one message in order, until the end or the first malformed byte.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                return (shift < 63 || byte < 2).then_some(number);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match (tag & 7) as u32 {
            VARINT => Value::Number(self.varint()?),
            BYTES => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED64 => self.take(8).map(|_| Value::Other)?,
            FIXED32 => self.take(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

/// The fields of a message as every encoder of protobuf writes them: low numbers, lengths of up to four bytes. `None` for
/// what is malformed or only unusual, so that a complete decoder judges it.
pub fn each_plain_field<'a>(message: &'a [u8], mut see: impl FnMut(u32, Plain<'a>) -> Option<()>) -> Option<()> {
    let mut fields = Fields { rest: message };
    while let Some((&tag, rest)) = fields.rest.split_first() {
        fields.rest = rest;
        let value = match (tag < 0x80, u32::from(tag & 7)) {
            (true, VARINT) => Plain::Number(fields.varint()?),
            (true, BYTES) => {
                let before = fields.rest.len();
                let length = fields.varint()?;
                if before - fields.rest.len() > 4 {
                    return None;
                }
                Plain::Bytes(fields.take(length)?)
            }
            _ => return None,
        };
        see(u32::from(tag >> 3), value)?;
    }
    Some(())
}

/// The value of a field: a varint, or what has a length.
pub enum Plain<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Calls `see` with each field; `None` if the message is malformed or `see` returns `None`.
pub fn each_field<'a>(message: &'a [u8], mut see: impl FnMut(u64, Value<'a>) -> Option<()>) -> Option<()> {
    let mut fields = Fields { rest: message };
    while !fields.rest.is_empty() {
        let (number, value) = fields.field()?;
        see(number, value)?;
    }
    Some(())
}

pub fn number_in(message: &[u8], wanted: u64) -> Option<i64> {
    let mut found = 0;
    each_field(message, |field, value| {
        if let (true, Value::Number(number)) = (field == wanted, value) {
            found = number as i64;
        }
        Some(())
    })?;
    Some(found)
}

pub fn text_in(message: &[u8], wanted: u64) -> Option<&str> {
    let mut found = "";
    each_field(message, |field, value| {
        if let (true, Value::Bytes(bytes)) = (field == wanted, value) {
            found = std::str::from_utf8(bytes).ok()?;
        }
        Some(())
    })?;
    Some(found)
}
