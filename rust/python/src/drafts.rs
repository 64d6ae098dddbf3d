//! One Reserve as a command of a batch, from its arguments.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::wire::{put_bytes, put_int, put_text};

/// The texts of a CommandContext by their field numbers, which are in the order of their encoding.
const TEXTS: [(u32, &str); 7] = [
    (3, "channel"),
    (5, "order_ref"),
    (6, "holder"),
    (8, "actor"),
    (9, "reason_code"),
    (10, "reference"),
    (11, "causation"),
];

/// A serialized SubmitRequest with one Reserve: the bytes that protobuf would write.
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
    let (mut scratch, mut request) = (Vec::with_capacity(256), Vec::with_capacity(256));
    put_text(&mut scratch, 1, key);
    put_time(&mut scratch, 2, (now_ns / 1_000_000_000) as i64, (now_ns % 1_000_000_000) as i64);
    put_texts(&mut scratch, fields, channel, actor)?;
    put_int(&mut scratch, 12, i64::from(remember_refusal));
    put_bytes(&mut request, 1, &scratch);
    for line in lines {
        let line = line.cast::<PyTuple>()?;
        scratch.clear();
        put_text(&mut scratch, 1, line.get_item(0)?.cast::<PyString>()?.to_str()?);
        put_text(&mut scratch, 2, line.get_item(1)?.cast::<PyString>()?.to_str()?);
        put_int(&mut scratch, 4, line.get_item(2)?.extract()?);
        put_bytes(&mut request, 2, &scratch);
    }
    if let Some((seconds, nanos)) = ttl {
        put_time(&mut request, 3, seconds, nanos);
    }
    put_int(&mut request, 4, i64::from(flags.0));
    put_int(&mut request, 5, i64::from(flags.1));
    scratch.clear();
    put_bytes(&mut scratch, 1, &request);
    request.clear();
    put_bytes(&mut request, 1, &scratch);
    Ok(PyBytes::new(py, &request))
}

fn put_texts(out: &mut Vec<u8>, fields: &Bound<'_, PyDict>, channel: &str, actor: &str) -> PyResult<()> {
    let given = !fields.is_empty();
    for (number, name) in TEXTS {
        let own = if given { fields.get_item(name)? } else { None };
        match own {
            Some(text) => put_text(out, number, text.cast::<PyString>()?.to_str()?),
            None if name == "channel" => put_text(out, number, channel),
            None if name == "actor" => put_text(out, number, actor),
            None => {}
        }
    }
    Ok(())
}

/// A Timestamp or a Duration.
fn put_time(out: &mut Vec<u8>, field: u32, seconds: i64, nanos: i64) {
    let mut time = Vec::with_capacity(16);
    put_int(&mut time, 1, seconds);
    put_int(&mut time, 2, nanos);
    put_bytes(out, field, &time);
}
