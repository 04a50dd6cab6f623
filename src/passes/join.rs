//! A sum of pieces that lie beside each other, each with zeros around it, is their concatenation.
//!
//! ```text
//! %3 = pad [0, 0] %0   %4 = pad [0, 256] %1   %5 = map add %3, %4    becomes    %3 = concat 1 %0, %1
//! ```
//!
//! So the gradient of what was taken apart (the gates of a recurrent layer; queries, keys and values) is written once, in place of a
//! sum of arrays of zeros. What else is in the sum is added to it, which rounds otherwise.

use super::map;
use crate::base::Dim;
use crate::graph::rewrite::rewrite_in;
use crate::graph::{Graph, Kind, Node, NodeId, Op, View};
use crate::scalar::Func;

/// Sums inside of one another that are looked at.
const MOST_DEEP: usize = 32;

pub fn run(graph: &mut Graph) -> bool {
    rewrite_in(graph, joined)
}

fn joined(graph: &mut Graph, node: &Node, operands: &[NodeId]) -> Option<NodeId> {
    if node.kind() != Kind::Map(Func::Add) {
        return None;
    }
    let axis = operands.iter().find_map(|id| piece(graph, *id))?.axis;
    let mut terms = Vec::new();
    operands.iter().for_each(|id| {
        add_terms(graph, *id, MOST_DEEP, &mut terms);
    });
    let is_piece = |id: &NodeId| piece(graph, *id).is_some_and(|piece| piece.axis == axis);
    let (pieces, others): (Vec<NodeId>, Vec<NodeId>) = terms.into_iter().partition(is_piece);
    let mut left: Vec<Piece> = pieces.into_iter().filter_map(|id| piece(graph, id)).collect();
    let (mut in_order, mut end) = (Vec::with_capacity(left.len()), Dim::from(0));
    while !left.is_empty() {
        let next = left.swap_remove(left.iter().position(|piece| piece.start == end)?);
        end = end + graph.ty(next.of).shape[axis].clone();
        in_order.push(next.of);
    }
    if end != node.ty.shape[axis] {
        return None;
    }
    let whole = graph.concat(&in_order, axis).expect("pieces agree in all other sizes");
    Some(others.into_iter().fold(whole, |sum, other| map(graph, Func::Add, &[sum, other])))
}

/// Adds the terms of a sum, and says whether there are pieces among them: a sum without any is a term, as it is.
fn add_terms(graph: &Graph, id: NodeId, deep: usize, terms: &mut Vec<NodeId>) -> bool {
    let node = graph.node(id);
    if node.kind() != Kind::Map(Func::Add) || deep == 0 {
        terms.push(id);
        return piece(graph, id).is_some();
    }
    let (before, mut has_pieces) = (terms.len(), false);
    for side in &node.operands {
        has_pieces |= add_terms(graph, *side, deep - 1, terms);
    }
    if !has_pieces {
        terms.truncate(before);
        terms.push(id);
    }
    has_pieces
}

/// A value with zeros before and after it along one axis.
struct Piece {
    of: NodeId,
    axis: usize,
    start: Dim,
}

fn piece(graph: &Graph, id: NodeId) -> Option<Piece> {
    let node = graph.node(id);
    if node.kind() != Kind::View {
        return None;
    }
    let Op::View(View::Pad { start, step }) = &node.op else { return None };
    let of = node.operands[0];
    let shape = &graph.ty(of).shape;
    let mut padded = (0..shape.len()).filter(|axis| shape[*axis] != node.ty.shape[*axis]);
    let axis = padded.next()?;
    let is_whole = padded.next().is_none() && step[axis] == 1;
    is_whole.then(|| Piece { of, axis, start: start[axis].clone() })
}
