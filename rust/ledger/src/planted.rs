//! Deliberate bugs that test the tests: the suite must find each of them. `tools/mutants.py` lists and tries them.
//!
//! Only with the feature `planted`; without it [`is`] is false at compile time.

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
