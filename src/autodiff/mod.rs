//! Symbolic reverse-mode differentiation, graph to graph.
//!
//! What enters: a graph in which `Grad(loss, x)` nodes stand where the model asked for gradients. What leaves: the same
//! graph with each of them replaced by ordinary nodes. Nodes are taken in order, so a `Grad` within the cone of
//! another loss is already replaced when that loss is swept: gradients of gradients need nothing more.
//!
//! One sweep serves all `Grad` nodes of one loss. It visits only nodes that lie between the loss and what is
//! differentiated by, from the loss down, each with its whole cotangent (the gradient of the loss by that node's
//! value, of that node's shape). What the loss does not depend on has gradient zero. Integers and bools carry no
//! cotangent. The rules stand in `rules.rs`, a function a family. Not here: what a gradient is used for.

mod rules;
#[cfg(test)]
mod tests;

use crate::base::DType;
use crate::graph::rewrite::Rewriter;
use crate::graph::{Graph, NodeId, Op};
use crate::scalar::Func;
use std::collections::HashMap;

/// The graph without `Grad`.
pub fn differentiate(graph: &Graph) -> Graph {
    let mut wanted: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
    for id in graph.ids().filter(|id| graph.node(*id).op == Op::Grad) {
        let operands = &graph.node(id).operands;
        wanted.entry(operands[0]).or_default().push(operands[1]);
    }
    let mut rewriter = Rewriter::new(graph);
    // Old loss and old target to the gradient in the new graph.
    let mut swept: HashMap<(NodeId, NodeId), NodeId> = HashMap::new();
    for id in graph.ids() {
        rewriter.enter(id);
        if graph.node(id).op != Op::Grad {
            rewriter.copy(id);
            continue;
        }
        let (loss, target) = (graph.node(id).operands[0], graph.node(id).operands[1]);
        if !swept.contains_key(&(loss, target)) {
            // A target after the loss is not part of it, and one that comes after this node has no image yet.
            let targets: Vec<NodeId> = wanted[&loss].iter().copied().filter(|t| *t < id).collect();
            let images: Vec<NodeId> = targets.iter().map(|t| image(&rewriter, *t)).collect();
            let loss_image = image(&rewriter, loss);
            let gradients = sweep(&mut rewriter.new, loss_image, &images);
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

/// The gradients of the scalar `loss` by each of `targets`.
fn sweep(graph: &mut Graph, loss: NodeId, targets: &[NodeId]) -> Vec<NodeId> {
    let between = between(graph, loss, targets);
    let cotangents = vec![None; between.len()];
    let mut cx = Sweep { graph, between, cotangents };
    if cx.needs(loss) {
        let one = cx.graph.constant(1.0, DType::F32);
        cx.add(loss, one);
    }
    for index in (0..=loss.index()).rev() {
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

/// The nodes through which the loss depends on a target by way of floats.
fn between(graph: &Graph, loss: NodeId, targets: &[NodeId]) -> Vec<bool> {
    let n = loss.index() + 1;
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
    needed[n - 1] = true;
    for index in (0..n).rev().filter(|i| depends[*i]) {
        if needed[index] {
            for operand in rules::differentiable(graph.node(NodeId(index as u32))) {
                needed[operand.index()] = true;
            }
        }
    }
    depends.into_iter().zip(needed).map(|(d, n)| d && n).collect()
}
