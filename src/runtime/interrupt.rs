//! Ctrl-C: the first asks the program to finish in order; the second ends it at once.
//!
//! What enters: SIGINT and SIGTERM. What leaves: a flag. The handler only sets it and puts the default action
//! back, both of which are allowed in a handler.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// True after the first interrupt.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// From here on, interrupts are caught.
#[cfg(unix)]
pub fn catch() {
    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;
    for number in [SIGINT, SIGTERM] {
        // SAFETY: `on_signal` has the signature that signal(2) wants and calls async-signal-safe functions only.
        unsafe { signal(number, on_signal as *const () as usize) };
    }
}

/// From here on, interrupts are caught.
#[cfg(not(unix))]
pub fn catch() {}

#[cfg(unix)]
unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
}

#[cfg(unix)]
extern "C" fn on_signal(number: i32) {
    const DEFAULT_ACTION: usize = 0;
    ASKED.store(true, Ordering::Relaxed);
    // SAFETY: signal(2) is async-signal-safe.
    unsafe { signal(number, DEFAULT_ACTION) };
}
