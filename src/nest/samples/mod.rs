//! Small kernels for tests: what they are put together from, kernels by size, random nests, and a table of kernels with what they give.
//!
//! What enters: nothing. What leaves: kernels that the verifier accepts, for the interpreter's tests and for backends'.
//! Together they use each instruction, store and tile op. Not here: kernels of plans.

mod kernels;
mod parts;
mod random;
mod table;

pub use kernels::*;
pub use parts::*;
pub use random::*;
pub use table::*;
