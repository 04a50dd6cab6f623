//! The process's heap: memory that was freed is kept for what comes next.
//!
//! A compilation makes and drops graph after graph. The C library gives large pieces, and the heap's end, back to the system as soon
//! as they are free, and the system zeroes each page before it gives it again.
//! What enters: nothing. What leaves: nothing but time. Not here: what a step works on, whose memory is reserved once (`buffer`).

/// To be called once, when a process begins that will compile.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Bytes at the heap's end that are kept; pieces above which memory is the system's at once; what the heap grows by.
        const SETTINGS: [(i32, i32); 3] = [
            (libc::M_TRIM_THRESHOLD, 1 << 28),
            (libc::M_MMAP_THRESHOLD, 1 << 25),
            (libc::M_TOP_PAD, 1 << 24),
        ];
        for (parameter, value) in SETTINGS {
            // SAFETY: a setting of the allocator, of the kind that it documents; one that it does not know it refuses.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}
