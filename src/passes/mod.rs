//! Optimizations, one pass a file, graph to graph.
//!
//! What enters: a graph without `Grad`. What leaves: a graph with the same outputs and updates that takes less work. Invariant: an
//! optimized graph is equal to the first in real numbers; in f32 it may round otherwise where a pass says so (`simplify`
//! and `hoist`). Each pass leaves a graph that verifies, and nothing in it that a second run of the same pass alone would change
//! back. Not here: what is computed together, in which order, and where it lies (`plan`).
//!
//! The list is run over and over until nothing changes, for what one pass does makes room for another: a hoisted
//! scalar is folded, a folded condition makes a branch dead.

mod contract;
mod cse;
mod dce;
mod fold;
mod hoist;
mod reduce;
mod scan;
mod simplify;
mod views;
mod window;

#[cfg(test)]
mod tests;

use crate::graph::{Graph, Node, NodeId, Op, View};
use crate::scalar::Func;

/// What a pass is.
pub type Pass = fn(&Graph) -> Graph;

/// All passes by name, in the order in which they run.
pub const PIPELINE: &[(&str, Pass)] = &[
    ("views", views::run),
    ("fold", fold::run),
    ("simplify", simplify::run),
    ("hoist", hoist::run),
    ("reduce", reduce::run),
    ("contract", contract::run),
    ("window", window::run),
    ("scan", scan::run),
    ("cse", cse::run),
    ("dce", dce::run),
];

/// Rounds of the list at most. Every rewriting makes a graph smaller or moves something up for good, so real models need
/// three or four; the bound is for safety.
const ROUNDS: usize = 16;

/// Runs all passes until nothing changes.
pub fn optimize(graph: &Graph) -> Graph {
    let mut graph = dce::run(graph);
    for _ in 0..ROUNDS {
        let next = PIPELINE.iter().fold(graph.clone(), |graph, (_, pass)| pass(&graph));
        if graph == next {
            break;
        }
        graph = next;
    }
    graph
}

/// The graph after the first run of the pass of that name, as `gradc dump --after NAME` shows it.
pub fn optimize_until(graph: &Graph, name: &str) -> Option<Graph> {
    let last = PIPELINE.iter().position(|(other, _)| *other == name)?;
    Some(PIPELINE[..=last].iter().fold(dce::run(graph), |graph, (_, pass)| pass(&graph)))
}

/// The number that every element of a node is, if that is known.
fn known(graph: &Graph, id: NodeId) -> Option<f64> {
    let node = graph.node(id);
    match &node.op {
        Op::Const(value) => Some(*value),
        Op::View(View::Broadcast { .. }) => known(graph, node.operands[0]),
        _ => None,
    }
}

/// That number everywhere, in the type of `like`.
fn filled(graph: &mut Graph, value: f64, like: &Node) -> NodeId {
    let constant = graph.constant(value, like.ty.dtype);
    graph.broadcast(constant, &[], like.ty.shape.clone()).expect("a scalar stretches to any shape")
}

fn map(graph: &mut Graph, func: Func, operands: &[NodeId]) -> NodeId {
    graph.map(func, operands).expect("operands of one shape and of the function's types")
}
