//! invengine._core
