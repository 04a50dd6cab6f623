//! Running a compiled plan on an NVIDIA GPU.
//!
//! What enters: plans, variables' values, batches of inputs. What leaves: outputs, and variables that
//! changed. All that is known of the machine stands behind `Device`, so that whole training runs are tested
//! without one. Invariants: those of `session.rs`. Not here: what kernels do (`codegen::cuda`).

mod blas;
mod cooperative;
mod device;
mod driver;
mod handles;
#[cfg(test)]
pub mod mock;
mod peaks;
mod phase;
mod program;
mod session;
#[cfg(test)]
mod tests;
mod tune;

pub use device::{Device, DeviceError};
pub use driver::Driver;
pub use session::{ProgramId, Session};
pub use tune::Timed;
