//! gradc: a compiler for neural networks.

pub mod autodiff;
pub mod base;
pub mod cli;
pub mod codegen;
pub mod graph;
pub mod model;
pub mod nest;
pub mod passes;
pub mod plan;
pub mod runtime;
pub mod scalar;
pub mod train;
