//! Contractions in their plainest form. An axis of size 1 is no label: the operand is reshaped to lack it.
//! Transposes sink into contractions: a permuted operand is the operand under other labels, and a permuted result (that
//! nobody else reads) is the result under other labels. Of a result of which only a slice is read only that is made, from slices
//! of the operands.

use crate::base::Dim;
use crate::graph::rewrite::{Rewriter, use_counts};
use crate::graph::{Contraction, Graph, NodeId, Op, View};

pub fn run(graph: &Graph) -> Graph {
    let uses = use_counts(graph);
    let mut rewriter = Rewriter::new(graph);
    for id in graph.ids() {
        rewriter.enter(id);
        let operands = rewriter.operands(id);
        let node = graph.node(id);
        let image = match &node.op {
            Op::Contract(contraction) => {
                let mut contraction = contraction.clone();
                let lhs = unpermuted(&rewriter.new, operands[0], &mut contraction.lhs);
                let rhs = unpermuted(&rewriter.new, operands[1], &mut contraction.rhs);
                Some((contraction, [lhs, rhs]))
            }
            Op::View(View::Permute(permutation)) if uses[node.operands[0].index()] == 1 => {
                let below = rewriter.new.node(operands[0]);
                let Op::Contract(Contraction { lhs, rhs, out }) = &below.op else {
                    rewriter.copy(id);
                    continue;
                };
                let out = permutation.iter().map(|axis| out[*axis]).collect();
                let contraction = Contraction { lhs: lhs.clone(), rhs: rhs.clone(), out };
                Some((contraction, [below.operands[0], below.operands[1]]))
            }
            Op::View(View::Slice { start, step }) if uses[node.operands[0].index()] == 1 => {
                let below = rewriter.new.node(operands[0]);
                let Op::Contract(contraction) = below.op.clone() else {
                    rewriter.copy(id);
                    continue;
                };
                let [left, right] = [below.operands[0], below.operands[1]];
                let mut part = |x: NodeId, labels: &[u8]| {
                    let ty = rewriter.new.ty(x).clone();
                    let mut slice = (vec![Dim::from(0); ty.rank()], vec![1; ty.rank()], ty.shape);
                    for (axis, label) in labels.iter().enumerate() {
                        if let Some(at) = contraction.out.iter().position(|l| l == label) {
                            slice.0[axis] = start[at].clone();
                            slice.1[axis] = step[at];
                            slice.2[axis] = node.ty.shape[at].clone();
                        }
                    }
                    rewriter.new.slice(x, slice.0, &slice.1, slice.2).expect("it was inside of the result")
                };
                let operands = [part(left, &contraction.lhs), part(right, &contraction.rhs)];
                Some((contraction, operands))
            }
            _ => None,
        };
        match image {
            Some((contraction, [lhs, rhs])) => {
                let new = without_units(&mut rewriter.new, [lhs, rhs], contraction);
                let shape = node.ty.shape.clone();
                let new = rewriter.new.reshape(new, shape).expect("but for axes of size 1 the same shape");
                rewriter.set(id, new);
            }
            None => {
                rewriter.copy(id);
            }
        }
    }
    rewriter.finish()
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
