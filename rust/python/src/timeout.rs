//! How long a caller is ready to wait: the same bound as in the client.

use std::time::{Duration, Instant};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

/// The longest timeout, 365 days; also the longest wait of a call without a deadline.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
const TIMEOUT_MS_MAX: u64 = 365 * 24 * 3_600_000;

/// A timeout in milliseconds, from 0 to 365 days. A longer one is refused rather than shortened.
#[derive(Clone, Copy)]
pub struct TimeoutMs(u64);

impl TimeoutMs {
    /// No time.
    pub const NONE: TimeoutMs = TimeoutMs(0);

    /// Whether it is 0.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// When it ends if it begins now.
    pub fn end(self) -> Instant {
        Instant::now() + self.duration()
    }

    /// Its length.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<'py> FromPyObject<'_, 'py> for TimeoutMs {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let rule = || format!("a whole number of milliseconds, 0 to {TIMEOUT_MS_MAX} (365 days); got {:?}", &*given);
        // A bool is an int to Python.
        if given.is_instance_of::<PyBool>() || !given.hasattr("__index__")? {
            return Err(PyTypeError::new_err(rule()));
        }
        match given.extract::<u64>() {
            Ok(timeout_ms) if timeout_ms <= TIMEOUT_MS_MAX => Ok(TimeoutMs(timeout_ms)),
            _ => Err(PyValueError::new_err(format!("a timeout is {}", rule()))),
        }
    }
}
