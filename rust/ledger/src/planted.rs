//! Bugs on purpose, for the test of the tests: each must be found by the suite. `tools/mutants.py` lists and tries them.
//!
//! Only with the feature `planted`; without it every question is answered no where it is compiled.

/// Whether this bug is the one that INVENGINE_PLANTED names.
#[cfg(feature = "planted")]
pub fn is(bug: &str) -> bool {
    static CHOSEN: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("INVENGINE_PLANTED").unwrap_or_default());
    *CHOSEN == bug
}

/// No bug is planted.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(_bug: &str) -> bool {
    false
}
