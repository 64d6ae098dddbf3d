//! The outcomes of a batch and the answers of single commands: what an accepted command did to holds, as the values of the
//! client.
//!
//! An answer is checked as a whole when it arrives, and each value is made when its caller takes it: a thousand values that
//! wait for their callers would be looked at by the garbage collector again and again.

use invengine_node::translate::fields::{Fields, Value};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyList, PyTuple, PyType};

/// Reads what accepted commands did into these classes of `invengine.client.results`.
#[pyclass(frozen, module = "invengine._core")]
pub struct OutcomeReader {
    receipt: Py<PyType>,
    hold_line: Py<PyType>,
    hold: Frozen,
    changes: Frozen,
    states: Vec<Py<PyAny>>,
    new_tuple: Py<PyAny>,
}

#[pymethods]
impl OutcomeReader {
    #[new]
    fn new(
        receipt: &Bound<'_, PyType>,
        hold_line: &Bound<'_, PyType>,
        hold: &Bound<'_, PyType>,
        changes: &Bound<'_, PyType>,
        states: Vec<Py<PyAny>>,
    ) -> PyResult<Self> {
        if states.is_empty() {
            return Err(PyValueError::new_err("states: at least that of a line whose state is not known"));
        }
        Ok(OutcomeReader {
            receipt: receipt.clone().unbind(),
            hold_line: hold_line.clone().unbind(),
            hold: Frozen::of(hold)?,
            changes: Frozen::of(changes)?,
            states,
            new_tuple: receipt.py().get_type::<PyTuple>().getattr("__new__")?.unbind(),
        })
    }

    /// The bytes of each outcome, and the places of those that are not only changes of holds.
    ///
    /// `None` if the message is malformed or unusual: only protobuf can tell.
    #[staticmethod]
    fn split<'py>(py: Python<'py>, answer: &[u8]) -> PyResult<Option<(Bound<'py, PyList>, Vec<usize>)>> {
        let Some(outcomes) = outcomes_in(answer) else { return Ok(None) };
        let others = (0..outcomes.len()).filter(|&at| accepted(outcomes[at]).is_none()).collect();
        Ok(Some((PyList::new(py, outcomes.iter().map(|outcome| PyBytes::new(py, outcome)))?, others)))
    }

    /// (receipt, holds); `None` unless that is all that there is.
    fn read<'py>(&self, py: Python<'py>, outcome: &[u8]) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let Some(outcome) = accepted(outcome) else { return Ok(None) };
        self.receipt_and_holds(py, &outcome)?.into_pyobject(py).map(Some)
    }

    /// The only hold that changed; `None` unless there is one, and nothing else.
    fn hold<'py>(&self, py: Python<'py>, outcome: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(outcome) = accepted(outcome) else { return Ok(None) };
        let [hold] = &outcome.holds[..] else { return Ok(None) };
        self.hold_of(hold, &self.receipt_of(py, outcome.receipt)?).map(Some)
    }

    /// The Changes; `None` unless they are all that there is.
    fn changes<'py>(&self, py: Python<'py>, outcome: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(outcome) = accepted(outcome) else { return Ok(None) };
        let (receipt, holds) = self.receipt_and_holds(py, &outcome)?;
        self.changes.value((receipt, holds, false, py.None()).into_pyobject(py)?).map(Some)
    }
}

impl OutcomeReader {
    fn receipt_and_holds<'py>(
        &self,
        py: Python<'py>,
        outcome: &Accepted<'_>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let receipt = self.receipt_of(py, outcome.receipt)?;
        let holds = outcome.holds.iter().map(|hold| self.hold_of(hold, &receipt)).collect::<PyResult<Vec<_>>>()?;
        Ok((receipt, PyTuple::new(py, holds)?))
    }

    fn receipt_of<'py>(&self, py: Python<'py>, receipt: Receipt) -> PyResult<Bound<'py, PyAny>> {
        let Receipt { sequence, durable_sequence, replayed } = receipt;
        // Only a message with more than this could be an echo, and that is left to protobuf.
        self.tuple(&self.receipt, (sequence, durable_sequence, replayed, false).into_pyobject(py)?)
    }

    fn hold_of<'py>(&self, hold: &Hold<'_>, receipt: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = receipt.py();
        let lines = hold.lines.iter().map(|line| self.line(py, line)).collect::<PyResult<Vec<_>>>()?;
        let fields = (hold.id, hold.version, hold.expire_time_ms, hold.reacquired, PyTuple::new(py, lines)?, receipt);
        self.hold.value(fields.into_pyobject(py)?)
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

/// A frozen dataclass with slots. Its own `__init__` finds the way to each slot anew, which takes longer than all the rest: a
/// value is made as its twin, which is not frozen, and becomes what it is to be.
struct Frozen {
    kind: Py<PyType>,
    twin: Py<PyAny>,
}

impl Frozen {
    fn of(kind: &Bound<'_, PyType>) -> PyResult<Self> {
        let py = kind.py();
        let named = (kind.name()?, kind.getattr(intern!(py, "__match_args__"))?);
        let slots = [("slots", true)].into_py_dict(py)?;
        let twin = py.import("dataclasses")?.getattr("make_dataclass")?.call(named, Some(&slots))?;
        Ok(Frozen { kind: kind.clone().unbind(), twin: twin.unbind() })
    }

    fn value<'py>(&self, fields: Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let py = fields.py();
        let made = self.twin.bind(py).call1(fields)?;
        made.setattr(intern!(py, "__class__"), &self.kind)?;
        Ok(made)
    }
}

/// Calls `see` with each field; `None` if the message is malformed or unusual, or if `see` returns `None`.
pub fn each_field<'a>(message: &'a [u8], mut see: impl FnMut(u8, Value<'a>) -> Option<()>) -> Option<()> {
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next_field()? {
        see(field, value)?;
    }
    Some(())
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

pub fn outcomes_in(answer: &[u8]) -> Option<Vec<&[u8]>> {
    let mut outcomes = Vec::with_capacity(1000);
    each_field(answer, |field, value| {
        match (field, value) {
            (1, Value::Bytes(outcome)) => outcomes.push(outcome),
            (2, Value::Number(_)) => {}
            _ => return None,
        }
        Some(())
    })?;
    Some(outcomes)
}

/// An outcome with one receipt, holds and nothing else; `None` for any other.
fn accepted(outcome: &[u8]) -> Option<Accepted<'_>> {
    let (mut receipt, mut holds) = (None, Vec::new());
    each_field(outcome, |field, value| {
        match (field, value) {
            (1, Value::Bytes(message)) if receipt.is_none() => receipt = Some(receipt_of(message)?),
            (2, Value::Bytes(message)) => holds.push(hold_of(message)?),
            _ => return None,
        }
        Some(())
    })?;
    Some(Accepted { receipt: receipt?, holds })
}

fn receipt_of(message: &[u8]) -> Option<Receipt> {
    let mut receipt = Receipt::default();
    each_field(message, |field, value| {
        match (field, value) {
            (1, Value::Number(number)) => receipt.sequence = number as i64,
            (2, Value::Number(number)) => receipt.durable_sequence = number as i64,
            (3, Value::Number(number)) => receipt.replayed = number != 0,
            _ => return None,
        }
        Some(())
    })?;
    Some(receipt)
}

fn hold_of(message: &[u8]) -> Option<Hold<'_>> {
    let mut hold = Hold::default();
    let mut expire_time_ms = None;
    each_field(message, |field, value| {
        match (field, value) {
            (1, Value::Bytes(text)) => hold.id = str::from_utf8(text).ok()?,
            (2, Value::Number(number)) => hold.version = number as i64,
            // Of a message that comes twice protobuf merges both.
            (3, Value::Bytes(time)) if expire_time_ms.is_none() => expire_time_ms = Some(milliseconds_of(time)?),
            (4, Value::Number(number)) => hold.reacquired = number != 0,
            (5, Value::Bytes(line)) => hold.lines.push(line_of(line)?),
            _ => return None,
        }
        Some(())
    })?;
    hold.expire_time_ms = expire_time_ms.unwrap_or_default();
    Some(hold)
}

fn line_of(message: &[u8]) -> Option<Line<'_>> {
    let mut line = Line::default();
    each_field(message, |field, value| {
        match (field, value) {
            (1, Value::Bytes(text)) => line.sku = str::from_utf8(text).ok()?,
            (2, Value::Bytes(text)) => line.location = str::from_utf8(text).ok()?,
            (3, Value::Number(number)) => line.quantity = number as i64,
            // An enum has 32 bits.
            (4, Value::Number(number)) => line.state = number as i32,
            (5, Value::Number(number)) => line.outstanding = number as i64,
            _ => return None,
        }
        Some(())
    })?;
    Some(line)
}

/// A Timestamp in milliseconds, rounded down.
fn milliseconds_of(message: &[u8]) -> Option<i64> {
    let (mut seconds, mut nanos) = (0, 0);
    each_field(message, |field, value| {
        match (field, value) {
            (1, Value::Number(number)) => seconds = number as i64,
            (2, Value::Number(number)) => nanos = i64::from(number as i32),
            _ => return None,
        }
        Some(())
    })?;
    seconds.checked_mul(1000)?.checked_add(nanos.div_euclid(1_000_000))
}
