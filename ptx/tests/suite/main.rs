//! Kernels that NVRTC compiled, run by the interpreter and held to plain Rust; and every fault by its message.
//!
//! The sources stand in `tests/cuda`, the PTX in `tests/golden` (`tests/make_ptx.py` makes it).

// Formulas on bits stand as in the manual.
#![allow(clippy::precedence)]

mod arithmetic;
mod atomics;
mod control;
mod faults;
mod halves;
mod helpers;
mod maps;
mod products;
mod rows;
mod statistics;
mod syntax;
