//! From kernels to machine code.
//!
//! What enters: a plan's kernels. What leaves: functions that run one tile each. Invariant: they do what `nest::interpret`
//! does, within the error bounds of the scalar table. Not here: memory, threads, the order of launches.

pub mod cpu;
pub mod cuda;
#[cfg(test)]
mod oracle;
#[cfg(test)]
pub mod suite;
