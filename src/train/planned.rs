//! A model's plans, without machine code: what a step will do and take.
//!
//! What enters: a graph as the checker made it. What leaves: its plan, for a greatest batch.

use super::engine::{Program, graph};
use crate::base::Precision;
use crate::base::stopwatch::timed;
use crate::graph::Graph;
use crate::model::Model;
use crate::plan::{Plan, Target};
use crate::{autodiff, passes, plan};

/// What a run of a program over one batch takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    pub peak_bytes: u64,
    /// Floating-point operations of a full batch.
    pub flops: u64,
}

/// Differentiates, optimizes and plans a program for the model's batch.
pub fn plan_of(model: &Model, program: Program, target: Target) -> Plan {
    plan_graph(graph(model, program), model.settings.batch, model.settings.precision, target)
}

/// The same for any graph whose only free size is `batch`.
pub fn plan_graph(graph: &Graph, batch: u64, precision: Precision, target: Target) -> Plan {
    let graph = timed("differentiate", || autodiff::differentiate(graph));
    let graph = timed("optimize", || passes::optimize_in(precision, &graph));
    timed("plan", || plan::plan(&graph, &plan::Options::new(batch.max(1) as i64, target)))
}
