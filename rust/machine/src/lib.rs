//! Facts about this machine that the kernel reports and no safe library exposes. Reads only; changes nothing.
//!
//! The only crate with unsafe code: each use is one call of the C library, with its justification beside it.
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

/// Whether the wall clock is synchronised; `None` if the kernel does not report it.
#[cfg(target_os = "linux")]
pub fn clock_is_synchronised() -> Option<bool> {
    let mut state = std::mem::MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `timex` is integers only, for which zeros are values; with no modes set the call only fills it.
    let (answer, status) = unsafe {
        let answer = libc::adjtimex(state.as_mut_ptr());
        (answer, state.assume_init().status)
    };
    (answer >= 0).then_some(answer != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0)
}

/// Whether the wall clock is synchronised; `None` if the kernel does not report it.
#[cfg(not(target_os = "linux"))]
pub fn clock_is_synchronised() -> Option<bool> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_reports_the_same_twice() {
        assert_eq!(super::clock_is_synchronised(), super::clock_is_synchronised());
    }
}
