//! Explicit batches as columns: Python lists into a serialized SubmitRequest of reserves, a SubmitResponse back into
//! lists.
//!
//! The caller keeps a batch at 1,000 rows or fewer, so that the interpreter is held for a fraction of a millisecond.

use std::io::Write;

use invengine_node::translate::fields::{Value, begin_message, end_message, put_number, put_text, text};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::answers::{each_field, outcomes_in};
use crate::drafts::put_time;

/// A serialized SubmitRequest with one Reserve of one line for each row from `start` to `end`.
///
/// A location or a quantity that is no list is that of every row; keys that are none are `{keys}-{row}`. `shared_context` is a
/// serialized CommandContext without a key; every row gets it with its own key. `ttl_ms` 0 leaves the time to live to the
/// server. ValueError if a column ends before `end`.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the columns, and what their rows share")]
pub fn encode_reserves<'py>(
    py: Python<'py>,
    skus: &Bound<'py, PyList>,
    locations: &Bound<'py, PyAny>,
    quantities: &Bound<'py, PyAny>,
    keys: &Bound<'py, PyAny>,
    start: usize,
    end: usize,
    shared_context: &[u8],
    ttl_ms: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let (locations, quantities, keys) = (Column::of(locations), Column::of(quantities), Column::of(keys));
    let lengths = [Some(skus.len()), locations.rows(), quantities.rows(), keys.rows()];
    if lengths.iter().flatten().any(|&rows| rows < end) {
        return Err(PyValueError::new_err("every column needs as many rows as there are skus"));
    }
    let mut out = Vec::with_capacity(end.saturating_sub(start) * 160);
    let mut key = Vec::new();
    for row in start..end {
        key.clear();
        match &keys {
            Column::Rows(keys) => key.extend_from_slice(keys.get_item(row)?.cast::<PyString>()?.to_str()?.as_bytes()),
            Column::All(prefix) => {
                key.extend_from_slice(prefix.cast::<PyString>()?.to_str()?.as_bytes());
                write!(key, "-{row}")?;
            }
        }
        let command = begin_message(&mut out, 1);
        let request = begin_message(&mut out, 1);
        let context = begin_message(&mut out, 1);
        put_text(&mut out, 1, &key);
        out.extend_from_slice(shared_context);
        end_message(&mut out, context);
        let line = begin_message(&mut out, 2);
        put_text(&mut out, 1, skus.get_item(row)?.cast::<PyString>()?.to_str()?.as_bytes());
        put_text(&mut out, 2, locations.at(row)?.cast::<PyString>()?.to_str()?.as_bytes());
        put_number(&mut out, 4, quantities.at(row)?.extract()?);
        end_message(&mut out, line);
        if ttl_ms > 0 {
            put_time(&mut out, 3, (ttl_ms / 1000) as i64, (ttl_ms % 1000 * 1_000_000) as i64);
        }
        end_message(&mut out, request);
        end_message(&mut out, command);
    }
    Ok(PyBytes::new(py, &out))
}

/// A value for each row, or one for all.
enum Column<'a, 'py> {
    Rows(&'a Bound<'py, PyList>),
    All(&'a Bound<'py, PyAny>),
}

impl<'a, 'py> Column<'a, 'py> {
    fn of(values: &'a Bound<'py, PyAny>) -> Self {
        values.cast::<PyList>().map_or(Column::All(values), Column::Rows)
    }

    fn rows(&self) -> Option<usize> {
        match self {
            Column::Rows(values) => Some(values.len()),
            Column::All(_) => None,
        }
    }

    fn at(&self, row: usize) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Column::Rows(values) => values.get_item(row),
            Column::All(value) => Ok((*value).clone()),
        }
    }
}

/// The column accepted of a serialized SubmitResponse.
///
/// `None` if the message is malformed or unusual: only protobuf can tell.
#[pyfunction]
pub fn decode_accepted<'py>(py: Python<'py>, answer: &[u8]) -> PyResult<Option<Bound<'py, PyList>>> {
    rows_of(answer).map(|rows| PyList::new(py, rows.iter().map(|row| !row.refused))).transpose()
}

/// The columns reservation_id, reason and sequence of an answer whose column accepted can be read.
///
/// A refused row has an empty id and sequence 0, an accepted one an empty reason.
#[pyfunction]
pub fn decode_outcomes(answer: &[u8]) -> PyResult<(Vec<&str>, Vec<&str>, Vec<i64>)> {
    let rows = rows_of(answer).ok_or_else(|| PyValueError::new_err("not a SubmitResponse, or an unusual one"))?;
    Ok((
        rows.iter().map(|row| row.reservation_id).collect(),
        rows.iter().map(|row| row.reason).collect(),
        rows.iter().map(|row| row.sequence).collect(),
    ))
}

#[derive(Default)]
struct Row<'a> {
    refused: bool,
    reservation_id: &'a str,
    reason: &'a str,
    sequence: i64,
}

fn rows_of(answer: &[u8]) -> Option<Vec<Row<'_>>> {
    outcomes_in(answer)?.into_iter().map(row_of).collect()
}

fn row_of(outcome: &[u8]) -> Option<Row<'_>> {
    let mut row = Row::default();
    let (mut receipts, mut holds) = (0, 0);
    each_field(outcome, |field, value| {
        match (field, value) {
            // Of a message that comes twice protobuf merges both.
            (1, Value::Bytes(receipt)) if receipts == 0 => {
                receipts += 1;
                row.sequence = number_in(receipt, 1)?;
            }
            (2, Value::Bytes(hold)) => {
                holds += 1;
                let id = text_in(hold, 1)?;
                row.reservation_id = if holds == 1 { id } else { row.reservation_id };
            }
            (4, Value::Bytes(rejection)) if !row.refused => {
                row.refused = true;
                row.reason = text_in(rejection, 2)?;
            }
            (1 | 2 | 4, _) => return None,
            _ => {}
        }
        Some(())
    })?;
    Some(row)
}

fn number_in(message: &[u8], wanted: u8) -> Option<i64> {
    let mut found = 0;
    each_field(message, |field, value| {
        if let (true, Value::Number(number)) = (field == wanted, value) {
            found = number as i64;
        }
        Some(())
    })?;
    Some(found)
}

fn text_in(message: &[u8], wanted: u8) -> Option<&str> {
    let mut found = "";
    each_field(message, |field, value| {
        if let (true, Value::Bytes(bytes)) = (field == wanted, value) {
            found = text(bytes)?;
        }
        Some(())
    })?;
    Some(found)
}
