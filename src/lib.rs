//! gradc: a compiler for neural networks.

pub mod base;
pub mod graph;
pub mod model;
pub mod nest;
pub mod plan;
pub mod scalar;
