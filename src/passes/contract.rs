//! Contractions in their plainest form. An axis of size 1 is no label: the operand is reshaped to lack it.
//! Transposes sink into contractions: a permuted operand is the operand under other labels, and a permuted result (that
//! nobody else reads) is the result under other labels. Of a result of which only a slice is read only that is made, from slices
//! of the operands.

use crate::base::Dim;
use crate::graph::rewrite::{rewrite_in, use_counts};
use crate::graph::{Contraction, Graph, Kind, Node, NodeId, Op, View};

pub fn run(graph: &mut Graph) -> bool {
    let uses = use_counts(graph);
    rewrite_in(graph, |new, node, operands| {
        if !matches!(node.kind(), Kind::Contract | Kind::View) {
            return None;
        }
        let is_alone = || uses[node.operands[0].index()] == 1;
        let (contraction, [lhs, rhs]) = match &node.op {
            Op::Contract(contraction) => of_permuted(new, contraction, operands)?,
            Op::View(View::Permute(permutation)) if is_alone() => permuted(new, permutation, operands[0])?,
            Op::View(View::Slice { start, step }) if is_alone() => {
                sliced(new, node, start, step, operands[0])?
            }
            _ => return None,
        };
        let plain = without_units(new, [lhs, rhs], contraction);
        Some(new.reshape(plain, node.ty.shape.clone()).expect("but for axes of size 1 the same shape"))
    })
}

/// A contraction on other operands.
type Other = (Contraction, [NodeId; 2]);

/// A contraction of what its operands are permutations of, if one is or has an axis of size 1.
fn of_permuted(graph: &Graph, contraction: &Contraction, operands: &[NodeId]) -> Option<Other> {
    let is_plain = |x: &NodeId| {
        let node = graph.node(*x);
        !matches!(node.op, Op::View(View::Permute(_))) && !node.ty.shape.iter().any(|size| size.is_const(1))
    };
    if operands.iter().all(is_plain) {
        return None;
    }
    let mut contraction = contraction.clone();
    let lhs = unpermuted(graph, operands[0], &mut contraction.lhs);
    let rhs = unpermuted(graph, operands[1], &mut contraction.rhs);
    Some((contraction, [lhs, rhs]))
}

/// The permutation of a contraction as one.
fn permuted(graph: &Graph, permutation: &[usize], result: NodeId) -> Option<Other> {
    let node = graph.node(result);
    let Op::Contract(Contraction { lhs, rhs, out }) = &node.op else { return None };
    let out = permutation.iter().map(|axis| out[*axis]).collect();
    let contraction = Contraction { lhs: lhs.clone(), rhs: rhs.clone(), out };
    Some((contraction, [node.operands[0], node.operands[1]]))
}

/// The slice (the node `slice`) of a contraction as one of slices.
fn sliced(graph: &mut Graph, slice: &Node, start: &[Dim], step: &[i64], result: NodeId) -> Option<Other> {
    let node = graph.node(result);
    let Op::Contract(contraction) = node.op.clone() else { return None };
    let [left, right] = [node.operands[0], node.operands[1]];
    let mut part = |x: NodeId, labels: &[u8]| {
        let ty = graph.ty(x).clone();
        let mut of_x = (vec![Dim::from(0); ty.rank()], vec![1; ty.rank()], ty.shape);
        for (axis, label) in labels.iter().enumerate() {
            if let Some(at) = contraction.out.iter().position(|l| l == label) {
                of_x.0[axis] = start[at].clone();
                of_x.1[axis] = step[at];
                of_x.2[axis] = slice.ty.shape[at].clone();
            }
        }
        graph.slice(x, of_x.0, &of_x.1, of_x.2).expect("it was inside of the result")
    };
    let operands = [part(left, &contraction.lhs), part(right, &contraction.rhs)];
    Some((contraction, operands))
}

/// The contraction over labels of other sizes than 1.
fn without_units(graph: &mut Graph, operands: [NodeId; 2], contraction: Contraction) -> NodeId {
    let Contraction { lhs, rhs, out } = contraction;
    let mut units: Vec<u8> = Vec::new();
    for (operand, labels) in operands.iter().zip([&lhs, &rhs]) {
        let sizes = graph.ty(*operand).shape.iter().zip(labels);
        units.extend(sizes.filter(|(size, _)| size.is_const(1)).map(|(_, label)| *label));
    }
    let kept = |labels: &[u8]| labels.iter().copied().filter(|l| !units.contains(l)).collect::<Vec<u8>>();
    let mut narrow = |operand: NodeId| {
        let shape = graph.ty(operand).shape.iter().filter(|size| !size.is_const(1)).cloned();
        let shape: Vec<_> = shape.collect();
        graph.reshape(operand, shape).expect("axes of size 1 hold nothing")
    };
    let [left, right] = operands.map(&mut narrow);
    let contraction = Contraction { lhs: kept(&lhs), rhs: kept(&rhs), out: kept(&out) };
    graph.contract(left, right, contraction).expect("the same sizes under the same labels")
}

/// What an operand is a permutation of, if it is one, and its labels there.
fn unpermuted(graph: &Graph, operand: NodeId, labels: &mut [u8]) -> NodeId {
    let node = graph.node(operand);
    let Op::View(View::Permute(permutation)) = &node.op else { return operand };
    let old = labels.to_vec();
    for (axis, from) in permutation.iter().enumerate() {
        labels[*from] = old[axis];
    }
    node.operands[0]
}
