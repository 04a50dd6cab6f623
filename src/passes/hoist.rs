//! Elementwise work moves up through views, to where it is less.
//!
//! - A function of broadcasts is a broadcast of the function of what they repeat: a learning rate's schedule is worked out once
//!   and not for each parameter.
//! - A function of equal reshapes, permutations or flips is that view of the function, so that views meet and cancel.
//! - A quotient whose divisor is a broadcast is a product with its reciprocal, which is worked out once. This rounds
//!   once more, and is infinite for divisors below 2^-128.
//! - What one side of a contraction is multiplied with is multiplied with the result, if it stands still along all that is summed
//!   and the result is smaller: the weights of attention are divided by their sum when they are summed, not each of them. This rounds
//!   a product of sums where it was a sum of products.

use super::{filled, known, map};
use crate::base::{DType, Dim, TensorType};
use crate::graph::rewrite::rewrite_in;
use crate::graph::{Graph, Kind, Node, NodeId, Op, View};
use crate::scalar::Func;

pub fn run(graph: &mut Graph) -> bool {
    rewrite_in(graph, |new, node, operands| {
        if node.kind() == Kind::Contract {
            let of_result = |graph: &mut Graph, side| factor_of_result(graph, node, operands, side);
            return of_result(new, 0).or_else(|| of_result(new, 1));
        }
        if !matches!(node.kind(), Kind::Map(_) | Kind::Cast) || operands.is_empty() {
            return None;
        }
        through_broadcasts(new, node, operands)
            .or_else(|| through_equal_views(new, node, operands))
            .or_else(|| reciprocal(new, node, operands))
    })
}

/// What a node repeats along which of its axes; itself along all of them, if it repeats nothing.
fn repeated(graph: &Graph, id: NodeId) -> (NodeId, Vec<usize>) {
    let node = graph.node(id);
    match &node.op {
        Op::View(View::Broadcast { axes }) => (node.operands[0], axes.clone()),
        _ => (id, (0..node.ty.rank()).collect()),
    }
}

fn through_broadcasts(graph: &mut Graph, node: &Node, operands: &[NodeId]) -> Option<NodeId> {
    let repeats = |id: &NodeId| graph.node(*id).kind() == Kind::Broadcast;
    if !operands.iter().all(repeats) {
        return None;
    }
    let repeated: Vec<(NodeId, Vec<usize>)> = operands.iter().map(|id| repeated(graph, *id)).collect();
    let axes: Vec<usize> =
        (0..node.ty.rank()).filter(|axis| repeated.iter().any(|(_, axes)| axes.contains(axis))).collect();
    if axes.len() == node.ty.rank() {
        return None;
    }
    let shape: Vec<Dim> = axes.iter().map(|axis| node.ty.shape[*axis].clone()).collect();
    let place = |axis: &usize| axes.iter().position(|a| a == axis).expect("an axis of one operand is of all");
    let small: Vec<NodeId> = repeated
        .iter()
        .map(|(id, of)| {
            let to: Vec<usize> = of.iter().map(place).collect();
            graph.broadcast(*id, &to, shape.clone()).expect("sizes are those of the old broadcast")
        })
        .collect();
    let image = elementwise(graph, node, &small);
    Some(graph.broadcast(image, &axes, node.ty.shape.clone()).expect("sizes are those of the old broadcast"))
}

/// The node's function on other operands, of their shape.
fn elementwise(graph: &mut Graph, node: &Node, operands: &[NodeId]) -> NodeId {
    match node.op {
        Op::Map(func) => map(graph, func, operands),
        _ => graph.cast(operands[0], node.ty.dtype).expect("any type casts to any other"),
    }
}

fn through_equal_views(graph: &mut Graph, node: &Node, operands: &[NodeId]) -> Option<NodeId> {
    // Known numbers have any shape.
    let mut moving = operands.iter().copied().filter(|id| known(graph, *id).is_none());
    let first = graph.node(moving.next()?);
    if first.kind() != Kind::View {
        return None;
    }
    let Op::View(view @ (View::Reshape | View::Permute(_) | View::Flip { .. })) = &first.op else {
        return None;
    };
    let moving: Vec<NodeId> = moving.collect();
    let view = view.clone();
    let shape = graph.ty(first.operands[0]).shape.clone();
    let alike = |id: &NodeId| {
        let node = graph.node(*id);
        node.op == Op::View(view.clone()) && graph.ty(node.operands[0]).shape == shape
    };
    if !moving.iter().all(alike) {
        return None;
    }
    let inner: Vec<NodeId> = operands
        .iter()
        .map(|id| match known(graph, *id) {
            Some(value) => {
                let like = TensorType::new(graph.dtype(*id), shape.clone());
                filled(graph, value, &like)
            }
            None => graph.node(*id).operands[0],
        })
        .collect();
    let image = elementwise(graph, node, &inner);
    Some(graph.apply(Op::View(view), &[image], &node.ty).expect("the view of a tensor of the same shape"))
}

fn reciprocal(graph: &mut Graph, node: &Node, operands: &[NodeId]) -> Option<NodeId> {
    if node.kind() != Kind::Map(Func::Div) {
        return None;
    }
    let (divisor, axes) = repeated(graph, operands[1]);
    if axes.len() == node.ty.rank() {
        return None;
    }
    let like = graph.ty(divisor).clone();
    let one = filled(graph, 1.0, &like);
    let inverse = map(graph, Func::Div, &[one, divisor]);
    let inverse =
        graph.broadcast(inverse, &axes, node.ty.shape.clone()).expect("the divisor's own broadcast");
    Some(map(graph, Func::Mul, &[operands[0], inverse]))
}

/// A contraction without a factor of one of its sides, whose result is multiplied with it.
fn factor_of_result(graph: &mut Graph, node: &Node, operands: &[NodeId], side: usize) -> Option<NodeId> {
    let x = graph.node(operands[side]);
    if x.kind() != Kind::Map(Func::Mul) {
        return None;
    }
    let Op::Contract(contraction) = &node.op else { unreachable!("it is a contraction") };
    let n_elements = |ty: &TensorType| ty.n_elements_at(&|_| Some(1));
    if x.ty.dtype != DType::F32 || n_elements(&node.ty)? >= n_elements(&x.ty)? {
        return None;
    }
    let labels = [&contraction.lhs, &contraction.rhs][side];
    let factors = [x.operands[0], x.operands[1]];
    // Where a factor's axes are in the result.
    let places = |factor: NodeId| -> Option<(NodeId, Vec<usize>)> {
        let (small, axes) = repeated(graph, factor);
        let place = |axis: &usize| contraction.out.iter().position(|label| *label == labels[*axis]);
        Some((small, axes.iter().map(place).collect::<Option<Vec<usize>>>()?))
    };
    let (other, (small, places)) = [(factors[1], factors[0]), (factors[0], factors[1])]
        .into_iter()
        .find_map(|(other, factor)| Some((other, places(factor)?)))?;
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|axis| places[*axis]);
    let small = graph.permute(small, &order).expect("each axis once");
    let places: Vec<usize> = order.iter().map(|axis| places[*axis]).collect();
    let mut sides = [operands[0], operands[1]];
    sides[side] = other;
    let sums =
        graph.contract(sides[0], sides[1], contraction.clone()).expect("a factor has the product's shape");
    let factor = graph.broadcast(small, &places, node.ty.shape.clone()).expect("the sizes of its labels");
    Some(map(graph, Func::Mul, &[sums, factor]))
}
