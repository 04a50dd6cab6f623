//! Optimizations, one pass a file, graph to graph.
//!
//! What enters: a graph without `Grad`. What leaves: a graph with the same outputs and updates that takes less work. Invariant: an
//! optimized graph is equal to the first in real numbers; in f32 it may round otherwise where a pass says so (`simplify`,
//! `hoist`, `join`, `terms`
//! and `regroup`). Each pass leaves a graph that verifies, and nothing in it that a second run of the same pass alone would change
//! back. Not here: what is computed together, in which order, and where it lies (`plan`).
//!
//! The list is run over and over until nothing changes, for what one pass does makes room for another: a hoisted
//! scalar is folded, a folded condition makes a branch dead. Before that, equal nodes become one and dead ones go: gradients
//! are written down with many of both, and a pass over half of the nodes takes half of the time.

mod contract;
mod cse;
mod dce;
mod fold;
mod hoist;
mod join;
mod pick;
mod precision;
mod reduce;
mod regroup;
mod scan;
mod simplify;
mod terms;
mod views;
mod window;

#[cfg(test)]
mod tests;

use crate::base::stopwatch::timed;
use crate::base::{Precision, TensorType};
use crate::graph::{Graph, Kind, NodeId, Op};
use crate::scalar::Func;

/// What a pass is; it says whether it changed the graph.
pub type Pass = fn(&mut Graph) -> bool;

/// All passes by name, in the order in which they run.
pub const PIPELINE: &[(&str, Pass)] = &[
    ("views", views::run),
    ("fold", fold::run),
    ("simplify", simplify::run),
    ("hoist", hoist::run),
    ("terms", terms::run),
    ("join", join::run),
    ("pick", pick::run),
    ("reduce", reduce::run),
    ("contract", contract::run),
    ("regroup", regroup::run),
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
    let mut graph = begin(graph);
    let mut n_unchanged = 0;
    for (name, pass) in PIPELINE.iter().cycle().take(ROUNDS * PIPELINE.len()) {
        let is_changed = timed(name, || pass(&mut graph));
        n_unchanged = if is_changed { 0 } else { n_unchanged + 1 };
        if n_unchanged == PIPELINE.len() {
            break;
        }
    }
    graph
}

/// What every pipeline begins with.
fn begin(graph: &Graph) -> Graph {
    timed("begin", || {
        let mut graph = graph.clone();
        cse::run(&mut graph);
        dce::run(&mut graph);
        graph
    })
}

/// Runs all passes for a program of that precision; below f32, what is rounded then stands in the graph.
pub fn optimize_in(precision: Precision, graph: &Graph) -> Graph {
    match precision {
        Precision::F32 | Precision::Tf32 => optimize(graph),
        Precision::Bf16 => optimize(&precision::run(&optimize(graph))),
    }
}

/// The graph after the first run of the pass of that name, as `gradc dump --after NAME` shows it.
pub fn optimize_until(graph: &Graph, name: &str) -> Option<Graph> {
    let last = PIPELINE.iter().position(|(other, _)| *other == name)?;
    let mut graph = begin(graph);
    PIPELINE[..=last].iter().for_each(|(_, pass)| {
        pass(&mut graph);
    });
    Some(graph)
}

/// The new graph in the place of the old one; whether it is another.
fn put(graph: &mut Graph, new: Graph) -> bool {
    let is_changed = new != *graph;
    *graph = new;
    is_changed
}

/// The number that every element of a node is, if that is known.
fn known(graph: &Graph, id: NodeId) -> Option<f64> {
    let node = graph.node(id);
    match (node.kind(), &node.operands[..]) {
        (Kind::Broadcast, [repeated]) => known(graph, *repeated),
        (Kind::Const, _) => match node.op {
            Op::Const(value) => Some(value),
            _ => unreachable!("its kind is that of a number"),
        },
        _ => None,
    }
}

/// That number everywhere, in the type of `like`.
fn filled(graph: &mut Graph, value: f64, like: &TensorType) -> NodeId {
    let constant = graph.constant(value, like.dtype);
    graph.broadcast(constant, &[], like.shape.clone()).expect("a scalar stretches to any shape")
}

fn map(graph: &mut Graph, func: Func, operands: &[NodeId]) -> NodeId {
    graph.map(func, operands).expect("operands of one shape and of the function's types")
}

/// The factors of a product of products, and whether it is negative; nothing if there are more than `most`.
fn factors(graph: &Graph, id: NodeId, most: usize) -> Option<(Vec<NodeId>, bool)> {
    fn add(graph: &Graph, id: NodeId, most: usize, found: &mut Vec<NodeId>) -> Option<bool> {
        let node = graph.node(id);
        match node.kind() {
            Kind::Map(Func::Mul) => {
                let first = add(graph, node.operands[0], most, found)?;
                Some(first != add(graph, node.operands[1], most, found)?)
            }
            Kind::Map(Func::Neg) => Some(!add(graph, node.operands[0], most, found)?),
            _ => {
                found.push(id);
                (found.len() <= most).then_some(false)
            }
        }
    }
    let mut found = Vec::new();
    let is_negative = add(graph, id, most, &mut found)?;
    Some((found, is_negative))
}
