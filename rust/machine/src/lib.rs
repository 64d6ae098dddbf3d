//! What the kernel says of this machine and no safe library asks. It reads and changes nothing.
//!
//! The only crate with unsafe code: a call of the C library each, with its reason beside it.
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

/// Whether something keeps the wall clock right; `None` if the kernel does not tell.
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

/// Whether something keeps the wall clock right; `None` if the kernel does not tell.
#[cfg(not(target_os = "linux"))]
pub fn clock_is_synchronised() -> Option<bool> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_says_the_same_twice() {
        assert_eq!(super::clock_is_synchronised(), super::clock_is_synchronised());
    }
}
