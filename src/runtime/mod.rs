//! Buffers, threads, running a compiled plan.

pub mod interrupt;
pub mod probe;
