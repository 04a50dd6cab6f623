//! Reductions of reductions become one; axes along which an operand repeats, or that have one element, are not walked. Where a
//! reshape only makes one axis of several, and that is walked, the several are walked instead: the first of them may be the rows
//! that the operand is made by.

use super::map;
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::rewrite::rewrite_in;
use crate::graph::{Graph, Kind, Node, NodeId, Op, View};
use crate::scalar::Func;

pub fn run(graph: &mut Graph) -> bool {
    rewrite_in(graph, |new, node, operands| {
        if node.kind() != Kind::Reduce {
            return None;
        }
        let Op::Reduce { op, axes } = &node.op else { return None };
        of_reduction(new, *op, axes, operands[0])
            .or_else(|| of_merged(new, *op, axes, operands[0]))
            .or_else(|| of_repetition(new, node, *op, axes, operands[0]))
            .or_else(|| of_ones(new, node, *op, axes, operands[0]))
    })
}

/// Axes of a tensor as they were before `gone` (sorted) disappeared.
fn before(gone: &[usize], axes: &[usize], rank: usize) -> Vec<usize> {
    let kept: Vec<usize> = (0..rank).filter(|axis| !gone.contains(axis)).collect();
    axes.iter().map(|axis| kept[*axis]).collect()
}

fn of_reduction(graph: &mut Graph, op: ReduceOp, axes: &[usize], operand: NodeId) -> Option<NodeId> {
    let inner = graph.node(operand);
    let Op::Reduce { op: same, axes: gone } = &inner.op else { return None };
    if *same != op {
        return None;
    }
    let x = inner.operands[0];
    let all = [gone.clone(), before(gone, axes, graph.ty(x).rank())].concat();
    Some(graph.reduce(op, x, &all).expect("axes of the operand"))
}

fn of_merged(graph: &mut Graph, op: ReduceOp, axes: &[usize], operand: NodeId) -> Option<NodeId> {
    let merged = graph.node(operand);
    if merged.op != Op::View(View::Reshape) {
        return None;
    }
    let x = merged.operands[0];
    let (from, to) = (&graph.ty(x).shape, &merged.ty.shape);
    let mut walked: Vec<usize> = Vec::new();
    let mut next = 0;
    for (axis, size) in to.iter().enumerate() {
        let first = next;
        if axes.contains(&axis) {
            let mut n = Dim::from(1);
            while next < from.len() && (next == first || n != *size) {
                n = n * from[next].clone();
                next += 1;
            }
            if n != *size || next == first {
                return None;
            }
            walked.extend(first..next);
        } else {
            next += 1;
            if from.get(first) != Some(size) {
                return None;
            }
        }
    }
    if next != from.len() {
        return None;
    }
    Some(graph.reduce(op, x, &walked).expect("axes of the operand"))
}

fn of_repetition(
    graph: &mut Graph,
    node: &Node,
    op: ReduceOp,
    axes: &[usize],
    operand: NodeId,
) -> Option<NodeId> {
    let inner = graph.node(operand);
    let Op::View(View::Broadcast { axes: from }) = inner.op.clone() else { return None };
    let (x, shape) = (inner.operands[0], inner.ty.shape.clone());
    let repeated: Vec<usize> = axes.iter().copied().filter(|axis| !from.contains(axis)).collect();
    let times = repeated.iter().fold(Dim::from(1), |n, axis| n * shape[*axis].clone());
    let at_least_one = times.as_const().is_some_and(|n| n > 0);
    let idempotent = matches!(op, ReduceOp::Max | ReduceOp::Min) && at_least_one;
    let sum = op == ReduceOp::Sum && node.ty.dtype == DType::F32;
    if repeated.is_empty() || !(idempotent || sum) {
        return None;
    }
    let walked: Vec<usize> = (0..from.len()).filter(|axis| axes.contains(&from[*axis])).collect();
    let once = graph.reduce(op, x, &walked).expect("axes of the operand");
    // Where the axes that are left stand in the result.
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
    let to: Vec<usize> = from
        .iter()
        .filter(|axis| !axes.contains(axis))
        .map(|axis| kept.iter().position(|k| k == axis).expect("an axis that is kept"))
        .collect();
    let mut result = once;
    if sum {
        let n = graph.size(times);
        let shape = graph.ty(once).shape.clone();
        let n = graph.broadcast(n, &[], shape).expect("a scalar stretches to any shape");
        result = map(graph, Func::Mul, &[once, n]);
    }
    Some(graph.broadcast(result, &to, node.ty.shape.clone()).expect("sizes are those of the old broadcast"))
}

fn of_ones(graph: &mut Graph, node: &Node, op: ReduceOp, axes: &[usize], operand: NodeId) -> Option<NodeId> {
    let shape = &graph.ty(operand).shape;
    let (ones, others): (Vec<usize>, Vec<usize>) = axes.iter().partition(|axis| shape[**axis].is_const(1));
    if ones.is_empty() {
        return None;
    }
    let kept: Vec<Dim> =
        (0..shape.len()).filter(|axis| !ones.contains(axis)).map(|axis| shape[axis].clone()).collect();
    let x = graph.reshape(operand, kept).expect("axes of size 1 hold nothing");
    let axes: Vec<usize> =
        others.iter().map(|axis| axis - ones.iter().filter(|one| *one < axis).count()).collect();
    let result = graph.reduce(op, x, &axes).expect("axes of the operand");
    debug_assert_eq!(*graph.ty(result), node.ty);
    Some(result)
}
