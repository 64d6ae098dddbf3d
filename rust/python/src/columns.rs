//! Explicit batches as columns: Python lists into a serialized SubmitRequest of reserves, a SubmitResponse back into
//! lists.
//!
//! The protobuf is written and read by hand, because only a handful of fields matter and a message object for each row
//! would cost more than the row. Field numbers are those of protos/invengine/v1. The caller keeps a batch at 1,000 rows
//! or fewer, so that the interpreter is held for a fraction of a millisecond.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::wire::{Value, each_field, number_in, put_bytes, put_head, put_int, text_in, varint_length};

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
        let key_length = 1 + varint_length(row.key.len() as u64) + row.key.len();
        put_head(&mut self.request, 1, key_length + row.shared_context.len());
        put_bytes(&mut self.request, 1, row.key.as_bytes());
        self.request.extend_from_slice(row.shared_context);
        put_bytes(&mut self.request, 2, &self.line);
        self.request.extend_from_slice(row.ttl);

        put_head(&mut self.out, 1, 1 + varint_length(self.request.len() as u64) + self.request.len());
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

#[derive(Default)]
struct Outcome<'a> {
    refused: bool,
    reservation_id: &'a str,
    reason: &'a str,
    sequence: i64,
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
