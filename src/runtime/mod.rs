//! Buffers, threads, running a compiled plan.
//!
//! What enters: plans, variables' values, a batch of inputs. What leaves: outputs, and variables that changed. Invariants: a
//! steady step allocates nothing and takes no lock; its result does not depend on the number of threads.
//! Numbers below 2^-126 count as 0 (`denormal.rs`). Not here: where data comes from, what a step is for.

mod buffer;
pub mod cuda;
mod denormal;
mod executor;
pub mod heap;
pub mod interrupt;
mod memory;
pub mod peaks;
mod pool;
pub mod probe;
mod record;
mod schedule;
mod session;
mod team;
#[cfg(test)]
mod tests;

pub use crate::codegen::cpu::ticks::{Mark, What};
pub use crate::codegen::cpu::{StepEnv, Ticking};
pub use record::{Recording, Step};
pub use session::{ProgramId, RuntimeError, Session};
