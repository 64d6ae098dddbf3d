//! `invengine._core`: the engine in a Python process. Bytes in, bytes out; calls that wait release the interpreter's
//! lock.
//!
//! The reference of this interface is `python/invengine/_core.pyi`; stubtest proves that both agree.

mod answers;
mod callbacks;
mod columns;
mod door;
mod drafts;
mod engine;
mod load;
mod timeout;

use std::path::PathBuf;

use invengine_node::engine::EngineSettings;
use invengine_node::journal::JournalError;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use serde_json::to_string;

pyo3::create_exception!(_core, CallError, PyException, "A refusal: (gRPC code, serialized google.rpc.Status).");
pyo3::create_exception!(_core, EngineClosed, PyException, "The engine was closed, or this process is a fork.");
pyo3::create_exception!(_core, EngineFault, PyException, "The journal cannot be opened or written.");

/// Version of the extension.
#[pyfunction]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Folds a journal again and reports what it found, as a JSON object.
#[pyfunction]
#[pyo3(signature = (directory, at_sequence))]
fn verify(py: Python<'_>, directory: PathBuf, at_sequence: Option<u64>) -> PyResult<String> {
    report(py.detach(|| invengine_node::verify::verify(&directory, at_sequence).map(|found| to_string(&found))))
}

/// Folds the journal of an engine with these settings, as `verify` does.
#[pyfunction]
#[pyo3(signature = (settings, at_sequence))]
fn verify_journal(py: Python<'_>, settings: &str, at_sequence: Option<u64>) -> PyResult<String> {
    let settings = engine_settings(settings)?;
    report(py.detach(|| invengine_node::verify::verify_for(&settings, at_sequence).map(|found| to_string(&found))))
}

/// Copies what is durable in the journal of these settings into a backup, and reports it as a JSON object.
#[pyfunction]
#[pyo3(signature = (settings, backup, archive))]
fn create_backup(py: Python<'_>, settings: &str, backup: PathBuf, archive: bool) -> PyResult<String> {
    let settings = engine_settings(settings)?;
    report(py.detach(|| invengine_node::backup::create_for(&settings, &backup, archive).map(|found| to_string(&found))))
}

/// Restores a backup to where an engine with these settings will find it, and reports it as a JSON object.
#[pyfunction]
#[pyo3(signature = (backup, settings, writer_epoch_min))]
fn restore_backup(py: Python<'_>, backup: PathBuf, settings: &str, writer_epoch_min: u64) -> PyResult<String> {
    let settings = engine_settings(settings)?;
    report(py.detach(|| {
        invengine_node::backup::restore_for(&backup, &settings, writer_epoch_min).map(|found| to_string(&found))
    }))
}

fn engine_settings(json: &str) -> PyResult<EngineSettings> {
    EngineSettings::from_json(json).map_err(EngineFault::new_err)
}

/// A report as JSON, or an EngineFault.
fn report(found: Result<serde_json::Result<String>, JournalError>) -> PyResult<String> {
    let json = found.map_err(|error| EngineFault::new_err(error.to_string()))?;
    json.map_err(|error| EngineFault::new_err(error.to_string()))
}

/// Checks the environment that an engine with these settings would have, and reports it as a JSON object.
#[pyfunction]
fn examine(py: Python<'_>, settings: &str) -> PyResult<String> {
    let settings = engine_settings(settings)?;
    let found = py.detach(|| invengine_node::preflight::preflight(&settings));
    serde_json::to_string(&found).map_err(|error| EngineFault::new_err(error.to_string()))
}

/// The engine in this process.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("CallError", py.get_type::<CallError>())?;
    module.add("EngineClosed", py.get_type::<EngineClosed>())?;
    module.add("EngineFault", py.get_type::<EngineFault>())?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<door::Door>()?;
    module.add_class::<answers::OutcomeReader>()?;
    module.add_function(wrap_pyfunction!(version, module)?)?;
    module.add_function(wrap_pyfunction!(verify, module)?)?;
    module.add_function(wrap_pyfunction!(verify_journal, module)?)?;
    module.add_function(wrap_pyfunction!(create_backup, module)?)?;
    module.add_function(wrap_pyfunction!(restore_backup, module)?)?;
    module.add_function(wrap_pyfunction!(examine, module)?)?;
    module.add_function(wrap_pyfunction!(drafts::encode_reserve, module)?)?;
    module.add_function(wrap_pyfunction!(drafts::encode_context, module)?)?;
    module.add_function(wrap_pyfunction!(columns::encode_reserves, module)?)?;
    module.add_function(wrap_pyfunction!(columns::decode_accepted, module)?)?;
    module.add_function(wrap_pyfunction!(columns::decode_outcomes, module)?)?;
    load::register(module)
}
