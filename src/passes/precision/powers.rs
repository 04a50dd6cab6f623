//! The maximum that a softmax subtracts, rounded up to a multiple of log 2.
//!
//! What enters: a graph that is about to be rounded. What leaves: one in which exponentials `exp(x - m)` that will be rounded have `m` such
//! that another maximum would change them by a power of two: rounding is then the same whatever the maximum was, so that sums of rounded
//! exponentials can be made before it is known (`plan/blocks/mended.rs`).
//!
//! ```text
//! %m = reduce max [1] %x   %e = map exp (map sub %x, %m)   %s = reduce sum [1] %e   %p = contract %e, %v, and divided by %s
//!
//! %m' = ceil(%m / log 2) * log 2, at least %m and at most %m + 1   %e = map exp (map sub %x, %m')
//! ```
//!
//! That may be done where the maximum cancels out. It is asked by *degrees*: the exponentials have 1, what they are multiplied with adds
//! its own, what they are divided by takes it away, a sum has that of its terms; whatever else is done with a value, and whatever leaves
//! the graph, must have degree 0. A logarithm of a sum has none, so there the maximum stays. The bounds are for numbers so large that
//! `m / log 2` has no fraction, as masks make them.

use super::base;
use crate::base::{DType, ReduceOp};
use crate::graph::rewrite::{Users, replace};
use crate::graph::{Graph, Node, NodeId, Op};
use crate::passes::{filled, known, map};
use crate::scalar::Func;
use std::f64::consts::{LN_2, LOG2_E};

/// `factors`: what will be rounded.
pub fn run(graph: &Graph, factors: &[bool]) -> Graph {
    let users = Users::new(graph);
    let is_maximum = |id: &NodeId| {
        let node = graph.node(*id);
        matches!(node.op, Op::Reduce { op: ReduceOp::Max, .. }) && node.ty.dtype == DType::F32
    };
    let found = graph.ids().filter(is_maximum).filter(|id| is_found(graph, &users, factors, *id));
    replace(graph, found.map(|id| (id, ())).collect(), |rewriter, id, ()| {
        let maximum = rewriter.copy(id);
        rounded_up(&mut rewriter.new, maximum)
    })
}

fn rounded_up(graph: &mut Graph, maximum: NodeId) -> NodeId {
    let ty = graph.ty(maximum).clone();
    let [log2_e, ln_2, one] = [LOG2_E, LN_2, 1.0].map(|number| filled(graph, number, &ty));
    let powers = map(graph, Func::Mul, &[maximum, log2_e]);
    let powers = map(graph, Func::Ceil, &[powers]);
    let multiple = map(graph, Func::Mul, &[powers, ln_2]);
    let at_least = map(graph, Func::Max, &[multiple, maximum]);
    let at_most = map(graph, Func::Add, &[maximum, one]);
    map(graph, Func::Min, &[at_least, at_most])
}

/// Whether nothing but exponentials that are rounded depends on a maximum, and it cancels out.
fn is_found(graph: &Graph, users: &Users, factors: &[bool], maximum: NodeId) -> bool {
    let mut degrees = vec![0i32; graph.len()];
    let mut todo = vec![maximum];
    while let Some(id) = todo.pop() {
        if graph.roots().any(|root| root == id) {
            return false;
        }
        for user in users.of(id) {
            let node = graph.node(*user);
            let is_exp = |id: &NodeId| graph.node(*id).op == Op::Map(Func::Exp);
            match &node.op {
                Op::View(_) => todo.push(*user),
                Op::Map(Func::Sub) if node.operands[1] == id && base(graph, node.operands[0]) != maximum => {
                    let of_difference = users.of(*user);
                    if !of_difference.iter().all(is_exp) || graph.roots().any(|root| root == *user) {
                        return false;
                    }
                    of_difference.iter().for_each(|exp| degrees[exp.index()] = 1);
                }
                _ => return false,
            }
        }
    }
    let mut is_rounded = false;
    for id in graph.ids().skip(maximum.index()) {
        let node = graph.node(id);
        if degrees[id.index()] == 0 {
            let Some(degree) = degree(graph, node, &degrees) else { return false };
            degrees[id.index()] = degree;
        } else if node.operands.iter().any(|x| degrees[x.index()] != 0) {
            return false;
        }
        is_rounded |= degrees[id.index()] != 0 && factors[id.index()];
    }
    is_rounded && graph.roots().all(|root| degrees[root.index()] == 0)
}

/// The power of the exponentials that a node is proportional to; nothing if it is to none.
fn degree(graph: &Graph, node: &Node, degrees: &[i32]) -> Option<i32> {
    let of = |at: usize| degrees[node.operands[at].index()];
    let is_zero = |at: usize| known(graph, node.operands[at]) == Some(0.0);
    if node.operands.iter().all(|x| degrees[x.index()] == 0) {
        return Some(0);
    }
    match &node.op {
        Op::Map(Func::Mul) | Op::Contract(_) => Some(of(0) + of(1)),
        Op::Map(Func::Div) => Some(of(0) - of(1)),
        Op::Map(Func::Neg) | Op::View(_) | Op::After | Op::Reduce { op: ReduceOp::Sum, .. } => Some(of(0)),
        Op::Map(Func::Add | Func::Sub) => (of(0) == of(1)).then(|| of(0)),
        Op::Map(Func::Select) if of(0) == 0 => match (is_zero(1), is_zero(2)) {
            (true, _) => Some(of(2)),
            (_, true) => Some(of(1)),
            _ => (of(1) == of(2)).then(|| of(1)),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::factors;
    use crate::graph::text::print;
    use crate::passes::tests::graph;

    const SHIFTED: &str = "%0 = input @x : f32[batch, 4]  %1 = param @v : f32[4, 8]  %2 = reduce max [1] %0 : f32[batch]
        %3 = broadcast [0] %2 : f32[batch, 4]  %4 = map sub %0, %3 : f32[batch, 4]  %5 = map exp %4 : f32[batch, 4]
        %6 = reduce sum [1] %5 : f32[batch]  ";

    /// What is done with the exponentials and their sum, and whether the maximum is rounded up for it.
    const CASES: &[(&str, &str, bool)] = &[
        (
            "a softmax that is divided by its sum after the product",
            "%7 = contract ab,bc->ac %5, %1 : f32[batch, 8]  %8 = broadcast [0] %6 : f32[batch, 8]
             %9 = map div %7, %8 : f32[batch, 8]  output y = %9",
            true,
        ),
        (
            "some of them are left out, and gradients have both powers",
            "%7 = const 0.0 : f32[]  %8 = broadcast [] %7 : f32[batch, 4]  %9 = map gt %0, %8 : bool[batch, 4]
             %10 = map select %9, %5, %8 : f32[batch, 4]  %11 = contract ab,bc->ac %10, %1 : f32[batch, 8]
             %12 = broadcast [0] %6 : f32[batch, 8]  %13 = map mul %12, %12 : f32[batch, 8]  %14 = map mul %11, %11 : f32[batch, 8]
             %15 = map div %14, %13 : f32[batch, 8]  output y = %15",
            true,
        ),
        ("what is rounded is divided", "%7 = broadcast [0] %6 : f32[batch, 4]  %8 = map div %5, %7 : f32[batch, 4]
             %9 = contract ab,bc->ac %8, %1 : f32[batch, 8]  output y = %9", false),
        (
            "nobody divides by the sum",
            "%7 = contract ab,bc->ac %5, %1 : f32[batch, 8]  output y = %7  output s = %6",
            false,
        ),
        (
            "a logarithm of the sum",
            "%7 = contract ab,bc->ac %5, %1 : f32[batch, 8]  %8 = broadcast [0] %6 : f32[batch, 8]
             %9 = map div %7, %8 : f32[batch, 8]  %10 = map log %6 : f32[batch]  output y = %9  output l = %10",
            false,
        ),
        (
            "the maximum is an output",
            "%7 = contract ab,bc->ac %5, %1 : f32[batch, 8]  %8 = broadcast [0] %6 : f32[batch, 8]
             %9 = map div %7, %8 : f32[batch, 8]  output y = %9  output m = %2",
            false,
        ),
        (
            "the difference is read elsewhere",
            "%7 = contract ab,bc->ac %5, %1 : f32[batch, 8]  %8 = broadcast [0] %6 : f32[batch, 8]
             %9 = map div %7, %8 : f32[batch, 8]  %10 = map neg %4 : f32[batch, 4]  output y = %9  output d = %10",
            false,
        ),
        (
            "a sum with a number",
            "%7 = contract ab,bc->ac %5, %1 : f32[batch, 8]  %8 = const 1.0 : f32[]  %9 = broadcast [] %8 : f32[batch]
             %10 = map add %6, %9 : f32[batch]  %11 = broadcast [0] %10 : f32[batch, 8]  %12 = map div %7, %11 : f32[batch, 8]
             output y = %12",
            false,
        ),
    ];

    #[test]
    fn maxima_that_cancel_out_are_rounded_up() {
        for (case, rest, expected) in CASES {
            let before = graph(&format!("{SHIFTED}{rest}"));
            let after = super::run(&before, &factors(&before));
            assert_eq!(print(&after, false).contains("map ceil"), *expected, "{case}");
        }
    }
}
