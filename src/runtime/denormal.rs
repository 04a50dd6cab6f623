//! Numbers too small for a full mantissa count as 0 while a step runs.
//!
//! What enters: nothing. What leaves: a guard, for whose life this thread's f32 arithmetic reads and writes denormal numbers (below
//! 2^-126) as 0. They come up by themselves when a network has learnt its data, for gradients fade away, and a CPU may take a
//! hundred cycles for each. Invariant: the thread's mode is as before when the guard is gone. On CPUs other than x86-64 and
//! aarch64 it does nothing.

/// See the module's documentation.
pub struct Flushed {
    before: Mode,
}

impl Flushed {
    pub fn begin() -> Flushed {
        let before = mode();
        set_mode(flushing(before));
        Flushed { before }
    }
}

impl Drop for Flushed {
    fn drop(&mut self) {
        set_mode(self.before);
    }
}

#[cfg(target_arch = "x86_64")]
type Mode = u32;

/// MXCSR with flush-to-zero (bit 15) and denormals-are-zero (bit 6).
#[cfg(target_arch = "x86_64")]
fn flushing(mode: Mode) -> Mode {
    mode | 1 << 15 | 1 << 6
}

#[cfg(target_arch = "x86_64")]
fn mode() -> Mode {
    let mut mode = 0u32;
    // SAFETY: every x86-64 CPU has the register; the instruction writes four bytes.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mode, options(nostack, preserves_flags)) };
    mode
}

#[cfg(target_arch = "x86_64")]
fn set_mode(mode: Mode) {
    // SAFETY: `mode` is what the register held, or that with two defined bits set. Rust code on this thread meanwhile is
    // the walk over tiles, which has no f32 arithmetic of its own.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, preserves_flags)) };
}

#[cfg(target_arch = "aarch64")]
type Mode = u64;

/// FPCR with FZ (bit 24).
#[cfg(target_arch = "aarch64")]
fn flushing(mode: Mode) -> Mode {
    mode | 1 << 24
}

#[cfg(target_arch = "aarch64")]
fn mode() -> Mode {
    let mode: u64;
    // SAFETY: every aarch64 CPU has the register.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) mode, options(nomem, nostack, preserves_flags)) };
    mode
}

#[cfg(target_arch = "aarch64")]
fn set_mode(mode: Mode) {
    // SAFETY: `mode` is what the register held, or that with one defined bit set. Rust code on this thread meanwhile is
    // the walk over tiles, which has no f32 arithmetic of its own.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) mode, options(nomem, nostack, preserves_flags)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Mode = ();

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn flushing(_: Mode) -> Mode {}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn mode() -> Mode {}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn set_mode(_: Mode) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn denormal_numbers_are_zero_under_the_guard_only() {
        let small = || black_box(f32::MIN_POSITIVE) * black_box(0.5) * black_box(2.0);
        assert_eq!(small(), f32::MIN_POSITIVE);
        let guard = Flushed::begin();
        let flushed = small();
        drop(guard);
        let expected =
            if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) { 0.0 } else { f32::MIN_POSITIVE };
        assert_eq!(flushed, expected);
        assert_eq!(small(), f32::MIN_POSITIVE);
    }
}
