//! The outcomes of a batch: what an accepted command did to holds as the values of the client, anything else as bytes.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple, PyType};

use crate::wire::{Plain, each_plain_field};

/// Reads the outcomes of a batch into these classes of `invengine.client.results`.
#[pyclass(frozen, module = "invengine._core")]
pub struct OutcomeReader {
    receipt: Py<PyType>,
    hold: Py<PyType>,
    hold_line: Py<PyType>,
    states: Vec<Py<PyAny>>,
    new_tuple: Py<PyAny>,
}

#[pymethods]
impl OutcomeReader {
    #[new]
    fn new(
        py: Python<'_>,
        receipt: Py<PyType>,
        hold: Py<PyType>,
        hold_line: Py<PyType>,
        states: Vec<Py<PyAny>>,
    ) -> PyResult<Self> {
        if states.is_empty() {
            return Err(PyValueError::new_err("states: at least that of a line whose state is not known"));
        }
        let new_tuple = py.get_type::<PyTuple>().getattr("__new__")?.unbind();
        Ok(OutcomeReader { receipt, hold, hold_line, states, new_tuple })
    }

    /// (receipt, holds) of each command that was accepted and only changed holds, the bytes of any other Outcome.
    ///
    /// `None` if the message is malformed or unusual: only protobuf can tell.
    fn read<'py>(&self, py: Python<'py>, answer: &[u8]) -> PyResult<Option<Bound<'py, PyList>>> {
        let Some(messages) = outcomes_in(answer) else { return Ok(None) };
        let found = PyList::empty(py);
        for message in messages {
            match accepted(message) {
                Some(outcome) => found.append(self.value(py, &outcome)?)?,
                None => found.append(PyBytes::new(py, message))?,
            }
        }
        Ok(Some(found))
    }
}

impl OutcomeReader {
    fn value<'py>(&self, py: Python<'py>, outcome: &Accepted<'_>) -> PyResult<Bound<'py, PyTuple>> {
        let Receipt { sequence, durable_sequence, replayed } = outcome.receipt;
        let receipt = self.tuple(&self.receipt, (sequence, durable_sequence, replayed).into_pyobject(py)?)?;
        let holds = outcome.holds.iter().map(|hold| self.hold(py, hold, &receipt)).collect::<PyResult<Vec<_>>>()?;
        (receipt, PyTuple::new(py, holds)?).into_pyobject(py)
    }

    fn hold<'py>(&self, py: Python<'py>, hold: &Hold<'_>, receipt: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let lines = hold.lines.iter().map(|line| self.line(py, line)).collect::<PyResult<Vec<_>>>()?;
        let fields = (hold.id, hold.version, hold.expire_time_ms, hold.reacquired, PyTuple::new(py, lines)?, receipt);
        self.hold.bind(py).call1(fields)
    }

    fn line<'py>(&self, py: Python<'py>, line: &Line<'_>) -> PyResult<Bound<'py, PyAny>> {
        let known = usize::try_from(line.state).ok().and_then(|state| self.states.get(state));
        let state = known.unwrap_or(&self.states[0]);
        let fields = (line.sku, line.location, line.quantity, state, line.outstanding).into_pyobject(py)?;
        self.tuple(&self.hold_line, fields)
    }

    /// A named tuple, made without the function in Python that checks the number of its fields.
    fn tuple<'py>(&self, kind: &Py<PyType>, fields: Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        self.new_tuple.bind(fields.py()).call1((kind, fields))
    }
}

struct Accepted<'a> {
    receipt: Receipt,
    holds: Vec<Hold<'a>>,
}

#[derive(Clone, Copy, Default)]
struct Receipt {
    sequence: i64,
    durable_sequence: i64,
    replayed: bool,
}

#[derive(Default)]
struct Hold<'a> {
    id: &'a str,
    version: i64,
    expire_time_ms: i64,
    reacquired: bool,
    lines: Vec<Line<'a>>,
}

#[derive(Default)]
struct Line<'a> {
    sku: &'a str,
    location: &'a str,
    quantity: i64,
    state: i32,
    outstanding: i64,
}

fn outcomes_in(answer: &[u8]) -> Option<Vec<&[u8]>> {
    let mut outcomes = Vec::with_capacity(1000);
    each_plain_field(answer, |field, value| {
        match (field, value) {
            (1, Plain::Bytes(outcome)) => outcomes.push(outcome),
            (2, Plain::Number(_)) => {}
            _ => return None,
        }
        Some(())
    })?;
    Some(outcomes)
}

/// An outcome with one receipt, holds and nothing else; `None` for any other.
fn accepted(outcome: &[u8]) -> Option<Accepted<'_>> {
    let (mut receipt, mut holds) = (None, Vec::new());
    each_plain_field(outcome, |field, value| {
        match (field, value) {
            (1, Plain::Bytes(message)) if receipt.is_none() => receipt = Some(receipt_of(message)?),
            (2, Plain::Bytes(message)) => holds.push(hold_of(message)?),
            _ => return None,
        }
        Some(())
    })?;
    Some(Accepted { receipt: receipt?, holds })
}

fn receipt_of(message: &[u8]) -> Option<Receipt> {
    let mut receipt = Receipt::default();
    each_plain_field(message, |field, value| {
        match (field, value) {
            (1, Plain::Number(number)) => receipt.sequence = number as i64,
            (2, Plain::Number(number)) => receipt.durable_sequence = number as i64,
            (3, Plain::Number(number)) => receipt.replayed = number != 0,
            _ => return None,
        }
        Some(())
    })?;
    Some(receipt)
}

fn hold_of(message: &[u8]) -> Option<Hold<'_>> {
    let mut hold = Hold::default();
    let mut expire_time_ms = None;
    each_plain_field(message, |field, value| {
        match (field, value) {
            (1, Plain::Bytes(text)) => hold.id = str::from_utf8(text).ok()?,
            (2, Plain::Number(number)) => hold.version = number as i64,
            // Of a message that comes twice protobuf merges both.
            (3, Plain::Bytes(time)) if expire_time_ms.is_none() => expire_time_ms = Some(milliseconds_of(time)?),
            (4, Plain::Number(number)) => hold.reacquired = number != 0,
            (5, Plain::Bytes(line)) => hold.lines.push(line_of(line)?),
            _ => return None,
        }
        Some(())
    })?;
    hold.expire_time_ms = expire_time_ms.unwrap_or_default();
    Some(hold)
}

fn line_of(message: &[u8]) -> Option<Line<'_>> {
    let mut line = Line::default();
    each_plain_field(message, |field, value| {
        match (field, value) {
            (1, Plain::Bytes(text)) => line.sku = str::from_utf8(text).ok()?,
            (2, Plain::Bytes(text)) => line.location = str::from_utf8(text).ok()?,
            (3, Plain::Number(number)) => line.quantity = number as i64,
            // An enum has 32 bits.
            (4, Plain::Number(number)) => line.state = number as i32,
            (5, Plain::Number(number)) => line.outstanding = number as i64,
            _ => return None,
        }
        Some(())
    })?;
    Some(line)
}

/// A Timestamp in milliseconds, rounded down.
fn milliseconds_of(message: &[u8]) -> Option<i64> {
    let (mut seconds, mut nanos) = (0, 0);
    each_plain_field(message, |field, value| {
        match (field, value) {
            (1, Plain::Number(number)) => seconds = number as i64,
            (2, Plain::Number(number)) => nanos = i64::from(number as i32),
            _ => return None,
        }
        Some(())
    })?;
    seconds.checked_mul(1000)?.checked_add(nanos.div_euclid(1_000_000))
}
