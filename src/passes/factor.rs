//! What is the same along the axes of a sum is taken out of it: of `sum(x * k)` becomes `sum(x) * k`.
//!
//! ```text
//! %3 = map mul %x, %k   %4 = reduce sum [0] %3      becomes      %4 = reduce sum [0] %x   %5 = map mul %4, %k
//! ```
//!
//! So sums that differ in such factors alone become one, as those do of the gradients by a norm's input and by its scale. This rounds
//! otherwise, as a sum in another order does. A sum of several terms is taken apart, too, where one of their factors is made of a sum
//! over the same axes of a tensor as large: its elements would have to be visited once more when that sum is there. The rest of
//! a term, `x - mean(x)` say, stays as it is, for terms that nearly cancel are summed as what is left of them.

use super::map;
use crate::base::{DType, ReduceOp};
use crate::graph::rewrite::{copy_node, rewrite};
use crate::graph::{Graph, Node, NodeId, Op, View};
use crate::scalar::Func;

/// Terms of a sum that is taken apart, at most, and nodes that are looked at for what a factor is made of.
const MOST_TERMS: usize = 4;
const MOST_SEEN: usize = 64;

pub fn run(graph: &Graph) -> Graph {
    rewrite(graph, |new, node, operands| {
        let factored = match &node.op {
            Op::Reduce { op: ReduceOp::Sum, axes } if node.ty.dtype == DType::F32 => {
                factored(new, node, axes, operands[0])
            }
            _ => None,
        };
        factored.unwrap_or_else(|| copy_node(new, node, operands))
    })
}

/// A product: what varies along the axes, made by `rest`, times what is the same along them, or its negative.
struct Term {
    x: NodeId,
    varies: bool,
    factors: Vec<NodeId>,
    negative: bool,
}

fn factored(graph: &mut Graph, node: &Node, axes: &[usize], x: NodeId) -> Option<NodeId> {
    let mut terms = Vec::new();
    take_apart(graph, axes, x, false, &mut terms);
    let waits = || terms.iter().flat_map(|t| &t.factors).any(|f| is_made_of_sum(graph, axes, *f, x));
    let pays = || terms.iter().all(|term| !term.factors.is_empty()) && waits();
    if terms.len() > MOST_TERMS || terms.len() > 1 && !pays() {
        terms = vec![term(graph, axes, x, false)];
    }
    let is_plain = |term: &Term| term.x == x && term.factors.is_empty() && !term.negative;
    if terms.iter().any(|term| !term.varies || is_plain(term)) {
        return None;
    }
    let kept: Vec<usize> = (0..graph.ty(x).rank()).filter(|axis| !axes.contains(axis)).collect();
    let mut sum: Option<NodeId> = None;
    for Term { x, factors, negative, .. } in terms {
        let rest = rest(graph, axes, x).expect("something varies");
        let mut product =
            graph.reduce(ReduceOp::Sum, rest, axes).expect("axes of a tensor of the same shape");
        for factor in factors {
            let Op::View(View::Broadcast { axes: to }) = graph.node(factor).op.clone() else {
                unreachable!("factors are broadcasts")
            };
            let small = graph.node(factor).operands[0];
            let place = |axis: &usize| {
                kept.iter().position(|k| k == axis).expect("it moves along none of the others")
            };
            let to: Vec<usize> = to.iter().map(place).collect();
            let shape = node.ty.shape.clone();
            let factor = graph.broadcast(small, &to, shape).expect("sizes are those of the old broadcast");
            product = map(graph, Func::Mul, &[product, factor]);
        }
        sum = Some(match (sum, negative) {
            (None, false) => product,
            (None, true) => map(graph, Func::Neg, &[product]),
            (Some(sum), false) => map(graph, Func::Add, &[sum, product]),
            (Some(sum), true) => map(graph, Func::Sub, &[sum, product]),
        });
    }
    sum
}

/// The terms of a sum.
fn take_apart(graph: &Graph, axes: &[usize], x: NodeId, negative: bool, terms: &mut Vec<Term>) {
    let node = graph.node(x);
    let (op, operands) = (&node.op, &node.operands);
    match op {
        _ if terms.len() > MOST_TERMS => {}
        Op::Map(Func::Add) => operands.iter().for_each(|x| take_apart(graph, axes, *x, negative, terms)),
        Op::Map(Func::Sub) => {
            take_apart(graph, axes, operands[0], negative, terms);
            take_apart(graph, axes, operands[1], !negative, terms);
        }
        Op::Map(Func::Neg) => take_apart(graph, axes, operands[0], !negative, terms),
        _ => terms.push(term(graph, axes, x, negative)),
    }
}

fn term(graph: &Graph, axes: &[usize], x: NodeId, negative: bool) -> Term {
    let mut term = Term { x, varies: false, factors: Vec::new(), negative };
    collect(graph, axes, x, &mut term);
    term
}

fn is_same_along(graph: &Graph, axes: &[usize], x: NodeId) -> bool {
    matches!(&graph.node(x).op, Op::View(View::Broadcast { axes: to }) if !axes.iter().any(|a| to.contains(a)))
}

fn collect(graph: &Graph, axes: &[usize], x: NodeId, term: &mut Term) {
    let node = graph.node(x);
    let (op, operands) = (&node.op, &node.operands);
    match op {
        _ if is_same_along(graph, axes, x) => term.factors.push(x),
        Op::Map(Func::Neg) => {
            term.negative = !term.negative;
            collect(graph, axes, operands[0], term);
        }
        Op::Map(Func::Mul) => operands.iter().for_each(|side| collect(graph, axes, *side, term)),
        _ => term.varies = true,
    }
}

/// A product without the factors that `collect` finds, and without signs.
fn rest(graph: &mut Graph, axes: &[usize], x: NodeId) -> Option<NodeId> {
    if is_same_along(graph, axes, x) {
        return None;
    }
    let node = graph.node(x).clone();
    let (op, operands) = (&node.op, &node.operands);
    match op {
        Op::Map(Func::Neg) => rest(graph, axes, operands[0]),
        Op::Map(Func::Mul) => match [operands[0], operands[1]].map(|side| rest(graph, axes, side)) {
            [Some(left), Some(right)] if [left, right] == operands[..] => Some(x),
            [Some(left), Some(right)] => Some(map(graph, Func::Mul, &[left, right])),
            [one, other] => one.or(other),
        },
        _ => Some(x),
    }
}

/// Whether a factor is made of a sum over these axes of a tensor of this shape.
fn is_made_of_sum(graph: &Graph, axes: &[usize], factor: NodeId, x: NodeId) -> bool {
    let shape = &graph.ty(x).shape;
    let (mut seen, mut todo) = (Vec::new(), vec![factor]);
    while let Some(id) = todo.pop() {
        if seen.len() == MOST_SEEN {
            return false;
        }
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        let node = graph.node(id);
        match &node.op {
            Op::Reduce { op: ReduceOp::Sum, axes: over } => {
                if over == axes && graph.ty(node.operands[0]).shape == *shape {
                    return true;
                }
            }
            Op::Map(_) | Op::Cast | Op::View(View::Broadcast { .. }) => todo.extend(&node.operands),
            _ => {}
        }
    }
    false
}
