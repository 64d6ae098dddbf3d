//! Functions for benchmarks and simulations: the load generator, the bare listener, probes. JSON in, JSON out.

use std::net::{Ipv4Addr, SocketAddr};

use invengine_load::{LoadError, bench_ledger_json, probe_sync_json, run_json, serve_bare, until_input_ends};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

#[pyfunction]
fn bench_ledger(py: Python<'_>, operations: u64, levels: u32, run: &str) -> PyResult<String> {
    py.detach(|| bench_ledger_json(operations, levels, run)).map_err(error_of)
}

#[pyfunction]
fn load_run(py: Python<'_>, spec: &str) -> PyResult<String> {
    py.detach(|| run_json(spec)).map_err(error_of)
}

#[pyfunction]
fn load_bare(py: Python<'_>, core: usize) -> PyResult<()> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Rust's own stdout, which is flushed at the end of each line.
    let ready = |address: SocketAddr| println!("{address}");
    py.detach(|| serve_bare(any_port, Some(core), ready, until_input_ends())).map_err(error_of)
}

#[pyfunction]
fn load_probe_sync(py: Python<'_>, spec: &str) -> PyResult<String> {
    py.detach(|| probe_sync_json(spec)).map_err(error_of)
}

fn error_of(error: LoadError) -> PyErr {
    match error {
        LoadError::Connection(error) => PyOSError::new_err(error.to_string()),
        other => PyValueError::new_err(other.to_string()),
    }
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(bench_ledger, module)?)?;
    module.add_function(wrap_pyfunction!(load_run, module)?)?;
    module.add_function(wrap_pyfunction!(load_bare, module)?)?;
    module.add_function(wrap_pyfunction!(load_probe_sync, module)?)
}
