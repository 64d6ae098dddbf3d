//! The Door class: the native listener of an engine.

use std::sync::Arc;

use invengine_node::door::{Door as Inner, DoorSettings};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::engine::Engine;
use crate::timeout::TimeoutMs;

/// The native gRPC listener of an engine.
#[pyclass(frozen, module = "invengine._core")]
pub struct Door {
    inner: Inner,
}

#[pymethods]
impl Door {
    #[staticmethod]
    fn serve(py: Python<'_>, engine: &Engine, address: &str, settings: &str) -> PyResult<Self> {
        let settings: DoorSettings =
            serde_json::from_str(settings).map_err(|error| PyValueError::new_err(format!("door settings: {error}")))?;
        let engine = Arc::clone(engine.open_inner()?);
        let inner = py.detach(|| Inner::serve(engine, address, settings));
        Ok(Door { inner: inner.map_err(|error| PyOSError::new_err(error.to_string()))? })
    }

    #[getter]
    fn address(&self) -> String {
        self.inner.address().to_owned()
    }

    fn stats(&self) -> String {
        self.inner.stats()
    }

    fn drain(&self, py: Python<'_>, timeout_ms: TimeoutMs) {
        py.detach(|| self.inner.drain(timeout_ms.duration()));
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.inner.close());
    }
}
