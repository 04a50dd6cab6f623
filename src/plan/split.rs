//! Long sums over a parameter are taken in parts, so that a core reads only those weights that it also updates.
//!
//! What enters: a graph, and the greatest batch. What leaves: an equal graph in which some products `x[batch, k] * w[k, n]` are
//! sums of `PARTS` products, each over its own rows of `w`. Tiles over the batch would all read the whole of `w`, and each weight would
//! travel from the core that updated it to all others in every step; parts over `k` read rows of `w`, as the tiles of
//! its update do. The price is that partial results are written and read, so it is done only where they are few beside the
//! weights. Measured on two cores with `mlp-seed` (784 x 64 weights, batch 32): a step takes 0.08 ms with it and 0.105 ms
//! without (`gradc bench examples/bench/mlp-seed.model`).

use crate::base::{Dim, ReduceOp};
use crate::graph::rewrite::Rewriter;
use crate::graph::{Contraction, Graph, NodeId, Op};

/// Parts of a sum; fixed, for the order of a sum is part of its result.
const PARTS: i64 = 8;
/// How many times as long as all parts' rows a sum must be.
const WORTH: i64 = 2;

pub fn split_sums(graph: &Graph, max_batch: i64) -> Graph {
    let mut rewriter = Rewriter::new(graph);
    for id in graph.ids() {
        rewriter.enter(id);
        match parts(graph, id, max_batch) {
            Some(k) => {
                let operands = rewriter.operands(id);
                let sum = in_parts(&mut rewriter.new, [operands[0], operands[1]], k);
                rewriter.set(id, sum);
            }
            None => {
                rewriter.copy(id);
            }
        }
    }
    rewriter.finish()
}

/// The length of the sum, if the node is a product that is worth it.
fn parts(graph: &Graph, id: NodeId, max_batch: i64) -> Option<i64> {
    let node = graph.node(id);
    let Op::Contract(Contraction { lhs, rhs, out }) = &node.op else { return None };
    let is_plain = matches!((&lhs[..], &rhs[..], &out[..]),
        ([row, k], [same, column], [r, c]) if k == same && row == r && column == c);
    let of_parameter = matches!(graph.node(node.operands[1]).op, Op::Param(_));
    let shape = &graph.ty(node.operands[0]).shape;
    if !is_plain || !of_parameter || shape[0] != Dim::symbol("batch") {
        return None;
    }
    let k = shape[1].as_const()?;
    (k % PARTS == 0 && k >= WORTH.saturating_mul(PARTS).saturating_mul(max_batch)).then_some(k)
}

fn in_parts(graph: &mut Graph, [lhs, rhs]: [NodeId; 2], k: i64) -> NodeId {
    let (batch, n) = (graph.ty(lhs).shape[0].clone(), graph.ty(rhs).shape[1].clone());
    let (parts, part) = (Dim::from(PARTS), Dim::from(k / PARTS));
    let lhs = graph.reshape(lhs, [batch, parts.clone(), part.clone()]).expect("as many elements");
    let rhs = graph.reshape(rhs, [parts, part, n]).expect("as many elements");
    let contraction = Contraction { lhs: b"apk".to_vec(), rhs: b"pkc".to_vec(), out: b"pac".to_vec() };
    let products = graph.contract(lhs, rhs, contraction).expect("sizes are those of the old product");
    graph.reduce(ReduceOp::Sum, products, &[0]).expect("the parts' axis")
}
