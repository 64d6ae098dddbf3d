//! Explicit batches as columns: Python lists into a serialized SubmitRequest of reserves, a SubmitResponse back into
//! lists.
//!
//! The protobuf is written and read by hand, because only a handful of fields matter and a message object for each row
//! would cost more than the row. Field numbers are those of protos/invengine/v1. The caller keeps a batch at 1,000 rows
//! or fewer, so that the interpreter is held for a fraction of a millisecond.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// A serialized SubmitRequest with one Reserve of one line for each row.
///
/// `shared_context` is a serialized CommandContext without a key; every row gets it with its own key. `ttl_ms` 0 leaves
/// the time to live to the server. ValueError if the columns differ in length.
#[pyfunction]
pub fn encode_reserves<'py>(
    py: Python<'py>,
    skus: &Bound<'py, PyList>,
    locations: &Bound<'py, PyList>,
    quantities: &Bound<'py, PyList>,
    keys: &Bound<'py, PyList>,
    shared_context: &[u8],
    ttl_ms: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let rows = skus.len();
    if [locations.len(), quantities.len(), keys.len()] != [rows; 3] {
        return Err(PyValueError::new_err("every column needs as many rows as there are skus"));
    }
    let ttl = ttl_field(ttl_ms);
    let mut batch = Batch::with_rows(rows);
    for row in 0..rows {
        let (sku, location, key) = (skus.get_item(row)?, locations.get_item(row)?, keys.get_item(row)?);
        batch.reserve(&Row {
            sku: sku.cast::<PyString>()?.to_str()?,
            location: location.cast::<PyString>()?.to_str()?,
            quantity: quantities.get_item(row)?.extract()?,
            key: key.cast::<PyString>()?.to_str()?,
            shared_context,
            ttl: &ttl,
        });
    }
    Ok(PyBytes::new(py, &batch.out))
}

/// The columns accepted, reservation_id, reason and sequence of a serialized SubmitResponse.
///
/// A refused row has an empty id and sequence 0, an accepted one an empty reason. ValueError if it is malformed.
#[pyfunction]
#[expect(clippy::type_complexity, reason = "four columns, named in the stub")]
pub fn decode_outcomes(answer: &[u8]) -> PyResult<(Vec<bool>, Vec<&str>, Vec<&str>, Vec<i64>)> {
    let outcomes = outcomes_of(answer).ok_or_else(|| PyValueError::new_err("not a SubmitResponse"))?;
    Ok((
        outcomes.iter().map(|outcome| !outcome.refused).collect(),
        outcomes.iter().map(|outcome| outcome.reservation_id).collect(),
        outcomes.iter().map(|outcome| outcome.reason).collect(),
        outcomes.iter().map(|outcome| outcome.sequence).collect(),
    ))
}

struct Row<'a> {
    sku: &'a str,
    location: &'a str,
    quantity: i64,
    key: &'a str,
    shared_context: &'a [u8],
    ttl: &'a [u8],
}

/// A SubmitRequest under construction. The scratch buffers are reused, because a length comes before the bytes that it
/// counts.
struct Batch {
    out: Vec<u8>,
    line: Vec<u8>,
    request: Vec<u8>,
}

impl Batch {
    fn with_rows(rows: usize) -> Self {
        Self { out: Vec::with_capacity(rows * 160), line: Vec::with_capacity(128), request: Vec::with_capacity(512) }
    }

    fn reserve(&mut self, row: &Row<'_>) {
        self.line.clear();
        put_bytes(&mut self.line, 1, row.sku.as_bytes());
        put_bytes(&mut self.line, 2, row.location.as_bytes());
        put_int(&mut self.line, 4, row.quantity);

        self.request.clear();
        put_tag(&mut self.request, 1, BYTES);
        let key_length = 1 + varint_length(row.key.len() as u64) + row.key.len();
        put_varint(&mut self.request, (key_length + row.shared_context.len()) as u64);
        put_bytes(&mut self.request, 1, row.key.as_bytes());
        self.request.extend_from_slice(row.shared_context);
        put_bytes(&mut self.request, 2, &self.line);
        self.request.extend_from_slice(row.ttl);

        put_tag(&mut self.out, 1, BYTES);
        put_varint(&mut self.out, (1 + varint_length(self.request.len() as u64) + self.request.len()) as u64);
        put_bytes(&mut self.out, 1, &self.request);
    }
}

/// ReserveRequest.ttl, or no bytes for 0.
fn ttl_field(ttl_ms: u64) -> Vec<u8> {
    let mut field = Vec::new();
    if ttl_ms > 0 {
        let mut duration = Vec::new();
        put_int(&mut duration, 1, (ttl_ms / 1000) as i64);
        put_int(&mut duration, 2, (ttl_ms % 1000 * 1_000_000) as i64);
        put_bytes(&mut field, 3, &duration);
    }
    field
}

fn put_tag(out: &mut Vec<u8>, field: u32, kind: u32) {
    put_varint(out, u64::from(field << 3 | kind));
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_tag(out, field, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// An int64 field; negative numbers take ten bytes, as protobuf requires.
fn put_int(out: &mut Vec<u8>, field: u32, number: i64) {
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

fn varint_length(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

#[derive(Default)]
struct Outcome<'a> {
    refused: bool,
    reservation_id: &'a str,
    reason: &'a str,
    sequence: i64,
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Reads the fields of one message in order, until the end or the first malformed byte.
struct Fields<'a> {
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
                return Some(number);
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

/// Calls `see` with each field; `None` if the message is malformed or `see` returns `None`.
fn each_field<'a>(message: &'a [u8], mut see: impl FnMut(u64, Value<'a>) -> Option<()>) -> Option<()> {
    let mut fields = Fields { rest: message };
    while !fields.rest.is_empty() {
        let (number, value) = fields.field()?;
        see(number, value)?;
    }
    Some(())
}

fn outcomes_of(answer: &[u8]) -> Option<Vec<Outcome<'_>>> {
    let mut outcomes = Vec::with_capacity(1000);
    each_field(answer, |field, value| {
        if let (1, Value::Bytes(outcome)) = (field, value) {
            outcomes.push(outcome_of(outcome)?);
        }
        Some(())
    })?;
    Some(outcomes)
}

fn outcome_of(message: &[u8]) -> Option<Outcome<'_>> {
    let mut outcome = Outcome::default();
    each_field(message, |field, value| {
        match (field, value) {
            (1, Value::Bytes(receipt)) => outcome.sequence = number_in(receipt, 1)?,
            (2, Value::Bytes(hold)) => outcome.reservation_id = text_in(hold, 1)?,
            (4, Value::Bytes(rejection)) => {
                outcome.refused = true;
                outcome.reason = text_in(rejection, 2)?;
            }
            _ => {}
        }
        Some(())
    })?;
    Some(outcome)
}

fn number_in(message: &[u8], wanted: u64) -> Option<i64> {
    let mut found = 0;
    each_field(message, |field, value| {
        if let (true, Value::Number(number)) = (field == wanted, value) {
            found = number as i64;
        }
        Some(())
    })?;
    Some(found)
}

fn text_in(message: &[u8], wanted: u64) -> Option<&str> {
    let mut found = "";
    each_field(message, |field, value| {
        if let (true, Value::Bytes(bytes)) = (field == wanted, value) {
            found = std::str::from_utf8(bytes).ok()?;
        }
        Some(())
    })?;
    Some(found)
}
