//! Marks that change how a value is differentiated: `Rule`, a reverse rule of its own, and `Recompute`, which keeps
//! nothing for the backward pass.
//!
//! What enters: a mark and its whole cotangent. What leaves: cotangents of what the mark is differentiated by. Both rules
//! copy a part of the graph with other nodes in the place of some: a rule's gradients with what their holes stand for, a
//! value's making with `After` nodes in the place of what it is made of, so that it begins no sooner than the cotangent is
//! there. The copies are ordinary nodes, so gradients of gradients need nothing more. Invariant: `settle` leaves no mark
//! but `After`.

use super::{Sweep, sweep};
use crate::graph::rewrite::{Rewriter, copy_node};
use crate::graph::{Graph, Node, NodeId, Op, Scan};
use std::collections::HashMap;

const VALID: &str = "the reverse rule of a well-typed mark is well-typed";

/// `roots` with each key of `images` replaced by its value: copies of all that depends on a key.
fn transplant(graph: &mut Graph, roots: &[NodeId], mut images: HashMap<NodeId, NodeId>) -> Vec<NodeId> {
    let Some(last) = roots.iter().map(|root| root.index()).max() else { return Vec::new() };
    let mut needed = vec![false; last + 1];
    roots.iter().for_each(|root| needed[root.index()] = true);
    for index in (0..=last).rev().filter(|i| !images.contains_key(&NodeId(*i as u32))) {
        if needed[index] {
            for operand in &graph.node(NodeId(index as u32)).operands {
                needed[operand.index()] = true;
            }
        }
    }
    for index in (0..=last).filter(|i| needed[*i]) {
        let id = NodeId(index as u32);
        let node = graph.node(id).clone();
        if !images.contains_key(&id) && node.operands.iter().any(|operand| images.contains_key(operand)) {
            let image = |operand: &NodeId| images.get(operand).copied().unwrap_or(*operand);
            let operands: Vec<NodeId> = node.operands.iter().map(image).collect();
            images.insert(id, copy_node(graph, &node, &operands));
        }
    }
    roots.iter().map(|root| images.get(root).copied().unwrap_or(*root)).collect()
}

/// The gradients that the rule gives, with the mark's own value and cotangent in its holes.
pub fn rule(cx: &mut Sweep, id: NodeId, operands: &[NodeId], n: usize, g: NodeId) {
    let (by, holes, gradients) = (&operands[1..=n], &operands[n + 1..n + 3], &operands[n + 3..]);
    let images = HashMap::from([(holes[0], id), (holes[1], g)]);
    let gradients = transplant(cx.graph, gradients, images);
    for (x, dx) in by.iter().zip(gradients) {
        if cx.needs(*x) {
            cx.add(*x, dx);
        }
    }
}

/// Works the value out again, and pulls the cotangent back through that.
pub fn recompute(cx: &mut Sweep, operands: &[NodeId], g: NodeId) {
    let (value, made_of) = (operands[0], &operands[1..]);
    let later: Vec<NodeId> = made_of.iter().map(|x| cx.graph.after(*x, g).expect(VALID)).collect();
    let images = made_of.iter().copied().zip(later.iter().copied()).collect();
    let again = transplant(cx.graph, &[value], images)[0];
    let needed = made_of.iter().zip(later).filter(|(x, _)| cx.needs(**x) && cx.graph.dtype(**x).is_float());
    let (by, targets): (Vec<NodeId>, Vec<NodeId>) = needed.unzip();
    let gradients = sweep(cx.graph, &[(again, g)], &targets);
    for (x, dx) in by.into_iter().zip(gradients) {
        cx.add(x, dx);
    }
}

/// The graph without marks whose time is over: what they mark takes their place, and what stands on holes goes.
pub fn settle(graph: &Graph) -> Graph {
    let is_mark = |op: &Op| matches!(op, Op::Rule { .. } | Op::Recompute | Op::Hole | Op::Scan(_));
    if !graph.ids().any(|id| is_mark(&graph.node(id).op)) {
        return graph.clone();
    }
    let mut rewriter = Rewriter::new(graph);
    let mut hollow = vec![false; graph.len()];
    for id in graph.ids() {
        rewriter.enter(id);
        let node = graph.node(id);
        match &node.op {
            Op::Rule { .. } | Op::Recompute => {
                let value = rewriter.image(node.operands[0]).expect("what is marked does not stand on holes");
                rewriter.set(id, value);
            }
            op => {
                hollow[id.index()] =
                    *op == Op::Hole || node.operands.iter().any(|operand| hollow[operand.index()]);
                match op {
                    _ if hollow[id.index()] => {}
                    Op::Scan(scan) => {
                        let scan = Scan { body: settle(&scan.body), ..(**scan).clone() };
                        let operands = rewriter.operands(id);
                        let (op, ty) = (Op::Scan(Box::new(scan)), node.ty.clone());
                        let new = rewriter.new.push(Node::new(op, ty, operands, node.origin.clone()));
                        rewriter.set(id, new);
                    }
                    _ => {
                        rewriter.copy(id);
                    }
                }
            }
        }
    }
    rewriter.finish()
}
