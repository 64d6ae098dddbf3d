//! One Reserve, and the context that many share, from their arguments.

use invengine_node::translate::fields::{begin_message, end_message, put_message, put_number, put_text};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

/// The texts of a CommandContext by their field numbers, which are in the order of their encoding.
const TEXTS: [(u8, &str); 7] = [
    (3, "channel"),
    (5, "order_ref"),
    (6, "holder"),
    (8, "actor"),
    (9, "reason_code"),
    (10, "reference"),
    (11, "causation"),
];

/// A serialized ReserveRequest: the bytes that protobuf would write.
///
/// `lines` are (sku, location, quantity); `ttl` is (seconds, nanoseconds). `fields` has the texts of its context by name;
/// `channel` and `actor` stand in for those that it does not have.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "those of a reserve, named in the stub")]
pub fn encode_reserve<'py>(
    py: Python<'py>,
    lines: &Bound<'py, PyTuple>,
    ttl: Option<(i64, i64)>,
    flags: (bool, bool),
    fields: &Bound<'py, PyDict>,
    key: &str,
    remember_refusal: bool,
    now_ns: u64,
    channel: &str,
    actor: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = Vec::with_capacity(256);
    let context = begin_message(&mut out, 1);
    put_text(&mut out, 1, key.as_bytes());
    put_context(&mut out, fields, remember_refusal, now_ns, channel, actor)?;
    end_message(&mut out, context);
    for line in lines {
        let fields = line.cast::<PyTuple>()?;
        let line = begin_message(&mut out, 2);
        put_text(&mut out, 1, fields.get_item(0)?.cast::<PyString>()?.to_str()?.as_bytes());
        put_text(&mut out, 2, fields.get_item(1)?.cast::<PyString>()?.to_str()?.as_bytes());
        put_number(&mut out, 4, fields.get_item(2)?.extract()?);
        end_message(&mut out, line);
    }
    if let Some((seconds, nanos)) = ttl {
        put_time(&mut out, 3, seconds, nanos);
    }
    put_number(&mut out, 4, i64::from(flags.0));
    put_number(&mut out, 5, i64::from(flags.1));
    Ok(PyBytes::new(py, &out))
}

/// A serialized CommandContext without a key: the bytes that protobuf would write. The arguments are those of a reserve.
#[pyfunction]
pub fn encode_context<'py>(
    py: Python<'py>,
    fields: &Bound<'py, PyDict>,
    remember_refusal: bool,
    now_ns: u64,
    channel: &str,
    actor: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = Vec::with_capacity(128);
    put_context(&mut out, fields, remember_refusal, now_ns, channel, actor)?;
    Ok(PyBytes::new(py, &out))
}

fn put_context(
    out: &mut Vec<u8>,
    fields: &Bound<'_, PyDict>,
    remember_refusal: bool,
    now_ns: u64,
    channel: &str,
    actor: &str,
) -> PyResult<()> {
    put_time(out, 2, (now_ns / 1_000_000_000) as i64, (now_ns % 1_000_000_000) as i64);
    let given = !fields.is_empty();
    for (number, name) in TEXTS {
        let own = if given { fields.get_item(name)? } else { None };
        match own {
            Some(text) => put_text(out, number, text.cast::<PyString>()?.to_str()?.as_bytes()),
            None if name == "channel" => put_text(out, number, channel.as_bytes()),
            None if name == "actor" => put_text(out, number, actor.as_bytes()),
            None => {}
        }
    }
    put_number(out, 12, i64::from(remember_refusal));
    Ok(())
}

/// A Timestamp or a Duration.
pub fn put_time(out: &mut Vec<u8>, field: u8, seconds: i64, nanos: i64) {
    put_message(out, field, |time| {
        put_number(time, 1, seconds);
        put_number(time, 2, nanos);
    });
}
