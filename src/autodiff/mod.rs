//! Symbolic reverse-mode differentiation, graph to graph.
//!
//! What enters: a graph in which `Grad(loss, x)` nodes stand where the model asked for gradients. What leaves: the same
//! graph with each of them replaced by ordinary nodes. Nodes are taken in order, so a `Grad` within the cone of
//! another loss is already replaced when that loss is swept: gradients of gradients need nothing more.
//!
//! One sweep serves all `Grad` nodes of one loss. It visits only nodes that lie between the loss and what is
//! differentiated by, from the loss down, each with its whole cotangent (the gradient of the loss by that node's
//! value, of that node's shape). What the loss does not depend on has gradient zero. Integers and bools carry no
//! cotangent. The rules stand in `rules.rs`, a function a family; a model's own in its graph (`marks.rs`). Not here: what a gradient is used for.

mod marks;
mod rules;
mod scan;
#[cfg(test)]
mod tests;

use crate::base::{DType, Dim};
use crate::graph::rewrite::{Rewriter, Users};
use crate::graph::{Graph, NodeId, Op, Scan, View};
use crate::scalar::Func;
use std::cell::LazyCell;
use std::collections::HashMap;

/// The graph without `Grad`, and without what says how to differentiate.
pub fn differentiate(graph: &Graph) -> Graph {
    marks::settle(&replace_gradients(graph))
}

/// The graph without `Grad`.
fn replace_gradients(graph: &Graph) -> Graph {
    let mut wanted: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
    for id in graph.ids().filter(|id| graph.node(*id).op == Op::Grad) {
        let operands = &graph.node(id).operands;
        wanted.entry(operands[0]).or_default().push(operands[1]);
    }
    let users = LazyCell::new(|| Users::new(graph));
    let mut rewriter = Rewriter::new(graph);
    // Old loss and old target to the gradient in the new graph.
    let mut swept: HashMap<(NodeId, NodeId), NodeId> = HashMap::new();
    for id in graph.ids() {
        match &graph.node(id).op {
            Op::Grad => rewriter.enter(id),
            Op::Scan(scan) => {
                rewriter.enter(id);
                let body = replace_gradients(&scan.body);
                let scan = scan::traced(Scan { body, ..(**scan).clone() });
                let operands = rewriter.operands(id);
                let all = rewriter.new.apply_inferred(Op::Scan(Box::new(scan)), &operands);
                let all = all.expect("more yields, the same operands");
                // Traces come last, so parts of the results are where they were; all of them are now a part.
                let by_part = |user: &NodeId| matches!(graph.node(*user).op, Op::View(View::Slice { .. }));
                let is_root = graph.roots().any(|root| root == id);
                let image = if !is_root && users.of(id).iter().all(by_part) {
                    all
                } else {
                    let shape = graph.ty(id).shape.clone();
                    rewriter.new.slice(all, [Dim::from(0)], &[1], shape).expect("fewer elements")
                };
                rewriter.set(id, image);
                continue;
            }
            _ => {
                rewriter.copy(id);
                continue;
            }
        }
        let (loss, target) = (graph.node(id).operands[0], graph.node(id).operands[1]);
        if !swept.contains_key(&(loss, target)) {
            // A target after the loss is not part of it, and one that comes after this node has no image yet.
            let targets: Vec<NodeId> = wanted[&loss].iter().copied().filter(|t| *t < id).collect();
            let images: Vec<NodeId> = targets.iter().map(|t| image(&rewriter, *t)).collect();
            let loss_image = image(&rewriter, loss);
            let one = rewriter.new.constant(1.0, DType::F32);
            let gradients = sweep(&mut rewriter.new, &[(loss_image, one)], &images);
            swept.extend(targets.iter().map(|t| (loss, *t)).zip(gradients));
        }
        rewriter.set(id, swept[&(loss, target)]);
    }
    rewriter.finish()
}

fn image(rewriter: &Rewriter, id: NodeId) -> NodeId {
    rewriter.image(id).expect("operands come before their users")
}

/// One reverse sweep: what the rules see of it.
struct Sweep<'a> {
    graph: &'a mut Graph,
    /// Whether a node lies on a way from a target to the loss.
    between: Vec<bool>,
    cotangents: Vec<Option<NodeId>>,
}

impl Sweep<'_> {
    /// Whether a rule must give this operand a cotangent.
    fn needs(&self, operand: NodeId) -> bool {
        self.between[operand.index()]
    }

    /// Adds to a node's cotangent.
    fn add(&mut self, to: NodeId, cotangent: NodeId) {
        debug_assert_eq!(self.graph.ty(to), self.graph.ty(cotangent), "the cotangent of {to}");
        let sum = match self.cotangents[to.index()] {
            None => cotangent,
            Some(before) => {
                self.graph.map(Func::Add, &[before, cotangent]).expect("cotangents of one node agree")
            }
        };
        self.cotangents[to.index()] = Some(sum);
    }
}

/// The gradients by each of `targets` of what has the cotangents `seeds` (value, cotangent).
fn sweep(graph: &mut Graph, seeds: &[(NodeId, NodeId)], targets: &[NodeId]) -> Vec<NodeId> {
    let between = between(graph, seeds, targets);
    let n = between.len();
    let cotangents = vec![None; n];
    let mut cx = Sweep { graph, between, cotangents };
    for (value, cotangent) in seeds {
        if cx.needs(*value) {
            cx.add(*value, *cotangent);
        }
    }
    for index in (0..n).rev() {
        let id = NodeId(index as u32);
        let Some(cotangent) = cx.cotangents[index] else { continue };
        cx.graph.origin = cx.graph.node(id).origin.clone();
        rules::pull_back(&mut cx, id, cotangent);
    }
    let mut gradient = |target: &NodeId| match cx.cotangents.get(target.index()).copied().flatten() {
        Some(gradient) => gradient,
        None => {
            let ty = cx.graph.ty(*target).clone();
            cx.graph.full(0.0, &ty)
        }
    };
    targets.iter().map(&mut gradient).collect()
}

/// The nodes through which the seeds depend on a target by way of floats.
fn between(graph: &Graph, seeds: &[(NodeId, NodeId)], targets: &[NodeId]) -> Vec<bool> {
    let n = seeds.iter().map(|(value, _)| value.index() + 1).max().unwrap_or(0);
    let mut depends = vec![false; n];
    for target in targets.iter().filter(|t| t.index() < n) {
        depends[target.index()] = true;
    }
    for index in 0..n {
        let node = graph.node(NodeId(index as u32));
        let through = || rules::differentiable(node).any(|operand| depends[operand.index()]);
        depends[index] = depends[index] || (node.ty.dtype.is_float() && through());
    }
    let mut needed = vec![false; n];
    for (value, _) in seeds {
        needed[value.index()] = true;
    }
    for index in (0..n).rev().filter(|i| depends[*i]) {
        if needed[index] {
            for operand in rules::differentiable(graph.node(NodeId(index as u32))) {
                needed[operand.index()] = true;
            }
        }
    }
    depends.into_iter().zip(needed).map(|(d, n)| d && n).collect()
}
