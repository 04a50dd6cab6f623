//! Buffers, threads, running a compiled plan.
