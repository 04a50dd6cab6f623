//! A model's plans, without machine code: what a step will do and take.
//!
//! What enters: a graph as the checker made it. What leaves: its plan, for a greatest batch.

use super::engine::{Program, graph};
use crate::base::Precision;
use crate::base::stopwatch::timed;
use crate::graph::Graph;
use crate::model::Model;
use crate::plan::{Plan, Target, bytes, group_digits};
use crate::{autodiff, passes, plan};

/// What a run of a program over one batch takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    pub peak_bytes: u64,
    /// Floating-point operations of a full batch.
    pub flops: u64,
}

/// The CPU's plan of a program that takes at most `limit` bytes with so many threads; its results are those of `plan_of`, bit for bit.
///
/// # Errors
/// There is none, in words for the user.
pub fn plan_within(
    model: &Model,
    program: Program,
    limit: Option<u64>,
    n_threads: usize,
) -> Result<Plan, String> {
    let Some(limit) = limit else { return Ok(plan_of(model, program, Target::Cpu)) };
    let graph = optimized(graph(model, program), model.settings.precision);
    let options = options(model.settings.batch, Target::Cpu);
    let found = timed("plan", || plan::plan_within(&graph, &options, limit, n_threads));
    found.map_err(|plan::Exceeds { least }| {
        format!(
            "a step cannot be made to take {} or less: the least that is known takes {}, which is {} bytes more; a \
             smaller batch, fewer threads or `--precision bf16` take less",
            bytes(limit),
            bytes(least),
            group_digits(least - limit),
        )
    })
}

/// Differentiates, optimizes and plans a program for the model's batch.
pub fn plan_of(model: &Model, program: Program, target: Target) -> Plan {
    plan_graph(graph(model, program), model.settings.batch, model.settings.precision, target)
}

/// The same for any graph whose only free size is `batch`.
pub fn plan_graph(graph: &Graph, batch: u64, precision: Precision, target: Target) -> Plan {
    let graph = optimized(graph, precision);
    let plan = timed("plan", || plan::plan(&graph, &options(batch, target)));
    Plan { allows_tf32: precision == Precision::Tf32, ..plan }
}

fn optimized(graph: &Graph, precision: Precision) -> Graph {
    let graph = timed("differentiate", || autodiff::differentiate(graph));
    timed("optimize", || passes::optimize_in(precision, &graph))
}

fn options(batch: u64, target: Target) -> plan::Options {
    plan::Options::new(batch.max(1) as i64, target)
}
