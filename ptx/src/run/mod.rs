//! Running a kernel: warps, blocks, launches.

mod access;
mod block;
mod execute;
pub mod launch;
mod machine;
mod matrix;
pub mod stats;
mod together;
mod traffic;
mod warp;
