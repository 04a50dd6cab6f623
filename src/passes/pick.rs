//! A sum along an axis of what is multiplied with 1 at one place of it, and with 0 elsewhere, is the element at that place.
//!
//! ```text
//! %3 = iota 1   %4 = map eq %label, %3   %5 = cast %4   %6 = map mul %x, %5   %7 = reduce sum [1] %6
//! ```
//!
//! becomes `gather 1 %x, label`, and 0 where the label is out of range. Elementwise functions are worked out at that place alone. So cross
//! entropy visits its logits once less. What is infinite or NaN at other places is no longer multiplied with 0.

use super::{factors, map};
use crate::base::{DType, ReduceOp};
use crate::graph::rewrite::rewrite_in;
use crate::graph::{Graph, Kind, NodeId, Op, View};
use crate::scalar::Func;

/// Functions that are worked out at the place, factors, and tensors that are read there, at most.
const MOST_MAPS: usize = 16;
const MOST_FACTORS: usize = 16;
const MOST_READ: usize = 2;

pub fn run(graph: &mut Graph) -> bool {
    rewrite_in(graph, |new, node, operands| match &node.op {
        _ if node.kind() != Kind::Reduce => None,
        Op::Reduce { op: ReduceOp::Sum, axes } if node.ty.dtype == DType::F32 => {
            picked(new, axes, operands[0])
        }
        _ => None,
    })
}

fn picked(graph: &mut Graph, axes: &[usize], x: NodeId) -> Option<NodeId> {
    let shape = graph.ty(x).shape.clone();
    let (size, row) = shape.split_last()?;
    let last = row.len();
    let n = size.as_const().filter(|_| axes.contains(&last))?;
    let (mut factors, is_negative) = factors(graph, x, MOST_FACTORS)?;
    let (at, label) =
        factors.iter().enumerate().find_map(|(at, id)| Some((at, one_at(graph, *id, last)?)))?;
    factors.remove(at);
    let (mut n_maps, mut n_read) = (0, 0);
    let known = |id: &NodeId| can_be_picked(graph, *id, last, &mut n_maps, &mut n_read);
    if !factors.iter().all(known) || n_maps > MOST_MAPS || n_read > MOST_READ {
        return None;
    }
    let label = without_last(graph, label).expect("it is the same along the axis");
    let constant = |graph: &mut Graph, value: f64, dtype: DType| {
        let scalar = graph.constant(value, dtype);
        graph.broadcast(scalar, &[], row).expect("a scalar stretches to any shape")
    };
    let mut product = constant(graph, 1.0, DType::F32);
    for (i, factor) in factors.into_iter().enumerate() {
        let factor = pick(graph, factor, label);
        product = if i == 0 { factor } else { map(graph, Func::Mul, &[product, factor]) };
    }
    if is_negative {
        product = map(graph, Func::Neg, &[product]);
    }
    let (none, end) = (constant(graph, 0.0, DType::I32), constant(graph, n as f64, DType::I32));
    let is_inside =
        [(Func::Ge, none), (Func::Lt, end)].map(|(compare, limit)| map(graph, compare, &[label, limit]));
    let is_inside = map(graph, Func::And, &is_inside);
    let zero = constant(graph, 0.0, DType::F32);
    let element = map(graph, Func::Select, &[is_inside, product, zero]);
    let others: Vec<usize> = axes.iter().copied().filter(|axis| *axis != last).collect();
    Some(graph.reduce(ReduceOp::Sum, element, &others).expect("axes of the operand"))
}

/// The places, along the last axis, at which the node is 1; it is 0 elsewhere.
fn one_at(graph: &Graph, id: NodeId, last: usize) -> Option<NodeId> {
    let node = graph.node(id);
    let equal = graph.node(*node.operands.first()?);
    if node.op != Op::Cast || node.ty.dtype != DType::F32 || equal.op != Op::Map(Func::Eq) {
        return None;
    }
    let is_place = |id: NodeId| graph.node(id).op == Op::Iota { axis: last };
    let [a, b] = [equal.operands[0], equal.operands[1]];
    let found = [(a, b), (b, a)].into_iter().find(|(_, place)| is_place(*place))?;
    is_same_along(graph, found.0, last).then_some(found.0)
}

fn is_same_along(graph: &Graph, id: NodeId, axis: usize) -> bool {
    matches!(&graph.node(id).op, Op::View(View::Broadcast { axes }) if !axes.contains(&axis))
}

/// A broadcast without its last axis, along which it is the same.
fn without_last(graph: &mut Graph, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id).clone();
    let Op::View(View::Broadcast { axes }) = &node.op else { return None };
    let row = &node.ty.shape[..node.ty.rank() - 1];
    (!axes.contains(&row.len())).then(|| graph.broadcast(node.operands[0], axes, row).expect("the old sizes"))
}

/// Whether the node's elements at one place of the last axis can be had without the others.
fn can_be_picked(graph: &Graph, id: NodeId, last: usize, n_maps: &mut usize, n_read: &mut usize) -> bool {
    let node = graph.node(id);
    let (op, operands, ty) = (&node.op, &node.operands, &node.ty);
    if *n_maps > MOST_MAPS {
        return false;
    }
    match op {
        _ if is_same_along(graph, id, last) => true,
        Op::Map(_) | Op::Cast => {
            *n_maps += 1;
            operands.iter().all(|operand| can_be_picked(graph, *operand, last, n_maps, n_read))
        }
        Op::Iota { .. } => false,
        _ => {
            *n_read += 1;
            ty.dtype == DType::F32
        }
    }
}

fn pick(graph: &mut Graph, id: NodeId, label: NodeId) -> NodeId {
    let node = graph.node(id).clone();
    let (op, operands, ty) = (&node.op, &node.operands, &node.ty);
    let last = ty.rank() - 1;
    match op {
        _ if is_same_along(graph, id, last) => {
            without_last(graph, id).expect("it is the same along the axis")
        }
        Op::Map(func) => {
            let operands: Vec<NodeId> = operands.iter().map(|operand| pick(graph, *operand, label)).collect();
            map(graph, *func, &operands)
        }
        Op::Cast => {
            let operand = pick(graph, operands[0], label);
            graph.cast(operand, ty.dtype).expect("any type casts to any other")
        }
        _ => graph.gather_in(id, label, last, last).expect("places along the last axis"),
    }
}
