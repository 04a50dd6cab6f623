//! Data, batches, the training loop, checkpoints, metrics.
//!
//! What enters: a checked and compiled model, and the data its train block names. What leaves: trained
//! parameters, metrics, a run folder. Invariant: everything a run computes is a function of (model, data, seed,
//! step), so a run that was stopped anywhere goes on to the same bits.
//! Not here: what a model means (`model`), how a step is executed (`runtime`), what a person sees (`cli`).

pub mod accelerated;
pub mod aggregate;
pub mod batches;
pub mod checkpoint;
pub mod compiled;
pub mod data;
pub mod engine;
pub mod examples;
pub mod folder;
pub mod generate;
pub mod gradcheck;
pub mod init;
pub mod interpreted;
mod philox;
pub mod planned;
pub mod run;
#[cfg(test)]
mod small;
pub mod weights;
