//! The CUDA backend: kernels become CUDA C, which NVRTC compiles.

pub mod cache;
pub mod folders;
pub mod nvrtc;
